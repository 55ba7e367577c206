"""The same model, options and version give the same bytes: under other hash seeds, and from other folders."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def convolutions() -> onnx.ModelProto:
    """Two convolutions, a residual, a pool and a dense layer."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Conv", ["q", "b"], ["r"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["q", "r"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["t"]),
        helper.make_node("Flatten", ["t"], ["u"]),
        helper.make_node("Gemm", ["u", "c"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [weight("a", 8, 3, 3, 3), weight("b", 8, 8, 3, 3), weight("c", 10, 8)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("target", ["x86-64-v3", "c", "opencl"])
def test_same_bytes_everywhere(target: str, tmp_path: Path) -> None:
    results = []
    for number, seed in enumerate(("1", "2")):
        home = tmp_path / ("folder" * (number + 1))
        home.mkdir(parents=True)
        onnx.save(convolutions(), home / "net.onnx")
        command = [sys.executable, "-m", "tgc", "compile", "net.onnx", "--target", target, "-o", f"out{number}"]
        subprocess.run(command, cwd=home, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        results.append(digests(home / f"out{number}"))
    assert results[0] == results[1]
