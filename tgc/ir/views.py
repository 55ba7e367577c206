"""Views as rules: output index -> source index. None of them has a guard: a `Pad` is a place in memory, not a read rule.

The halo of a padded tensor is stored (see docs/decisions), so no kernel tests an index in its inner loop.
"""

from __future__ import annotations

from functools import lru_cache
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
            return _regrouped(at, shape, source.shape) if source.shape != shape else at
        case Permute(order=order):
            back = sorted(range(len(order)), key=order.__getitem__)
            return tuple([at[position] for position in back])
        case Expand(source=source):
            return tuple([ix.ZERO if size == 1 else i for i, size in zip(at, source.shape, strict=True)])
        case Slice(starts=starts, steps=steps):
            return tuple([i * step + start for i, start, step in zip(at, starts, steps, strict=True)])
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


def _regrouped(at: Vector, shape: Shape, wanted: Shape) -> Vector:
    """`at` in `shape` as an index in `wanted`, group by group: neighbouring axes of both that have as many elements."""
    made: list[Index] = []
    for before, after in groups(shape, wanted):
        own = at[before[0] : before[1]]
        extents, sizes = shape[before[0] : before[1]], wanted[after[0] : after[1]]
        made.extend(own if extents == sizes else unflatten(flatten(own, extents), sizes))
    return tuple(made)


@lru_cache(maxsize=1 << 10)
def groups(shape: Shape, wanted: Shape) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    """The shortest runs (first axis, last axis + 1) of both shapes that hold as many elements; axes of extent 1 are runs of their own."""
    if 0 in shape:
        return (((0, len(shape)), (0, len(wanted))),)
    found: list[tuple[tuple[int, int], tuple[int, int]]] = []
    i = j = 0
    while i < len(shape) or j < len(wanted):
        first = i, j
        left = shape[i] if i < len(shape) else 1
        right = wanted[j] if j < len(wanted) else 1
        alone = 1 in (left, right)
        i += i < len(shape) and (left == 1 or not alone)
        j += j < len(wanted) and (right == 1 or not alone)
        while left != right and not alone:
            if left < right:
                left, i = left * shape[i], i + 1
            else:
                right, j = right * wanted[j], j + 1
        found.append(((first[0], i), (first[1], j)))
    return tuple(found)


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
