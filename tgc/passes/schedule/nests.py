"""Split, Fuse, Reorder, Unroll and Bind: steps that change loops and leave what is in them alone."""

from __future__ import annotations

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Expr, Var
from tgc.ir.kernel import Block, For, If, Statement, block
from tgc.ir.schedule import Bind, Fuse, Reorder, Split, Unroll
from tgc.passes.schedule.loops import carried_buffers, change_loop, replace_variable


def split(body: Statement, step: Split) -> Statement:
    """Carries out `Split`.

    Raises InvalidIrError where the factor is not positive, or overlapping blocks are asked of a loop shorter than one block or of
    one that adds up.
    """
    if step.factor < 1:
        raise InvalidIrError(f"blocks of {step.factor} iterations of {step.var}")

    def change(loop: For) -> Statement:
        count = -(-loop.extent // step.factor)
        outer, inner = Var(f"{loop.var.name}_o"), Var(f"{loop.var.name}_i")
        start = ix.axis(outer, count) * step.factor
        exact = loop.extent % step.factor == 0
        if not exact and step.tail == "overlap":
            if loop.extent < step.factor:
                raise InvalidIrError(f"blocks of {step.factor} do not fit the {loop.extent} iterations of {step.var}")
            if carried_buffers(loop):
                raise InvalidIrError(f"{step.var} adds up, and overlapping blocks would add some iterations twice")
            start = ix.minimum(start, ix.constant(loop.extent - step.factor))
        at = ix.to_expr(start + ix.axis(inner, step.factor))
        inside = replace_variable(loop.body, loop.var, at)
        if not exact and step.tail == "guard":
            inside = If(ex.apply(ops.LT, at, ex.index(loop.extent)), inside)
        if step.factor > 1:
            inside = For(inner, step.factor, inside)
        return For(outer, count, inside, loop.kind) if count > 1 else inside

    return change_loop(body, step.var, change)


def fuse(body: Statement, step: Fuse) -> Statement:
    """Carries out `Fuse`. Raises InvalidIrError where the loops are not directly nested."""

    def change(loop: For) -> Statement:
        inner = loop.body
        if not isinstance(inner, For) or inner.var.name != step.inner:
            raise InvalidIrError(f"{step.inner} is not directly inside {step.outer}")
        whole = ix.axis(loop.var, loop.extent * inner.extent)
        inside = replace_variable(inner.body, inner.var, Var("fused inner"))
        inside = replace_variable(inside, loop.var, ix.to_expr(whole // inner.extent))
        inside = replace_variable(inside, Var("fused inner"), ix.to_expr(whole % inner.extent))
        return For(loop.var, loop.extent * inner.extent, inside, loop.kind)

    return change_loop(body, step.outer, change)


def reorder(body: Statement, step: Reorder) -> Statement:
    """Carries out `Reorder`; conditions between the loops move inside. Raises InvalidIrError where anything else is between them."""
    wanted = set(step.order)

    def outermost(statement: Statement) -> Statement:
        match statement:
            case For(var, extent, inner, kind):
                return _reordered(statement, step.order) if var.name in wanted else For(var, extent, outermost(inner), kind)
            case Block(inner_parts):
                return block(*(outermost(part) for part in inner_parts))
            case If(condition, inner):
                return If(condition, outermost(inner))
            case _:
                return statement

    return outermost(body)


def _reordered(loop: Statement, order: tuple[str, ...]) -> Statement:
    found: dict[str, For] = {}
    conditions: list[Expr] = []
    while len(found) < len(order):
        if isinstance(loop, If):
            conditions.append(loop.condition)
        elif isinstance(loop, For) and loop.var.name in order:
            found[loop.var.name] = loop
        else:
            raise InvalidIrError(f"loops {', '.join(order)} are not directly nested")
        loop = loop.body
    for condition in reversed(conditions):
        loop = If(condition, loop)
    for name in reversed(order):
        loop = For(found[name].var, found[name].extent, loop, found[name].kind)
    return loop


def unroll(body: Statement, step: Unroll) -> Statement:
    """Carries out `Unroll`: marks the loop. `write_out` writes it out once the whole schedule is known."""
    return change_loop(body, step.var, lambda loop: For(loop.var, loop.extent, loop.body, "unroll"))


def bind(body: Statement, step: Bind) -> Statement:
    """Carries out `Bind`."""
    return change_loop(body, step.var, lambda loop: For(loop.var, loop.extent, loop.body, step.kind))
