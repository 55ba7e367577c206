"""tgc bench: engines in processes of their own, budgets, regressions, rates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from test_reproducible import convolutions

from tgc import cli


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def measured(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> Any:
    assert cli.invoke(["bench", *map(str, arguments), "--seconds", "0.1", "--json"]) == status
    return json.loads(capsys.readouterr().out)


MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "onnx2torch", "torch-compiled": "onnx2torch",
           "tinygrad": "tinygrad", "mnn": "MNN", "iree": "iree.compiler", "tvm": "tvm"}  # fmt: skip


@pytest.mark.parametrize("engine", MODULES)
def test_an_engine_agrees(engine: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are installed here, or for TGC_PEERS_PYTHON. The compiler of PyTorch takes a minute: only there."""
    if engine == "torch-compiled" and "TGC_PEERS_PYTHON" not in os.environ:
        pytest.skip("TGC_PEERS_PYTHON is not set")
    look = ["-c", f"from importlib.util import find_spec; raise SystemExit(find_spec({MODULES[engine]!r}.split('.')[0]) is None)"]
    if subprocess.run([os.environ.get("TGC_PEERS_PYTHON", sys.executable), *look], check=False).returncode:
        pytest.skip(f"{engine} is not installed")
    report = measured(capsys, model, "--against", engine)
    assert not report["failures"]
    ours, theirs = report["measurements"]
    assert (ours["engine"], theirs["engine"]) == ("tgc", engine)
    assert theirs["error"] < 1e-4
    for row in (ours, theirs):
        assert 0 < row["latency"]["minimum"] <= row["latency"]["median"] <= row["latency"]["p99"]
        assert row["first"] > 0
        assert row["startup"] > 0
        assert 1e7 < row["memory"] < 1e10


def test_rates(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgc.bench.compare.RAPL", Path("/nowhere"))
    report = measured(capsys, model, "--against", "none", "--watts", "10", "--price", "200", "--peak", "50", "--bandwidth", "5")
    (row,) = report["measurements"]
    assert row["flops"] == pytest.approx(report["flop"] / row["latency"]["median"])
    assert row["flops_per_watt"] == pytest.approx(row["flops"] / 10)
    assert row["flops_per_dollar"] == pytest.approx(row["flops"] / 200)
    assert report["roof"]["flops"] == 50e9


def test_roofline_is_measured_unless_given(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("cpu", "c"):
        roof = measured(capsys, model, "--target", target, "--against", "none", "--bandwidth", "5")["roof"]
        assert roof["source"].startswith("--bandwidth as given; otherwise measured here")
        assert 1e8 < roof["flops"] < 1e13
        assert roof["bandwidth"] == 5e9


def test_power_of_a_counter(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    counter = tmp_path / "energy_uj"
    counter.write_text("1000000\n")
    monkeypatch.setattr("tgc.bench.compare.RAPL", counter)
    assert measured(capsys, model, "--against", "none")["measurements"][0]["watts"] is None  # a counter that stands still is none


def test_a_budget_and_an_earlier_result(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, model, "--against", "none", "--budget", "10s")
    old = tmp_path / "old.json"
    old.write_text(json.dumps(report))
    assert not measured(capsys, model, "--against", old, "--regression", "10000")["misses"]
    report["measurements"][0]["latency"]["median"] /= 1e6
    old.write_text(json.dumps(report))
    (miss,) = measured(capsys, model, "--against", old, status=1)["misses"]
    assert "above the earlier" in miss
    (miss,) = measured(capsys, model, "--against", "none", "--budget", "1ns", status=1)["misses"]
    assert "above the budget of 1 ns" in miss


def test_what_cannot_run_is_listed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, model, "--against", "onnxruntime-tensorrt")
    assert report["failures"][0][0] == "onnxruntime-tensorrt"
    assert len(report["measurements"]) == 1
    assert cli.invoke(["bench", str(model), "--against", "onnxruntime", "--seconds", "0.1", "--python", sys.executable]) == 0
    assert "of roof" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [(["--against", "abacus"], 1, "there is no engine 'abacus'"), (["--against", "gone.json"], 1, "cannot be read"),
     (["--budget", "soon"], 2, "no time such as"), (["--python", "/no/python"], 1, "cannot be run")],
)  # fmt: skip
def test_faults(arguments: list[str], status: int, message: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["bench", str(model), *arguments]) == status
    assert message in capsys.readouterr().err
