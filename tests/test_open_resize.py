"""Images whose size is open, before or after Resize, against ONNX Runtime: the taps are computed at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import parser

import tgc
from tgc.errors import UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live, raw_inputs

HEAD = '<ir_version: 9, opset_import: ["" : 19]>\n'
TEXT = (
    HEAD
    + """g (float[batch, 2, height, width] x, float[batch, 2, other, 5] like)
  => (float[b, c, h, w] y, float[b, c, e, f] z, float[b, c, r, s] v) {
  five = Constant<value_ints=[5, 7]>()
  front = Shape<end=2>(x)
  fixed = Concat<axis=0>(front, five)
  y = Resize<MODE>(x, , , fixed)
  back = Shape<start=2>(like)
  alike = Concat<axis=0>(front, back)
  z = Resize<MODE>(x, , , alike)
  scales = Constant<value_floats=[1.0, 1.0, 0.75, 1.3]>()
  v = Resize<MODE>(x, , scales)
}"""
)
DIMS = {"batch": (1, 2), "height": (2, 9), "width": (3, 6), "other": (1, 11)}
SIZES = ((2, 9, 6, 11), (1, 2, 3, 1), (2, 7, 5, 4), (1, 4, 6, 5))
ALIGNED = 'coordinate_transformation_mode="align_corners"'
SYMMETRIC = 'coordinate_transformation_mode="half_pixel_symmetric"'
MODES = [
    "",
    'mode="linear"',
    'mode="cubic"',
    'mode="linear", coordinate_transformation_mode="pytorch_half_pixel"',
    'mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5',
    'coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
    'coordinate_transformation_mode="asymmetric", nearest_mode="ceil"',
    'nearest_mode="round_prefer_ceil"',
    f'mode="linear", {SYMMETRIC}',
]
APART = [f'mode="linear", {ALIGNED}', 'mode="linear", antialias=1', 'mode="cubic", antialias=1']
"""What ONNX Runtime does in other ways than ONNX's reference, which the resizing of known sizes follows."""


def written(mode: str) -> str:
    return TEXT.replace("<MODE>", f"<{mode}>" if mode else "")


def images(batch: int, height: int, width: int, other: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(height)
    return {
        "x": rng.standard_normal((batch, 2, height, width), np.float32),
        "like": rng.standard_normal((batch, 2, other, 5), np.float32),
    }


@pytest.mark.parametrize("mode", MODES + APART)
def test_to_a_fixed_size_to_that_of_another_and_by_a_fraction(mode: str) -> None:
    """Whatever lies beyond the edge."""
    model = parser.parse_model(written(mode))
    graph = import_model(model, dims=DIMS)
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in SIZES:
        inputs = images(*sizes)
        raw = raw_inputs(graph.open, graph.inputs, inputs)
        raw["x"].reshape(-1)[inputs["x"].size :] = np.nan
        found = live(graph.open, run_graph(graph, raw))
        known = run_graph(import_model(model, dims=dict(zip(DIMS, sizes, strict=True))), inputs)
        expected = known.values() if mode in APART else engine.run(None, inputs)
        for name, wanted in zip("yzv", expected, strict=True):
            np.testing.assert_allclose(found[name], wanted, atol=2e-5, err_msg=f"{name} of {sizes}")


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_compiled(tmp_path: Path, target: str) -> None:
    model = parser.parse_model(written('mode="linear"'))
    tgc.compile(model, target, tmp_path, dims=DIMS)
    loaded = tgc.load(tmp_path)
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in SIZES:
        inputs = images(*sizes)
        for found, expected in zip(loaded.run(inputs).values(), engine.run(None, inputs), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_region_of_an_open_image() -> None:
    text = (
        HEAD
        + """g (float[1, 1, height, width] x) => (float[1, 1, 3, 4] y) {
      region = Constant<value_floats=[0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 0.6, 1.8]>()
      sizes = Constant<value_ints=[1, 1, 3, 4]>()
      y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=10.0>(x, region, , sizes)
    }"""
    )
    model = parser.parse_model(text)
    graph = import_model(model, dims={"height": (2, 6), "width": (2, 6)})
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((6, 6), (2, 5), (4, 3)):
        inputs = {"x": np.random.default_rng(0).standard_normal((1, 1, *shape), np.float32)}
        found = live(graph.open, run_graph(graph, raw_inputs(graph.open, graph.inputs, inputs)))
        np.testing.assert_allclose(found["y"], engine.run(None, inputs)[0], atol=2e-5)


def test_a_scale_whose_sizes_no_fraction_gives_is_refused() -> None:
    text = """g (float[1, 1, n, 8] x) => (float[1, 1, m, 8] y) {
      scales = Constant<value_floats=[1.0, 1.0, 0.61803, 1.0]>()
      y = Resize(x, , scales)
    }"""
    with pytest.raises(UnsupportedError, match="an axis of n elements resized by"):
        import_model(parser.parse_model(HEAD + text), dims={"n": (1, 8000)})
