"""RoiAlign and MaxRoiPool against ONNX Runtime, dropout in training, and Scan of opset 8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_operator import Array, agrees, normal, single
from test_control import model

from tgc.errors import UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph


def regions(rng: np.random.Generator, count: int, height: int, width: int) -> Array:
    """Corners [count, 4] of regions, some of them beyond the image."""
    low = rng.uniform(-2, (width, height), (count, 2))
    return np.concatenate([low, low + rng.uniform(0.1, (width + 3, height + 3), (count, 2))], axis=1).astype(np.float32)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000), ratio=st.sampled_from([0, 1, 2, 3]), half=st.sampled_from(["half_pixel", "output_half_pixel"]),
    scale=st.sampled_from([1.0, 0.5, 2.0]), size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    bins=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)  # fmt: skip
def test_means_of_regions(seed: int, ratio: int, half: str, scale: float, size: tuple[int, int], bins: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    feeds = {
        "x": rng.standard_normal((2, 3, *size)).astype(np.float32), "rois": regions(rng, 4, *size) / np.float32(scale),
        "rows": rng.integers(0, 2, 4),
    }  # fmt: skip
    made = single(
        "RoiAlign", feeds, opset=16, coordinate_transformation_mode=half, sampling_ratio=ratio, spatial_scale=scale,
        output_height=bins[0], output_width=bins[1],
    )  # fmt: skip
    agrees(made, feeds, rtol=1e-4)


def test_the_largest_of_as_many_samples_as_data_say_is_refused() -> None:
    feeds = {"x": normal(1, 1, 4, 4), "rois": normal(2, 4), "rows": np.zeros(2, np.int64)}
    with pytest.raises(UnsupportedError, match="sampling_ratio"):
        import_model(single("RoiAlign", feeds, opset=16, mode="max"))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1.0, 0.5]), size=st.tuples(st.integers(2, 9), st.integers(2, 9)))
def test_the_largest_of_regions(seed: int, scale: float, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    rois = np.concatenate([rng.integers(0, 2, (4, 1)), regions(rng, 4, *size) / scale], axis=1).astype(np.float32)
    feeds = {"x": rng.standard_normal((2, 3, *size)).astype(np.float32), "rois": rois}
    agrees(single("MaxRoiPool", feeds, pooled_shape=[3, 2], spatial_scale=scale), feeds)


@pytest.mark.parametrize("opset", [12, 22])
def test_dropout_in_training_keeps_the_mean(opset: int) -> None:
    feeds = {"x": np.ones((50, 40), np.float32)}
    weights = [np.array(0.3, np.float32), np.array(True)]
    results = run_graph(import_model(single("Dropout", feeds, weights, opset=opset, types=(np.float32, np.bool_), seed=4)), feeds)
    mask = results["y1"]
    np.testing.assert_allclose(results["y0"], np.where(mask, np.float32(1 / 0.7), 0), rtol=1e-6)
    assert abs(mask.mean() - 0.7) < 0.03


@pytest.mark.parametrize("direction", [0, 1])
def test_sequences_that_end_early(direction: int) -> None:
    made = model(f"""g (float[3, 2] start, float[3, 5, 2] x) => (float[3, 2] last, float[3, 5, 2] sums)
        <int64[3] lengths = {{5, 2, 4}}> {{
        last, sums = Scan(lengths, start, x) <num_scan_inputs = 1, directions = [{direction}],
            body = b (float[2] state, float[2] element) => (float[2] after, float[2] sum) {{
                after = Add(state, element)  sum = Identity(after)
            }}>
    }}""", opset=8)  # fmt: skip
    feeds = {"start": normal(3, 2), "x": normal(3, 5, 2)}
    agrees(made, feeds)
