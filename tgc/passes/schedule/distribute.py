"""Distribute: scalar expansion, loop distribution and interchange in one step."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

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
        alike = _alike(loop)
        expanded = expand_registers(loop, alike)
        allocs = dict.fromkeys(inner for inner in statements(expanded) if isinstance(inner, Alloc))
        return block(*allocs, *_inward(loop, list(parts(_without_allocs(expanded))), alike))

    return change_loop(body, step.var, change)


def _check_independent(loop: For) -> None:
    carried = carried_buffers(loop)
    found = [inner for inner in statements(loop.body) if isinstance(inner, Store)]
    for store in found:
        loaded = {expr.buffer.name for expr in walk(store.index, store.value) if isinstance(expr, Load)}
        shared = carried & (loaded | {store.buffer.name}) if len(found) > 1 else frozenset[str]()
        if shared:
            raise InvalidIrError(f"iterations of {loop.var.name} depend on each other through {min(shared)}")


def _alike(loop: For) -> frozenset[str]:
    """The registers made in `loop` that hold the same in every iteration; what is stored on a condition is taken not to."""
    made = {inner.buffer.name for inner in statements(loop.body) if isinstance(inner, Alloc) and inner.buffer.space == "register"}
    stores = [inner for inner in statements(loop.body) if isinstance(inner, Store)]
    guarded = (part for inner in statements(loop.body) if isinstance(inner, If) for part in statements(inner.body))
    stored = {store.buffer.name for store in stores}
    alike, before = made - {part.buffer.name for part in guarded if isinstance(part, Store)}, set[str]()
    while alike != before:
        before = alike
        alike = alike - {store.buffer.name for store in stores if _varies(store, loop, stored - alike)}
    return frozenset(alike)


def _varies(store: Store, loop: For, different: AbstractSet[str]) -> bool:
    """Whether `store` depends on the iteration of `loop`, through its variable or a buffer in `different`."""
    return any(expr == loop.var or (isinstance(expr, Load) and expr.buffer.name in different) for expr in walk(store.index, store.value))


def expand_registers(loop: For, alike: AbstractSet[str] = frozenset()) -> Statement:
    """The loop's body with each register that it makes, but those in `alike`, grown to one copy an iteration, one after the other."""
    allocs = [inner.buffer for inner in statements(loop.body) if isinstance(inner, Alloc)]
    made = {buffer.name: buffer for buffer in allocs if buffer.name not in alike}
    grown = {name: Buffer(name, old.dtype, old.size * loop.extent, old.space) for name, old in made.items()}

    def change(buffer: Buffer, index: Expr) -> tuple[Buffer, Expr]:
        old = made.get(buffer.name)
        if old is None:
            return buffer, index
        return grown[buffer.name], _shifted(index, ex.apply(ops.MUL, loop.var, ex.index(old.size)))

    return _map_allocs(replace_buffers(loop.body, change), lambda alloc: Alloc(grown.get(alloc.buffer.name, alloc.buffer)))


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


def _inward(loop: For, body: list[Statement], alike: AbstractSet[str]) -> list[Statement]:
    """The statements of `body`, each loop of them with `loop` inside it, runs of others with `loop` around them.

    What is stored to a register in `alike` is stored once.
    """
    made: list[Statement] = []
    run: list[Statement] = []
    for part in body:
        once = isinstance(part, Store) and part.buffer.name in alike
        if isinstance(part, For) or once:
            if run:
                made.append(For(loop.var, loop.extent, block(*run), loop.kind))
                run = []
            made.append(
                For(part.var, part.extent, block(*_inward(loop, list(parts(part.body)), alike)), part.kind)
                if isinstance(part, For)
                else part
            )
        else:
            run.append(part)
    if run:
        made.append(For(loop.var, loop.extent, block(*run), loop.kind))
    return made
