"""Finding and changing loops by name: what the schedule steps share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tgc.errors import InvalidIrError
from tgc.ir.expr import Buffer, Expr, Load, Var
from tgc.ir.kernel import Alloc, Block, For, If, Statement, Store, block
from tgc.ir.rewrite import expressions, map_expressions, rewrite, statements, substitution, walk


def change_loop(statement: Statement, name: str, change: Callable[[For], Statement]) -> Statement:
    """`statement` with every loop over `name` replaced by what `change` makes of it."""
    match statement:
        case For(var, _, _, _) if var.name == name:
            return change(statement)
        case For(var, extent, body, kind):
            return For(var, extent, change_loop(body, name, change), kind)
        case If(condition, body):
            return If(condition, change_loop(body, name, change))
        case Block(parts):
            return block(*(change_loop(part, name, change) for part in parts))
        case _:
            return statement


def find_loop(statement: Statement, name: str) -> For:
    """The first loop over `name`. Raises InvalidIrError where there is none."""
    for inner in statements(statement):
        if isinstance(inner, For) and inner.var.name == name:
            return inner
    raise InvalidIrError(f"there is no loop over {name}")


def extents_of(statement: Statement) -> dict[Var, int]:
    """The extent of every loop in `statement`."""
    return {inner.var: inner.extent for inner in statements(statement) if isinstance(inner, For)}


def replace_variable(statement: Statement, var: Var, value: Expr) -> Statement:
    """`statement` with the variable `var` read as `value`."""
    return map_expressions(statement, substitution({var: value}))


def parts(statement: Statement) -> tuple[Statement, ...]:
    """The statements that `statement` runs one after the other."""
    return statement.body if isinstance(statement, Block) else (statement,)


def replace_buffers(statement: Statement, change: Callable[[Buffer, Expr], tuple[Buffer, Expr]]) -> Statement:
    """`statement` with each access (buffer, index) replaced by what `change` answers."""

    def rule(expr: Expr) -> Expr | None:
        return Load(*change(expr.buffer, expr.index)) if isinstance(expr, Load) else None

    memo: dict[Expr, Expr] = {}

    def stores(inner: Statement) -> Statement:
        match inner:
            case For(var, extent, body, kind):
                return For(var, extent, stores(body), kind)
            case If(condition, body):
                return If(condition, stores(body))
            case Block(body):
                return Block(tuple(stores(part) for part in body))
            case Store(buffer, index, value):
                return Store(*change(buffer, index), value)
            case _:
                return inner

    return stores(map_expressions(statement, lambda expr: rewrite(expr, rule, memo)))


def carried_buffers(loop: For) -> frozenset[str]:
    """The buffers made outside of `loop` that its body both stores and loads: an iteration may see what another one stored."""
    made = {inner.buffer.name for inner in statements(loop.body) if isinstance(inner, Alloc)}
    stored = {inner.buffer.name for inner in statements(loop.body) if isinstance(inner, Store)}
    loaded = {expr.buffer.name for expr in walk(*expressions(loop.body)) if isinstance(expr, Load)}
    return frozenset(stored & loaded - made)


def places_in(statement: Statement, name: str) -> Iterator[Expr]:
    """The indices at which `statement` accesses the buffer called `name`."""
    for inner in statements(statement):
        if isinstance(inner, Store) and inner.buffer.name == name:
            yield inner.index
    for expr in walk(*expressions(statement)):
        if isinstance(expr, Load) and expr.buffer.name == name:
            yield expr.index


def paths(statement: Statement, outer: tuple[For, ...] = ()) -> Iterator[tuple[Statement, tuple[For, ...]]]:
    """Every store and condition in `statement`, with the loops around it, outermost first."""
    match statement:
        case For(_, _, body):
            yield from paths(body, (*outer, statement))
        case Block(body):
            for part in body:
                yield from paths(part, outer)
        case If(_, body):
            yield statement, outer
            yield from paths(body, outer)
        case Store():
            yield statement, outer
        case _:
            return
