"""Resize and Upsample, one axis after the other: each is a weighted sum of slices or gathers at places known while compiling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import along, formula, is_open, largest, opened
from tgc.frontend_onnx.live import place as live_place
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.lowerings.sampling import Axis, Sampling, Taps, output_axes, taps
from tgc.frontend_onnx.lowerings.taking import take
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Length

_LEGACY = Sampling(coordinates="asymmetric", nearest_mode="floor")
"""What Upsample and the first Resize mean."""
_BY_PLACE = ("half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric", "tf_half_pixel_for_nn")
"""Where an element comes from depends on its place and the scale alone, not on how many there are."""


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
    require_open_fit(b, x.shape, range(len(x.shape)), scales, how, "stretch")
    found = output_axes(largest(x.shape), scales, None, list(range(len(x.shape))), "stretch")
    return resized(b, x, {axis: Axis(int(x.shape[axis]), *to) for axis, to in found.items()}, how, 0.0)


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
) -> dict[int, Axis]:
    """What becomes of each axis. Of the inputs roi, scales and sizes, one that has no elements counts as left out."""
    roi, scales, sizes = (None if node is None or 0 in node.shape else node for node in inputs)
    chosen = list(b.axes(range(len(x.shape)) if axes is None else axes, len(x.shape)))
    factors = None if scales is None else known_floats(b, scales, "scales")
    extents = None if sizes is None else list(b.extents(sizes, "sizes"))
    require_open_fit(b, x.shape, chosen, factors if factors is not None else extents or [], how, policy)
    found = output_axes(largest(x.shape), factors, None if extents is None else list(largest(extents)), chosen, policy)
    if how.coordinates != "tf_crop_and_resize":
        return {axis: Axis(int(x.shape[axis]), *to) for axis, to in found.items()}
    if roi is None:
        raise b.invalid("tf_crop_and_resize without roi")
    region = known_floats(b, roi, "roi")
    ends = zip(region[: len(chosen)], region[len(chosen) :], strict=True)
    return {axis: Axis(x.shape[axis], *to, *part) for (axis, to), part in zip(found.items(), ends, strict=True)}


def resized(b: LoweringBuilder, x: Node, axes: dict[int, Axis], how: Sampling, extrapolation: float) -> Node:
    """`x` along each of `axes` in turn, those that shrink most first."""

    def every(wide: Node) -> Node:
        for axis, to in sorted(axes.items(), key=lambda item: (item[1].out / max(1, item[1].size), item[0])):
            if to.out != to.size or to.scale != 1 or (to.start, to.end) != (0.0, 1.0):
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


def require_open_fit(b: LoweringBuilder, shape: Shape, axes: Sequence[int], wanted: Sequence[float], how: Sampling, policy: str) -> None:
    """Raises UnsupportedError where an open axis is neither kept nor a whole number of times larger with nothing changed by where it ends.

    wanted: a scale or size for each of `axes`.
    """
    for axis, to in zip(axes, wanted, strict=False):
        size = shape[axis]
        if not isinstance(size, Length):
            if isinstance(to, Length):
                raise b.unsupported(f"an axis of {size} elements resized to {to}")
            continue
        times = int(to) // max(1, int(size)) if isinstance(to, int) else int(to)
        kept = to == size if isinstance(to, Length) else to == 1 and not isinstance(to, int)
        whole = times >= 1 and (size * times == to if isinstance(to, int) else times == to)
        by_place = how.coordinates in _BY_PLACE and not how.exclude_outside and not how.antialias
        if policy != "stretch" or how.coordinates == "tf_crop_and_resize" or not (kept or (whole and by_place)):
            raise b.unsupported(f"an axis of {size} elements resized {'to' if isinstance(to, int) else 'by'} {to}", "pin its size")


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
