"""Share: the steps of a sum are divided among work-items of a group, which add up each other's parts through local memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Load, Ramp, Var
from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, Alloc, Barrier, For, If, LoopKind, Statement, Store, block
from tgc.ir.ops import Op
from tgc.ir.rewrite import expressions, map_expressions, statements, substitution, walk
from tgc.ir.schedule import Share
from tgc.passes.nest import chain
from tgc.passes.schedule.loops import change_loop, extents_of, parts, replace_variable


def share(body: Statement, step: Share) -> Statement:
    """Carries out `Share`.

    Raises InvalidIrError where the loop is not that of a sum in registers with its results right after it, inside of nothing but loops
    over work-groups and work-items, where `lanes` does not divide it, or where three loops over work-items are there already.
    """
    around: list[For] = []
    while isinstance(body, For) and body.kind in (*GRID_KINDS, *LANE_KINDS):
        around.append(body)
        body = body.body
    made: Statement = _shared(body, step, [loop for loop in around if loop.kind in LANE_KINDS])
    for loop in reversed(around):
        made = For(loop.var, loop.extent, made, loop.kind)
    return made


@dataclass(frozen=True, slots=True)
class _Exchange:
    """Where in local memory a work-item's sums are, the innermost so that neighbours' lie side by side.

    item: the work-item among the `items` that add up different results. part: which of the `parts` of each sum it has. rows: the sums
    that are exchanged at once, each of `lanes` elements.
    """

    sums: Buffer
    op: Op
    item: ix.Index
    items: int
    part: Var
    parts: int
    rows: int
    lanes: int

    def at(self, part: ix.Index, row: ix.Index) -> Load:
        """The part of the sum of `row`."""
        start = ix.to_expr(((part * self.rows + row) * self.items + self.item) * self.lanes)
        return Load(self.sums, Ramp(start, 1, self.lanes) if self.lanes > 1 else start)

    def total(self, row: ix.Index) -> Expr:
        """The whole sum of `row`."""
        found: Expr = self.at(ix.constant(0), row)
        for part in range(1, self.parts):
            found = ex.apply(self.op, found, self.at(ix.constant(part), row))
        return found


def _shared(body: Statement, step: Share, lanes: Sequence[For]) -> Statement:
    before, loop, results = _around(body, step)
    register, op = _sum(before, loop)
    loops, store = chain(results)
    found = [e for e in walk(*expressions(store)) if isinstance(e, Load) and e.buffer == register]
    if len(found) != 1 or not isinstance(store, Store) or store.buffer == register:
        raise InvalidIrError(f"what follows the sum over {step.var} is not one store of it")
    loops = _outer_first(loops, step.lanes)
    rows = loops[-1].extent if loops else 1
    part, items, width = Var(f"{step.var}_part"), prod(lane.extent for lane in lanes), found[0].lanes
    item = ix.constant(0)
    for lane in lanes:
        item = item * lane.extent + ix.axis(lane.var, lane.extent)
    sums = Buffer(f"{register.name}_shared", register.dtype, step.lanes * rows * items * width, "local")
    exchange = _Exchange(sums, op, item, items, part, step.lanes, rows, width)
    body = block(Alloc(sums), *before, _divided(loop, step, part), *_exchanged(loops, store, found[0], exchange))
    return For(part, step.lanes, body, _free_kind(lanes))


def _around(body: Statement, step: Share) -> tuple[tuple[Statement, ...], Statement, Statement]:
    """What is done before the loop, the outermost loop of the sum, and the results."""
    found = parts(body)
    at = next((n for n, part in enumerate(found) if any(var.name == step.var for var in extents_of(part))), None)
    if at is None or at != len(found) - 2:
        raise InvalidIrError(f"{step.var} is not a loop between registers that are set and one statement that uses them")
    return found[:at], found[at], found[-1]


def _sum(before: tuple[Statement, ...], loop: Statement) -> tuple[Buffer, Op]:
    """The register that `loop` adds up in, and how. Raises InvalidIrError where it does not begin with nothing."""
    stores = [inner for inner in statements(loop) if isinstance(inner, Store)]
    registers = {store.buffer for store in stores}
    found = {store.value.op for store in stores if isinstance(store.value, Apply) and Load(store.buffer, store.index) in store.value.args}
    made = [part.buffer for part in before if isinstance(part, Alloc)]
    if len(registers) != 1 or len(found) != 1 or made != list(registers) or not found <= set(ops.REDUCE_OPS):
        raise InvalidIrError("the loop does not add up in one register alone")
    (register,), (op,) = registers, found
    for store in (inner for part in before for inner in statements(part) if isinstance(inner, Store)):
        value = store.value.value if isinstance(store.value, Broadcast) else store.value
        if value != ex.identity(op, register.dtype):
            raise InvalidIrError(f"the sum in {register.name} begins with something")
    return register, op


def _outer_first(loops: tuple[For, ...], lanes: int) -> tuple[For, ...]:
    """`loops` around the results with that last whose iterations the work-items divide: the first that can be divided evenly, if any."""
    found = next((loop for loop in loops if loop.extent % lanes == 0), None)
    return loops if found is None else (*(loop for loop in loops if loop is not found), found)


def _divided(loop: Statement, step: Share, part: Var) -> Statement:
    """`loop` with every `lanes`-th iteration of the divided one."""

    def change(whole: For) -> Statement:
        count, rest = divmod(whole.extent, step.lanes)
        if rest or not count:
            raise InvalidIrError(f"{step.lanes} work-items cannot share the {whole.extent} iterations of {step.var} evenly")
        own = ix.axis(part, step.lanes)
        if count == 1:
            return replace_variable(whole.body, whole.var, ix.to_expr(own))
        at = ix.axis(whole.var, count) * step.lanes + own
        return For(whole.var, count, replace_variable(whole.body, whole.var, ix.to_expr(at)), whole.kind)

    return change_loop(loop, step.var, change)


def _exchanged(loops: tuple[For, ...], store: Store, own: Load, exchange: _Exchange) -> list[Statement]:
    """For each value of the outer loops: everyone writes its sums, then each stores the results of some rows."""
    made: list[Statement] = []
    outer, row = loops[:-1], loops[-1].var if loops else None
    for values in product(*(range(loop.extent) for loop in outer)):
        fixed: dict[Expr, Expr] = {loop.var: ex.index(value) for loop, value in zip(outer, values, strict=True)}
        if made:
            made.append(Barrier())
        change = substitution(fixed)
        mine, one = change(own), map_expressions(store, change)
        assert isinstance(mine, Load)
        assert isinstance(one, Store)
        made += [_written(row, mine, exchange), Barrier(), _stored(row, one, mine, exchange)]
    return made


def _written(row: Var | None, mine: Load, exchange: _Exchange) -> Statement:
    """The work-item's sums, in local memory."""
    place = exchange.at(ix.axis(exchange.part, exchange.parts), ix.axis(row, exchange.rows) if row else ix.constant(0))
    stored = Store(exchange.sums, place.index, mine)
    return For(row, exchange.rows, stored, "unroll") if row else stored


