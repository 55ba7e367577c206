"""Stores that convert as they write."""

from __future__ import annotations

from tgc.backends.cfamily.dialect import UNARY
from tgc.backends.cfamily.expressions import Writer, address, expression, find, spell
from tgc.ir import ops
from tgc.ir.expr import Apply, Buffer, Expr, Load, Ramp


def narrowing(writer: Writer, buffer: Buffer, index: Expr, value: Expr) -> str | None:
    """The statement that stores `value`, a cast, where the dialect converts and stores at once; else None."""
    contiguous = index.lanes == 1 or (isinstance(index, Ramp) and index.stride == 1)
    if not isinstance(value, Apply) or value.op is not ops.CAST or not contiguous or buffer.name in writer.slots:
        return None
    plain = value.args[0]
    summed = isinstance(plain, Load) and plain.buffer.name in writer.slots
    key = "NARROW_SUM" if summed and find(writer.dialect, "NARROW_SUM", plain.dtype, buffer.dtype, index.lanes) else "NARROW"
    if find(writer.dialect, key, plain.dtype, buffer.dtype, index.lanes) is None:
        return None
    pointer = (address(writer, buffer, index.base if isinstance(index, Ramp) else index), UNARY)
    return spell(writer, key, plain.dtype, buffer.dtype, index.lanes, (pointer, expression(writer, plain)))[0]
