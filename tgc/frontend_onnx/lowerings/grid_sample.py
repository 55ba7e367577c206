"""Sampling at positions that are data: grids, what makes them, and deformed convolutions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import formula, place
from tgc.frontend_onnx.lowerings.contraction import with_bias
from tgc.frontend_onnx.lowerings.interpolation import Between, Mode, Padding, interpolated
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import F32, F64, I32, DType
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node

_MODES: dict[str, Mode] = {"nearest": "nearest", "bilinear": "linear", "linear": "linear", "bicubic": "cubic", "cubic": "cubic"}
_PADDINGS: dict[str, Padding] = {"zeros": "zeros", "border": "border", "reflection": "reflection"}


def wide_type(x: Node) -> DType:
    """The type to compute positions in."""
    return F64 if x.dtype == F64 else F32


@lowers("GridSample", since=16)
def grid_sample_16(
    b: LoweringBuilder, x: Node, grid: Node, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Node:
    """X [N, C, H, W] at grid [N, H', W', 2]."""
    return grid_sample(b, x, grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@lowers("GridSample", since=(20, 22))
def grid_sample(
    b: LoweringBuilder, x: Node, grid: Node, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Node:
    """X [N, C, *spatial] at grid [N, *out, rank], whose last axis counts spatial axes from the end, -1 to 1 over each."""
    rank = len(x.shape) - 2
    if mode not in _MODES or padding_mode not in _PADDINGS:
        raise b.invalid(f"mode is {mode!r}, padding_mode {padding_mode!r}")
    if len(grid.shape) != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        raise b.invalid(f"a grid of shape {list(grid.shape)} for shape {list(x.shape)}")
    wide = b.cast(grid, wide_type(grid))
    positions = []
    for d, size in enumerate(x.shape[2:]):
        part = b.reshape(b.narrow(wide, -1, rank - 1 - d, 1), (x.shape[0], 1, *grid.shape[1:-1]))
        positions.append(b.elementwise(_unnormalised(bool(align_corners)), part, b.scalar(size, part.dtype)))
    how = Between(_MODES[mode], _PADDINGS[padding_mode], 0.0 if align_corners else 0.5)
    return b.cast(interpolated(b, x, None, positions, how), x.dtype)


def _unnormalised(corners: bool) -> Callable[[Expr, Expr], Expr]:
    """-1 .. 1 to so many elements: between the centres of the outermost, or between their outer edges."""
    if corners:
        return lambda g, size: scalar.mul(scalar.mul(scalar.add(g, 1), 0.5), scalar.sub(size, 1))
    return lambda g, size: scalar.mul(scalar.sub(scalar.mul(scalar.add(g, 1), size), 1), 0.5)


@lowers("AffineGrid", since=20)
def affine_grid(b: LoweringBuilder, theta: Node, size: Node, *, align_corners: int = 0) -> Node:
    """Where theta [N, rank, rank + 1] takes each place of an image of `size` N, C, *spatial: [N, *spatial, rank], as GridSample reads it.

    ONNX's function body for it does not hold for a batch of one.
    """
    spatial = b.extents(size, "size")[2:]
    rank, dtype = len(spatial), wide_type(theta)
    if len(spatial) not in (2, 3) or theta.shape[1:] != (rank, rank + 1):
        raise b.invalid(f"theta of shape {list(theta.shape)} for a size of {len(spatial) + 2} numbers")

    def column(number: int) -> Node:
        part = b.narrow(b.cast(theta, dtype), 2, number, 1)
        return b.reshape(part, (theta.shape[0], *(1,) * rank, rank))

    total = column(rank)
    for axis, count in enumerate(spatial):
        line = tuple(count if d == axis else 1 for d in range(rank))
        places = formula(b, line, lambda n, d=axis: _normalised(place(d), n, dtype, bool(align_corners)), count)
        total = b.add(total, b.mul(b.reshape(places, (1, *line, 1)), column(rank - 1 - axis)))
    return b.cast(total, theta.dtype)


def _normalised(place: Expr, count: Expr, dtype: DType, corners: bool) -> Expr:
    """One of `count` places as -1 .. 1: over their centres, or over their outer edges; one alone is in the middle."""
    at, size = ex.cast(place, dtype), ex.cast(count, dtype)
    if corners:
        step = scalar.div(2.0, scalar.maximum(scalar.sub(size, 1.0), 1.0))
        return scalar.where(scalar.gt(size, 1.0), scalar.sub(scalar.mul(at, step), 1.0), 0.0)
    return scalar.sub(scalar.div(scalar.add(scalar.mul(at, 2.0), 1.0), size), 1.0)


@lowers("DeformConv", since=(19, 22))
def deform_conv(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    offset: Node,
    bias: Node | None = None,
    mask: Node | None = None,
    *,
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    offset_group: int = 1,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Node:
    """Conv whose taps are moved by offset [N, OG * taps * rank, *out] and weighted by mask [N, OG * taps, *out].

    X. Zhu et al., Deformable ConvNets v2, 2018. The moved taps are sampled once, then contracted with the weights.
    """
    rank, kernel, out = len(x.shape) - 2, w.shape[2:], offset.shape[2:]
    steps, gaps, around = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * 2 * rank
    rows = x.shape[0] * offset_group
    taps = prod(kernel)
    if offset.shape[1] != offset_group * taps * rank or x.shape[1] % offset_group or w.shape[1] * group != x.shape[1]:
        raise b.invalid(f"offsets of shape {list(offset.shape)} for weights {list(w.shape)} and input {list(x.shape)}")
    moved = b.reshape(b.cast(offset, wide_type(offset)), (rows, taps, rank, prod(out)))
    positions = []
    for d in range(rank):
        part = b.swap(b.reshape(b.narrow(moved, 2, d, 1), (rows, taps, prod(out))), 1, 2)
        spread = b.reshape(part, (rows, 1, *out, *kernel))
        positions.append(b.elementwise(_tap_place(2 + d, 2 + rank + d, steps[d], gaps[d], around[d]), spread))
    parts = b.reshape(x, (rows, x.shape[1] // offset_group, *x.shape[2:]))
    sampled = interpolated(b, parts, None, positions, Between("linear", "zeros"))
    if mask is not None:
        share = b.swap(b.reshape(b.cast(mask, sampled.dtype), (rows, taps, prod(out))), 1, 2)
        sampled = b.mul(sampled, b.reshape(share, (rows, 1, *out, *kernel)))
    inner = w.shape[1]
    windows = b.reshape(sampled, (x.shape[0], group, inner, *out, *kernel))
    last = b.unsqueeze(b.permute(windows, [0, 1, *range(3, 3 + 2 * rank), 2]), (2,))
    weights = b.reshape(b.permute(w, [0, *range(2, 2 + rank), 1]), (1, group, w.shape[0] // group, *(1,) * rank, *kernel, inner))
    total = b.contract(last, b.cast(weights, last.dtype), rank + 1)
    return with_bias(b, b.cast(b.reshape(total, (x.shape[0], w.shape[0], *out)), x.dtype), bias)


def _tap_place(window: int, tap: int, stride: int, dilation: int, pad: int) -> Callable[[Expr], Expr]:
    """Where a tap falls before it is moved, plus how far it is moved."""

    def place(moved: Expr) -> Expr:
        start = scalar.mul(ex.cast(Coordinate(window), I32), stride)
        fixed = scalar.sub(scalar.add(start, scalar.mul(ex.cast(Coordinate(tap), I32), dilation)), pad)
        return scalar.add(ex.cast(fixed, moved.dtype), moved)

    return place
