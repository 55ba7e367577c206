"""VectorizeReduction: one accumulator becomes a vector of partial ones."""

from __future__ import annotations

from itertools import chain, count

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var
from tgc.ir.kernel import Alloc, For, Statement, Store, block
from tgc.ir.ops import Op
from tgc.ir.rewrite import statements
from tgc.ir.schedule import Vectorize, VectorizeReduction
from tgc.passes.schedule.loops import change_loop, replace_variable
from tgc.passes.schedule.vectorize import vectorize


def vectorize_reduction(body: Statement, step: VectorizeReduction) -> Statement:
    """Carries out `VectorizeReduction`. Raises InvalidIrError where the loop does more than accumulate, or is shorter than a vector."""

    taken = {inner.buffer.name for inner in statements(body) if isinstance(inner, Alloc)}

    def change(loop: For) -> Statement:
        if loop.extent < step.lanes:
            raise InvalidIrError(f"{step.lanes} lanes do not fit the {loop.extent} iterations of {step.var}")
        total, op, value = accumulation(loop.body)
        numbers = (f"{total.name}_lanes{number}" for number in count(1))
        name = next(name for name in chain([f"{total.name}_lanes"], numbers) if name not in taken)
        taken.add(name)
        part = Buffer(name, total.dtype, step.lanes, "register")
        return _widened(loop, total, part, op, value, step.lanes)

    return change_loop(body, step.var, change)


def accumulation(body: Statement) -> tuple[Buffer, Op, Expr]:
    """Register, operation and value of `acc = op(acc, value)`. Raises InvalidIrError for any other statement."""
    match body:
        case Store(total, Lit(0), Apply(op, (Load(again, Lit(0)), value))) if total == again and op in ops.REDUCE_OPS:
            return total, op, value
    raise InvalidIrError("the loop does more than accumulate into one register")


def accumulates(body: Statement) -> bool:
    """Whether `body` is an `accumulation`, and no more."""
    try:
        accumulation(body)
    except InvalidIrError:
        return False
    return True


def _widened(loop: For, total: Buffer, part: Buffer, op: Op, value: Expr, lanes: int) -> Statement:
    whole, left = divmod(loop.extent, lanes)
    block_var, lane = Var(f"{loop.var.name}_o"), Var(f"{loop.var.name}_i")
    identity = ex.identity(op, total.dtype)
    each = Ramp(ex.index(0), 1, lanes)
    start = Store(part, each, Broadcast(identity, lanes))
    blocks: Statement = _step(part, op, loop.var, value, ix.axis(block_var, whole) * lanes + ix.axis(lane, lanes), lane, lanes)
    if whole > 1:
        blocks = For(block_var, whole, blocks)
    made: list[Statement] = [Alloc(part), start, blocks]
    if left:
        fresh = ex.apply(ops.LT, ex.index(lanes - left - 1), lane)
        masked = ex.apply(ops.WHERE, fresh, value, identity)
        made.append(_step(part, op, loop.var, masked, ix.axis(lane, lanes) + (loop.extent - lanes), lane, lanes))
    return block(*made, *_combined(total, part, op, lanes))


def _step(part: Buffer, op: Op, var: Var, value: Expr, at: ix.Index, lane: Var, lanes: int) -> Statement:
    """part[..] = op(part[..], value) with `var` read as `at`, for all lanes at once."""
    scalar = Store(part, lane, ex.apply(op, Load(part, lane), value))
    loop = For(lane, lanes, replace_variable(scalar, var, ix.to_expr(at)))
    return vectorize(loop, Vectorize(lane.name))


def _combined(total: Buffer, part: Buffer, op: Op, lanes: int) -> list[Statement]:
    """The lanes folded in halves, then into the total."""
    made: list[Statement] = []
    while lanes > 1:
        lanes //= 2
        low: Expr = Ramp(ex.index(0), 1, lanes) if lanes > 1 else ex.index(0)
        high: Expr = Ramp(ex.index(lanes), 1, lanes) if lanes > 1 else ex.index(1)
        made.append(Store(part, low, ex.apply(op, Load(part, low), Load(part, high))))
    zero = Lit(0, INDEX)
    made.append(Store(total, zero, ex.apply(op, Load(total, zero), Load(part, zero))))
    return made
