"""A planted miscompile is found, bisected and minimised; failing models are reduced; indices are shown to be in range."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_reproducible import convolutions

from tgc import cli, driver, passes
from tgc.cli.faults import Told
from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.dtypes import F32, I32, INDEX
from tgc.ir.expr import Broadcast, Buffer, Lit, Load, Ramp, Var, apply, cast, index
from tgc.ir.kernel import For, If, Kernel, Parameter, Store
from tgc.ir.program import launches
from tgc.ir.ranges import accesses
from tgc.ir.rewrite import map_expressions, rewrite
from tgc.passes.assemble import Scheduler
from tgc.passes.check import check_bounds
from tgc.passes.heuristic import scheduler_for
from tgc.passes.schedule.apply import Scheduled
from tgc.targets import Target

pytest.importorskip("onnxruntime")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def broken_at(node: str) -> Callable[[Target], Scheduler]:
    """Schedules that add a half to every literal 0 that begins a sum, in the kernel that computes `node`."""

    def breaking(target: Target) -> Scheduler:
        right = scheduler_for(target)

        def schedule(kernel: Kernel, constants: frozenset[str]) -> Scheduled:
            scheduled = right(kernel, constants)
            if node not in kernel.origins or not any(p.access == "read" for p in kernel.parameters):
                return scheduled
            wrong = map_expressions(scheduled.kernel.body, lambda root: root if root.dtype != F32 else rewrite(root, _off))
            return replace(scheduled, kernel=replace(scheduled.kernel, body=wrong))

        return schedule

    return breaking


def _off(expr: Any) -> Any:
    return Lit(0.5, F32) if isinstance(expr, Lit) and expr.dtype == F32 and expr.value == 0.0 else None


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_a_planted_miscompile(target: str, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["verify", str(model), "--target", target]) == 0
    capsys.readouterr()
    monkeypatch.setattr(passes, "scheduler_for", broken_at("Gemm_y"))
    small = model.parent / "small"
    command = ["verify", str(model), "--target", target, "--reproducer", str(small), "--json"]
    assert cli.invoke(command) == 1
    found = json.loads(capsys.readouterr().out)["found"]
    assert found["fault"]["stage"] == "schedule"
    assert "Gemm_y" in found["fault"]["origins"]
    assert found["reproducer"]["nodes"] == ["Gemm"]
    assert (small / "kernel.tir").read_text().startswith("kernel")
    assert "Gemm" in (small / "README.txt").read_text()
    assert cli.invoke(["verify", str(small / "model.onnx"), "--target", target, "--no-bisect"]) == 1
    monkeypatch.undo()
    assert cli.invoke(["verify", str(small / "model.onnx"), "--target", target, "--no-bisect"]) == 0


def test_what_is_off_is_shown_before_the_fault_is_looked_for(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []

    def looking(*_: object) -> Told:
        shown.append(capsys.readouterr().out)
        return Told(None, None)

    monkeypatch.setattr(passes, "scheduler_for", broken_at("Gemm_y"))
    monkeypatch.setattr(import_module("tgc.cli.verify"), "find_fault", looking)
    assert cli.invoke(["verify", str(model)]) == 1
    assert "TOO FAR OFF" in shown[0]
    assert "TOO FAR OFF" not in capsys.readouterr().out


def test_a_pass_that_is_at_fault(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(graph: Any, _: Target) -> Any:
        from tgc.ir.graph_builder import GraphBuilder

        builder = GraphBuilder()
        name, node = graph.outputs[0]
        return replace(graph, outputs=((name, builder.map(apply(ops.ADD, _arg(node), Lit(1.0, F32)), node)),))

    def _arg(node: Any) -> Any:
        from tgc.ir.expr import Arg

        return Arg(0, node.dtype)

    monkeypatch.setattr(passes, "GRAPH_PASSES", (*passes.GRAPH_PASSES, passes.GraphPass("wrong", wrong)))
    assert cli.invoke(["verify", str(model), "--reproducer", str(model.parent / "small"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["found"]
    assert found["fault"]["stage"] == "wrong"
    assert len(found["reproducer"]["nodes"]) == 1


def test_reduce_with_a_command(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = "import onnx,sys; sys.exit('GlobalAveragePool' not in [n.op_type for n in onnx.load(sys.argv[1]).graph.node])"
    small = model.parent / "small"
    assert cli.invoke(["reduce", str(model), "--command", f'{sys.executable} -c "{script}" {{}}', "-o", str(small)]) == 0
    assert [node.op_type for node in onnx.load(small / "model.onnx").graph.node] == ["GlobalAveragePool"]
    assert "1 of 7 nodes" in capsys.readouterr().out
    assert cli.invoke(["verify", str(small / "model.onnx")]) == 0


def test_reduce_what_does_not_compile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kernel: Kernel, constants: frozenset[str]) -> Scheduled:
        if "Gemm_y" in kernel.origins:
            raise ZeroDivisionError("planted")
        return scheduler_for(driver.resolve("cpu"))(kernel, constants)

    small = model.parent / "small"
    assert cli.invoke(["reduce", str(model), "--check", "compile", "-o", str(small)]) == 1  # it does not fail
    monkeypatch.setattr(passes, "scheduler_for", lambda _: refuse)
    assert cli.invoke(["reduce", str(model), "--check", "compile", "-o", str(small)]) == 0
    assert [node.op_type for node in onnx.load(small / "model.onnx").graph.node] == ["Gemm"]


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_every_index_of_a_network_is_shown_or_guarded(target: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["verify", str(model), "--target", target, "--bounds", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    program = driver.compile(model, target).program
    assert set(report["kernels"]) == {call.kernel for call in launches(program.steps)}
    assert all(access["verdict"] != "not shown" for listed in report["kernels"].values() for access in listed)


def test_indices_outside_are_not_shown() -> None:
    a, out, i = Buffer("a", F32, 8), Buffer("out", F32, 8), Var("i")
    parameters = (Parameter(a, "read"), Parameter(out, "write"))
    further = apply(ops.ADD, i, index(1))
    plain = Kernel("k", parameters, For(i, 8, Store(out, i, Load(a, further))))
    assert [(access.kind, access.high, access.verdict) for access in accesses(plain)] == [("load", 8, "not shown"), ("store", 7, "shown")]
    guarded = Kernel("k", parameters, For(i, 8, If(apply(ops.LT, i, index(7)), Store(out, i, Load(a, further)))))
    assert [access.verdict for access in accesses(guarded)] == ["guarded", "shown"]
    vector = Kernel("k", parameters, For(i, 2, Store(out, Ramp(i, 1, 8), Load(a, Ramp(index(0), 1, 8)))))
    assert [(access.high, access.verdict) for access in accesses(vector)] == [(7, "shown"), (8, "not shown")]


@pytest.mark.parametrize("target", ["c", "opencl"])
def test_indices_from_constants_are_shown(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gather's rows and a scatter's places are weights: it is looked at what they are."""
    rows = numpy_helper.from_array(np.array([[4, 0], [6, 2], [1, 5]], np.int64), "rows")
    nodes = [helper.make_node("Gather", ["x", "rows"], ["p"]), helper.make_node("ScatterND", ["p", "places", "u"], ["y"])]
    x, u, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [7, 5]), ("u", [2, 1, 5]), ("y", [3, 2, 5])))
    places = numpy_helper.from_array(np.array([[[2, 1]], [[0, 1]]], np.int64), "places")
    graph = helper.make_graph(nodes, "net", [x, u], [y], [rows, places])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx")
    assert cli.invoke(["verify", str(tmp_path / "net.onnx"), "--target", target]) == 0
    capsys.readouterr()
    assert cli.invoke(["verify", str(tmp_path / "net.onnx"), "--target", target, "--bounds", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]


def test_values_lanes_and_smaller_numbers() -> None:
    """What a constant holds bounds the index; ramps go through their lanes together; a smaller of two may be in other words."""
    out, rows, i, j = Buffer("out", F32, 32), Buffer("rows", I32, 4), Var("i"), Var("j")
    parameters = (Parameter(rows, "read"), Parameter(out, "write"))

    def verdict(at: Any, rows: tuple[int, int] = (0, 0)) -> str:
        one = Lit(1.0, F32)
        kernel = Kernel("k", parameters, For(i, 4, For(j, 4, Store(out, at, one if at.lanes == 1 else Broadcast(one, 8)))))
        return accesses(kernel, {"rows": rows})[-1].verdict

    row = apply(ops.ADD, apply(ops.MUL, cast(Load(rows, i), INDEX), index(4)), j)
    assert [verdict(row, (0, 7)), verdict(row, (0, 8)), verdict(row, (-1, 7))] == ["shown", "not shown", "not shown"]
    lanes = apply(ops.ADD, apply(ops.MUL, Ramp(index(0), 1, 8), Broadcast(index(-4), 8)), Ramp(index(0), 5, 8))  # -4 * lane + 5 * lane
    assert verdict(apply(ops.ADD, lanes, Broadcast(apply(ops.MUL, i, index(8)), 8))) == "shown"
    product = apply(ops.MUL, apply(ops.ADD, i, j), index(6))
    same = apply(ops.ADD, apply(ops.MUL, i, index(6)), apply(ops.MUL, j, index(6)))
    assert verdict(apply(ops.WHERE, apply(ops.LT, same, index(31)), product, index(31))) == "shown"
    assert verdict(apply(ops.WHERE, apply(ops.LT, j, index(31)), product, index(31))) == "not shown"


def test_who_is_to_blame_in_a_kernel_too_big_to_interpret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [256, 256]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")], "net", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx")
    monkeypatch.setattr(passes, "scheduler_for", broken_at("dense"))
    assert cli.invoke(["verify", str(tmp_path / "net.onnx"), "--target", "c", "--reproducer", str(tmp_path / "small"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["found"]["fault"]["stage"] == "schedule"


def test_a_fault_with_open_dimensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is looked for in the model as it is with the sizes that show it."""
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((16, 10)).astype(np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("x", 16), ("y", 10)))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], name="dense"), helper.make_node("Softmax", ["p"], ["y"], name="soft")]
    graph = helper.make_graph(nodes, "net", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx")
    monkeypatch.setattr(passes, "scheduler_for", broken_at("dense"))
    command = ["verify", str(tmp_path / "net.onnx"), "--dim", "batch=1..8", "--size", "batch=3", "--reproducer", str(tmp_path / "small")]
    assert cli.invoke([*command, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["found"]
    assert found["fault"]["stage"] == "schedule"
    assert found["fault"]["origins"] == ["dense"]
    assert found["reproducer"]["nodes"] == ["dense"]


def test_constants_that_point_outside_fail_the_checks() -> None:
    """What --check-passes looks at last; the verifier does not know what constants hold."""
    rows = numpy_helper.from_array(np.array([4, 0, 6], np.int64), "rows")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, 5]) for name, size in (("x", 7), ("y", 3)))
    graph = helper.make_graph([helper.make_node("Gather", ["x", "rows"], ["y"])], "net", [x], [y], [rows])
    program = driver.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "c", check_passes=True).program
    check_bounds(program)
    storage = next(storage for storage in program.storages if storage.role == "weight")
    wrong = program.weights.copy()
    wrong[storage.offset : storage.offset + storage.bytes].view(storage.dtype.numpy)[1] = 7
    with pytest.raises(InvalidIrError, match="a load of a2 may be outside it"):
        check_bounds(replace(program, weights=wrong))
