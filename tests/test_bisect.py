"""A planted miscompile is found, bisected and minimised; failing models are reduced; indices are shown to be in range."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from test_reproducible import convolutions

from tgc import cli, driver, passes
from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Buffer, Lit, Load, Ramp, Var, apply, index
from tgc.ir.kernel import For, If, Kernel, Parameter, Store
from tgc.ir.program import launches
from tgc.ir.ranges import accesses
from tgc.ir.rewrite import map_expressions, rewrite
from tgc.passes.assemble import Scheduler
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
