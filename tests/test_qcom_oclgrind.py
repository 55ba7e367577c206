"""qcom kernels under Oclgrind, which finds accesses outside of memory and data races, and a planted one of each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_networks import Net
from test_backend_opencl import device
from test_qcom import convolutions, inputs_of, rows, target_of

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
FOUND = ("Invalid read", "Invalid write", "data race", "out of bounds", "Invalid")


def heads() -> Graph:
    """Pooling by the mean, then products with one row: what ends a network."""
    net = Net()
    x = net.relu(net.conv(net.image(1, 8, 6, 6), 16))
    features = net.reshape(net.reduce(ops.ADD, x, (2, 3)), (1, 16))
    return net.graph(net.matmul(features, net.weight(16, 24)), net.matmul(features, net.weight(16, 7)))


def written(program: Program, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in emit(program, target_of("mixed"), EmitOptions()).items():
        (folder / name).write_bytes(content)
    return folder


def oclgrind(folder: Path, inputs: dict[str, np.ndarray]) -> list[str]:
    """What Oclgrind has to say when the artifact in `folder` runs."""
    if shutil.which("oclgrind") is None:
        pytest.skip("oclgrind is not installed")
    device()
    np.savez(folder / "inputs.npz", **inputs)
    command = ["oclgrind", "--data-races", sys.executable, "-c", RUN, str(folder), str(folder / "inputs.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if any(word in line for word in FOUND)]


@pytest.mark.parametrize("network", [convolutions, rows, heads], ids=lambda network: network.__name__)
def test_clean(network, tmp_path):
    graph = network()
    assert oclgrind(written(compile_graph(graph, target_of("mixed")), tmp_path), inputs_of(graph)) == []


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
