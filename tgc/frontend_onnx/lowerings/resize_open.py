"""Resize along an axis of which the old or the new extent is only known at run time: the taps of `sampling` as arithmetic on places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tgc.errors import ModelError
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import formula, place
from tgc.frontend_onnx.lowerings.sampling import Axis, Sampling
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I64
from tgc.ir.expr import Expr, Lit
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Length

_BY_PLACE = ("half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric", "tf_half_pixel_for_nn")
"""Where an element comes from depends on its place and the scale alone, not on how many there are."""
_REACH = {"nearest": 0, "linear": 1, "cubic": 2}
"""How far taps are from the place that they are for."""
_FINEST = 1024
"""The largest denominator that a scale of an open axis is a fraction with."""


@dataclass(frozen=True, slots=True)
class OpenAxis:
    """A resized axis: `size` elements become `out`, either of them open. scale: None for out / size. start, end: the region, 0 to 1."""

    size: int
    out: int
    scale: float | None
    start: float = 0.0
    end: float = 1.0

    @property
    def least_scale(self) -> float:
        """The smallest that the scale can be."""
        return _least(self.out) / max(1, int(self.size)) if self.scale is None else self.scale


def _least(size: int) -> int:
    return size.low if isinstance(size, Length) else size


def open_axes(
    b: LoweringBuilder, shape: Shape, axes: Sequence[int], wanted: Sequence[float], how: Sampling, policy: str
) -> dict[int, Axis | OpenAxis]:
    """Those of `axes` that are open, before or after. wanted: a scale (float) or size (int) for each of `axes`.

    A whole number of times larger, with nothing changed by where it ends, is an `Axis` for the largest size.
    Raises UnsupportedError for scales and policies whose result has no form here.
    """
    found: dict[int, Axis | OpenAxis] = {}
    for axis, to in zip(axes, wanted, strict=True):
        if not isinstance(shape[axis], Length) and not isinstance(to, Length):
            continue
        if policy != "stretch":
            raise b.unsupported(f"an axis of {shape[axis]} elements resized by keep_aspect_ratio_policy {policy!r}", "pin its size")
        found[axis] = _open_axis(b, shape[axis], to, how)
    return found


def _open_axis(b: LoweringBuilder, size: int, to: float, how: Sampling) -> Axis | OpenAxis:
    if isinstance(to, int):
        times = int(to) // max(1, int(size))
        whole = isinstance(size, Length) and times >= 1 and size * times == to
        out, scale = to, None
    else:
        times, out, scale = int(to), _scaled(b, size, to), to
        whole = times == to
    by_place = how.coordinates in _BY_PLACE and not how.exclude_outside and not how.antialias
    if whole and (times == 1 or by_place) and how.coordinates != "tf_crop_and_resize":
        return Axis(int(size), int(size) * times, float(times))
    return OpenAxis(size, out, scale)


def _scaled(b: LoweringBuilder, size: int, scale: float) -> int:
    """`size` times `scale`, rounded down in single precision as ONNX's shape inference does."""
    ratio = Fraction(scale).limit_denominator(_FINEST)
    sizes = np.arange(_least(size), int(size) + 1)
    rounded = np.floor(sizes.astype(np.float32) * np.float32(scale)).astype(np.int64)
    if ratio <= 0 or not np.array_equal(rounded, sizes * ratio.numerator // ratio.denominator):
        raise b.unsupported(f"an axis of {size} elements resized by {scale}", "pin its size, or say how many there are to be in sizes")
    return size * ratio.numerator // ratio.denominator


def with_regions(axes: Mapping[int, Axis | OpenAxis], ends: Mapping[int, tuple[float, float]]) -> dict[int, Axis | OpenAxis]:
    """`axes` with what part of each is looked at, from 0 to 1."""
    return {axis: type(to)(to.size, to.out, to.scale, *ends[axis]) for axis, to in axes.items()}  # type: ignore[arg-type]


def stretched(b: LoweringBuilder, x: Node, axis: int, to: OpenAxis, how: Sampling, extrapolation: float) -> Node:
    """`x`, floating-point unless it is sampled at the nearest element, resized along `axis`."""
    if how.mode not in _REACH:
        raise b.invalid(f"mode is {how.mode!r}")
    reach = _REACH[how.mode]
    radius = int(np.ceil(reach / (min(to.least_scale, 1.0) if how.antialias else 1.0)))
    table = (to.out, max(1, 2 * radius))
    shape = (*x.shape[:axis], to.out, *x.shape[axis + 1 :], table[1])
    column = (*(to.out if d == axis else 1 for d in range(len(x.shape))), table[1])
    index = formula(b, table, lambda size, out: _index(_place(size, out, to, how), size, radius, how), to.size, to.out)
    places = [b.reshape(index, column) if d == axis else b.coordinate(shape, d, I64) for d in range(len(x.shape))]
    found = b.gather(x, places, shape)
    if how.mode != "nearest":
        weights = b.cast(b.reshape(_weights(b, table, to, how, radius), column), x.dtype)
        found = b.mul(found, b.broadcast_to(weights, shape))
    found = b.reduce(ops.ADD, found, (len(shape) - 1,), keepdims=False) if table[1] > 1 else b.squeeze(found, (len(shape) - 1,))
    if how.coordinates != "tf_crop_and_resize":
        return found
    outside = formula(b, (to.out,), lambda size, out: _outside(_place(size, out, to, how), size), to.size, to.out)
    return b.where_(b.reshape(outside, column[:-1]), b.scalar(extrapolation, x.dtype), found)


def _place(size: Expr, out: Expr, to: OpenAxis, how: Sampling) -> Expr:
    """Where an element of the result, by its coordinate 0, lies on the source axis: f32, computed as `sampling` does."""
    i, n, m = (ex.cast(e, F32) for e in (place(0), size, out))
    scale: Expr = scalar.div(m, n) if to.scale is None else Lit(float(np.float32(to.scale)), F32)
    width = m if to.scale is None else scalar.mul(n, scale)
    last, single = scalar.sub(n, 1.0), scalar.eq(width, 1.0)
    centre = scalar.div(scalar.add(i, 0.5), scale)
    match how.coordinates:
        case "half_pixel":
            return scalar.sub(centre, 0.5)
        case "half_pixel_symmetric":
            shift = scalar.mul(scalar.mul(n, 0.5), scalar.sub(1.0, scalar.div(m, width)))
            return scalar.sub(scalar.add(shift, centre), 0.5)
        case "pytorch_half_pixel":
            return scalar.where(scalar.gt(m, 1.0), scalar.sub(centre, 0.5), i)
        case "asymmetric":
            return scalar.div(i, scale)
        case "align_corners":
            return scalar.where(single, 0.0, scalar.div(scalar.mul(i, last), scalar.sub(width, 1.0)))
        case "tf_crop_and_resize":
            step = scalar.div(scalar.mul(last, to.end - to.start), scalar.sub(width, 1.0))
            moving = scalar.add(scalar.mul(i, step), scalar.mul(last, to.start))
            return scalar.where(single, scalar.mul(last, 0.5 * (to.start + to.end)), moving)
        case "tf_half_pixel_for_nn":
            return centre
    raise ModelError(f"coordinate_transformation_mode is {how.coordinates!r}")


def _outside(position: Expr, size: Expr) -> Expr:
    return scalar.logical_or(scalar.lt(position, 0.0), scalar.gt(position, ex.cast(scalar.sub(size, 1), F32)))


def _index(position: Expr, size: Expr, radius: int, how: Sampling) -> Expr:
    """The element that a tap, by its coordinate 1, reads, in range: i64. Clamped as an integer, whatever became of the position."""
    if how.mode == "nearest":
        match how.nearest_mode:
            case "round_prefer_floor":
                whole = scalar.ceil(scalar.sub(position, 0.5))
            case "round_prefer_ceil":
                whole = scalar.floor(scalar.add(position, 0.5))
            case "floor":
                whole = scalar.floor(position)
            case "ceil":
                whole = scalar.ceil(position)
            case _:
                raise ModelError(f"nearest_mode is {how.nearest_mode!r}")
        tap = ex.cast(whole, I64)
    else:
        tap = scalar.add(ex.cast(scalar.floor(position), I64), scalar.add(place(1), 1 - radius))
    return scalar.maximum(scalar.minimum(tap, scalar.sub(size, 1)), 0)


def _weights(b: LoweringBuilder, table: Shape, to: OpenAxis, how: Sampling, radius: int) -> Node:
    """The weight of each tap of each element: f32 [out, taps]."""

    def weight(size: Expr, out: Expr) -> Expr:
        position = _place(size, out, to, how)
        tap = scalar.add(scalar.floor(position), ex.cast(scalar.add(place(1), 1 - radius), F32))
        distance = scalar.abs(scalar.sub(tap, position))
        if how.antialias:
            scale = scalar.div(ex.cast(out, F32), ex.cast(size, F32)) if to.scale is None else Lit(to.scale, F32)
            distance = scalar.mul(distance, scalar.minimum(scale, 1.0))
        share = scalar.maximum(scalar.sub(1.0, distance), 0.0) if how.mode == "linear" else _keys(distance, how.cubic_coeff_a)
        if not how.exclude_outside:
            return share
        inside = scalar.logical_and(scalar.ge(tap, 0.0), scalar.lt(tap, ex.cast(size, F32)))
        return scalar.where(inside, share, 0.0)

    weights = formula(b, table, weight, to.size, to.out)
    if not how.antialias and not how.exclude_outside:
        return weights
    return b.div(weights, b.broadcast_to(b.reduce(ops.ADD, weights, (1,)), table))


def _keys(distance: Expr, a: float) -> Expr:
    """Cubic convolution, as `sampling` has it; `distance` is not negative."""
    square = scalar.mul(distance, distance)
    near = scalar.add(scalar.mul(scalar.sub(scalar.mul(distance, a + 2), a + 3), square), 1.0)
    far = scalar.sub(scalar.mul(scalar.add(scalar.mul(scalar.sub(scalar.mul(distance, a), 5 * a), distance), 8 * a), distance), 4 * a)
    return scalar.where(scalar.le(distance, 1.0), near, scalar.where(scalar.lt(distance, 2.0), far, 0.0))
