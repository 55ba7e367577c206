"""Tensors out of nothing, or out of the shape of another: constants, ranges, masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import formula, is_open, place
from tgc.frontend_onnx.registry import lowers
from tgc.frontend_onnx.tensors import require_dtype
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import F32, I64, DType, from_numpy
from tgc.ir.expr import Coordinate
from tgc.ir.graph import Node
from tgc.ir.lengths import Length, larger

Array = npt.NDArray[np.generic]
_REVISED = (19, 21, 23, 24, 25)
"""Opsets that gave an operator nothing but more element types."""


@lowers("Constant", since=(1, 9))
def constant_1(b: LoweringBuilder, *, value: Array) -> Node:
    """The tensor `value`."""
    return b.constant(value)


@lowers("Constant", since=11)
def constant_11(b: LoweringBuilder, *, sparse_value: object = None, value: Array | None = None) -> Node:
    """The tensor `value`."""
    if value is None:
        raise b.unsupported("a sparse constant")
    return b.constant(value)


@lowers("Constant", since=(12, 13, *_REVISED))
def constant(
    b: LoweringBuilder,
    *,
    sparse_value: object = None,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None,
    value_int: int | None = None,
    value_ints: tuple[int, ...] | None = None,
    value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Node:
    """The one attribute that is given: a tensor, or f32 or i64 numbers."""
    if value is not None:
        return b.constant(value)
    floats = value_float if value_float is not None else value_floats
    if floats is not None:
        return b.constant(np.asarray(floats, np.float32))
    integers = value_int if value_int is not None else value_ints
    if integers is not None:
        return b.constant(np.asarray(integers, np.int64))
    raise b.unsupported("a constant that is sparse or a string")


@lowers("ConstantOfShape", since=(9, 20, 21, 23, 24, 25))
def constant_of_shape(b: LoweringBuilder, shape: Node, *, value: Array | None = None) -> Node:
    """One value, f32 zero by default, in a shape known while compiling."""
    wanted = b.extents(shape, "shape")
    if value is None:
        return b.full(wanted, 0.0, F32)
    return b.full(wanted, value.reshape(-1)[0].item(), from_numpy(value.dtype))


@lowers("Shape", since=(1, 13))
def shape_1(b: LoweringBuilder, x: Node) -> Node:
    """The shape, i64."""
    return shape(b, x)


@lowers("Shape", since=(15, *_REVISED))
def shape(b: LoweringBuilder, x: Node, *, end: int | None = None, start: int = 0) -> Node:
    """The extents from axis `start` to before `end`, i64."""
    extents = x.shape[slice(start, end)]
    if not is_open(extents):
        return b.constant(np.array(extents, np.int64))
    return b.concat([b.reshape(b.extent(size), (1,)) for size in extents], 0)


@lowers("Size", since=(1, 13, *_REVISED))
def size(b: LoweringBuilder, x: Node) -> Node:
    """The number of elements, i64."""
    return b.extent(math.prod(x.shape))


@lowers("Range", since=11)
def range_11(b: LoweringBuilder, start: Node, limit: Node, delta: Node) -> Node:
    """start, start + delta, ... before limit."""
    return _progression(b, start, limit, delta)


@lowers("Range", since=27)
def range_(b: LoweringBuilder, start: Node, limit: Node, delta: Node, *, stash_type: int = 1) -> Node:
    """start, start + delta, ... before limit."""
    return _progression(b, start, limit, delta)


def _progression(b: LoweringBuilder, start: Node, limit: Node, delta: Node) -> Node:
    """Each element is start + n * delta, computed in f64 or integers and rounded once."""
    if start.dtype.is_integer:
        first, end, step = (b.extents(v, name)[0] for v, name in ((start, "start"), (limit, "limit"), (delta, "delta")))
        if is_open((first, end, step)):
            return _open_progression(b, first, end, step, start.dtype)
    first, end, step = (b.known(v, name).reshape(-1)[0].item() for v, name in ((start, "start"), (limit, "limit"), (delta, "delta")))
    if step == 0:
        raise b.invalid("delta is 0")
    count = max(0, math.ceil((end - first) / step))
    return b.constant((first + np.arange(count) * step).astype(start.dtype.numpy))


def _open_progression(b: LoweringBuilder, first: int, end: int, step: int, dtype: DType) -> Node:
    """The same for whole numbers, some of them only known at run time."""
    if isinstance(step, Length) or step == 0:
        raise b.unsupported(f"delta {step}")
    distance = end - first if step > 0 else first - end
    count = larger(-(-distance // abs(step)), 0)
    shape = (count,)
    return b.cast(formula(b, shape, lambda begin: scalar.add(scalar.mul(place(0), step), begin), first), dtype)


@lowers("EyeLike", since=(9, 22))
def eye_like(b: LoweringBuilder, x: Node, *, dtype: int | None = None, k: int = 0) -> Node:
    """1 on diagonal `k` of a matrix of the shape of `x`, 0 elsewhere."""
    if len(x.shape) != 2:
        raise b.invalid(f"shape {list(x.shape)}, which is no matrix")
    kind = x.dtype if dtype is None else require_dtype(dtype, b.where)
    row, column = (ex.cast(Coordinate(axis), I64) for axis in (0, 1))
    return b.graph.map(ex.cast(scalar.eq(column, scalar.add(row, k)), kind), shape=x.shape)


@lowers("Trilu", since=14)
def trilu(b: LoweringBuilder, x: Node, k: Node | None = None, *, upper: int = 1) -> Node:
    """The last two axes as matrices: 0 below diagonal `k`, or above it where `upper` is 0."""
    if len(x.shape) < 2:
        raise b.invalid(f"shape {list(x.shape)}, which has no matrices")
    row, column = (ex.cast(Coordinate(len(x.shape) - 2 + axis), I64) for axis in (0, 1))
    above = scalar.sub(column, row)
    diagonal = b.reshape(b.cast(k, I64), ()) if k is not None else b.scalar(0, I64)
    return b.elementwise(lambda a, d: scalar.where(scalar.ge(above, d) if upper else scalar.le(above, d), a, scalar.lit(0, a)), x, diagonal)


@lowers("OneHot", since=(9, 11, 28))
def one_hot(b: LoweringBuilder, indices: Node, depth: Node, values: Node, *, axis: int = -1) -> Node:
    """A new axis of extent `depth` with values[1] at the index, values[0] elsewhere; negative indices count from the end."""
    count = b.known_ints(depth, "depth")[0]
    along = b.axis(axis, len(indices.shape) + 1)
    shape = (*indices.shape[:along], count, *indices.shape[along:])
    off, on = (b.reshape(b.narrow(values, 0, n, 1), ()) for n in (0, 1))
    place = ex.cast(Coordinate(along), I64)
    wanted = b.unsqueeze(b.cast(indices, I64), (along,))
    found = b.elementwise(lambda i: scalar.eq(scalar.where(scalar.lt(i, 0), scalar.add(i, count), i), place), b.expand(wanted, shape))
    return b.where_(found, on, off)


def known_axis(b: LoweringBuilder, axis: Node, rank: int) -> int:
    """An axis that is an input, counted from the front."""
    return b.axis(_single(b, b.known_ints(axis, "axis")), rank)


def _single(b: LoweringBuilder, numbers: Sequence[int]) -> int:
    if len(numbers) != 1:
        raise b.invalid(f"{list(numbers)}, not one number")
    return numbers[0]
