"""The qcom target: half storage, images, and the list of launches."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_networks import PRODUCT, Net
from test_backend_opencl import device
from test_siblings import launches

from tgc import targets
from tgc.backends.options import EmitOptions
from tgc.cli import invoke
from tgc.driver import emit
from tgc.errors import OptionError
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F16, F32, I8, I32
from tgc.ir.expr import Apply, Arg, Expr, Lit, Var
from tgc.ir.graph import Graph, Map, Node, Reduce
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.kernel import Alloc
from tgc.ir.rewrite import expressions, map_expressions, statements, walk
from tgc.ir.texels import texel_of
from tgc.ir.verify import verify_program
from tgc.ir.work import operations
from tgc.passes import compile_graph
from tgc.passes.adreno import Operand, Problem, best_tile
from tgc.passes.half_sums import in_halves
from tgc.passes.images import MOST_SINGLE
from tgc.passes.relax import WITH_SPECIAL_FUNCTIONS, WITHOUT, Rough, relax, tidied
from tgc.passes.twins import twins
from tgc.run import load

ERROR = {"mixed": 1e-2, "fp32": 1e-4, "fp16": 3e-2}


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


@pytest.mark.parametrize("how", [WITH_SPECIAL_FUNCTIONS, WITHOUT], ids=["exponential", "polynomial"])
def test_the_error_function_is_as_good_as_half_can_tell(how: Rough):
    net = Net()
    x = net.image(1, 512)
    graph = net.graph(net.map(s.gelu(Arg(0, F32)), x))
    values = {graph.inputs[0].name: np.linspace(-6, 6, 512, dtype=np.float32)[None]}
    exact, rough = (run_graph(g, values)["y0"] for g in (graph, relax(graph, how)))
    assert 1e-6 < np.abs(exact - rough).max() < 1e-3
    assert np.abs((exact - rough) / np.maximum(np.abs(values[graph.inputs[0].name]), 1)).max() < 1e-4


@pytest.mark.parametrize("function", [s.expm1, s.tanh, s.softplus, lambda x: s.where(s.lt(x, 0), s.mul(s.expm1(s.minimum(x, 0)), 1.0), x)])
def test_functions_near_zero_are_as_good_as_half_can_tell(function: Callable[[Expr], Expr]):
    """e^x - 1, tanh, ln(1 + e^x) and ELU by exponentials alone: fewer operations, and off by 2e-7, or 2e-7 of what is large."""
    net = Net()
    graph = net.graph(net.map(function(Arg(0, F32)), net.image(1, 512)))
    quick = relax(graph, WITH_SPECIAL_FUNCTIONS)
    small = np.geomspace(1e-8, 20, 256)
    values = {graph.inputs[0].name: np.concatenate([-small, small]).astype(np.float32)[None]}
    exact, rough = (run_graph(g, values)["y0"] for g in (graph, quick))
    assert 0 < (np.abs(exact - rough) / np.maximum(np.abs(exact), 1)).max() < 2e-7
    before, after = (sum(operations(node.expr) for node in g.nodes() if isinstance(node, Map)) for g in (graph, quick))
    assert after <= before - 5


def test_half_storage_uses_the_device_s_own_division():
    graph = rows()
    texts = {p: b"".join(emit(compile_graph(graph, target_of(p)), target_of(p), EmitOptions()).values()) for p in ERROR}
    assert b"native_recip" in texts["mixed"]
    assert b"native_" not in texts["fp32"]


def test_sums_of_products_in_half():
    """--precision fp16 adds up in half what is read from images, and leaves means and what comes after in single precision.

    The 17 texels of a row are no number of steps that work-items can share: they would add up each other's sums in single precision.
    """
    net, rng = Net(), np.random.default_rng(2)
    weights = net.constant(rng.normal(size=(68, 32)).astype(np.float32))
    graph = net.graph(net.matmul(net.relu(net.image(8, 68)), weights))
    programs = {p: compile_graph(graph, target_of(p)) for p in ERROR}
    sums = {p: {a.buffer.dtype for k in made.kernels for a in statements(k.body) if isinstance(a, Alloc)} for p, made in programs.items()}
    assert sums == {"mixed": {F32}, "fp32": {F32}, "fp16": {F16}}
    expected = run_graph(graph, inputs_of(graph))["y0"]
    errors = {p: far(expected, run_program(made, inputs_of(graph))["y0"]) for p, made in programs.items()}
    assert errors["fp32"] < errors["mixed"] < errors["fp16"] < ERROR["fp16"]
    text = emit(programs["fp16"], target_of("fp16"), EmitOptions())[f"{graph.name}.cl"]
    assert b"read_imageh(" in text
    assert b"tgc_mad_half4(" in text


def test_bias_and_residual_are_added_to_half_sums_in_half():
    """--precision fp16: f32(sum) + f32(bias) + f32(residual) is one sum of halves; a square of it is not."""
    net, bias = Net(), np.random.default_rng(3).normal(size=(1, 32)).astype(np.float32)
    x = net.relu(net.image(8, 68))
    product = net.matmul(x, net.weight(68, 32))
    biased = net.map(s.add(Arg(0, F32), Arg(1, F32)), product, net.expand(net.constant(bias), (8, 32)))
    graph = net.graph(net.map(s.mul(Arg(0, F32), Arg(0, F32)), biased))
    program = compile_graph(graph, target_of("fp16"))
    halves = {e.op.name for k in program.kernels for e in walk(*expressions(k.body)) if isinstance(e, Apply) and e.dtype == F16}
    singles = {e.op.name for k in program.kernels for e in walk(*expressions(k.body)) if isinstance(e, Apply) and e.dtype == F32}
    assert {"ADD", "MUL"} <= halves
    assert "ADD" not in singles
    assert "MUL" in singles
    assert far(run_graph(graph, inputs_of(graph))["y0"], run_program(program, inputs_of(graph))["y0"]) < ERROR["fp16"]
    assert b"tgc_add_half4(" in emit(program, target_of("fp16"), EmitOptions())[f"{graph.name}.cl"]


@pytest.mark.parametrize("columns", [32, 30])
def test_half_sums_with_a_bias_on_a_device(columns, tmp_path):
    """At 30 columns the bias is no whole texels and comes from a buffer."""
    net = Net()
    product = net.matmul(net.relu(net.image(8, 64)), net.weight(64, columns))
    bias = net.expand(net.constant(np.linspace(-1, 1, columns, dtype=np.float32)[None]), (8, columns))
    graph = net.graph(net.relu(net.add(product, bias)))
    device()
    for name, content in emit(compile_graph(graph, target_of("fp16")), target_of("fp16"), EmitOptions()).items():
        (tmp_path / name).write_bytes(content)
    assert far(run_graph(graph, inputs_of(graph))["y0"], load(tmp_path).run(inputs_of(graph))["y0"]) < ERROR["fp16"]


def test_constants_that_cancel_go():
    x, y = Arg(0, F32), Arg(1, F32)
    assert tidied(Apply(ops.ADD, (Apply(ops.ADD, (x, Lit(-1.0, F32)), F32), Lit(1.0, F32)), F32)) == x
    rounding = Apply(ops.ADD, (Apply(ops.ADD, (x, Lit(12582912.0, F32)), F32), Lit(-12582912.0, F32)), F32)
    assert tidied(rounding) is None
    quotient = Apply(ops.DIV, (Lit(2.0, F32), y), F32)
    halved = tidied(Apply(ops.MUL, (Apply(ops.MUL, (x, quotient), F32), Lit(0.5, F32)), F32))
    assert halved == Apply(ops.MUL, (x, Apply(ops.DIV, (Lit(1.0, F32), y), F32)), F32)
    assert tidied(Apply(ops.MUL, (Apply(ops.MUL, (x, y), F32), Lit(0.5, F32)), F32)) is None


def test_sums_that_are_stored_apart_stay_in_single_precision():
    """Halves in buffers are words: only vload_half and vstore_half take them for numbers, and those take what lies side by side."""
    net = Net()
    x = net.relu(net.matmul(net.relu(net.image(8, 64)), net.weight(64, 128)))
    program = compile_graph(net.graph(net.matmul(x, net.weight(128, 16))), target_of("mixed"))
    kernel = next(k for k in program.kernels if in_halves(k) is not k)

    def apart(index: ex.Expr) -> ex.Expr:
        return replace(index, stride=200) if isinstance(index, ex.Ramp) and not isinstance(index.base, Lit) else index

    changed = replace(kernel, body=map_expressions(kernel.body, apart))
    assert changed != kernel
    assert in_halves(changed) is changed


def test_long_sums_stay_in_single_precision():
    net = Net()
    graph = net.graph(net.matmul(net.image(8, 4096), net.weight(4096, 16)))
    program = compile_graph(graph, target_of("fp16"))
    assert {a.buffer.dtype for k in program.kernels for a in statements(k.body) if isinstance(a, Alloc)} == {F32}


def test_storage_is_half_and_read_through_images():
    program = compile_graph(convolutions(), target_of("mixed"))
    own = [s for s in program.storages if s.role in ("arena", "weight")]
    assert {s.dtype for s in own if s.role == "arena" or s.size > MOST_SINGLE} == {F16}
    read = [p.buffer for kernel in program.kernels for p in kernel.parameters if p.access == "read"]
    assert sum(buffer.space == "image" for buffer in read) > len(read) / 2


@pytest.mark.parametrize(("precision", "dtype"), [("mixed", F32), ("fp16", F16)])
def test_small_constants_stay_in_single_precision(precision, dtype):
    """Biases and small weights cost few bytes, and what rounding them does has one sign everywhere; sums of halves want them in half."""
    program = compile_graph(convolutions(), target_of(precision))
    small = [s for s in program.storages if s.role == "weight" and s.size <= MOST_SINGLE]
    large = [s for s in program.storages if s.role == "weight" and s.size > MOST_SINGLE]
    assert [s.dtype for s in small] == [dtype] * 8
    assert [s.dtype for s in large] == [F16]
    images = {p.buffer.dtype for k in program.kernels for p in k.parameters if p.buffer.space == "image"}
    assert images == {F16, dtype}


def test_texels():
    x, y = Var("x"), Var("y")
    four_x = ex.apply(ops.MUL, x, ex.index(4))
    found = texel_of(ex.apply(ops.ADD, ex.apply(ops.ADD, four_x, ex.apply(ops.MUL, y, ex.index(8))), ex.index(7)))
    assert found == (ex.apply(ops.ADD, ex.apply(ops.ADD, x, ex.apply(ops.MUL, y, ex.index(2))), ex.index(1)), 3)
    assert texel_of(x) is None
    assert texel_of(ex.apply(ops.MUL, x, ex.index(6))) is None


def test_more_processors_take_smaller_tiles():
    problem = Problem(256, 16, 1, 64, 4, (Operand(True, False, True), Operand(False, True, False)))
    sizes = [tile.rows * tile.vectors for n in (2, 6) for tile, _ in (best_tile(replace(problem, processors=n)),)]
    assert sizes[0] > sizes[1]
    assert [targets.find(name).processors for name in ("qcom", "qcom:a7xx")] == [2, 6]


def test_windows_leave_registers():
    """What a window's results are put together with, and rows of a window that are written out too, take registers from its tile."""
    plain = Problem(112, 8, 1000, 9, 3, (Operand(True, True, False, 1.0), Operand(False, True, False)))
    others = (replace(plain, after=4), replace(plain, steps=25, block=5), replace(plain, steps=49, block=7))
    rows, fewer, five, seven = (tile.rows * tile.vectors for tile, _ in map(best_tile, (plain, *others)))
    assert rows > fewer
    assert rows > five
    assert seven > five


