"""Where the elements of a resized axis come from, and with which weights. Plain numpy; nothing here knows of graphs.

Resizing is separable: each axis on its own is a sparse matrix of `taps` entries a row, which `Taps` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.errors import ModelError, UnsupportedError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Axis:
    """A resized axis: `size` elements become `out`; `scale` is out / size before rounding. start, end: the region of interest, 0 to 1."""

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """The attributes of Resize that say how to sample, named as ONNX names them."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


@dataclass(frozen=True, slots=True)
class Taps:
    """out[i] = sum over k of weights[i, k] * source[indices[i, k]]; indices [out, taps] are in range.

    outside: [out] bool, true where the whole element is the extrapolation value.
    """

    indices: Indices
    weights: Floats
    outside: npt.NDArray[np.bool_]


def taps(axis: Axis, how: Sampling) -> Taps:
    """The taps of every output element of `axis`. Raises ModelError for modes that ONNX does not have."""
    position = _positions(axis, how.coordinates)
    outside = np.zeros(axis.out, np.bool_)
    if how.coordinates == "tf_crop_and_resize":
        outside = (position < 0) | (position > axis.size - 1)
    if how.mode == "nearest":
        indices = np.clip(_nearest(position, how.nearest_mode), 0, axis.size - 1)[:, None]
        return Taps(indices, np.ones(indices.shape), outside)
    indices, weights = _weighted(position, axis, how)
    used = np.any(weights != 0, axis=0)
    return Taps(np.clip(indices, 0, axis.size - 1)[:, used], weights[:, used], outside)


def _positions(axis: Axis, coordinates: str) -> Floats:
    """The place of each output element on the source axis, in source elements, [out].

    Computed in single precision, as exporters and other runtimes do: scales such as 1/3 put elements exactly between two others,
    and rounding decides. Where a fractional scale left the width unrounded, align_corners goes by that, as ONNX's reference does.
    """
    i = np.arange(axis.out, dtype=np.float32)
    scale, half = np.float32(axis.scale), np.float32(0.5)
    width = axis.scale * axis.size  # of the output before it was rounded to a whole number
    match coordinates:
        case "half_pixel":
            place = (i + half) / scale - half
        case "half_pixel_symmetric":
            place = np.float32(axis.size / 2 * (1 - axis.out / width)) + (i + half) / scale - half
        case "pytorch_half_pixel":
            place = (i + half) / scale - half if axis.out > 1 else i
        case "asymmetric":
            place = i / scale
        case "align_corners":
            place = i * np.float32(axis.size - 1) / np.float32(width - 1) if width != 1 else 0 * i
        case "tf_crop_and_resize":
            place = _region(i, axis, width)
        case "tf_half_pixel_for_nn":
            place = (i + half) / scale
        case _:
            raise ModelError(f"coordinate_transformation_mode is {coordinates!r}")
    return place.astype(np.float64)


def _region(i: npt.NDArray[np.float32], axis: Axis, width: float) -> npt.NDArray[np.float32]:
    last = axis.size - 1
    if width == 1:
        return np.full(axis.out, 0.5 * (axis.start + axis.end) * last, np.float32)
    return i * np.float32((axis.end - axis.start) * last / (width - 1)) + np.float32(axis.start * last)


def _nearest(position: Floats, mode: str) -> Indices:
    rounding: dict[str, Callable[[Floats], Floats]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if mode not in rounding:
        raise ModelError(f"nearest_mode is {mode!r}")
    return np.asarray(rounding[mode](position), np.int64)


def _triangle(x: Floats) -> Floats:
    return np.asarray(np.maximum(0.0, 1 - np.abs(x)))


def _keys(x: Floats, a: float) -> Floats:
    """Cubic convolution: R. G. Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, equation 4."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _weighted(position: Floats, axis: Axis, how: Sampling) -> tuple[Indices, Floats]:
    """Indices, possibly out of range, and weights, both [out, taps], of linear and cubic sampling.

    Antialiasing stretches the kernel by 1 / scale when the axis shrinks.
    """
    if how.mode not in ("linear", "cubic"):
        raise ModelError(f"mode is {how.mode!r}")
    squeeze = min(axis.scale, 1.0) if how.antialias else 1.0
    radius = int(np.ceil((1 if how.mode == "linear" else 2) / squeeze))
    indices = np.floor(position).astype(np.int64)[:, None] + np.arange(1 - radius, radius + 1)[None, :]
    distance = (indices - position[:, None]) * squeeze
    weights = _triangle(distance) if how.mode == "linear" else _keys(distance, how.cubic_coeff_a)
    if how.antialias:
        weights = weights / weights.sum(axis=1, keepdims=True)
    if how.exclude_outside:
        weights = np.where((indices < 0) | (indices >= axis.size), 0.0, weights)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return indices, weights


def output_axes(shape: tuple[int, ...], wanted: Mapping[int, float], policy: str) -> dict[int, tuple[int, float]]:
    """(output extent, scale) of each axis in `wanted`, which has a scale (float) or a size (int) for it. Raises ModelError."""
    if min(wanted.values(), default=1) <= 0:
        raise ModelError(f"axes are resized to {dict(wanted)}")
    scales = {axis: to for axis, to in wanted.items() if not isinstance(to, int)}
    if scales:
        # in single precision, as ONNX's shape inference rounds
        return {axis: (int(np.floor(np.float32(shape[axis]) * np.float32(scale))), scale) for axis, scale in scales.items()}
    ratios = {axis: size / shape[axis] for axis, size in wanted.items()}
    match policy:
        case "stretch":
            return {axis: (int(size), ratios[axis]) for axis, size in wanted.items()}
        case "not_larger" | "not_smaller":
            scale = (min if policy == "not_larger" else max)(ratios.values(), default=1.0)
            return {axis: (int(np.floor(scale * shape[axis] + 0.5)), scale) for axis in wanted}
        case _:
            raise UnsupportedError(f"keep_aspect_ratio_policy is {policy!r}")
