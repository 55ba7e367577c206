"""The qcom target: half storage, images, and the list of launches."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_networks import Net
from test_backend_opencl import device

from tgc import targets
from tgc.backends.options import EmitOptions
from tgc.cli import invoke
from tgc.driver import emit
from tgc.errors import OptionError
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.dtypes import F16
from tgc.ir.expr import Var
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.texels import texel_of
from tgc.ir.verify import verify_program
from tgc.passes import compile_graph
from tgc.run import load

ERROR = {"mixed": 1e-2, "fp32": 1e-4}


def convolutions() -> Graph:
    """Pointwise, 3x3 of stride 2, depthwise and grouped convolutions, and a product at the end."""
    net = Net()
    x = net.relu(net.conv(net.image(1, 3, 12, 16), 16, stride=2))
    x = net.relu(net.conv(x, 16, groups=16))
    x = net.add(net.conv(x, 16, 1, pad=0), x)
    x = net.relu(net.conv(x, 32, groups=4))
    return net.graph(net.matmul(net.reshape(x, (1, 32 * 6 * 8)), net.weight(32 * 6 * 8, 10)))


def rows() -> Graph:
    """Attention without its projections: products of two computed tensors, softmax, layer norm."""
    net = Net()
    x = net.image(24, 16)
    scores = net.softmax(net.matmul(x, net.permute(x, (1, 0))))
    return net.graph(net.layer_norm(net.add(net.matmul(scores, x), x)))


def inputs_of(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {node.name: rng.normal(size=node.shape).astype(np.float32) for node in graph.inputs}


def far(expected: np.ndarray, found: np.ndarray) -> float:
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def target_of(precision: str) -> targets.Target:
    return targets.with_precision(targets.find("qcom"), precision)


@pytest.mark.parametrize("network", [convolutions, rows], ids=lambda network: network.__name__)
@pytest.mark.parametrize("precision", ERROR)
def test_numbers(network, precision, tmp_path):
    device()
    graph, target = network(), target_of(precision)
    expected, program = run_graph(graph, inputs_of(graph)), compile_graph(graph, target)
    verify_program(program)
    for name, content in emit(program, target, EmitOptions()).items():
        (tmp_path / name).write_bytes(content)
    found = load(tmp_path).run(inputs_of(graph))
    for name, value in expected.items():
        assert far(value, found[name]) < ERROR[precision]


@pytest.mark.parametrize("precision", ERROR)
def test_the_interpreter_rounds_as_the_storage_does(precision):
    graph = rows()
    expected = run_graph(graph, inputs_of(graph))["y0"]
    found = run_program(compile_graph(graph, target_of(precision)), inputs_of(graph))["y0"]
    assert far(expected, found) < ERROR[precision]
    assert precision == "fp32" or far(expected, found) > 1e-6


def test_storage_is_half_and_read_through_images():
    program = compile_graph(convolutions(), target_of("mixed"))
    own = [storage for storage in program.storages if storage.role in ("arena", "weight")]
    assert {storage.dtype for storage in own} == {F16}
    read = [p.buffer for kernel in program.kernels for p in kernel.parameters if p.access == "read"]
    assert sum(buffer.space == "image" for buffer in read) > len(read) / 2


def test_texels():
    x, y = Var("x"), Var("y")
    four_x = ex.apply(ops.MUL, x, ex.index(4))
    found = texel_of(ex.apply(ops.ADD, ex.apply(ops.ADD, four_x, ex.apply(ops.MUL, y, ex.index(8))), ex.index(7)))
    assert found == (ex.apply(ops.ADD, ex.apply(ops.ADD, x, ex.apply(ops.MUL, y, ex.index(2))), ex.index(1)), 3)
    assert texel_of(x) is None
    assert texel_of(ex.apply(ops.MUL, x, ex.index(6))) is None


def test_precision_is_a_choice_of_targets_with_images():
    with pytest.raises(OptionError, match="no choice of precision"):
        targets.with_precision(targets.find("cpu"), "fp32")
    with pytest.raises(OptionError, match="no precision 'half'"):
        targets.with_precision(targets.find("qcom"), "half")


def test_inspect_lists_launches(tmp_path, capsys):
    target = target_of("mixed")
    program = compile_graph(convolutions(), target)
    for name, content in emit(program, target, EmitOptions()).items():
        (tmp_path / name).write_bytes(content)
    assert invoke(["inspect", str(tmp_path), "--launches"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [call.kernel for call in program.calls]
    for row in rows:
        assert row["src"].count("__kernel") == 1
        assert f"void {row['name']}(" in row["src"]
    assert any("read_imagef" in row["src"] for row in rows)
