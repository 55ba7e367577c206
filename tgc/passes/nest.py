"""What a schedule needs to know of a loop nest: its loops, its accesses, and how each access moves with each loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tgc.ir import index as ix
from tgc.ir.dtypes import BOOL, F16, INDEX, DType
from tgc.ir.expr import Apply, Expr, Load, Ramp, Var
from tgc.ir.kernel import Alloc, For, Statement, Store
from tgc.ir.rewrite import expressions, statements, walk
from tgc.ir.work import operations
from tgc.passes.schedule.loops import extents_of, parts

CACHE_LINE = 64  # bytes


@dataclass(frozen=True, slots=True)
class Access:
    """A load or store: the buffer's name, its place, of several the first, and whether it is a store."""

    buffer: str
    place: Expr
    store: bool


@dataclass(frozen=True, slots=True)
class Accumulation:
    """One register that a nest of loops adds up, the statements around it, and the nest's loops."""

    loops: tuple[For, ...]
    update: Store


def chain(statement: Statement) -> tuple[tuple[For, ...], Statement]:
    """The loops that are directly nested in each other from `statement` inward, and what is inside the last."""
    loops: list[For] = []
    while isinstance(statement, For):
        loops.append(statement)
        statement = statement.body
    return tuple(loops), statement


def accumulation(inner: Statement) -> Accumulation | None:
    """`inner` as: make one register, set it, add to it in a nest of loops, store. None where it is anything else."""
    body = [part for part in parts(inner) if not isinstance(part, Alloc)]
    if len(body) != 3 or not isinstance(body[0], Store) or not isinstance(body[2], Store):
        return None
    loops, update = chain(body[1])
    if not loops or not isinstance(update, Store) or update.buffer != body[0].buffer or update.buffer.space != "register":
        return None
    return Accumulation(loops, update)


def accesses(statement: Statement) -> list[Access]:
    """Every access to memory in `statement`, registers left out, each once."""
    found: dict[Access, None] = {}
    for inner in statements(statement):
        if isinstance(inner, Store) and inner.buffer.space != "register":
            found[Access(inner.buffer.name, inner.index, True)] = None
    for expr in walk(*expressions(statement)):
        if isinstance(expr, Load) and expr.buffer.space != "register":
            found[Access(expr.buffer.name, expr.index.base if isinstance(expr.index, Ramp) else expr.index, False)] = None
    return list(found)


@dataclass(frozen=True, slots=True)
class Strides:
    """How far each access moves with a loop, in elements; None where that is not constant."""

    extents: dict[Var, int]

    def of(self, access: Access, var: Var) -> int | None:
        return ix.coefficient(ix.from_expr(access.place, self.extents), var)


def strides_in(statement: Statement) -> Strides:
    """Strides for the loops of `statement`."""
    return Strides(extents_of(statement))


def collapses(statement: Statement, outer: For, inner: For) -> bool:
    """Whether two loops, one directly in the other, can be one without a division in any index."""
    extents = extents_of(statement)
    for access in accesses(inner.body):
        at = ix.from_expr(access.place, extents)
        a, b = ix.coefficient(at, outer.var), ix.coefficient(at, inner.var)
        if a is None or b is None or a != b * inner.extent:
            return False
    variables = {outer.var, inner.var}
    return not any(_index_value(expr, variables) for expr in walk(*expressions(inner.body)))


def _index_value(expr: Expr, variables: set[Var]) -> bool:
    """Whether `expr` computes with a loop's variable as a number."""
    if not isinstance(expr, Apply) or expr.dtype == INDEX:
        return False
    return any(arg.dtype == INDEX and ix.expression_variables(arg) & variables for arg in expr.args)


def widest(statement: Statement) -> int:
    """Bits of the widest element that `statement` computes with, at least 32 unless all are f16; masks and indices left out."""
    bits = 16 if _in_half(statement) else 32
    for inner in statements(statement):
        if isinstance(inner, Store):
            bits = max(bits, inner.buffer.dtype.bits)
    for expr in walk(*expressions(statement)):
        if isinstance(expr, (Load, Apply)) and expr.dtype != INDEX:
            bits = max(bits, expr.dtype.bits)
    return bits


def _in_half(statement: Statement) -> bool:
    """Whether all values that `statement` computes with are f16: then they are computed so, for a cast would be there otherwise."""
    kinds = {inner.buffer.dtype for inner in statements(statement) if isinstance(inner, Store)}
    values = (expr for expr in walk(*expressions(statement)) if isinstance(expr, (Load, Apply)))
    kinds |= {expr.dtype for expr in values if expr.dtype not in (INDEX, BOOL)}
    computed = any(isinstance(expr, Apply) and expr.dtype == F16 for expr in walk(*expressions(statement)))
    return kinds == {F16} and computed


def work(statement: Statement) -> int:
    """Scalar operations on values, indices left out, each once."""
    return operations(*expressions(statement))


def iterations(loops: tuple[For, ...]) -> int:
    """How often what is inside `loops` runs."""
    return prod(loop.extent for loop in loops)


def power_of_two(limit: int) -> int:
    """The largest power of two that is at most `limit`, at least 1."""
    return 1 << max(0, limit.bit_length() - 1)


def buffer_sizes(statement: Statement) -> dict[str, tuple[int, DType]]:
    """Elements and type of every buffer that `statement` loads."""
    return {e.buffer.name: (e.buffer.size, e.buffer.dtype) for e in walk(*expressions(statement)) if isinstance(e, Load)}


def batches_of(body: Statement, loops: Sequence[For]) -> list[str]:
    """Those of `loops` whose iterations share no operand, not even a cache line of one: products of their own, one after the other."""
    strides, sizes = strides_in(body), buffer_sizes(body)
    loads = [access for access in accesses(body) if not access.store and access.buffer in sizes]
    found: list[str] = []
    for loop in loops:
        steps = [(abs(strides.of(access, loop.var) or 0) * sizes[access.buffer][1].bytes) for access in loads]
        if min(steps, default=0) >= CACHE_LINE:
            found.append(loop.var.name)
    return found
