"""Extents that are only known at run time: polynomials of named and counted sizes, and integers that stand for them.

    Polynomial   ((monomial, factor), ...), a monomial being a sorted tuple of atoms: one form for equal sums, so L + 2 - 2 is L
    Length       an int, the largest extent that there can be, which knows its polynomial

Arithmetic on a Length gives a Length, or a plain int where nothing open is left. Whether one is smaller than another is answered
where it holds for every value, and raises UndecidedError where it depends. Only the front end has Lengths in shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tgc.errors import UnsupportedError

Numbers = npt.NDArray[np.int64]
MOST_VALUES = 1 << 16
"""Combinations of values up to which bounds are exact; above, interval arithmetic is."""


class UndecidedError(UnsupportedError):
    """Something depends on an extent that is only known at run time."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A size that is given or computed at run time, from `low` to `high`. named: it is one of the model's dimensions, by `unit`s."""

    name: str
    low: int
    high: int
    named: bool = True
    unit: int = 1

    def pin(self, low: int, high: int) -> str:
        """The flag that says that it is from `low` to `high`."""
        ends = f"{low * self.unit}" if low == high else f"{low * self.unit}..{high * self.unit}"
        return f"--dim {self.name}={ends}{f':{self.unit}' if self.unit > 1 and low < high else ''}"


@dataclass(frozen=True, slots=True)
class Quotient:
    """`dividend` over `divisor`, a positive number, rounded down."""

    dividend: Polynomial
    divisor: int


@dataclass(frozen=True, slots=True)
class Larger:
    """The larger of two numbers."""

    first: Polynomial
    second: Polynomial


Atom = Symbol | Quotient | Larger
Monomial = tuple[Atom, ...]
Polynomial = tuple[tuple[Monomial, int], ...]


def _polynomial(terms: Mapping[Monomial, int]) -> Polynomial:
    return tuple(sorted(((m, c) for m, c in terms.items() if c), key=lambda term: repr(term[0])))


def polynomial(value: int) -> Polynomial:
    """What `value` is made of."""
    if isinstance(value, Length):
        return value.polynomial
    return (((), int(value)),) if value else ()


def added(a: Polynomial, b: Polynomial, factor: int = 1) -> Polynomial:
    """a + factor * b."""
    terms = dict(a)
    for monomial, c in b:
        terms[monomial] = terms.get(monomial, 0) + factor * c
    return _polynomial(terms)


def multiplied(a: Polynomial, b: Polynomial) -> Polynomial:
    terms: dict[Monomial, int] = {}
    for (m, c), (n, d) in itertools.product(a, b):
        monomial = tuple(sorted((*m, *n), key=repr))
        terms[monomial] = terms.get(monomial, 0) + c * d
    return _polynomial(terms)


def symbols(value: Polynomial) -> tuple[Symbol, ...]:
    """The symbols that `value` depends on, sorted by name."""
    found: dict[Symbol, None] = {}
    for atom in (atom for monomial, _ in value for atom in monomial):
        match atom:
            case Symbol():
                found[atom] = None
            case Quotient(dividend):
                found.update(dict.fromkeys(symbols(dividend)))
            case Larger(first, second):
                found.update(dict.fromkeys((*symbols(first), *symbols(second))))
    return tuple(sorted(found, key=lambda symbol: symbol.name))


@lru_cache(maxsize=1 << 14)
def bounds(value: Polynomial) -> tuple[int, int]:
    """The least and the largest that `value` can be; no narrower, and where there are few values no wider."""
    free = symbols(value)
    count = 1
    for symbol in free:
        count *= symbol.high - symbol.low + 1
    if count <= MOST_VALUES:
        grids = np.meshgrid(*(np.arange(s.low, s.high + 1, dtype=np.int64) for s in free), indexing="ij")
        values = evaluated(value, dict(zip(free, grids, strict=True)))
        return int(np.min(values)), int(np.max(values))
    low = high = 0
    for monomial, c in value:
        ends = [c]
        for atom in monomial:
            ends = [e * bound for e in (min(ends), max(ends)) for bound in _atom_bounds(atom)]
        low, high = low + min(ends), high + max(ends)
    return low, high


def _atom_bounds(atom: Atom) -> tuple[int, int]:
    match atom:
        case Symbol(_, low, high):
            return low, high
        case Quotient(dividend, divisor):
            least, most = bounds(dividend)
            return least // divisor, most // divisor
        case Larger(first, second):
            (a, b), (c, d) = bounds(first), bounds(second)
            return max(a, c), max(b, d)


