"""Pack: the data of a constant parameter in the order in which the kernel reads it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Apply, Buffer, Expr, Lit, Load, Ramp, Var
from tgc.ir.kernel import Statement
from tgc.ir.rewrite import expressions, walk
from tgc.ir.schedule import Pack
from tgc.passes.schedule.loops import paths, replace_buffers

IntArray = npt.NDArray[np.int64]
_AT_ONCE = 1 << 18  # elements


@dataclass(frozen=True, slots=True)
class Packing:
    """packed[l0, l1, .., lane] = data.flat[base(l0, l1, ..) + stride * lane], the loops as they are nested."""

    loops: tuple[tuple[Var, int], ...]
    base: Expr
    stride: int
    lanes: int

    @property
    def size(self) -> int:
        """Elements after packing."""
        return prod(extent for _, extent in self.loops) * self.lanes


def pack(body: Statement, step: Pack) -> tuple[Statement, Packing]:
    """Carries out `Pack`. Raises InvalidIrError where the buffer is not read by exactly one expression."""
    packing = packing_of(body, step.buffer)
    place = ix.ZERO
    for var, extent in packing.loops:
        place = place * extent + ix.axis(var, extent)
    base = ix.to_expr(place * packing.lanes)
    index: Expr = Ramp(base, 1, packing.lanes) if packing.lanes > 1 else base

    def change(buffer: Buffer, old: Expr) -> tuple[Buffer, Expr]:
        if buffer.name != step.buffer:
            return buffer, old
        return Buffer(buffer.name, buffer.dtype, packing.size, buffer.space), index

    return replace_buffers(body, change), packing


def packing_of(body: Statement, name: str) -> Packing:
    """How the data of the buffer `name` would be packed."""
    found: dict[Load, tuple[tuple[Var, int], ...]] = {}
    for statement, loops in paths(body):
        for expr in walk(*expressions(statement)):
            if isinstance(expr, Load) and expr.buffer.name == name:
                found[expr] = tuple((loop.var, loop.extent) for loop in loops)
    if len(found) != 1:
        raise InvalidIrError(f"{name} is read by {len(found)} expressions")
    load, around = next(iter(found.items()))
    base, stride, lanes = (load.index.base, load.index.stride, load.index.lanes) if isinstance(load.index, Ramp) else (load.index, 0, 1)
    if base.lanes != 1:
        raise InvalidIrError(f"{name} is read lane by lane")
    used = ix.expression_variables(base)
    return Packing(tuple(loop for loop in around if loop[0] in used), base, stride, lanes)


def packed(data: npt.NDArray[np.generic], packing: Packing) -> npt.NDArray[np.generic]:
    """`data` (any shape, read row-major) in packed order, one-dimensional.

    Where a loop runs over its end, and a condition keeps the kernel from reading, there is some other element.
    """
    flat = data.reshape(-1)
    shape = tuple(extent for _, extent in packing.loops)
    seen = _as_view(flat, packing)
    if seen is not None:
        return seen.reshape(-1)
    result = np.empty((*shape, packing.lanes), flat.dtype)
    # some iterations of the outermost loop at a time, for the places take more memory than the data
    count = max(1, _AT_ONCE * shape[0] // result.size) if shape else 1
    for start in range(0, shape[0] if shape else 1, count):
        part = result[start : start + count] if shape else result
        part[...] = flat.take(_places(packing, start, count), mode="clip")
    return result.reshape(-1)


def _as_view(flat: npt.NDArray[np.generic], packing: Packing) -> npt.NDArray[np.generic] | None:
    """The packed data as a strided view of `flat`; None where its place is no sum of loop variables, or runs over the end."""
    at = ix.from_expr(packing.base, dict(packing.loops))
    steps = [ix.coefficient(at, var) if extent > 1 else 0 for var, extent in packing.loops]
    if not all(isinstance(atom, ix.Axis) for atom, _ in at.terms):
        return None
    strides = (*(step or 0 for step in steps), packing.stride)
    extents = (*(extent for _, extent in packing.loops), packing.lanes)
    last = at.offset + sum(stride * (extent - 1) for stride, extent in zip(strides, extents, strict=True))
    if min(strides) < 0 or at.offset < 0 or last >= flat.size or 0 in extents:
        return None
    return as_strided(flat[at.offset :], extents, [stride * flat.itemsize for stride in strides], writeable=False)


def _places(packing: Packing, start: int, count: int) -> IntArray:
    """Where the data is for iterations `start`, `start` + 1, ... of the outermost loop, at most `count` of them, and all others."""
    values: dict[Var, IntArray] = {}
    rank = len(packing.loops)
    shape: list[int] = []
    for position, (var, extent) in enumerate(packing.loops):
        steps = np.arange(start, min(start + count, extent)) if position == 0 else np.arange(extent)
        values[var] = steps.reshape([-1 if axis == position else 1 for axis in range(rank)])
        shape.append(steps.size)
    base = np.broadcast_to(_evaluate(packing.base, values), shape)
    places: IntArray = base[..., None] + packing.stride * np.arange(packing.lanes)
    return places


def _evaluate(expr: Expr, values: dict[Var, IntArray]) -> IntArray:
    """An INDEX expression over whole arrays of loop values."""
    match expr:
        case Lit(value):
            return np.asarray(int(value), dtype=np.int64)
        case Var():
            return values[expr]
        case Apply(op, args):
            parts = [_evaluate(arg, values) for arg in args]
            return np.asarray(ops.NUMPY[op.name](*parts))
        case _:
            raise InvalidIrError(f"{ex.children(expr)} in the index of packed data")
