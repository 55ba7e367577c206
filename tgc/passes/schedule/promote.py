"""Promote: a register array that is only ever accessed in the same whole pieces becomes one variable a piece."""

from __future__ import annotations

from collections.abc import Iterator

from tgc.ir import expr as ex
from tgc.ir.expr import Buffer, Expr, Lit, Load, Ramp
from tgc.ir.kernel import Alloc, Block, For, If, Statement, Store, block
from tgc.ir.rewrite import expressions, statements, walk
from tgc.passes.schedule.loops import replace_buffers


def promote(body: Statement) -> Statement:
    """`body` with register arrays split where every index is constant and a multiple of one width."""
    widths: dict[str, int | None] = {}
    for buffer, index in _accesses(body):
        if buffer.space == "register":
            width = _width(index)
            widths[buffer.name] = width if widths.setdefault(buffer.name, width) == width else None
    split = {name: width for name, width in widths.items() if width is not None}

    def change(buffer: Buffer, index: Expr) -> tuple[Buffer, Expr]:
        width = split.get(buffer.name)
        if width is None or buffer.size == width:
            return buffer, index
        start = index.base if isinstance(index, Ramp) else index
        assert isinstance(start, Lit)
        zero = ex.index(0)
        return _piece(buffer, int(start.value) // width, width), Ramp(zero, 1, width) if width > 1 else zero

    return _split_allocs(replace_buffers(body, change), split)


def _accesses(body: Statement) -> Iterator[tuple[Buffer, Expr]]:
    for statement in statements(body):
        if isinstance(statement, Store):
            yield statement.buffer, statement.index
    for expr in walk(*expressions(body)):
        if isinstance(expr, Load):
            yield expr.buffer, expr.index


def _width(index: Expr) -> int | None:
    match index:
        case Lit():
            return 1
        case Ramp(Lit(value), 1, lanes) if int(value) % lanes == 0:
            return lanes
    return None


def _piece(buffer: Buffer, number: int, width: int) -> Buffer:
    return Buffer(f"{buffer.name}_{number}", buffer.dtype, width, buffer.space)


def _split_allocs(statement: Statement, split: dict[str, int]) -> Statement:
    match statement:
        case Alloc(buffer):
            width = split.get(buffer.name, buffer.size)
            if buffer.size == width:
                return statement
            return Block(tuple(Alloc(_piece(buffer, number, width)) for number in range(buffer.size // width)))
        case For(var, extent, body, kind):
            return For(var, extent, _split_allocs(body, split), kind)
        case If(condition, body):
            return If(condition, _split_allocs(body, split))
        case Block(body):
            return block(*(_split_allocs(part, split) for part in body))
        case _:
            return statement
