"""Whether every index of a kernel is inside its buffer, by interval analysis of the loops around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tgc.ir import ops
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Load, Ramp, Var, apply, children, index
from tgc.ir.index import bounds as bounds_of
from tgc.ir.index import expression_variables, from_expr
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Statement, Store
from tgc.ir.rewrite import walk

Verdict = Literal["shown", "guarded", "not shown"]


@dataclass(frozen=True, slots=True)
class Access:
    """One load or store. low, high: what the index can be, as far as intervals tell.

    shown: low .. high lies inside the buffer. guarded: it does not, but an If around it tests a variable of the index. A gather's
    coordinates come from data; they are shown because the index clamps them.
    """

    kind: Literal["load", "store"]
    buffer: str
    size: int
    low: int
    high: int
    verdict: Verdict


def accesses(kernel: Kernel) -> list[Access]:
    """Every load and store of `kernel`, once for each place where it stands."""
    return list(_accesses(kernel.body, {}, frozenset()))


def _accesses(statement: Statement, extents: Mapping[Var, int], tested: frozenset[Var]) -> Iterator[Access]:
    match statement:
        case Block(body):
            for part in body:
                yield from _accesses(part, extents, tested)
        case For(var, extent, body):
            if extent:
                yield from _accesses(body, {**extents, var: extent}, tested)
        case If(condition, body):
            yield from _loads((condition,), extents, tested)
            yield from _accesses(body, extents, tested | expression_variables(condition))
        case Store(buffer, at, value):
            yield from _loads((at, value), extents, tested)
            yield _access("store", buffer, at, extents, tested)
        case Alloc() | Barrier():
            return


def _loads(roots: tuple[Expr, ...], extents: Mapping[Var, int], tested: frozenset[Var]) -> Iterator[Access]:
    for expr in walk(*roots):
        if isinstance(expr, Load):
            yield _access("load", expr.buffer, expr.index, extents, tested)


def _access(
    kind: Literal["load", "store"], buffer: Buffer, at: Expr, extents: Mapping[Var, int], tested: frozenset[Var]
) -> Access:
    lanes: dict[Var, int] = {}
    low, high = bounds_of(from_expr(_one_lane(at, lanes), {**extents, **lanes}))
    inside = low >= 0 and high < buffer.size
    guarded = bool(expression_variables(at) & tested)
    return Access(kind, buffer.name, buffer.size, low, high, "shown" if inside else "guarded" if guarded else "not shown")


def _one_lane(expr: Expr, lanes: dict[Var, int]) -> Expr:
    """`expr` at one of its lanes: each Ramp runs over a variable of its own, which `lanes` gets with its extent."""
    match expr:
        case Broadcast(value):
            return _one_lane(value, lanes)
        case Ramp(base, stride, count):
            lane = Var(f"lane_{len(lanes)}")
            lanes[lane] = count
            return apply(ops.ADD, _one_lane(base, lanes), apply(ops.MUL, lane, index(stride)))
        case Load(buffer, at) if at.lanes > 1:
            return Load(buffer, _one_lane(at, lanes))
        case Apply(op, args, dtype) if expr.lanes > 1 or any(child.lanes > 1 for child in children(expr)):
            return Apply(op, tuple(_one_lane(arg, lanes) for arg in args), dtype)
    return expr
