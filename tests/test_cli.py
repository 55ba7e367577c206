"""The command line: every command once, its JSON, its exit status and its messages."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from tgc import cli, driver

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
small (float[N, 8] x) => (float[N, 8] y) { p = Softmax(x)  y = Add(p, x) }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return path


def tgc(*arguments: object) -> int:
    return cli.invoke([str(argument) for argument in arguments])


def printed(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ["", *cli.group.commands]:
        assert tgc(*[name] * bool(name), "--help") == 0
        text = capsys.readouterr().out
        assert "Example:" in text
        assert f"tgc {name}" in text


def test_compile_writes_a_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc("compile", model, "--target", "c", "--dim", "N=2", "-o", tmp_path / "out", "--json") == 0
    summary = printed(capsys)
    assert isinstance(summary, dict)
    assert summary["inputs"] == [{"name": "x", "dtype": "f32", "shape": [2, 8]}]
    assert {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()} == summary["files"]


def test_compile_prints_for_people(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc("compile", model, "--target", "c", "--shape", "x=2x8", "-o", tmp_path / "out", "--time-passes") == 0
    captured = capsys.readouterr()
    assert "kernels" in captured.out
    assert "import" in captured.out
    assert not captured.err  # no progress where standard error is no terminal


def test_run_reads_inputs_and_saves_outputs(model: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "x.pb").write_bytes(numpy_helper.from_array(x, "x").SerializeToString())
    expected = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) + x
    for suffix in ("npy", "pb"):
        assert tgc("run", model, "--dim", "N=2", "--input", f"x={tmp_path / 'x'}.{suffix}", "-o", tmp_path / suffix) == 0
        np.testing.assert_allclose(np.load(tmp_path / suffix / "y.npy"), expected, rtol=1e-5, atol=1e-5)


def test_run_takes_a_compiled_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver.compile(model, "cpu", tmp_path / "out", dims={"N": 2})
    assert tgc("run", tmp_path / "out", "--seed", 7, "--json") == 0
    first = printed(capsys)
    assert isinstance(first, dict)
    assert tgc("run", model, "--dim", "N=2", "--seed", 7, "--json") == 0
    second = printed(capsys)
    assert isinstance(second, dict)
    assert first["outputs"] == second["outputs"]
    assert first["outputs"][0]["shape"] == [2, 8]


def test_verify_against_an_engine(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc("verify", model, "--dim", "N=2", "--against", "reference", "--per-kernel", "--json") == 0
    report = printed(capsys)
    assert isinstance(report, dict)
    assert report["passed"]
    assert report["cases"][0]["source"] == "ONNX reference"
    assert all(kernel["passed"] and kernel["share"] == 1 for kernel in report["kernels"])


def test_verify_against_recorded_data(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model.parent / "test_data_set_0"
    folder.mkdir()
    x = np.zeros((1, 8), np.float32)
    (folder / "input_0.pb").write_bytes(numpy_helper.from_array(x).SerializeToString())
    (folder / "output_0.pb").write_bytes(numpy_helper.from_array(x + np.float32(0.125)).SerializeToString())
    assert tgc("verify", model, "--dim", "N=1") == 0
    assert "against test_data_set_0" in capsys.readouterr().out
    (folder / "output_0.pb").write_bytes(numpy_helper.from_array(x + np.float32(0.126)).SerializeToString())
    assert tgc("verify", model, "--dim", "N=1") == 1
    assert "TOO FAR OFF" in capsys.readouterr().out
    assert tgc("verify", model, "--dim", "N=1", "--rtol", "0.1") == 0


def test_bench_measures(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc("bench", model, "--dim", "N=2", "--against", "none", "--seconds", "0.05", "--json") == 0
    report = printed(capsys)
    assert isinstance(report, dict)
    latency = report["measurements"][0]["latency"]
    assert 0 < latency["minimum"] <= latency["median"] <= latency["p99"] <= latency["maximum"] < 1
    assert report["ratio"] is None
    assert report["artifact"] > 0


def test_opt_runs_passes_on_text(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tgc.ir.text import parse_graph, print_graph

    text = print_graph(driver.import_graph(model, {"N": 2}, {}))
    (tmp_path / "small.tir").write_text(text)
    assert tgc("opt", tmp_path / "small.tir", "--passes", "fold") == 0
    assert parse_graph(capsys.readouterr().out).name == "small"
    assert tgc("opt", tmp_path / "small.tir", "--passes", "polish") == 1
    assert "there is no pass 'polish'" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "known"), [("ops", "Softmax"), ("passes", "fold"), ("targets", "x86-64-v3")])
def test_listings(command: str, known: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc(command) == 0
    assert known in capsys.readouterr().out
    assert tgc(command, "--json") == 0
    assert known in json.dumps(printed(capsys))


def test_scalar_operations_are_twelve_and_six(capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc("ops", "--scalar", "--json") == 0
    rows = printed(capsys)
    assert isinstance(rows, list)
    assert [row["bits_only"] for row in rows].count(False) == 12
    assert len(rows) == 18


@pytest.mark.parametrize(
    "line",
    [
        "compile",
        "compile m.onnx --dim N",
        "compile m.onnx --shape x=1xtwo",
        "compile m.onnx --dim N=1 --dim N=2",
        "run m.onnx --range x=3:1",
        "frobnicate",
    ],
)
def test_wrong_usage_is_status_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc(*line.split()) == 2
    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x08\x12\x03ab"])
def test_files_that_are_no_models(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    for arguments in (["compile", tmp_path / "bad.onnx", "-o", tmp_path / "out"], ["run", tmp_path / "bad.onnx"], ["run", tmp_path]):
        assert tgc(*arguments) == 1
        assert "tgc: " + str(tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]


def test_output_that_is_a_file(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert tgc("compile", model, "--dim", "N=1", "--target", "c", "-o", tmp_path / "out") == 1
    assert "the output folder is a file" in capsys.readouterr().err


def test_opt_goes_on_to_a_program_and_schedules_kernels(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tgc.ir.text import parse_kernel, print_graph, print_kernel
    from tgc.passes import program_of
    from tgc.passes.schedule.apply import plain_scheduler

    graph = driver.import_graph(model, {"N": 2}, {})
    (tmp_path / "small.tir").write_text(print_graph(graph))
    assert tgc("opt", tmp_path / "small.tir", "--passes", "fold,program", "--target", "c") == 0
    assert capsys.readouterr().out.startswith("program small")
    plain = program_of(graph, driver.resolve("c"), scheduler=plain_scheduler).kernels[0]
    (tmp_path / "kernel.tir").write_text(print_kernel(plain))
    assert tgc("opt", tmp_path / "kernel.tir", "--passes", "schedule", "--target", "c") == 0
    assert parse_kernel(capsys.readouterr().out) != plain
    (tmp_path / "steps.json").write_text("[]")
    assert tgc("opt", tmp_path / "kernel.tir", "--schedule", tmp_path / "steps.json") == 0
    assert parse_kernel(capsys.readouterr().out) == plain
    (tmp_path / "steps.json").write_text('[{"step": "Unroll", "var": "nowhere"}]')
    assert tgc("opt", tmp_path / "kernel.tir", "--schedule", tmp_path / "steps.json") == 1
    assert "does not fit" in capsys.readouterr().err


def test_stop_after_and_dump_ir(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", model, "--dim", "N=1", "--target", "c", "-o", tmp_path / "out"]
    assert tgc(*command, "--stop-after", "fold") == 0
    assert "small" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert tgc(*command, "--dump-ir", tmp_path / "stages") == 0
    names = sorted(path.name for path in (tmp_path / "stages").iterdir())
    assert names[:2] == ["00-import.tir", "01-widen.tir"]
    assert names[-1].endswith("-program.tir")
    assert tgc("opt", tmp_path / "stages" / "01-widen.tir", "--passes", "fold") == 0
    assert tgc(*command, "--stop-after", "polish") == 1


def test_print_ir_after(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", model, "--dim", "N=1", "--target", "c", "-o", tmp_path / "out", "--print-ir-after"]
    assert tgc(*command, "fold") == 0
    assert "small" in capsys.readouterr().err
    assert tgc(*command, "polish") == 1
    assert "these did: import, widen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--dim", "N=2", "--target", "abacus"], "choose one of"), ([], "N"), (["--dim", "N=2", "--name", "1st"], "not a C identifier")],
)
def test_faults_of_the_user_are_status_1(model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tgc("compile", model, *arguments, "-o", model.parent / "out") == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (model.parent / "out").exists()


def test_faults_of_inputs_name_the_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model.parent / "wrong.npy"
    np.save(path, np.zeros((3, 8), np.float32))
    assert tgc("run", model, "--dim", "N=2", "--input", f"x={path}") == 1
    assert "x is f32[2, 8], and the file holds float32[3, 8]" in capsys.readouterr().err
    assert tgc("run", model, "--dim", "N=2", "--input", f"z={path}") == 1
    assert "there is no input 'z'" in capsys.readouterr().err


def test_defects_are_status_3(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli.group.commands["targets"], "callback", broken)
    monkeypatch.setattr(cli.group.commands["targets"], "params", list[click.Parameter]())
    assert tgc("targets") == 3
    captured = capsys.readouterr()
    assert "please report it" in captured.err
    assert "Traceback" not in captured.err
    assert tgc("--debug", "targets") == 3
    assert "Traceback" in capsys.readouterr().err
