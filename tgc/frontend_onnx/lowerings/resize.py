"""Resize and Upsample, one axis after the other: each is a weighted sum of slices or gathers at places known while compiling, or, where
its extents are open, of elements at computed places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import along, formula, is_open, opened
from tgc.frontend_onnx.live import place as live_place
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.lowerings.resize_open import OpenAxis, open_axes, stretched, with_regions
from tgc.frontend_onnx.lowerings.sampling import Axis, Sampling, Taps, output_axes, taps
from tgc.frontend_onnx.lowerings.taking import take
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32
from tgc.ir.graph import Node, Shape

_LEGACY = Sampling(coordinates="asymmetric", nearest_mode="floor")
"""What Upsample and the first Resize mean."""


@lowers("Upsample", since=7)
def upsample_7(b: LoweringBuilder, x: Node, *, scales: tuple[float, ...], mode: str = "nearest") -> Node:
    """`scales` times larger along each axis."""
    return _by_scales(b, x, list(scales), mode)


@lowers("Upsample", since=9)
@lowers("Resize", since=10)
def resize_10(b: LoweringBuilder, x: Node, scales: Node, *, mode: str = "nearest") -> Node:
    """`scales` times larger along each axis."""
    return _by_scales(b, x, known_floats(b, scales, "scales"), mode)


def _by_scales(b: LoweringBuilder, x: Node, scales: list[float], mode: str) -> Node:
    how = Sampling("linear" if mode == "bilinear" else mode, _LEGACY.coordinates, _LEGACY.nearest_mode)
    return resized(b, x, _resized_axes(b, x.shape, range(len(x.shape)), scales, how, "stretch"), how, 0.0)


@lowers("Resize", since=(11, 13))
def resize_11(
    b: LoweringBuilder,
    x: Node,
    roi: Node | None = None,
    scales: Node | None = None,
    sizes: Node | None = None,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Node:
    """`scales` times larger, or to `sizes`."""
    how = Sampling(mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside))
    return resized(b, x, _axes(b, x, (roi, scales, sizes), how, None, "stretch"), how, extrapolation_value)


@lowers("Resize", since=(18, 19))
def resize(
    b: LoweringBuilder,
    x: Node,
    roi: Node | None = None,
    scales: Node | None = None,
    sizes: Node | None = None,
    *,
    antialias: int = 0,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Node:
    """The same along `axes` only."""
    how = Sampling(mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias))
    return resized(b, x, _axes(b, x, (roi, scales, sizes), how, axes, keep_aspect_ratio_policy), how, extrapolation_value)


def known_floats(b: LoweringBuilder, node: Node, what: str) -> list[float]:
    """A known tensor's elements as numbers."""
    return [float(v) for v in b.known(node, what).reshape(-1).tolist()]


def _axes(
    b: LoweringBuilder,
    x: Node,
    inputs: tuple[Node | None, Node | None, Node | None],
    how: Sampling,
    axes: Sequence[int] | None,
    policy: str,
) -> dict[int, Axis | OpenAxis]:
    """What becomes of each axis. Of the inputs roi, scales and sizes, one that has no elements counts as left out."""
    roi, scales, sizes = (None if node is None or 0 in node.shape else node for node in inputs)
    chosen = list(b.axes(range(len(x.shape)) if axes is None else axes, len(x.shape)))
    factors = None if scales is None else known_floats(b, scales, "scales")
    extents = None if sizes is None else list(b.extents(sizes, "sizes"))
    found = _resized_axes(b, x.shape, chosen, factors if factors is not None else extents, how, policy)
    if how.coordinates != "tf_crop_and_resize":
        return found
    if roi is None:
        raise b.invalid("tf_crop_and_resize without roi")
    region = known_floats(b, roi, "roi")
    return with_regions(found, dict(zip(chosen, zip(region[: len(chosen)], region[len(chosen) :], strict=True), strict=True)))


def _resized_axes(
    b: LoweringBuilder, shape: Shape, axes: Sequence[int], wanted: Sequence[float] | None, how: Sampling, policy: str
) -> dict[int, Axis | OpenAxis]:
    """wanted: a scale (float) or size (int) for each of `axes`."""
    if wanted is None or len(wanted) != len(axes):
        raise b.invalid(f"{'neither scales nor sizes' if wanted is None else f'{list(wanted)}'} for axes {list(axes)}")
    opened = open_axes(b, shape, axes, wanted, how, policy)
    rest = {axis: to for axis, to in zip(axes, wanted, strict=True) if axis not in opened}
    return {**{axis: Axis(shape[axis], *to) for axis, to in output_axes(shape, rest, policy).items()}, **opened}


def resized(b: LoweringBuilder, x: Node, axes: dict[int, Axis | OpenAxis], how: Sampling, extrapolation: float) -> Node:
    """`x` along each of `axes` in turn, those that shrink most first."""

    def every(wide: Node) -> Node:
        for axis, to in sorted(axes.items(), key=lambda item: (int(item[1].out) / max(1, int(item[1].size)), item[0])):
            if isinstance(to, OpenAxis):
                wide = stretched(b, wide, axis, to, how, extrapolation)
            elif to.out != to.size or to.scale != 1 or (to.start, to.end) != (0.0, 1.0):
                if is_open(wide.shape[axis : axis + 1]):
                    wide = _along_open(b, wide, axis, to, how)
                else:
                    wide = _along(b, wide, axis, taps(to, how), extrapolation)
        return wide

    if how.mode == "nearest":
        return every(x)
    if x.dtype.is_float:
        return in_single(b, every, x)
    low, high = int(x.dtype.lowest), -1 - int(x.dtype.lowest) if x.dtype.kind == "int" else (1 << x.dtype.bits) - 1
    return b.cast(b.elementwise(lambda a: scalar.clip(a, low, high), every(b.cast(x, F32))), x.dtype)


def _along_open(b: LoweringBuilder, x: Node, axis: int, to: Axis, how: Sampling) -> Node:
    """`x` along an open axis, a whole number of times larger: what lies beyond its end is the last element, where `_along` clamps."""
    size = x.shape[axis]
    shape = (*x.shape[:axis], int(size), *x.shape[axis + 1 :])
    place = formula(b, shape, lambda n: scalar.minimum(live_place(axis), scalar.sub(n, 1)), size)
    out = _along(b, along(b, x, axis, place, shape), axis, taps(to, how), 0.0)
    return opened(b, out, (*x.shape[:axis], size * round(to.scale), *x.shape[axis + 1 :]))


def _along(b: LoweringBuilder, x: Node, axis: int, sampled: Taps, extrapolation: float) -> Node:
    if x.shape[axis] == 0:
        raise b.invalid(f"axis {axis} of shape {list(x.shape)} has no elements to resize")
    column = [-1 if d == axis else 1 for d in range(len(x.shape))]
    parts = []
    for tap in range(sampled.indices.shape[1]):
        part = take(b, x, axis, sampled.indices[:, tap].tolist())
        weights = sampled.weights[:, tap]
        if np.any(weights != 1):
            part = b.mul(part, b.constant(weights.astype(x.dtype.numpy).reshape(column)))
        parts.append(part)
    out = parts[0]
    for part in parts[1:]:
        out = b.apply(ops.ADD, out, part)
    if not sampled.outside.any():
        return out
    return b.where_(b.constant(sampled.outside.reshape(column)), b.scalar(extrapolation, x.dtype), out)
