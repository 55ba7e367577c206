"""Pooling: reductions over the axes that windows add."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import formula
from tgc.frontend_onnx.lowerings.contraction import windowed
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.lowerings.reductions import lp_norm, mean
from tgc.frontend_onnx.lowerings.spatial import POOL_WINDOWS, PoolWindows, Sliding
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I64, DType
from tgc.ir.expr import Coordinate, Expr, Lit
from tgc.ir.graph import Node
from tgc.ir.lengths import Length

JOINT_TAPS = 9
"""A window with more taps than this is reduced one axis after the other: k + k operations instead of k * k, for one more tensor."""


@lowers("MaxPool", since=(1, 8, 10, 11, 12, 22))
def max_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    storage_order: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node | tuple[Node, ...]:
    """X [N, C, *spatial] -> largest element of each window [N, C, *out], and its index in X where that is asked for."""
    axes = windows.over(x.shape[2:])
    padded = around(b, x, axes, x.dtype.lowest)
    largest = _max_over_windows(b, padded, axes)
    if len(b.outputs) < 2:
        return largest
    return largest, _indices(b, x, padded, largest, axes, bool(storage_order))


def around(b: LoweringBuilder, x: Node, axes: Sequence[Sliding], value: float | int | bool) -> Node:
    """`x` [N, C, *spatial] with the padding of `axes`, overhang included."""
    return b.pad(x, (0, 0, *(a.low for a in axes)), (0, 0, *(a.high + a.overhang for a in axes)), value)


def _max_over_windows(b: LoweringBuilder, padded: Node, axes: Sequence[Sliding]) -> Node:
    rank = len(axes)
    if prod(a.size for a in axes) <= JOINT_TAPS:
        return b.reduce(ops.MAX, windowed(b, padded, axes, 2), range(2 + rank, 2 + 2 * rank), keepdims=False)
    for number, axis in reversed(list(enumerate(axes))):
        windows = b.window(padded, 2 + number, axis.size, axis.stride, axis.dilation)
        padded = b.reduce(ops.MAX, windows, (2 + rank,), keepdims=False)
    return padded


def _indices(b: LoweringBuilder, x: Node, padded: Node, largest: Node, axes: Sequence[Sliding], column_major: bool) -> Node:
    """For each window, the flat index in `x` of the first element, in row-major order, that equals `largest`: [N, C, *out] i64."""
    rank = len(axes)
    windows = windowed(b, padded, axes, 2)
    last = int(prod(x.shape)) - 1
    places = [_integer(0), _integer(1), *(_place(d, rank, axis) for d, axis in enumerate(axes))]
    sizes = [b.scalar(size, I64) for size in x.shape[1:]]

    def candidate(value: Expr, best: Expr, *sizes: Expr) -> Expr:
        hit, flat = scalar.eq(value, best), places[0]
        for place, size in zip(places[1:], sizes, strict=True):
            flat = scalar.add(scalar.mul(flat, size), place)
        for place, size in zip(places[2:], sizes[1:], strict=True):
            hit = scalar.logical_and(hit, scalar.logical_and(scalar.ge(place, 0), scalar.lt(place, size)))
        return scalar.where(hit, scalar.neg(flat), -last)

    best = b.reshape(largest, (*largest.shape, *(1,) * rank))
    found = b.reduce(ops.MAX, b.elementwise(candidate, windows, best, *sizes), range(2 + rank, 2 + 2 * rank), keepdims=False)
    if not column_major:
        return b.elementwise(scalar.neg, found)
    return b.elementwise(lambda i, *spatial: _column_major(scalar.neg(i), spatial), found, *sizes[1:])


def _integer(axis: int) -> Expr:
    return ex.cast(Coordinate(axis), I64)


def _place(d: int, rank: int, axis: Sliding) -> Expr:
    """Where tap k of window o falls on spatial axis d, in elements of the source."""
    start = scalar.mul(_integer(2 + d), axis.stride)
    tap = scalar.mul(_integer(2 + rank + d), axis.dilation)
    return scalar.sub(scalar.add(start, tap), axis.low)


def _column_major(flat: Expr, spatial: tuple[Expr, ...]) -> Expr:
    """A row-major flat index as the index of the same element where the first spatial axis runs fastest."""
    before: list[Expr] = [Lit(1, I64)]
    for size in spatial:
        before.append(scalar.mul(before[-1], size))
    out: Expr = Lit(0, I64)
    rest = flat
    for d in reversed(range(len(spatial))):
        quotient = scalar.int_div(rest, spatial[d])
        place = scalar.sub(rest, scalar.mul(quotient, spatial[d]))
        out = scalar.add(out, scalar.mul(place, before[d]))
        rest = quotient
    return scalar.add(out, scalar.mul(rest, before[-1]))


@lowers("AveragePool", since=(7, 10, 11, 19, 22))
def average_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    count_include_pad: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node:
    """X [N, C, *spatial] -> the mean of each window [N, C, *out]; padding counts where `count_include_pad` is set."""
    axes = windows.over(x.shape[2:])
    rank = len(axes)
    counts = [_counts(a, bool(count_include_pad), bool(windows.ceil_mode)) for a in axes]

    def average(wide: Node) -> Node:
        taps = windowed(b, around(b, wide, axes, 0), axes, 2)
        total = b.reduce(ops.ADD, taps, range(2 + rank, 2 + 2 * rank), keepdims=False)
        for number, count in enumerate(counts):
            if len(set(count)) > 1:
                share = (1 / np.array(count)).reshape([-1 if d == number else 1 for d in range(rank)])
                total = b.mul(total, b.constant(share.astype(wide.dtype.numpy)))
        for number, axis in enumerate(axes):
            if not counts[number]:
                total = b.mul(total, _open_share(b, axis, number, rank, bool(count_include_pad), wide.dtype))
        common = prod(c[0] for c in counts if len(set(c)) == 1)
        return b.mul(total, b.scalar(1 / common, wide.dtype))

    return in_single(b, average, x)


def _open_share(b: LoweringBuilder, axis: Sliding, number: int, rank: int, include_padding: bool, dtype: DType) -> Node:
    """1 over how many elements each window along an open spatial axis averages, of rank `rank`."""
    shape = tuple(axis.count if d == number else 1 for d in range(rank))

    def share(*ends: Expr) -> Expr:
        first, end = (-axis.low, ends[1]) if include_padding else (0, ends[0])
        count: Expr = Lit(0, I64)
        for tap in range(axis.size):
            at = scalar.add(scalar.mul(ex.cast(Coordinate(number), I64), axis.stride), tap * axis.dilation - axis.low)
            inside = scalar.logical_and(scalar.ge(at, first), scalar.lt(at, end))
            count = scalar.add(count, ex.cast(inside, I64))
        return scalar.reciprocal(ex.cast(scalar.maximum(count, 1), dtype))

    return formula(b, shape, share, axis.extent, axis.extent + axis.high)


def _counts(axis: Sliding, include_padding: bool, round_up: bool) -> list[int]:
    """How many elements each window along `axis` averages; overhang never counts. Nothing where that depends on an open extent."""
    if isinstance(axis.extent, Length):
        return [] if axis.low or axis.high or round_up else [axis.size]
    first, end = (-axis.low, axis.extent + axis.high) if include_padding else (0, axis.extent)
    return [max(1, axis.taps(position, first, end)) for position in range(axis.count)]


@lowers("LpPool", since=(2, 11, 18, 22))
def lp_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    p: int = 2,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node:
    """X [N, C, *spatial] -> the p-norm of each window [N, C, *out]."""
    axes = windows.over(x.shape[2:])
    rank = len(axes)
    taps = windowed(b, around(b, x, axes, 0), axes, 2)
    return b.squeeze(lp_norm(b, taps, range(2 + rank, 2 + 2 * rank), p), range(2 + rank, 2 + 2 * rank))


@lowers("GlobalAveragePool", since=(1, 22))
def global_average_pool(b: LoweringBuilder, x: Node) -> Node:
    """X [N, C, *spatial] -> [N, C, 1..]."""
    return mean(b, x, range(2, len(x.shape)))


@lowers("GlobalMaxPool", since=(1, 22))
def global_max_pool(b: LoweringBuilder, x: Node) -> Node:
    """X [N, C, *spatial] -> [N, C, 1..]."""
    return b.reduce(ops.MAX, x, range(2, len(x.shape)))


@lowers("GlobalLpPool", since=(2, 22))
def global_lp_pool(b: LoweringBuilder, x: Node, *, p: int = 2) -> Node:
    """X [N, C, *spatial] -> the p-norm [N, C, 1..]."""
    return lp_norm(b, x, range(2, len(x.shape)), p)