def evaluated(value: Polynomial, values: Mapping[Symbol, Numbers]) -> Numbers:
    """`value` for what its symbols are."""
    total = np.zeros((), np.int64)
    for monomial, c in value:
        term = np.array(c, np.int64)
        for atom in monomial:
            match atom:
                case Symbol():
                    term = term * values[atom]
                case Quotient(dividend, divisor):
                    term = term * (evaluated(dividend, values) // divisor)
                case Larger(first, second):
                    term = term * np.maximum(evaluated(first, values), evaluated(second, values))
        total = total + term
    return total


def text(value: Polynomial) -> str:
    """In words for messages: 2*length+1."""
    parts = ["*".join([*([str(c)] if c != 1 or not m else []), *map(_atom_text, m)]) for m, c in value]
    return "+".join(parts).replace("+-", "-") or "0"


def _atom_text(atom: Atom) -> str:
    match atom:
        case Symbol(name, unit=unit):
            return name if unit == 1 else f"({name}/{unit})"
        case Quotient(dividend, divisor):
            return f"({text(dividend)})//{divisor}"
        case Larger(first, second):
            return f"max({text(first)}, {text(second)})"


def _quotient(a: Polynomial, b: Polynomial) -> Polynomial:
    """a // b. Raises UndecidedError where that has no form here."""
    if len(b) != 1 or b[0][1] <= 0:
        raise UndecidedError(f"{text(a)} divided by {text(b)}")
    (divisor, k), exact, rest = b[0], dict[Monomial, int](), dict[Monomial, int]()
    for monomial, c in a:
        left = list(monomial)
        for atom in divisor:
            if atom not in left:
                raise UndecidedError(f"{text(a)} divided by {text(b)}")
            left.remove(atom)
        whole, over = divmod(c, k)
        exact[tuple(left)] = exact.get(tuple(left), 0) + whole
        if over:
            rest[tuple(left)] = rest.get(tuple(left), 0) + over
    remainder = _polynomial(rest)
    if not remainder or all(not monomial for monomial, _ in remainder):
        return _polynomial(exact)  # what is left is a number below the divisor
    return added(_polynomial(exact), (((Quotient(remainder, k),), 1),))


def length(value: Polynomial) -> int:
    """`value` as an extent: a plain int where it is one number."""
    if not value:
        return 0
    if len(value) == 1 and not value[0][0]:
        return value[0][1]
    low, high = bounds(value)
    return high if low == high else Length(value)


def of_symbol(symbol: Symbol) -> int:
    return length((((symbol,), 1),))


def larger(a: int, b: int) -> int:
    """max(a, b) without having to decide."""
    low, high = bounds(polynomial(a - b))
    if low >= 0 or high <= 0:
        return a if low >= 0 else b
    ordered = sorted((polynomial(a), polynomial(b)), key=repr)
    return length((((Larger(ordered[0], ordered[1]),), 1),))


def smaller(a: int, b: int) -> int:
    """min(a, b) without having to decide."""
    return -larger(-a, -b)


def advice(difference: Polynomial, how: str) -> str:
    """The widest ranges of the one dimension that there is, from its least size and to its largest, for which `difference` compares
    with 0 always alike; "" where there are several dimensions, or one with too many sizes."""
    free = symbols(difference)
    if len(free) != 1 or not free[0].named or free[0].high - free[0].low > MOST_VALUES:
        return ""
    symbol = free[0]
    sizes = np.arange(symbol.low, symbol.high + 1, dtype=np.int64)
    holds = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "!=": np.not_equal}[how]
    answers = holds(np.broadcast_to(evaluated(difference, {symbol: sizes}), sizes.shape), 0)
    (changes,) = np.nonzero(answers[1:] != answers[:-1])
    ranges = [(symbol.low, int(sizes[changes[0]])), (int(sizes[changes[-1] + 1]), symbol.high)] if changes.size else []
    return " or ".join(symbol.pin(low, high) for low, high in reversed(ranges)) + " would decide it" if ranges else ""


class Length(int):
    """An extent that is only known at run time. As an int it is the largest that it can be."""

    polynomial: Polynomial

    def __new__(cls, value: Polynomial) -> Length:
        made = super().__new__(cls, bounds(value)[1])
        made.polynomial = value
        return made

    @property
    def low(self) -> int:
        return bounds(self.polynomial)[0]

    def __add__(self, other: int) -> int:
        return length(added(self.polynomial, polynomial(other)))

    __radd__ = __add__

    def __sub__(self, other: int) -> int:
        return length(added(self.polynomial, polynomial(other), -1))

    def __rsub__(self, other: int) -> int:
        return length(added(polynomial(other), self.polynomial, -1))

    def __mul__(self, other: int) -> int:
        return length(multiplied(self.polynomial, polynomial(other))) if isinstance(other, int) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> int:
        return 0 - self

    def __floordiv__(self, other: int) -> int:
        return length(_quotient(self.polynomial, polynomial(other)))

    def __rfloordiv__(self, other: int) -> int:
        return length(_quotient(polynomial(other), self.polynomial))

    def __mod__(self, other: int) -> int:
        return self - (self // other) * other

    def __truediv__(self, other: int) -> float:
        raise UndecidedError(f"a fraction of {self}")

    def __rtruediv__(self, other: int) -> float:
        raise UndecidedError(f"a fraction of {self}")

    def _sign(self, other: int) -> tuple[int, int]:
        return bounds(added(self.polynomial, polynomial(other), -1))

    def _decided(self, yes: bool, no: bool, other: int, how: str) -> bool:
        if yes or no:
            return yes
        raise UndecidedError(f"whether {self} {how} {other}", "", advice(added(self.polynomial, polynomial(other), -1), how))

    def __lt__(self, other: int) -> bool:
        low, high = self._sign(other)
        return self._decided(high < 0, low >= 0, other, "<")

    def __le__(self, other: int) -> bool:
        low, high = self._sign(other)
        return self._decided(high <= 0, low > 0, other, "<=")

    def __gt__(self, other: int) -> bool:
        low, high = self._sign(other)
        return self._decided(low > 0, high <= 0, other, ">")

    def __ge__(self, other: int) -> bool:
        low, high = self._sign(other)
        return self._decided(low >= 0, high < 0, other, ">=")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Length) and self.polynomial == other.polynomial

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.polynomial)

    def __bool__(self) -> bool:
        low, high = bounds(self.polynomial)
        return self._decided(low > 0 or high < 0, False, 0, "!=")

    def __repr__(self) -> str:
        return text(self.polynomial)

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return str(self)
