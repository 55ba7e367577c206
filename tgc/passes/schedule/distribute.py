"""Distribute: scalar expansion, loop distribution and interchange in one step."""

from __future__ import annotations

from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.expr import Apply, Buffer, Expr, Ramp
from tgc.ir.kernel import Alloc, For, Statement, block
from tgc.ir.rewrite import statements
from tgc.ir.schedule import Distribute
from tgc.passes.schedule.loops import change_loop, parts, replace_buffers


def distribute(body: Statement, step: Distribute) -> Statement:
    """Carries out `Distribute`."""

    def change(loop: For) -> Statement:
        expanded = expand_registers(loop)
        allocs = [part for part in parts(expanded) if isinstance(part, Alloc)]
        rest: list[Statement] = [part for part in parts(expanded) if not isinstance(part, Alloc)]
        return block(*allocs, *_inward(loop, rest))

    return change_loop(body, step.var, change)


def expand_registers(loop: For) -> Statement:
    """The loop's body with each register that it makes grown to one copy an iteration, one after the other."""
    made = {inner.buffer.name: inner.buffer for inner in statements(loop.body) if isinstance(inner, Alloc)}
    grown = {name: Buffer(name, old.dtype, old.size * loop.extent, old.space) for name, old in made.items()}

    def change(buffer: Buffer, index: Expr) -> tuple[Buffer, Expr]:
        old = made.get(buffer.name)
        if old is None:
            return buffer, index
        return grown[buffer.name], _shifted(index, ex.apply(ops.MUL, loop.var, ex.index(old.size)))

    return _grow_allocs(replace_buffers(loop.body, change), grown)


def _shifted(index: Expr, by: Apply) -> Expr:
    if isinstance(index, Ramp):
        return Ramp(ex.apply(ops.ADD, index.base, by), index.stride, index.lanes)
    return ex.apply(ops.ADD, index, by)


def _grow_allocs(statement: Statement, grown: dict[str, Buffer]) -> Statement:
    flat: list[Statement] = []
    for part in parts(statement):
        if isinstance(part, Alloc):
            flat.append(Alloc(grown[part.buffer.name]))
        elif isinstance(part, For):
            flat.append(For(part.var, part.extent, _grow_allocs(part.body, grown), part.kind))
        else:
            flat.append(part)
    return block(*flat)


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
