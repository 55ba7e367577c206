"""Regions of interest: RoiAlign and MaxRoiPool."""

from __future__ import annotations

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.grid_sample import wide_type
from tgc.frontend_onnx.lowerings.interpolation import Between, weighted
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node


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
    if samples <= 0 and mode == "max":
        raise b.unsupported("the maximum with sampling_ratio 0: as many samples as data say", "export with a sampling_ratio of 2")
    if samples <= 0:
        return _averaged(b, x, rois, rows, half, out, scale)
    wide = b.cast(rois, wide_type(rois))
    positions, inside = [], []
    for d in range(2):
        start, end = (b.reshape(b.narrow(wide, 1, 1 - d + shift, 1), (rois.shape[0], 1, 1, 1, 1, 1)) for shift in (0, 2))
        along = [(n, samples) if axis == d else (1, 1) for axis, n in enumerate(out)]
        shape = (rois.shape[0], 1, *(n for n, _ in along), *(n for _, n in along))
        place = b.elementwise(
            lambda s, e, d=d: _sample_place(s, e, scale, half, out[d], samples, d), b.expand(start, shape), b.expand(end, shape)
        )
        size = b.scalar(x.shape[2 + d], place.dtype)
        inside.append(b.elementwise(lambda p, n: scalar.logical_and(scalar.ge(p, -1.0), scalar.le(p, n)), place, size))
        positions.append(b.broadcast_to(place, (rois.shape[0], 1, *out, samples, samples)))
    values, _ = weighted(b, x, rows, positions, Between("linear", "border"))
    seen = b.elementwise(scalar.logical_and, *inside)
    kept = b.where_(b.reshape(seen, (*seen.shape, 1, 1)), values, b.scalar(0.0, values.dtype))
    op = ops.ADD if mode == "avg" else ops.MAX
    pooled = b.reduce(op, kept, range(4, 8), keepdims=False)
    return b.cast(b.mul(pooled, b.scalar(1 / samples**2, values.dtype)) if mode == "avg" else pooled, x.dtype)


def _averaged(b: LoweringBuilder, x: Node, rois: Node, rows: Node, half: bool, out: tuple[int, int], scale: float) -> Node:
    """With one sample for each element that a bin covers, rounded up: the mean of bilinear samples is a weighted sum of the rows of
    the image, then of its columns, with weights [R, bins, size] for each."""
    weights = [_shares(b, rois, d, half, out[d], x.shape[2 + d], scale) for d in range(2)]
    wide = weights[0].dtype
    shape = (rois.shape[0], *x.shape[1:])
    index = [b.reshape(rows, (shape[0], 1, 1, 1)), *(b.coordinate(shape, d, I32) for d in range(1, 4))]
    image = b.cast(b.gather(x, index, shape), wide)
    tall, broad = (b.unsqueeze(weight, (1,)) for weight in weights)
    return b.cast(b.matmul(b.matmul(tall, image), b.swap(broad, 2, 3)), x.dtype)


def _shares(b: LoweringBuilder, rois: Node, d: int, half: bool, bins: int, size: int, scale: float) -> Node:
    """How much of each element along spatial axis d each bin takes: [R, bins, size].

    Samples are at least half an element apart, so that few of however many fall into the image.
    """
    wide = b.cast(rois, wide_type(rois))
    most = 2 * (int(size) + 2) + 2
    shape = (rois.shape[0], bins, size, most)
    start, end = (b.expand(b.reshape(b.narrow(wide, 1, 1 - d + n, 1), (shape[0], 1, 1, 1)), shape) for n in (0, 2))

    def share(start: Expr, end: Expr, extent: Expr) -> Expr:
        first, width = _bin(start, end, scale, half, bins)
        count = scalar.maximum(scalar.ceil(width), 1.0)
        step = scalar.div(width, count)
        low = scalar.add(first, scalar.mul(ex.cast(Coordinate(1), start.dtype), width))
        skipped = scalar.floor(scalar.div(scalar.sub(-2.0, low), scalar.maximum(step, 1e-6)))
        number = scalar.add(scalar.maximum(skipped, 0.0), ex.cast(Coordinate(3), start.dtype))
        place = scalar.add(low, scalar.mul(scalar.add(number, 0.5), step))
        inside = scalar.logical_and(scalar.lt(number, count), scalar.logical_and(scalar.ge(place, -1.0), scalar.le(place, extent)))
        apart = scalar.abs(scalar.sub(scalar.clip(place, 0.0, scalar.sub(extent, 1.0)), ex.cast(Coordinate(2), start.dtype)))
        return scalar.where(inside, scalar.div(scalar.maximum(scalar.sub(1.0, apart), 0.0), count), 0.0)

    return b.reduce(ops.ADD, b.elementwise(share, start, end, b.scalar(size, wide.dtype)), (3,), keepdims=False)


def _bin(start: Expr, end: Expr, scale: float, half: bool, bins: int) -> tuple[Expr, Expr]:
    """Where a region begins, and how wide its bins are, in elements."""
    offset = 0.5 if half else 0.0
    first, last = (scalar.sub(scalar.mul(edge, scale), offset) for edge in (start, end))
    size = scalar.sub(last, first)
    return first, scalar.div(size if half else scalar.maximum(size, 1.0), float(bins))


def _sample_place(start: Expr, end: Expr, scale: float, half: bool, bins: int, samples: int, d: int) -> Expr:
    """The place of a sample on spatial axis d, in elements, from its bin (axis 2 + d) and number (axis 4 + d)."""
    first, width = _bin(start, end, scale, half, bins)
    number, sample = (ex.cast(Coordinate(axis + d), start.dtype) for axis in (2, 4))
    within = scalar.mul(scalar.add(sample, 0.5), 1 / samples)
    return scalar.add(first, scalar.mul(scalar.add(number, within), width))


@lowers("MaxRoiPool", since=(1, 22))
def max_roi_pool(b: LoweringBuilder, x: Node, rois: Node, *, pooled_shape: tuple[int, ...], spatial_scale: float = 1.0) -> Node:
    """Regions [R, 5] (row of X, and corners) of X [N, C, H, W], the largest element of each of `pooled_shape` bins; 0 for an empty one.

    R. Girshick, Fast R-CNN, 2015. One axis after the other, each over the whole image with what is outside of the bin left out.
    """
    count, wide = rois.shape[0], b.cast(rois, wide_type(rois))
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
    width = scalar.div(scalar.maximum(scalar.add(scalar.sub(last, first), 1), 1), float(bins))
    number, place = (ex.cast(Coordinate(axis), start.dtype) for axis in (3, 4))
    low = scalar.add(scalar.floor(scalar.mul(number, width)), first)
    high = scalar.add(scalar.ceil(scalar.mul(scalar.add(number, 1), width)), first)
    return scalar.logical_and(scalar.ge(place, low), scalar.lt(place, high))
