"""Dimensions that the model gives several names, and the user says are equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

import tgc
from tgc.errors import ModelError, OptionError
from tgc.frontend_onnx import import_model

HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
EQUAL = (
    HEAD
    + """g (float[old, 3] x, float[new, 3] y, float[total, 3] m, float[other, 3] o) => (float[a, 3] z) {
  both = Concat<axis=0>(x, y)
  sum = Add(both, m)
  z = Add(sum, o)
}"""
)


def test_dimensions_that_are_said_to_be_equal(tmp_path: Path) -> None:
    model = parser.parse_model(EQUAL)
    ranges = {"old": (1, 4), "new": (1, 2)}
    with pytest.raises(ModelError, match="do not broadcast") as caught:
        import_model(model, dims={**ranges, "total": (2, 6), "other": (2, 6)})
    assert "--dim total=past+new" in caught.value.hint
    equal = {"total": "old + new", "other": "old+new"}
    tgc.compile(model, "cpu", tmp_path / "out", dims={**ranges, **equal})
    loaded = tgc.load(tmp_path / "out")
    for old, new in ((4, 2), (1, 1), (3, 2)):
        inputs = {name: np.full((n, 3), n, np.float32) for name, n in zip("xymo", (old, new, old + new, old + new), strict=True)}
        np.testing.assert_array_equal(loaded.run(inputs)["z"], ReferenceEvaluator(model).run(None, inputs)[0])
    with pytest.raises(OptionError, match="axis 0 of input 'm' is 4, where the dimensions say 5"):
        loaded.run({**inputs, "m": np.ones((4, 3), np.float32)})
    assert import_model(model, dims={"old": 3, "new": 1, **equal}).outputs[0][1].shape == (4, 3)
    with pytest.raises(OptionError, match="no input has a dimension named 'all'"):
        import_model(model, dims={**ranges, "all": "old"})
    with pytest.raises(OptionError, match="'older' is no other dimension"):
        import_model(model, dims={**ranges, "total": "older"})
