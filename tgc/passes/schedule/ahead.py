"""Ahead: what a loop sums up anew in each iteration is summed up in a loop before it."""

from __future__ import annotations

from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.expr import Apply, Buffer, Expr, Load, Var
from tgc.ir.kernel import Alloc, For, Statement, Store, block
from tgc.ir.rewrite import map_expressions, statements, substitution, walk
from tgc.ir.schedule import Ahead
from tgc.passes.schedule.loops import change_loop, parts, replace_variable


def ahead(body: Statement, step: Ahead) -> Statement:
    """Carries out `Ahead`. Raises InvalidIrError where the loop's body is not a sum of its own and one statement that uses it."""

    def change(loop: For) -> Statement:
        before, last = parts(loop.body)[:-1], parts(loop.body)[-1]
        made = {inner.buffer.name for part in before for inner in statements(part) if isinstance(inner, Alloc)}
        stored = {inner.buffer.name for part in before for inner in statements(part) if isinstance(inner, Store)}
        if not made or stored != made or not isinstance(last, Store):
            raise InvalidIrError(f"{step.var} does not sum up anything of its own before one statement that uses it")
        value = _used(last, made)
        kept, var = Buffer(f"{last.buffer.name}_ahead", value.dtype, loop.extent, "register"), Var(f"{step.var}_ahead")
        first = replace_variable(block(*before, Store(kept, loop.var, value)), loop.var, var)
        then = map_expressions(last, substitution({value: Load(kept, loop.var)}))
        return block(Alloc(kept), For(var, loop.extent, first), For(loop.var, loop.extent, then, loop.kind))

    return change_loop(body, step.var, change)


def _used(store: Store, made: set[str]) -> Expr:
    """The factor of what `store` adds that reads registers in `made`; all that it adds where it is no such product."""
    own = Load(store.buffer, store.index)
    match store.value:
        case Apply(op, (a, b)) if op in ops.REDUCE_OPS and own in (a, b):
            value = b if a == own else a
        case _:
            raise InvalidIrError(f"{store.buffer.name} is not added up")
    if isinstance(value, Apply) and value.op is ops.MUL:
        reading = [part for part in value.args if _reads(part, made)]
        value = reading[0] if len(reading) == 1 else value
    if not _reads(value, made) or _reads(value, {store.buffer.name}):
        raise InvalidIrError(f"what {store.buffer.name} adds up is not what was summed up before")
    return value


def _reads(expr: Expr, names: set[str]) -> bool:
    return any(isinstance(inner, Load) and inner.buffer.name in names for inner in walk(expr))
