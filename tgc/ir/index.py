"""Index algebra: offsets as sums of loop variables and quotients, in one normal form.

    index ::= offset + sum of coefficient * atom
    atom  ::= loop variable | index / constant (rounded down) | anything else with known bounds

A remainder needs no atom of its own, because x % c = x - c * (x / c); so c * (x / c) + x % c cancels to x by plain addition,
and chains of reshapes vanish where they can. The rules that make this work:

    (d*q + r) / d       = q + r / d         for any integers: multiples of the divisor leave the quotient
    (x / c + r) / d     = (x + c*r) / (c*d) nested quotients become one
    (g*x + r) / (g * d) = x / d             for 0 <= r < g: what is too small to matter goes

Division rounds down here and toward zero in the backends, so every dividend is kept non-negative: where its lower bound is
below zero, a multiple of the divisor moves from the quotient's outside to its inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from math import gcd

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.expr import Apply, Expr, Lit, Var
from tgc.ir.expression_bounds import UNBOUNDED, Bounds, expression_bounds
from tgc.ir.fingerprint import expression_fingerprint
from tgc.ir.rewrite import walk


@dataclass(frozen=True, slots=True)
class Axis:
    """A loop variable that runs from 0 to extent - 1."""

    var: Var
    extent: int

    @property
    def key(self) -> str:
        return self.var.name


@dataclass(frozen=True, slots=True)
class Quotient:
    """dividend / divisor, rounded down; the dividend is never negative."""

    dividend: Index
    divisor: int

    @property
    def key(self) -> str:
        return f"({self.dividend.key})/{self.divisor}"


@dataclass(frozen=True, slots=True)
class Opaque:
    """Any other INDEX expression, known to lie in low .. high."""

    expr: Expr
    low: int
    high: int

    @property
    def key(self) -> str:
        return _order(self.expr)


_SHORT = 16


@lru_cache(maxsize=1 << 12)
def _order(expr: Expr) -> str:
    """What expressions are sorted by. The text of one that shares its parts can be exponentially long, so a digest stands for it."""
    short = sum(1 for _ in islice(walk(expr), _SHORT + 1)) <= _SHORT
    return repr(expr) if short else f"~{expression_fingerprint(expr)}"


Atom = Axis | Quotient | Opaque


@dataclass(frozen=True, slots=True)
class Index:
    """offset + sum of coefficient * atom; terms are sorted by the atom's key and no coefficient is 0."""

    terms: tuple[tuple[Atom, int], ...]
    offset: int = 0
    code: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", hash((self.terms, self.offset)))

    def __hash__(self) -> int:
        return self.code

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Index) and self.code == other.code and self.offset == other.offset and self.terms == other.terms

    @property
    def key(self) -> str:
        return "+".join([f"{c}*{a.key}" for a, c in self.terms] + [str(self.offset)])

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.offset + other) if other else self
        if not other.terms:
            return self + other.offset
        return _collect([*self.terms, *other.terms], self.offset + other.offset)

    def __mul__(self, factor: int) -> Index:
        if factor == 1:
            return self
        return Index(tuple((a, c * factor) for a, c in self.terms), self.offset * factor) if factor else ZERO

    def __floordiv__(self, divisor: int) -> Index:
        return _divide(self, divisor)

    def __mod__(self, divisor: int) -> Index:
        return self + (self // divisor) * -divisor


def _collect(terms: list[tuple[Atom, int]], offset: int) -> Index:
    total: dict[Atom, int] = {}
    for atom, coefficient in terms:
        total[atom] = total.get(atom, 0) + coefficient
    kept = [(a, c) for a, c in total.items() if c]
    if len(kept) > 1:
        kept.sort(key=lambda term: term[0].key)
    return Index(tuple(kept), offset)


ZERO = Index(())


def constant(value: int) -> Index:
    """The index that is always `value`."""
    return Index((), value)


def axis(var: Var, extent: int) -> Index:
    """The loop variable `var`, or 0 where the loop runs once."""
    return Index(((Axis(var, extent), 1),)) if extent != 1 else ZERO


def opaque(expr: Expr, low: int, high: int) -> Index:
    """The INDEX expression `expr`, which lies in low .. high."""
    return Index(((Opaque(expr, low, high), 1),))


@lru_cache(maxsize=1 << 14)
def _divide(index: Index, divisor: int) -> Index:
    if divisor == 1:
        return index
    outside = [(a, c // divisor) for a, c in index.terms if c % divisor == 0]
    inside = [(a, c) for a, c in index.terms if c % divisor]
    rest = Index(tuple(inside), index.offset % divisor)
    quotient = Index(tuple(outside), index.offset // divisor)
    low, high = bounds(rest)
    if low <= UNBOUNDED[0] // 2:
        raise InvalidIrError(f"{index.key} has no known bounds and is divided")
    if low < 0:
        shift = -(low // divisor)
        rest, quotient, high = rest + shift * divisor, quotient + -shift, high + shift * divisor
    if high < divisor:
        return quotient
    near, small = _nearest(index, divisor)
    if bounds(small)[0] >= 0 and bounds(small)[1] < divisor:
        return near
    rest, divisor = _without_fine_part(rest, divisor)
    if divisor == 1:
        return quotient + rest
    match rest.terms:
        case ((Quotient(dividend, inner), 1),):
            return quotient + _divide(dividend + rest.offset * inner, inner * divisor)
    return quotient + Index(((Quotient(rest, divisor), 1),))


def _nearest(index: Index, divisor: int) -> tuple[Index, Index]:
    """q and r with index = divisor * q + r, the coefficients of r as near to 0 as can be: -c * (x / c) + x in it is a remainder."""
    half = divisor // 2
    pairs = [(a, (c + half) // divisor) for a, c in index.terms]
    left = [(a, c - q * divisor) for (a, c), (_, q) in zip(index.terms, pairs, strict=True)]
    quotient = Index(tuple((a, q) for a, q in pairs if q), index.offset // divisor)
    return quotient, Index(tuple((a, c) for a, c in left if c), index.offset % divisor)


def _without_fine_part(index: Index, divisor: int) -> tuple[Index, int]:
    """(g*x + r) / (g*d) = x / d where 0 <= r < g: the largest such g divided out of a dividend and its divisor."""
    for common in sorted({gcd(divisor, c) for _, c in index.terms}, reverse=True):
        coarse = tuple((a, c // common) for a, c in index.terms if c % common == 0)
        fine = Index(tuple((a, c) for a, c in index.terms if c % common), index.offset % common)
        low, high = bounds(fine)
        if common > 1 and low >= 0 and high < common:
            return Index(coarse, index.offset // common), divisor // common
    return index, divisor


def atom_bounds(atom: Atom) -> Bounds:
    """The least and the greatest value of `atom`."""
    match atom:
        case Axis(_, extent):
            return (0, max(0, extent - 1))
        case Quotient(dividend, divisor):
            low, high = bounds(dividend)
            return (low // divisor, high // divisor)
        case Opaque(_, low, high):
            return (low, high)


def bounds(index: Index) -> Bounds:
    """An interval that holds every value of `index`; exact for sums of independent variables and for remainders."""
    terms = dict(index.terms)
    low = high = index.offset
    for atom in sorted((a for a in terms if isinstance(a, Quotient)), key=lambda a: -a.divisor):
        for sign in (1, -1):
            start, end = _take_remainder(atom, terms, sign)
            low, high = low + min(start * sign, end * sign), high + max(start * sign, end * sign)
    for other, factor in terms.items():
        a, b = atom_bounds(other)
        low += min(a * factor, b * factor)
        high += max(a * factor, b * factor)
    return (low, high)


def _take_remainder(atom: Quotient, terms: dict[Atom, int], sign: int) -> Bounds:
    """Finds k*(x/c) - k*m*(x/(c*m)) in sign * `terms` for atom = x/(c*m), takes it out, and answers its bounds, 0 .. k*(m-1).

    With c = 1 the first part is k times the terms of x itself. What is left of the atom stays in `terms`.
    """
    weight = terms.get(atom, 0) * sign
    if weight >= 0:
        return (0, 0)
    dividend, divisor = atom.dividend, atom.divisor
    for partner, factor in ((a, c * sign) for a, c in terms.items()):
        if isinstance(partner, Quotient) and partner.dividend == dividend and factor > 0:
            ratio, inexact = divmod(divisor, partner.divisor)
            if not inexact and abs(weight + factor * ratio) < -weight:
                del terms[partner]
                terms[atom] = (weight + factor * ratio) * sign
                return (0, factor * (ratio - 1))
    scale = -(weight // divisor)
    if not all(_contains(terms.get(a, 0) * sign, c * scale) for a, c in dividend.terms):
        return (0, 0)
    for a, c in dividend.terms:
        terms[a] -= c * scale * sign
    terms[atom] = (weight + scale * divisor) * sign
    top = min(divisor - 1, bounds(dividend)[1])
    return (-dividend.offset * scale, (top - dividend.offset) * scale)


def _contains(whole: int, part: int) -> bool:
    return part <= whole if part > 0 else whole <= part


def variables(index: Index) -> frozenset[Var]:
    """The loop variables that `index` depends on, those inside opaque parts included."""
    found: set[Var] = set()
    for atom, _ in index.terms:
        match atom:
            case Axis(var):
                found.add(var)
            case Quotient(dividend):
                found |= variables(dividend)
            case Opaque(expr):
                found |= expression_variables(expr)
    return frozenset(found)


@lru_cache(maxsize=1 << 12)
def expression_variables(expr: Expr) -> frozenset[Var]:
    """The loop variables in `expr`."""
    return frozenset(part for part in walk(expr) if isinstance(part, Var))


def coefficient(index: Index, var: Var) -> int | None:
    """What `index` grows by when `var` grows by 1; None where that is not constant."""
    total = 0
    for atom, factor in index.terms:
        if isinstance(atom, Axis) and atom.var == var:
            total = factor
        elif not isinstance(atom, Axis) and var in variables(Index(((atom, 1),))):
            return None
    return total


def to_expr(index: Index) -> Expr:
    """`index` as an INDEX expression: larger strides first, the constant last."""
    total: Expr | None = None
    for atom, factor in sorted(index.terms, key=lambda term: -abs(term[1])):
        part = _atom_expr(atom)
        if factor != 1:
            part = ex.apply(ops.MUL, part, ex.index(factor))
        total = part if total is None else ex.apply(ops.ADD, total, part)
    if total is None:
        return ex.index(index.offset)
    return ex.apply(ops.ADD, total, ex.index(index.offset)) if index.offset else total


def _atom_expr(atom: Atom) -> Expr:
    match atom:
        case Axis(var):
            return var
        case Quotient(dividend, divisor):
            return ex.apply(ops.DIV, to_expr(dividend), ex.index(divisor))
        case Opaque(expr):
            return expr


def from_expr(expr: Expr, extents: Mapping[Var, int]) -> Index:
    """The normal form of a scalar INDEX expression. A variable without an extent, or another shape of expression, is opaque."""
    match expr:
        case Lit(value):
            return constant(int(value))
        case Var() if expr in extents:
            return axis(expr, extents[expr])
        case Apply(op, (a, b)) if op is ops.ADD:
            return from_expr(a, extents) + from_expr(b, extents)
        case Apply(op, (a, Lit(value))) | Apply(op, (Lit(value), a)) if op is ops.MUL:
            return from_expr(a, extents) * int(value)
        case Apply(op, (a, Lit(value))) if op is ops.DIV and int(value) > 0:
            inner = from_expr(a, extents)
            if bounds(inner)[0] >= 0:
                return inner // int(value)
        case Apply(op, (Apply(test, (x, y)), a, b)) if op is ops.WHERE and test is ops.LT and (x, y) == (a, b):
            return minimum(from_expr(a, extents), from_expr(b, extents))
        case Apply(op, (a, b)) if op is ops.MAX:
            return maximum(from_expr(a, extents), from_expr(b, extents))
    return opaque(expr, *expression_bounds(expr, extents))


def simplify(expr: Expr, extents: Mapping[Var, int]) -> Expr:
    """The scalar INDEX expression `expr` through its normal form."""
    return to_expr(from_expr(expr, extents))


def minimum(a: Index, b: Index) -> Index:
    """The smaller of the two."""
    (a0, a1), (b0, b1) = bounds(a), bounds(b)
    if a1 <= b0:
        return a
    if b1 <= a0:
        return b
    x, y = to_expr(a), to_expr(b)
    return opaque(ex.apply(ops.WHERE, ex.apply(ops.LT, x, y), x, y), min(a0, b0), min(a1, b1))


def maximum(a: Index, b: Index) -> Index:
    """The larger of the two."""
    (a0, a1), (b0, b1) = bounds(a), bounds(b)
    if a0 >= b1:
        return a
    if b0 >= a1:
        return b
    return opaque(ex.apply(ops.MAX, to_expr(a), to_expr(b)), max(a0, b0), max(a1, b1))
