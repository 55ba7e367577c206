"""Distribute: scalar expansion, loop distribution and interchange in one step."""

from __future__ import annotations

from collections.abc import Callable

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.expr import Apply, Buffer, Expr, Load, Ramp
from tgc.ir.kernel import Alloc, Block, For, If, Statement, Store, block
from tgc.ir.rewrite import statements, walk
from tgc.ir.schedule import Distribute
from tgc.passes.schedule.loops import carried_buffers, change_loop, parts, replace_buffers


def distribute(body: Statement, step: Distribute) -> Statement:
    """Carries out `Distribute`. Raises InvalidIrError where a statement sees what another stored in an earlier iteration."""

    def change(loop: For) -> Statement:
        _check_independent(loop)
        expanded = expand_registers(loop)
        allocs = dict.fromkeys(inner for inner in statements(expanded) if isinstance(inner, Alloc))
        return block(*allocs, *_inward(loop, list(parts(_without_allocs(expanded)))))

    return change_loop(body, step.var, change)


def _check_independent(loop: For) -> None:
    carried = carried_buffers(loop)
    found = [inner for inner in statements(loop.body) if isinstance(inner, Store)]
    for store in found:
        loaded = {expr.buffer.name for expr in walk(store.index, store.value) if isinstance(expr, Load)}
        shared = carried & (loaded | {store.buffer.name}) if len(found) > 1 else frozenset[str]()
        if shared:
            raise InvalidIrError(f"iterations of {loop.var.name} depend on each other through {min(shared)}")


def expand_registers(loop: For) -> Statement:
    """The loop's body with each register that it makes grown to one copy an iteration, one after the other."""
    made = {inner.buffer.name: inner.buffer for inner in statements(loop.body) if isinstance(inner, Alloc)}
    grown = {name: Buffer(name, old.dtype, old.size * loop.extent, old.space) for name, old in made.items()}

    def change(buffer: Buffer, index: Expr) -> tuple[Buffer, Expr]:
        old = made.get(buffer.name)
        if old is None:
            return buffer, index
        return grown[buffer.name], _shifted(index, ex.apply(ops.MUL, loop.var, ex.index(old.size)))

    return _map_allocs(replace_buffers(loop.body, change), lambda alloc: Alloc(grown[alloc.buffer.name]))


def _shifted(index: Expr, by: Apply) -> Expr:
    if isinstance(index, Ramp):
        return Ramp(ex.apply(ops.ADD, index.base, by), index.stride, index.lanes)
    return ex.apply(ops.ADD, index, by)


def _map_allocs(statement: Statement, change: Callable[[Alloc], Statement]) -> Statement:
    match statement:
        case Alloc():
            return change(statement)
        case Block(body):
            return block(*(_map_allocs(part, change) for part in body))
        case For(var, extent, body, kind):
            return For(var, extent, _map_allocs(body, change), kind)
        case If(condition, body):
            return If(condition, _map_allocs(body, change))
        case _:
            return statement


def _without_allocs(statement: Statement) -> Statement:
    return _map_allocs(statement, lambda _: Block(()))


def _inward(loop: For, body: list[Statement]) -> list[Statement]:
    """The statements of `body`, each loop of them with `loop` inside it, runs of others with `loop` around them."""
    made: list[Statement] = []
    run: list[Statement] = []
    for part in body:
        if isinstance(part, For):
            if run:
                made.append(For(loop.var, loop.extent, block(*run), loop.kind))
                run = []
            made.append(For(part.var, part.extent, block(*_inward(loop, list(parts(part.body)))), part.kind))
        else:
            run.append(part)
    if run:
        made.append(For(loop.var, loop.extent, block(*run), loop.kind))
    return made
