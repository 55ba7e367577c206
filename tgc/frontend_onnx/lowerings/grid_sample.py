"""Sampling at positions that are data: grids, regions of interest, deformed convolutions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.contraction import with_bias
from tgc.frontend_onnx.lowerings.interpolation import Between, Mode, Padding, interpolated, weighted
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, F64, I32, DType
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node

_MODES: dict[str, Mode] = {"nearest": "nearest", "bilinear": "linear", "linear": "linear", "bicubic": "cubic", "cubic": "cubic"}
_PADDINGS: dict[str, Padding] = {"zeros": "zeros", "border": "border", "reflection": "reflection"}


def _wide(x: Node) -> DType:
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
    wide = b.cast(grid, _wide(grid))
    positions = []
    for d, size in enumerate(x.shape[2:]):
        part = b.reshape(b.narrow(wide, -1, rank - 1 - d, 1), (x.shape[0], 1, *grid.shape[1:-1]))
        positions.append(b.elementwise(_unnormalised(size, bool(align_corners)), part))
    how = Between(_MODES[mode], _PADDINGS[padding_mode], 0.0 if align_corners else 0.5)
    return b.cast(interpolated(b, x, None, positions, how), x.dtype)


def _unnormalised(size: int, corners: bool) -> Callable[[Expr], Expr]:
    """-1 .. 1 to elements: between the centres of the outermost, or between their outer edges."""
    if corners:
        return lambda g: scalar.mul(scalar.mul(scalar.add(g, 1), 0.5), size - 1.0)
    return lambda g: scalar.mul(scalar.sub(scalar.mul(scalar.add(g, 1), float(size)), 1), 0.5)


@lowers("RoiAlign", since=10)
def roi_align_10(
    b: LoweringBuilder,
    x: Node,
    rois: Node,
    batch_indices: Node,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Node:
    """Regions [R, 4] of X [N, C, H, W], each pooled to [output_height, output_width]."""
    return _roi_align(b, x, rois, batch_indices, False, mode, (output_height, output_width), sampling_ratio, spatial_scale)


@lowers("RoiAlign", since=(16, 22))
def roi_align(
    b: LoweringBuilder,
    x: Node,
    rois: Node,
    batch_indices: Node,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Node:
    """Regions [R, 4] of X [N, C, H, W], each pooled to [output_height, output_width]."""
    half = coordinate_transformation_mode == "half_pixel"
    if not half and coordinate_transformation_mode != "output_half_pixel":
        raise b.invalid(f"coordinate_transformation_mode is {coordinate_transformation_mode!r}")
    return _roi_align(b, x, rois, batch_indices, half, mode, (output_height, output_width), sampling_ratio, spatial_scale)


def _roi_align(
    b: LoweringBuilder, x: Node, rois: Node, rows: Node, half: bool, mode: str, out: tuple[int, int], samples: int, scale: float
) -> Node:
    """K. He et al., Mask R-CNN, 2017. Positions have the axes [R, 1, *out, samples, samples]."""
    if mode not in ("avg", "max"):
        raise b.invalid(f"mode is {mode!r}")
    if samples <= 0:
        raise b.unsupported("sampling_ratio 0: the number of samples would depend on data", "export with a sampling_ratio of 2")
    wide = b.cast(rois, _wide(rois))
    positions, inside = [], []
    for d in range(2):
        start, end = (b.reshape(b.narrow(wide, 1, 1 - d + shift, 1), (rois.shape[0], 1, 1, 1, 1, 1)) for shift in (0, 2))
        along = [(n, samples) if axis == d else (1, 1) for axis, n in enumerate(out)]
        shape = (rois.shape[0], 1, *(n for n, _ in along), *(n for _, n in along))
        place = b.elementwise(
            lambda s, e, d=d: _sample_place(s, e, scale, half, out[d], samples, d), b.expand(start, shape), b.expand(end, shape)
        )
        size = float(x.shape[2 + d])
        inside.append(b.elementwise(lambda p, n=size: scalar.logical_and(scalar.ge(p, -1.0), scalar.le(p, n)), place))
        positions.append(b.broadcast_to(place, (rois.shape[0], 1, *out, samples, samples)))
    values, _ = weighted(b, x, rows, positions, Between("linear", "border"))
    seen = b.elementwise(scalar.logical_and, *inside)
    kept = b.where_(b.reshape(seen, (*seen.shape, 1, 1)), values, b.scalar(0.0, values.dtype))
    op = ops.ADD if mode == "avg" else ops.MAX
    pooled = b.reduce(op, kept, range(4, 8), keepdims=False)
    return b.cast(b.mul(pooled, b.scalar(1 / samples**2, values.dtype)) if mode == "avg" else pooled, x.dtype)


def _sample_place(start: Expr, end: Expr, scale: float, half: bool, bins: int, samples: int, d: int) -> Expr:
    """The place of a sample on spatial axis d, in elements, from its bin (axis 2 + d) and number (axis 4 + d)."""
    offset = 0.5 if half else 0.0
    first, last = (scalar.sub(scalar.mul(edge, scale), offset) for edge in (start, end))
    size = scalar.sub(last, first)
    width = scalar.mul(size if half else scalar.maximum(size, 1.0), 1 / bins)
    number, sample = (ex.cast(Coordinate(axis + d), start.dtype) for axis in (2, 4))
    within = scalar.mul(scalar.add(sample, 0.5), 1 / samples)
    return scalar.add(first, scalar.mul(scalar.add(number, within), width))


@lowers("MaxRoiPool", since=(1, 22))
def max_roi_pool(b: LoweringBuilder, x: Node, rois: Node, *, pooled_shape: tuple[int, ...], spatial_scale: float = 1.0) -> Node:
    """Regions [R, 5] (row of X, and corners) of X [N, C, H, W], the largest element of each of `pooled_shape` bins; 0 for an empty one.

    R. Girshick, Fast R-CNN, 2015. One axis after the other, each over the whole image with what is outside of the bin left out.
    """
    count, wide = rois.shape[0], b.cast(rois, _wide(rois))
    rows = b.cast(b.reshape(b.narrow(wide, 1, 0, 1), (count, *(1,) * 3)), I32)
    shape = (count, *x.shape[1:])
    out = b.gather(x, [rows, *(b.coordinate(shape, d, I32) for d in range(1, 4))], shape)
    empty = None
    for d in (1, 0):
        bins, size = pooled_shape[d], x.shape[2 + d]
        start, end = (b.reshape(b.narrow(wide, 1, 2 - d + shift, 1), (count, 1, 1, 1, 1)) for shift in (0, 2))
        last = b.unsqueeze(b.swap(out, 2 + d, 3), (3,))  # [R, C, other, 1, size]
        masked_shape = (*last.shape[:3], bins, size)
        inside = b.elementwise(
            lambda s, e, n=bins: _in_bin(s, e, spatial_scale, n), *(b.expand(v, (count, 1, 1, bins, size)) for v in (start, end))
        )
        lowest = b.scalar(x.dtype.lowest, x.dtype)
        kept = b.where_(inside, b.expand(last, masked_shape), lowest)
        out = b.swap(b.reduce(ops.MAX, kept, (4,), keepdims=False), 2 + d, 3)
        empty = lowest
    assert empty is not None
    return b.where_(b.apply(ops.EQ, out, empty), b.scalar(0, x.dtype), out)


def _in_bin(start: Expr, end: Expr, scale: float, bins: int) -> Expr:
    """Whether element Coordinate(4) is in bin Coordinate(3) of the region from `start` to `end`, rounded to whole elements."""
    first, last = (scalar.floor(scalar.add(scalar.mul(edge, scale), 0.5)) for edge in (start, end))
    width = scalar.mul(scalar.maximum(scalar.add(scalar.sub(last, first), 1), 1), 1 / bins)
    number, place = (ex.cast(Coordinate(axis), start.dtype) for axis in (3, 4))
    low = scalar.add(scalar.floor(scalar.mul(number, width)), first)
    high = scalar.add(scalar.ceil(scalar.mul(scalar.add(number, 1), width)), first)
    return scalar.logical_and(scalar.ge(place, low), scalar.lt(place, high))


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
    moved = b.reshape(b.cast(offset, _wide(offset)), (rows, taps, rank, prod(out)))
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
