"""`sum over axes of left * right` as a matrix product: how the interpreter evaluates contractions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import F64, DType
from tgc.ir.graph import Shape

Array = npt.NDArray[np.generic]
Axes = tuple[int, ...]

COPY_BYTES = 256 << 20
"""An operand that takes more than this when it is laid out for the matrix product is contracted in halves."""


def contract(left: Array, right: Array, shape: Shape, axes: Axes, dtype: DType) -> Array:
    """The sum of left * right over `axes`, computed in `dtype`. Both operands broadcast to `shape` and have its rank.

    The result has the rank of `shape`, extent 1 along `axes`, and broadcasts along what neither operand depends on.
    """
    larger = max(left, right, key=lambda operand: operand.size)
    halved = max((a for a in range(len(shape)) if a not in axes), key=lambda a: larger.shape[a], default=-1)
    if halved >= 0 and larger.shape[halved] > 1 and larger.size * dtype.bytes > COPY_BYTES:
        middle = larger.shape[halved] // 2
        first = contract(_cut(left, halved, 0, middle), _cut(right, halved, 0, middle), _resized(shape, halved, middle), axes, dtype)
        rest = shape[halved] - middle
        second = contract(_cut(left, halved, middle), _cut(right, halved, middle), _resized(shape, halved, rest), axes, dtype)
        return np.concatenate([first, second], axis=halved)
    return _product(left, right, shape, axes, _working_type(left, right, shape, axes, dtype))


def _cut(operand: Array, axis: int, start: int, stop: int | None = None) -> Array:
    """`operand` from `start` to `stop` along `axis`, whole where it does not depend on that axis."""
    return operand if operand.shape[axis] == 1 else operand[(slice(None),) * axis + (slice(start, stop),)]


def _resized(shape: Shape, axis: int, extent: int) -> Shape:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _working_type(left: Array, right: Array, shape: Shape, axes: Axes, dtype: DType) -> DType:
    """`dtype`, or F64 for integers whose sums it holds exactly, since that is what numpy multiplies fast."""
    if not dtype.is_integer or not left.size or not right.size:
        return dtype
    largest = [max(abs(int(operand.max())), abs(int(operand.min()))) for operand in (left, right)]
    terms = math.prod(shape[axis] for axis in axes)
    return F64 if largest[0] * largest[1] * terms < 1 << 53 else dtype


def _product(left: Array, right: Array, shape: Shape, axes: Axes, dtype: DType) -> Array:
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    batch = tuple(axis for axis in kept if left.shape[axis] != 1 and right.shape[axis] != 1)
    rows = tuple(axis for axis in kept if left.shape[axis] != 1 and axis not in batch)
    columns = tuple(axis for axis in kept if right.shape[axis] != 1 and axis not in batch)
    with np.errstate(all="ignore"):
        product = np.matmul(
            _arranged(left, (batch, rows, axes), shape, axes, dtype),
            _arranged(right, (batch, axes, columns), shape, axes, dtype),
        )
    present = batch + rows + columns
    absent = tuple(axis for axis in range(len(shape)) if axis not in present)
    extents = (*(shape[axis] for axis in present), *(1 for _ in absent))
    order = tuple(int(axis) for axis in np.argsort(np.array(present + absent, dtype=np.intp)))
    return np.transpose(np.reshape(product, extents), order)


def _arranged(operand: Array, groups: tuple[Axes, Axes, Axes], shape: Shape, axes: Axes, dtype: DType) -> Array:
    """`operand` as `dtype` of rank 3, one axis a group; the axes in no group have extent 1 here."""
    full = np.broadcast_to(operand, tuple(shape[a] if a in axes else size for a, size in enumerate(operand.shape)))
    grouped = groups[0] + groups[1] + groups[2]
    rest = tuple(axis for axis in range(len(shape)) if axis not in grouped)
    extents = [math.prod(full.shape[axis] for axis in group) for group in groups]
    return np.reshape(np.transpose(full, grouped + rest), extents).astype(dtype.numpy, copy=False)
