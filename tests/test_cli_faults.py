"""What users get wrong: each is one clear message, exit status 1 or 2, no traceback, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tgc import cli, driver
from tgc.backends.llvm import jit
from tgc.errors import ToolchainError

COMMANDS = ("compile", "verify", "bench", "inspect", "run", "reduce", "tune")


def saved(folder: Path, operator: str = "Relu", shape: tuple[int | str, ...] = (4,), weights: TensorProto | None = None) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    node = helper.make_node(operator, ["x", "w"] if weights else ["x"], ["y"])
    graph = helper.make_graph([node], "small", [x], [y], [weights] if weights else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "small.onnx").write_bytes(model.SerializeToString())
    return folder / "small.onnx"


def outside(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def truncated(folder: Path) -> Path:
    weights = numpy_helper.from_array(np.ones(4, np.float32), "w")
    path = saved(folder, "Add", weights=weights)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def text(folder: Path) -> Path:
    (folder / "small.onnx").write_text("this is no model\n")
    return folder / "small.onnx"


def empty(folder: Path) -> Path:
    (folder / "small.onnx").touch()
    return folder / "small.onnx"


def a_folder(folder: Path) -> Path:
    (folder / "small.onnx").mkdir()
    return folder / "small.onnx"


BAD: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "small.onnx", "there is no such file"),
    (truncated, "truncated"),
    (text, "is not an ONNX model"),
    (empty, "the file is empty"),
    (a_folder, "is a folder|holds no compiled model"),
    (lambda folder: saved(folder, "Add", weights=outside("no.bin")), "'no.bin' is missing"),
    (lambda folder: saved(folder, "Add", weights=outside("../../etc/passwd")), "outside the model's folder"),
    (lambda folder: saved(folder, "Add", weights=outside("/etc/passwd")), "outside the model's folder"),
    (lambda folder: saved(folder, shape=(1 << 40, 1 << 40)), "cannot exist"),
    (lambda folder: saved(folder, shape=("batch", 4)), "leaves dimensions open"),
    (lambda folder: saved(folder, "Frobnicate"), "Frobnicate"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_no_model_for_any_command(
    command: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[number]
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.invoke([command, str(path.relative_to(tmp_path))]) == 1
    found = capsys.readouterr()
    assert any(part in found.err for part in message.split("|")), found.err
    assert "Traceback" not in found.err
    assert not found.out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["run", "verify", "bench", "reduce"])
def test_sizes_beyond_this_machine(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, shape=(1 << 19, 1 << 20))  # 2 TB
    assert cli.invoke([command, "small.onnx"]) == 1
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("verify --rtol -1", 2, "-1 is not a number from 0 on"),
        ("verify --atol nan", 2, "nan is not"),
        ("verify --seed -1", 2, "--seed"),
        ("verify --range x=nan:inf", 2, "INPUT=LOW:HIGH"),
        ("verify --range z=0:1", 1, "there is no input 'z'"),
        ("inspect --peak 0", 2, "0 is not a number above 0"),
        ("inspect --bandwidth nan", 2, "nan is not"),
        ("inspect --html nowhere/page.html", 1, "nothing was written"),
        ("bench --seconds nan", 2, "nan is not"),
        ("bench --price 0", 2, "above 0"),
        ("bench --watts -5", 2, "above 0"),
        ("bench --regression -1", 2, "from 0 on"),
        ("bench --budget .ms", 2, "is no time such as 26ms"),
        ("reduce --command unclosed'", 2, "no closing quotation"),
        ("reduce --command check", 2, "{} for the model's path"),
        ("reduce", 1, "the model does not fail"),
        ("compile --target abacus", 1, "there is no target"),
        ("compile --dim batch=3", 1, "no input has a dimension named 'batch'"),
        ("compile --dim batch=1.5", 2, "NAME=SIZE"),
        ("compile -o small.onnx", 1, "is a file"),
        ("compile -o small.onnx/out", 1, "nothing was written"),
        ("compile -o /proc/out", 1, "nothing was written"),
        ("opt --passes=polish", 1, "there is no pass 'polish'"),
        ("opt --passes=images", 1, "has no images"),
    ],
)
def test_flags_that_do_not_fit(
    line: str, status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    command, *flags = line.split()
    assert cli.invoke([command, "small.onnx", *flags]) == status
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


@pytest.mark.parametrize("command", ["run", "verify", "bench", "inspect --measure"])
@pytest.mark.parametrize("target", ["cortex-a75", "wasm32", "riscv64"])
def test_code_for_another_machine(command: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *flags = command.split()
    path = saved(tmp_path)
    assert cli.invoke([first, str(path), "--target", target, *flags]) == 1
    assert "cannot run here" in capsys.readouterr().err


def test_code_for_features_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "host_features", lambda: {"avx2": True, "fma": True, "bmi2": True, "f16c": True, "avx512f": False})
    triple = driver.resolve("cpu").triple
    jit.require_host(triple, "x86-64-v3", "")
    with pytest.raises(ToolchainError, match="lacks what the code was compiled for: avx512f"):
        jit.require_host(triple, "x86-64-v4", "-prefer-256-bit")
    with pytest.raises(ToolchainError, match="avx512f"):
        jit.require_host(triple, "znver4", "+avx2,+avx512f,-prefer-256-bit")


def test_a_file_that_passes_do_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content, message in ((b"\x80\x81", "is no text"), (b"hello", "x.tir, line 1: expected 'graph'"), (b"kernel foo(", "x.tir, line 1")):
        (tmp_path / "x.tir").write_bytes(content)
        assert cli.invoke(["opt", str(tmp_path / "x.tir")]) == 1
        assert message in capsys.readouterr().err


def test_opt_on_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From an ONNX model, by way of a program without schedules, to one scheduled kernel."""
    path, lowered = saved(tmp_path, shape=(64,)), tmp_path / "lowered.tir"
    assert cli.invoke(["opt", str(path), "--passes", "fold"]) == 0
    assert capsys.readouterr().out.startswith('graph "small"')
    assert cli.invoke(["opt", str(path), "--passes", "fold,lower", "--target", "c"]) == 0
    lowered.write_text(capsys.readouterr().out)
    assert "for i0 < 64" in lowered.read_text()
    assert cli.invoke(["opt", str(lowered), "--kernel", "k0_Relu_y", "--passes", "schedule", "--target", "c"]) == 0
    scheduled = capsys.readouterr().out
    assert scheduled.startswith("kernel k0_Relu_y(")
    assert "ramp(" in scheduled
    assert cli.invoke(["opt", str(lowered), "--kernel", "k1"]) == 1
    assert "there are k0_Relu_y" in capsys.readouterr().err
    assert cli.invoke(["opt", str(path), "--passes", "images", "--target", "qcom"]) == 0
    assert capsys.readouterr().out.startswith("program small")


def test_what_onnxruntime_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as a model of a newer version than it knows: the ONNX reference takes its place, unless it was asked for by name."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : graph/model.cc (const Options&) Unsupported model IR version: 99")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    assert cli.invoke(["verify", str(saved(tmp_path))]) == 0
    assert "against ONNX reference, for ONNX Runtime refuses it: Unsupported model IR version: 99" in capsys.readouterr().out
    assert cli.invoke(["verify", str(saved(tmp_path)), "--against", "onnxruntime"]) == 1
    assert "take --against reference" in capsys.readouterr().err
