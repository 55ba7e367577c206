"""Resizing against ONNX Runtime: modes, ways to place the output on the input, and views where the factor is whole."""

from __future__ import annotations

import numpy as np
import pytest
from single_operator import ABSENT, Array, agrees, counts, integers, normal, single

from tgc.frontend_onnx.lowerings.sampling import Axis, Sampling, taps

PLACES = ["half_pixel", "pytorch_half_pixel", "asymmetric"]
ROUNDINGS = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
SCALES = [(1, 1, 2, 2), (1, 1, 1.6, 3.3), (1, 1, 0.5, 0.7), (1, 1, 3, 0.4)]


def scales(*numbers: float) -> list[Array]:
    return [ABSENT, np.array(numbers, np.float32)]


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("numbers", SCALES)
def test_interpolation(mode: str, places: str, numbers: tuple[float, ...]) -> None:
    x = {"x": normal(1, 2, 7, 9)}
    agrees(single("Resize", x, scales(*numbers), opset=13, mode=mode, coordinate_transformation_mode=places), x, rtol=1e-4)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("numbers", SCALES)
def test_nearest(rounding: str, places: str, numbers: tuple[float, ...]) -> None:
    x = {"x": normal(1, 2, 7, 9)}
    agrees(single("Resize", x, scales(*numbers), opset=13, nearest_mode=rounding, coordinate_transformation_mode=places), x)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("size", [(1, 2, 12, 4), (1, 2, 1, 30)])
def test_aligned_corners(mode: str, size: tuple[int, ...]) -> None:
    x = {"x": normal(1, 2, 7, 9)}
    weights = [ABSENT, ABSENT, integers(*size)]
    agrees(single("Resize", x, weights, opset=13, mode=mode, coordinate_transformation_mode="align_corners"), x, rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_sizes_along_some_axes_with_the_aspect_kept(mode: str) -> None:
    x = {"x": normal(1, 2, 7, 9)}
    weights = [ABSENT, ABSENT, integers(10, 10)]
    agrees(single("Resize", x, weights, opset=18, mode=mode, axes=[2, 3], keep_aspect_ratio_policy="not_larger"), x, rtol=1e-4)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialiasing(mode: str) -> None:
    x = {"x": normal(1, 2, 12, 10)}
    agrees(single("Resize", x, scales(1, 1, 0.4, 0.7), opset=18, mode=mode, antialias=1), x, rtol=1e-4)


def test_a_region_of_interest() -> None:
    x = {"x": normal(1, 2, 7, 9)}
    weights = [np.array([0, 0, 0.2, 0.3, 1, 1, 0.9, 1.2], np.float32), ABSENT, integers(1, 2, 5, 6)]
    attributes = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
    agrees(single("Resize", x, weights, opset=13, **attributes), x, rtol=1e-4)


@pytest.mark.parametrize("places", ["asymmetric", "half_pixel"])
def test_a_whole_factor_is_a_view(places: str) -> None:
    x = {"x": normal(1, 2, 7, 9)}
    rounding = "floor" if places == "asymmetric" else "round_prefer_floor"
    model = single("Resize", x, scales(1, 1, 2, 3), opset=13, coordinate_transformation_mode=places, nearest_mode=rounding)
    graph = agrees(model, x)
    assert set(counts(graph)) <= {"Input", "Reshape", "Expand"}


def test_a_whole_divisor_is_a_slice() -> None:
    x = {"x": normal(1, 2, 8, 9)}
    model = single("Resize", x, scales(1, 1, 0.5, 1), opset=13, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    assert set(counts(agrees(model, x))) <= {"Input", "Slice"}


def test_weights_sum_to_one() -> None:
    for mode in ("linear", "cubic"):
        sampled = taps(Axis(7, 11, 11 / 7), Sampling(mode, exclude_outside=True))
        np.testing.assert_allclose(sampled.weights.sum(axis=1), 1)