def _stored(row: Var | None, store: Store, mine: Load, exchange: _Exchange) -> Statement:
    """The results of the work-item's part of the rows; where they cannot be divided evenly, those of all by the first one."""

    def at(place: ix.Index) -> Statement:
        whole = map_expressions(store, substitution({mine: exchange.total(ix.axis(row, exchange.rows) if row else ix.constant(0))}))
        return whole if row is None else replace_variable(whole, row, ix.to_expr(place))

    count, rest = divmod(exchange.rows, exchange.parts)
    if rest or row is None:
        inside = at(ix.axis(row, exchange.rows)) if row else at(ix.constant(0))
        whole = For(row, exchange.rows, inside, "unroll") if row else inside
        return If(ex.apply(ops.LT, exchange.part, ex.index(1)), whole)
    part = ix.axis(exchange.part, exchange.parts)
    if count == 1:
        return at(part)
    each = Var(f"{row.name}_each")
    return For(each, count, at(part * count + ix.axis(each, count)), "unroll")


def _free_kind(lanes: Sequence[For]) -> LoopKind:
    taken = {lane.kind for lane in lanes}
    free = [kind for kind in LANE_KINDS if kind not in taken]
    if not free:
        raise InvalidIrError("there are three loops over work-items already")
    return free[-1]
