"""qcom kernels under Oclgrind, which finds accesses outside of memory and data races, and a planted one of each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_networks import Net
from test_backend_opencl import device
from test_qcom import convolutions, inputs_of, rows, target_of, two_cameras
from test_qcom_ahead import FITTING
from test_segments import two_vectors

import tgc
from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Buffer, Var
from tgc.ir.graph import Graph
from tgc.ir.kernel import For, Kernel, Parameter, Store
from tgc.ir.program import Argument, Call, Program, Storage, Tensor
from tgc.passes import compile_graph

RUN = """\
import sys
import numpy as np
from tgc.run import load
data = np.load(sys.argv[2])
load(sys.argv[1]).run({name: data[name] for name in data.files})
"""
MNIST = Path(__file__).resolve().parents[2] / "shared" / "models" / "trained" / "mnist_8"
FOUND = ("Invalid read", "Invalid write", "data race", "out of bounds", "Invalid")


def heads() -> Graph:
    """Pooling by the mean, then products with one row: what ends a network."""
    net = Net()
    x = net.relu(net.conv(net.image(1, 8, 6, 6), 16))
    features = net.reshape(net.reduce(ops.ADD, x, (2, 3)), (1, 16))
    return net.graph(net.matmul(features, net.weight(16, 24)), net.matmul(features, net.weight(16, 7)))


def riding() -> Graph:
    """Two products whose sums are shared by work-items, and a map, none of which needs another."""
    net = Net()
    x, y = (net.relu(net.matmul(net.image(1, 16), net.weight(16, 256))) for _ in range(2))
    return net.graph(net.matmul(x, net.weight(256, 16)), net.matmul(y, net.weight(256, 12)), net.relu(net.image(1, 12)))


def written(program: Program, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in emit(program, target_of("mixed"), EmitOptions()).items():
        (folder / name).write_bytes(content)
    return folder


def oclgrind(folder: Path, inputs: dict[str, np.ndarray], *, halves_as_floats: bool = False) -> list[str]:
    """What Oclgrind has to say when the artifact in `folder` runs."""
    if shutil.which("oclgrind") is None:
        pytest.skip("oclgrind is not installed")
    device()
    np.savez(folder / "inputs.npz", **inputs)
    floats = ["--build-options", "-Ucl_khr_fp16"] if halves_as_floats else []  # Oclgrind claims half, and knows no constants of it
    command = ["oclgrind", "--data-races", *floats, sys.executable, "-c", RUN, str(folder), str(folder / "inputs.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if any(word in line for word in FOUND)]


def projection() -> Graph:
    """A depthwise convolution that the projection after it computes, in tiles that do not divide the image."""
    return FITTING["rows left over"]


NETWORKS = (convolutions, rows, heads, two_vectors, riding, two_cameras, projection)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_clean(network, tmp_path):
    graph = network()
    assert oclgrind(written(compile_graph(graph, target_of("mixed")), tmp_path), inputs_of(graph)) == []


def camera() -> onnx.ModelProto:
    """Bytes, normalised inside of a grouped 7x7 convolution of stride 2; pooling, 3x3, a transposed convolution, GELU, a mean, products."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": (16, 2, 7, 7), "w1": (16, 16, 3, 3), "w2": (16, 8, 2, 2), "w3": (12, 8, 1, 1), "w4": (12, 10),
        "mean": (), "scale": (), "root": (),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "mean"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["n"]),
        helper.make_node("Conv", ["n", "w0"], ["c0"], group=4, strides=[2, 2], pads=[3, 3, 3, 3]),
        helper.make_node("MaxPool", ["c0"], ["p0"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["p0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["c1", "w2"], ["t"], strides=[2, 2]),
        helper.make_node("AveragePool", ["t"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w3"], ["c2"]),
        helper.make_node("Mul", ["c2", "root"], ["g0"]),
        helper.make_node("Erf", ["g0"], ["g1"]),
        helper.make_node("Mul", ["c2", "g1"], ["g2"]),
        helper.make_node("GlobalAveragePool", ["g2"], ["m"]),
        helper.make_node("Flatten", ["m"], ["v"]),
        helper.make_node("Gemm", ["v", "w4"], ["o"]),
        helper.make_node("Softmax", ["o"], ["y"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [1, 8, 32, 48])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 10])]
    constants = [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) * 0.1, name) for name, shape in weights.items()]
    return helper.make_model(helper.make_graph(nodes, "camera", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 13)])


@pytest.mark.parametrize("options", [{"precision": "mixed"}, {"precision": "fp16"}, {"precision": "fp32", "winograd": "2"}], ids=str)
def test_clean_with_every_precision(options, tmp_path):
    onnx.save(camera(), tmp_path / "camera.onnx")
    tgc.compile(tmp_path / "camera.onnx", "qcom", tmp_path / "out", **options)
    x = np.random.default_rng(1).integers(0, 256, (1, 8, 32, 48)).astype(np.uint8)
    assert oclgrind(tmp_path / "out", {"x": x}, halves_as_floats=options["precision"] == "fp16") == []


@pytest.mark.parametrize("precision", ["mixed", "fp16"])
def test_a_trained_model_is_clean(precision, tmp_path):
    if not MNIST.exists():
        pytest.skip(f"{MNIST} is not there")
    tgc.compile(MNIST / "model.onnx", "qcom", tmp_path / "out", precision=precision)
    image = numpy_helper.to_array(onnx.load_tensor(MNIST / "test_data_set_0" / "input_0.pb"))
    assert oclgrind(tmp_path / "out", {"Input3": image}, halves_as_floats=precision == "fp16") == []


def planted(size: int, index: ex.Expr) -> Program:
    """Eight work-items; each stores its number at `index` of an output of `size` elements."""
    i = Var("i")
    out = Buffer("out", F32, size)
    body = For(i, 8, Store(out, index, ex.cast(i, F32)), "lane0")
    kernel = Kernel("planted", (Parameter(out, "write"),), body)
    storage = Storage("y", "output", F32, size, 0, (size,))
    call = Call("planted", (Argument("y"),))
    return Program("planted", (), (Tensor("y", F32, (size,), "y"),), (kernel,), (call,), (storage,), np.zeros(0, np.uint8), 0)


def test_a_planted_overrun_is_found(tmp_path):
    beyond = ex.apply(ops.ADD, Var("i"), ex.index(4000))
    assert any("Invalid write" in line for line in oclgrind(written(planted(8, beyond), tmp_path), {}))


def test_a_planted_race_is_found(tmp_path):
    assert any("race" in line for line in oclgrind(written(planted(8, ex.index(0)), tmp_path), {}))
