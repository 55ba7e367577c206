"""A sum whose terms are not read in memory's order: GCC 12.2 at -O3 makes a wrong one of it where it may make vectors itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import tgc

MODEL = """<ir_version: 10, opset_import: ["" : 20]>
g (float[5, 1, 3] x, float[1, 1, 1] w) => (float s, float[5, 1, 5] t) {
  y = ConvTranspose<kernel_shape=[1], strides=[2]>(x, w)
  s = ReduceMean<keepdims=0>(y)
  t = Relu(y)
}"""


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_a_mean_over_interleaved_elements(target: str, tmp_path: Path) -> None:
    tgc.compile(parser.parse_model(MODEL), target, tmp_path / "out")
    x = np.arange(15, dtype=np.float32).reshape(5, 1, 3) - 6
    found = tgc.load(tmp_path / "out").run({"x": x, "w": np.full((1, 1, 1), 2, np.float32)})
    wanted = np.zeros((5, 1, 5), np.float32)
    wanted[:, :, ::2] = 2 * x
    np.testing.assert_allclose(found["s"], wanted.mean(), rtol=1e-6)
    np.testing.assert_array_equal(found["t"], np.maximum(wanted, 0))
