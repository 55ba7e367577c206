"""Views as rules: output index -> source index. None of them has a guard: a `Pad` is a place in memory, not a read rule.

The halo of a padded tensor is stored (see docs/decisions), so no kernel tests an index in its inner loop.
"""

from __future__ import annotations

from typing import assert_never

from tgc.ir import index as ix
from tgc.ir.graph import Expand, Permute, Reshape, Shape, Slice, Window
from tgc.ir.index import Index

Vector = tuple[Index, ...]
ReadView = Reshape | Permute | Expand | Slice | Window


def source_index(view: ReadView, at: Vector) -> Vector:
    """Where `view` reads its source for the output index `at`."""
    match view:
        case Reshape(source=source, shape=shape):
            return unflatten(flatten(at, shape), source.shape) if source.shape != shape else at
        case Permute(order=order):
            back = {axis: position for position, axis in enumerate(order)}
            return tuple(at[back[axis]] for axis in range(len(order)))
        case Expand(source=source):
            return tuple(ix.ZERO if size == 1 else i for i, size in zip(at, source.shape, strict=True))
        case Slice(starts=starts, steps=steps):
            return tuple(i * step + start for i, start, step in zip(at, starts, steps, strict=True))
        case Window(axis=axis, stride=stride, dilation=dilation):
            return (*at[:axis], at[axis] * stride + at[-1] * dilation, *at[axis + 1 : -1])
        case _:
            assert_never(view)


def strides_of(shape: Shape) -> tuple[int, ...]:
    """Row-major strides of `shape`, in elements."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def flatten(at: Vector, shape: Shape) -> Index:
    """The row-major offset of `at` in `shape`."""
    return dot(at, strides_of(shape))


def dot(at: Vector, strides: tuple[int, ...]) -> Index:
    """The sum of index times stride."""
    total = ix.ZERO
    for i, stride in zip(at, strides, strict=True):
        total = total + i * stride
    return total


def unflatten(offset: Index, shape: Shape) -> Vector:
    """The index in `shape` that lies at the row-major `offset`."""
    at: list[Index] = []
    for position, (size, stride) in enumerate(zip(shape, strides_of(shape), strict=True)):
        if size == 1:
            at.append(ix.ZERO)
            continue
        quotient = offset // stride
        outermost = all(before == 1 for before in shape[:position])
        at.append(quotient if outermost else quotient % size)
    return tuple(at)
