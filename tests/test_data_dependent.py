"""Outputs whose size depends on data have their true length, and what follows them works on that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

import tgc

Array = npt.NDArray[np.generic]
HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
NON_ZERO = (
    HEAD
    + """g (float[4, 6] x) => (int64[2, n] z, float[n] v, float s, int64[2] h, float[m, 2] e) {
  zero = Constant<value_float=0.0>()
  positive = Greater(x, zero)
  z = NonZero(positive)
  t = Transpose(z)
  v = GatherND(x, t)
  s = ReduceMean<keepdims=0>(v)
  h = Shape(z)
  b = Constant<value_ints=[1]>()
  e_ = Constant<value_ints=[10]>()
  part = Slice(v, b, e_)
  rows = Constant<value_ints=[-1, 1]>()
  column = Reshape(part, rows)
  e = Concat<axis=1>(column, column)
}"""
)
BOXES = (
    HEAD
    + """g (float[1, 8, 4] boxes, float[1, 2, 8] scores) => (int64[n, 3] kept, float[n, 4] chosen) {
  most = Constant<value_ints=[3]>()
  iou = Constant<value_floats=[0.4]>()
  least = Constant<value_floats=[0.2]>()
  kept = NonMaxSuppression(boxes, scores, most, iou, least)
  two = Constant<value_int=2>()
  index = Gather<axis=1>(kept, two)
  none = Constant<value_ints=[0]>()
  all = Squeeze(boxes, none)
  chosen = Gather(all, index)
}"""
)
UNIQUE = (
    HEAD
    + """g (int64[12] x, bool[5] c, float[3, 5] y) => (int64[n] u, int64[n] i, int64[12] r, int64[n] k, float[3, m] p) {
  u, i, r, k = Unique<sorted=1>(x)
  p = Compress<axis=1>(y, c)
}"""
)


def _boxes(rng: np.random.Generator) -> Array:
    corner, size = rng.uniform(0, 1, (1, 8, 2)), rng.uniform(0.2, 0.8, (1, 8, 2))
    return np.concatenate([corner, corner + size], 2).astype(np.float32)


def _inputs(name: str, rng: np.random.Generator, share: float) -> dict[str, Array]:
    match name:
        case "non_zero":
            return {"x": (rng.random((4, 6)) - 1 + share).astype(np.float32)}
        case "boxes":
            return {"boxes": _boxes(rng), "scores": (rng.random((1, 2, 8)) * share).astype(np.float32)}
        case _:
            return {
                "x": rng.integers(-3, 1 + int(8 * share), 12), "c": rng.random(5) < share,
                "y": rng.standard_normal((3, 5), np.float32),
            }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
@pytest.mark.parametrize(("name", "text"), [("non_zero", NON_ZERO), ("boxes", BOXES), ("unique", UNIQUE)])
def test_true_lengths(name: str, text: str, target: str, tmp_path: Path) -> None:
    model = parser.parse_model(text)
    tgc.compile(model, target, tmp_path / "out", name=name)
    loaded = tgc.load(tmp_path / "out")
    rng = np.random.default_rng(3)
    for share in (0.9, 0.5, 0.3, 1.0):
        inputs = _inputs(name, rng, share)
        wanted = ReferenceEvaluator(model).run(None, inputs)
        for found, expected in zip(loaded.run(inputs).values(), wanted, strict=True):
            assert found.shape == np.asarray(expected).shape
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nothing_found(tmp_path: Path) -> None:
    tgc.compile(parser.parse_model(NON_ZERO), "cpu", tmp_path / "out", name="non_zero")
    found = tgc.load(tmp_path / "out").run({"x": -np.ones((4, 6), np.float32)})
    assert {name: array.shape for name, array in found.items()} == {"z": (2, 0), "v": (0,), "s": (), "h": (2,), "e": (0, 2)}
    assert found["h"].tolist() == [2, 0]
    assert np.isnan(found["s"])


def test_data_and_dimensions_together(tmp_path: Path) -> None:
    """The number of elements that are found is bounded by one that is open itself."""
    text = HEAD + "g (float[rows, cols] x) => (int64[2, n] z, float[n] c) { z = NonZero(x) t = Transpose(z) c = GatherND(x, t) }"
    model = parser.parse_model(text)
    tgc.compile(model, "cpu", tmp_path / "out", dims={"rows": (1, 5), "cols": (1, 4)}, name="found")
    loaded = tgc.load(tmp_path / "out")
    for shape in ((5, 4), (2, 3), (1, 1)):
        x = np.arange(-2, np.prod(shape) - 2).reshape(shape).astype(np.float32)
        result = loaded.run({"x": x})
        np.testing.assert_array_equal(result["z"], np.array(np.nonzero(x)))
        np.testing.assert_array_equal(result["c"], x[np.nonzero(x)])
