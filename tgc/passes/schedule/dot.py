"""Dot: a sum of products of bytes, four at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import I8, I32, U8, U32
from tgc.ir.expr import Apply, Buffer, Expr, Load, Ramp, Var
from tgc.ir.kernel import For, Statement, Store
from tgc.ir.rewrite import expressions, substitute, walk
from tgc.ir.schedule import Dot
from tgc.passes.schedule.loops import change_loop, extents_of, find_loop, paths
from tgc.passes.schedule.pack import Packing, packed
from tgc.passes.schedule.reduction import accumulation

BYTES = 4


@dataclass(frozen=True, slots=True)
class Words:
    """Bytes of a constant as u32, `packing.lanes` of them in each, the first lowest.

    overlap: how many bytes of the last group, along the innermost loop, belong to the one before, and are 0 here.
    """

    packing: Packing
    overlap: int = 0

    @property
    def size(self) -> int:
        """Elements of u32."""
        return prod(extent for _, extent in self.packing.loops)


def words(data: npt.NDArray[np.generic], how: Words) -> npt.NDArray[np.generic]:
    """`data`, of one byte an element, as `how` arranges it."""
    extents = [extent for _, extent in how.packing.loops]
    bytes_ = packed(data, how.packing).reshape(*extents, BYTES).copy()
    bytes_[..., -1, : how.overlap] = 0
    return bytes_.view(np.dtype("<u4")).reshape(-1)


@dataclass(frozen=True, slots=True)
class Product:
    """`total = total + i32(left[..]) * i32(right[..])`: u8 that lie next to each other along the loop, and i8 that are constant."""

    total: Buffer
    left: Load
    right: Load


def product(loop: For, extents: dict[Var, int]) -> Product | None:
    """What `loop` sums up, where DOT4 can do it; None where not."""
    if not isinstance(loop.body, Store) or loop.extent < BYTES:
        return None
    try:
        total, op, value = accumulation(loop.body)
    except InvalidIrError:
        return None
    if op is not ops.ADD or total.dtype != I32 or not (isinstance(value, Apply) and value.op is ops.MUL):
        return None
    loads = [arg.args[0] for arg in value.args if isinstance(arg, Apply) and arg.op is ops.CAST]
    found = {load.dtype: load for load in loads if isinstance(load, Load)}
    if len(loads) != 2 or set(found) != {U8, I8}:
        return None
    left, right = found[U8], found[I8]
    strides = [ix.coefficient(ix.from_expr(load.index, extents), loop.var) for load in (left, right)]
    return Product(total, left, right) if strides[0] == 1 and strides[1] is not None else None


def dot(body: Statement, step: Dot) -> tuple[Statement, str, Words]:
    """Carries out `Dot`; also answers which constant parameter is made of words, and how.

    Raises InvalidIrError where the loop is no sum of products of u8 and constant i8, or the constant is read elsewhere too.
    """
    extents = extents_of(body)
    loop = find_loop(body, step.var)
    found = product(loop, extents)
    if found is None:
        raise InvalidIrError(f"{step.var} does not sum products of u8, next to each other, and i8")
    block_var, count = Var(f"{step.var}_o"), -(-loop.extent // BYTES)
    start = ix.minimum(ix.axis(block_var, count) * BYTES, ix.constant(loop.extent - BYTES))
    at: dict[Expr, Expr] = {loop.var: ix.to_expr(start)}
    around = [(inner.var, inner.extent) for inner in _loops_around(body, found.right)]
    used = ix.expression_variables(found.right.index)
    loops = (*((var, extent) for var, extent in around if var in used and var != loop.var), (block_var, count))
    stride = ix.coefficient(ix.from_expr(found.right.index, extents), loop.var) or 0
    packing = Packing(loops, ix.to_expr(ix.from_expr(substitute(found.right.index, at), {**extents, block_var: count})), stride, BYTES)
    how = Words(packing, count * BYTES - loop.extent)
    place = ix.ZERO
    for var, extent in loops:
        place = place * extent + ix.axis(var, extent)
    left = ex.bitcast(Load(found.left.buffer, Ramp(substitute(found.left.index, at), 1, BYTES)), U32)
    right = Load(Buffer(found.right.buffer.name, U32, how.size, found.right.buffer.space), ix.to_expr(place))
    zero = ex.index(0)
    update = Store(found.total, zero, ex.apply(ops.DOT4, Load(found.total, zero), left, right))
    return change_loop(body, step.var, lambda _: For(block_var, count, update)), found.right.buffer.name, how


def _loops_around(body: Statement, load: Load) -> tuple[For, ...]:
    """The loops around the one statement that reads the buffer of `load`."""
    readers = [
        loops
        for statement, loops in paths(body)
        if any(isinstance(e, Load) and e.buffer == load.buffer for e in walk(*expressions(statement)))
    ]
    if len(readers) != 1:
        raise InvalidIrError(f"{load.buffer.name} is read by {len(readers)} statements")
    return readers[0]