def test_a_sum_that_is_only_stored_is_rounded_after_its_loop():
    """vstore_half_rte says what vstore_half does, and keeps Mesa from converting in every iteration; after other work there is no need."""
    net = Net()
    first = net.matmul(net.image(16, 244), net.weight(244, 16))
    graph = net.graph(net.matmul(net.relu(net.matmul(first, net.weight(16, 16))), net.weight(16, 8)))
    text = b"".join(emit(compile_graph(graph, target_of("mixed")), target_of("mixed"), EmitOptions()).values())
    assert b"vstore_half4_rte(acc" in text
    assert b"vstore_half4(fmax(" in text


@pytest.mark.parametrize("dtype", [I8, I32], ids=lambda dtype: dtype.name)
def test_integers_of_what_images_hold_are_converted(dtype, tmp_path):
    """A texel of floats is read as floats; what becomes of them comes after."""
    net = Net()
    x = net.relu(net.matmul(net.image(4, 16), net.weight(16, 16)))
    graph = net.graph(net.map(ex.cast(Arg(0, F32), dtype), x), net.matmul(x, net.weight(16, 8)))
    device()
    for name, content in emit(compile_graph(graph, target_of("fp32")), target_of("fp32"), EmitOptions()).items():
        (tmp_path / name).write_bytes(content)
    found, expected = load(tmp_path).run(inputs_of(graph))["y0"], run_graph(graph, inputs_of(graph))["y0"]
    assert found.dtype == expected.dtype
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_precision_is_a_choice_of_targets_with_images():
    with pytest.raises(OptionError, match="no choice of precision"):
        targets.with_precision(targets.find("opencl"), "fp32")
    with pytest.raises(OptionError, match="no precision 'half'"):
        targets.with_precision(targets.find("qcom"), "half")


