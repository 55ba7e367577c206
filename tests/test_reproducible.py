"""The same model, options and version give the same bytes: under other hash seeds, and from other folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tgc
from tgc import driver


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


def test_another_user_without_network(tmp_path: Path) -> None:
    """The artifact of another user, without a home and a network, is ours byte for byte."""
    alone = ["unshare", "--user", "--map-user=4711", "--map-group=4711", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare of util-linux, and user namespaces")
    onnx.save(convolutions(), tmp_path / "net.onnx")
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tgc.__file__).parent.parent)}
    environment = {**path, "HOME": "/nonexistent", "PYTHONHASHSEED": "7"}
    script = "import os; from tgc import cli; assert os.getuid() == 4711; cli.main()"
    command = [*alone, sys.executable, "-c", script, "compile", "net.onnx", "--target", "x86-64-v3", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = driver.compile(tmp_path / "net.onnx", "x86-64-v3")
    assert digests(tmp_path / "out") == {name: hashlib.sha256(content).hexdigest() for name, content in ours.files.items()}
