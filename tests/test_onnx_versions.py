"""Operators as older opsets mean them, a sample of `python benchmarks/onnx_versions.py`, which runs them all."""

from __future__ import annotations

from itertools import islice

import onnx
import pytest
from onnx import helper

pytest.importorskip("onnxruntime")

from onnx_versions import answer, cases, differs, earlier, expected, taken_back

EVERY = 50


@pytest.mark.filterwarnings("ignore")
def test_a_sample_of_older_versions() -> None:
    compared = 0
    for name, model, inputs in islice(cases(""), 0, None, EVERY):
        for opset in earlier(model.graph.node[0].op_type, model.opset_import[0].version):
            back = taken_back(model, inputs, opset)
            wanted = expected(*back) if back else None
            if back is not None and wanted is not None:
                assert not differs(answer(*back), wanted), f"{name} in opset {opset}"
                compared += 1
    assert compared > 20


def test_inputs_that_were_attributes() -> None:
    """Squeeze has its axes as an attribute before opset 13."""
    _, newest, inputs = next(case for case in cases("test_squeeze") if case[0] == "test_squeeze")
    made = taken_back(newest, inputs, 11)
    assert made is not None
    old, rest = made
    assert [attribute.name for attribute in old.graph.node[0].attribute] == ["axes"]
    assert list(rest) == ["x"]
    assert earlier("Squeeze", 13) == [7, 11]
    onnx.checker.check_model(helper.make_model(old.graph, opset_imports=old.opset_import, ir_version=8))