@pytest.mark.parametrize("precision", ERROR)
def test_each_kernel_alone(precision, tmp_path, capsys):
    """`tgc verify --per-kernel`: a kernel that reads images reads what is copied into the arena."""
    device()
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])]
    sizes = {"x": [1, 8, 6, 12], "y": [1, 16, 6, 12]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items())
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(16, 8, 3, 3)).astype(np.float32), "w")
    made = helper.make_graph(nodes, "g", [x], [y], [weight])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "conv.onnx")
    limit = str(ERROR[precision])
    command = ["verify", str(tmp_path / "conv.onnx"), "--target", "qcom", "--precision", precision, "--per-kernel", "--rtol", limit]
    assert invoke(command) == 0, capsys.readouterr()


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


def two_cameras() -> Graph:
    """Two inputs through the same three convolutions, added up."""
    net = Net()
    weights = [net.weight(8, 4, 3, 3), net.weight(8, 8, 3, 3)]
    ends = []
    for x in (net.image(1, 4, 8, 12), net.image(1, 4, 8, 12)):
        for weight in (*weights, weights[1], weights[1]):
            x = net.relu(convolved(net, x, weight))
        ends.append(x)
    return net.graph(net.add(*ends), ends[0])


def convolved(net: Net, x: Node, weight: Node) -> Node:
    """3x3, padded by zeros."""
    rows, columns = x.shape[2:]
    padded = net.pad(x, (0, 0, 1, 1), (0, 0, 1, 1), Lit(0.0, F32))
    windows = net.window(net.window(padded, 2, 3, 1, 1), 3, 3, 1, 1)
    shape = (1, weight.shape[0], *windows.shape[1:])
    pixels = net.expand(net.reshape(windows, (1, 1, *windows.shape[1:])), shape)
    kernels = net.expand(net.reshape(weight, (1, *weight.shape[:2], 1, 1, 3, 3)), shape)
    return net.reshape(net.reduce(ops.ADD, net.map(PRODUCT, pixels, kernels), (2, 5, 6)), (1, weight.shape[0], rows, columns))


def test_twins_are_computed_once():
    graph = two_cameras()
    before = run_graph(graph, inputs_of(graph))
    after = twins(graph)
    for name, value in run_graph(after, inputs_of(graph)).items():
        assert np.array_equal(value, before[name])
    assert sum(isinstance(node, Reduce) for node in graph.nodes()) == 8
    assert sum(isinstance(node, Reduce) for node in after.nodes()) == 4
    assert launches(graph, target_of("mixed")) == launches(graph, targets.find("opencl")) - 4


def test_halos_are_kept_from_run_to_run():
    graph = two_cameras()
    plain, program = compile_graph(graph, targets.find("c")), compile_graph(graph, target_of("fp32"))
    assert any(call.halo for call in plain.calls)
    assert not any(call.halo for call in program.calls)
    assert 0 < program.zeroed_bytes < program.arena_bytes
    found = run_program(program, inputs_of(graph))
    assert all(far(value, found[name]) < 1e-5 for name, value in run_graph(graph, inputs_of(graph)).items())
