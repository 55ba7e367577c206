"""Models as ONNX Runtime saves them after its own optimisation; `benchmarks/optimised_models.py` has all of them, on any target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from single_operator import normal

import tgc
from tgc.errors import UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.frontend_onnx.blocking import channels_in_a_block
from tgc.ir.interpret import run_graph

onnxruntime = pytest.importorskip("onnxruntime")


def small_network(channels: int = 24) -> onnx.ModelProto:
    """Convolutions (plain, by channel), pools, a resize and a matrix product, as ONNX Runtime fuses and blocks them."""
    weights = {
        "a": normal(channels, 3, 3, 3) / 3, "ab": normal(channels), "d": normal(channels, 1, 3, 3) / 3,
        "p": normal(channels, channels, 1, 1) / 5, "pb": normal(channels), "s": np.array([1, 1, 2, 2], np.float32),
        "m": normal(channels, 10), "mb": normal(10), "axes": np.array([2, 3], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "a", "ab"], ["c0"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "d"], ["c1"], pads=[1, 1, 1, 1], group=channels),
        helper.make_node("MaxPool", ["c1"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["q", "p", "pb"], ["t"]),
        helper.make_node("HardSwish", ["t"], ["h"]),
        helper.make_node("Resize", ["h", "", "s"], ["u"], coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("Add", ["u", "r0"], ["v"]), helper.make_node("ReduceMean", ["v", "axes"], ["f"], keepdims=0),
        helper.make_node("Gemm", ["f", "m", "mb"], ["g"]), helper.make_node("Relu", ["g"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", 1, [1, 3, 12, 12])], [helper.make_tensor_value_info("y", 1, [1, 10])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def saved(model: onnx.ModelProto, level: str, folder: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(folder / f"{level}.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / f"{level}.onnx")


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_saved_models_agree(level: str, tmp_path: Path) -> None:
    x = {"x": normal(1, 3, 12, 12)}
    original = small_network()
    (wanted,) = onnxruntime.InferenceSession(original.SerializeToString()).run(None, x)
    tgc.compile(saved(original, level, tmp_path), "cpu", tmp_path / "out", name="model")
    np.testing.assert_allclose(tgc.load(tmp_path / "out").run(x)["y"], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", [8, 16])
def test_blocks_of_channels(block: int) -> None:
    """The order of weights in memory, for both sizes, whatever processor the test runs on."""
    w, x = normal(32, 16, 3, 3), {"x": normal(1, 16, 5, 5)}
    blocks = w.reshape(32 // block, block, 16 // block, block, 3, 3).transpose(0, 2, 4, 5, 3, 1)
    nodes = [
        helper.make_node("ReorderInput", ["x"], ["r"], domain="com.microsoft.nchwc", channels_last=0),
        helper.make_node("Conv", ["r", "w"], ["c"], domain="com.microsoft.nchwc", pads=[1, 1, 1, 1], group=1, activation="Relu"),
        helper.make_node("ReorderOutput", ["c"], ["y"], domain="com.microsoft.nchwc", channels=32 if block == 8 else 20, channels_last=1),
        helper.make_node("ReorderOutput", ["c"], ["z"], domain="com.microsoft.nchwc", channels=32, channels_last=0),
    ]  # fmt: skip
    if block == 8:  # 8 of 8 channels: no block of 16
        nodes.append(helper.make_node("Conv", ["r", "v"], ["o"], domain="com.microsoft.nchwc", group=1))
    stored = np.ascontiguousarray(blocks).reshape(w.shape)
    tensors = [numpy_helper.from_array(stored, "w"), numpy_helper.from_array(normal(8, 16, 1, 1), "v")]
    ends = [helper.make_tensor_value_info(n, 1, None) for n in ("y", "z")]
    graph = helper.make_graph(nodes, "blocks", [helper.make_tensor_value_info("x", 1, [1, 16, 5, 5])], ends, tensors)
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft.nchwc", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    assert channels_in_a_block(model.graph) == block
    plain = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["z"])], "plain", graph.input,
        [helper.make_tensor_value_info("z", 1, None)], [numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    wanted = run_graph(import_model(helper.make_model(plain, opset_imports=domains[:1], ir_version=9)), x)["z"]
    got = run_graph(import_model(model), x)
    np.testing.assert_allclose(got["z"], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got["y"], got["z"].transpose(0, 2, 3, 1)[..., : got["y"].shape[3]])


def test_blocks_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    made = saved(small_network(16), "all", tmp_path)
    if not any(node.domain == "com.microsoft.nchwc" for node in made.graph.node):
        pytest.skip("ONNX Runtime has no blocks on this processor")
    with pytest.raises(UnsupportedError, match="extended"):
        import_model(made)
