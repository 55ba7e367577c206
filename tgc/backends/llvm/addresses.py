"""Buffer indices as sums: what a load or store turns into `getelementptr`s.

An index is split into `sum of coefficient * atom + constant`. The terms are added to the pointer from the outermost loop's
to the innermost's and the constant last, so that each partial sum is written to the loop that it is constant in, and
neighbouring accesses differ only in a constant that fits into the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Broadcast, Expr, Lit, Load, Ramp, index


@dataclass(frozen=True, slots=True)
class Linear:
    """`sum(coefficient * atom for atom, coefficient in terms) + constant`, in elements; no coefficient is 0."""

    terms: tuple[tuple[Expr, int], ...]
    constant: int

    @property
    def step(self) -> int:
        """The largest number that divides the sum whatever the atoms are; 0 for 0."""
        return gcd(self.constant, *(coefficient for _, coefficient in self.terms))


def linear(expr: Expr) -> Linear:
    """A scalar index as a sum; what is neither ADD, MUL by a constant nor a constant is an atom."""
    terms: dict[Expr, int] = {}
    constant = 0
    stack: list[tuple[Expr, int]] = [(expr, 1)]
    while stack:
        part, scale = stack.pop()
        match part:
            case Lit(value=value):
                constant += int(value) * scale
            case Apply(op=ops.ADD, args=(a, b)) if part.dtype == INDEX:
                stack += [(b, scale), (a, scale)]
            case Apply(op=ops.MUL, args=(a, Lit(value=value))) | Apply(op=ops.MUL, args=(Lit(value=value), a)) if part.dtype == INDEX:
                stack.append((a, scale * int(value)))
            case _:
                terms[part] = terms.get(part, 0) + scale
    return Linear(tuple((atom, coefficient) for atom, coefficient in terms.items() if coefficient), constant)


def contiguous_base(expr: Expr) -> Expr | None:
    """The first index where `expr` is scalar or counts up by one, else None."""
    match expr:
        case Ramp(base, 1, _):
            return base
        case _:
            return expr if expr.lanes == 1 else None


def lane(expr: Expr, number: int, memo: dict[int, Expr] | None = None) -> Expr:
    """The scalar expression for one lane of `expr`. memo: by the parts' identities, since they may be shared many times over."""
    known = {} if memo is None else memo
    if id(expr) not in known:
        known[id(expr)] = _lane(expr, number, known)
    return known[id(expr)]


def _lane(expr: Expr, number: int, memo: dict[int, Expr]) -> Expr:
    match expr:
        case Ramp(base, stride, _):
            return Apply(ops.ADD, (base, index(stride * number)), INDEX)
        case Broadcast(value, _):
            return value
        case _ if expr.lanes == 1:
            return expr
        case Load(buffer, inner):
            return Load(buffer, lane(inner, number, memo))
        case Apply(op, args, dtype):
            return Apply(op, tuple(lane(arg, number, memo) for arg in args), dtype)
        case _:
            return expr
