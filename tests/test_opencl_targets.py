"""OpenCL's targets by data, and what devices with work-groups are spared: writing halos in every run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tgc
from tgc.errors import ToolchainError
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.verify import verify_program
from tgc.run.opencl import icd_loader
from tgc.targets import OPENCL, TARGETS

NAMES = [target.name for target in TARGETS if target.backend == "opencl"]
RNG = np.random.default_rng(0)


def convolutions() -> onnx.ModelProto:
    """Two padded convolutions, a pool, and a matrix product."""
    weights = {
        "a": RNG.standard_normal((16, 3, 3, 3)) / 5, "b": RNG.standard_normal((24, 16, 3, 3)) / 12, "c": RNG.standard_normal((24, 10)) / 5,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Conv", ["q", "b"], ["r"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MaxPool", ["r"], ["s"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["s"], ["t"]), helper.make_node("Flatten", ["t"], ["u"]),
        helper.make_node("MatMul", ["u", "c"], ["y"]),
    ]  # fmt: skip
    tensors = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    edges = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", (1, 3, 8, 12)), ("y", (1, 10))))
    graph = helper.make_graph(nodes, "net", [next(edges)], [next(edges)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("name", NAMES)
def test_every_target_gives_the_same_numbers(name, tmp_path):
    try:
        icd_loader()
    except ToolchainError as error:
        pytest.skip(error.what)
    artifact = tgc.compile(convolutions(), name, tmp_path / "out")
    x = RNG.standard_normal((1, 3, 8, 12)).astype(np.float32)
    expected = run_graph(artifact.graph, {"x": x})["y"]
    model = tgc.load(tmp_path / "out")
    for _ in range(2):
        found = model.run({"x": x})["y"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-2 if name.startswith("qcom") else 1e-4) * np.abs(expected).max())


def test_halos_are_kept():
    """The same launches but for those that write zeros, whose bytes are the program's own between runs."""
    model = convolutions()
    spared, plain = (tgc.compile(model, target).program for target in (OPENCL, "c"))
    assert not any(call.halo for call in spared.calls)
    assert any(call.halo for call in plain.calls)
    assert spared.zeroed_bytes > 0
    verify_program(spared)
    x = RNG.standard_normal((1, 3, 8, 12)).astype(np.float32)
    np.testing.assert_allclose(run_program(spared, {"x": x})["y"], run_program(plain, {"x": x})["y"], rtol=1e-4, atol=1e-5)
