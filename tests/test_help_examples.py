"""Every example in a command's --help is run as it stands, in a folder with the files that it names; measuring is shortened."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_bench_sdk import ADB
from test_bisect import broken_at

from tgc import cli, driver, passes
from tgc.ir.text import print_graph, print_kernel, print_program
from tgc.passes.heuristic import scheduler_for
from tgc.targets import Target

pytest.importorskip("onnxruntime")


def examples(command: str) -> list[str]:
    text = cli.group.commands[command].get_help(click.Context(cli.group.commands[command]))
    return [line.strip() for line in re.findall(r"^ *tgc .*", text[text.index("Example:") : text.index("Options:")], re.M)]


def image_model() -> onnx.ModelProto:
    """A convolution, a pool and a dense layer, on a photo."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("GlobalAveragePool", ["q"], ["r"]),
        helper.make_node("Flatten", ["r"], ["s"]),
        helper.make_node("Gemm", ["s", "b"], ["y"], transB=1, name="dense"),
    ]
    shapes = {"a": (4, 3, 8, 8), "b": (5, 4)}
    weights = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "model", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 224, 224])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])], weights)  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def policy_model() -> onnx.ModelProto:
    """A state, and a plan that is made of it."""
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "previous", "hidden", "plan")}
    nodes = [helper.make_node("Add", ["x", "previous"], ["hidden"]), helper.make_node("Relu", ["hidden"], ["plan"])]
    graph = helper.make_graph(nodes, "policy", [tensors["x"], tensors["previous"]], [tensors["plan"], tensors["hidden"]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that an example names, here; a phone that is a folder, an empty store, my-check among the programs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TGC_STORE", str(tmp_path / "store"))
    (tmp_path / "phone").mkdir()
    Path("adb").write_text(ADB.format(python=sys.executable, folder=str(tmp_path / "phone")))
    Path("adb").chmod(0o755)
    monkeypatch.setenv("TGC_ADB", str(tmp_path / "adb"))
    onnx.save(image_model(), "model.onnx")
    onnx.save(policy_model(), "policy.onnx")
    np.save("photo.npy", np.ones((1, 3, 224, 224), np.float32))
    artifact = driver.compile("model.onnx", "cpu")
    Path("graph.tir").write_text(print_graph(driver.import_graph("policy.onnx", {}, {})))
    Path("kernel.tir").write_text(print_kernel(artifact.program.kernels[0]))
    Path("program.tir").write_text(print_program(artifact.program))
    Path("old.json").write_text(json.dumps({"measurements": [{"latency": {"median": 1000.0}}]}))
    check = "import onnx, sys; sys.exit('Gemm' not in [node.op_type for node in onnx.load(sys.argv[1]).graph.node])"
    Path("my-check").write_text(f"#!{sys.executable}\n{check}\n")
    Path("my-check").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def shortened(arguments: list[str]) -> list[str]:
    return [*arguments, "--seconds", {"bench": "0.05", "tune": "1"}[arguments[0]]] if arguments[0] in ("bench", "tune") else arguments


def make_out(command: str) -> None:
    """The artifact `out`, where the command does not make it; job.toml where it builds one."""
    if command in ("run", "inspect", "store"):
        assert cli.invoke(["compile", "model.onnx", "--selftest", "-o", "out"]) == 0
    if command == "compile":
        assert cli.invoke(["tune", "model.onnx", "--seconds", "0.5", "-o", "model.lock"]) == 0
    if command == "build":
        assert cli.invoke(["job", "model.onnx", "--target", "x86-64-v3", "-o", "job.toml"]) == 0


def plant_faults(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """reduce needs a model that fails: the dense layer is wrong, or does not compile."""

    def refuse(_: Target) -> object:
        def schedule(kernel: object, constants: frozenset[str]) -> object:
            if "dense" in kernel.origins:  # type: ignore[attr-defined]
                raise ZeroDivisionError("planted")
            return scheduler_for(driver.resolve("cpu"))(kernel, constants)  # type: ignore[arg-type]

        return schedule

    monkeypatch.setattr(passes, "scheduler_for", refuse if "--check" in arguments else broken_at("dense"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", sorted(cli.group.commands))
def test_examples(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_out(command)
    found = examples(command)
    assert found
    for line in found:
        program, *arguments = shlex.split(line)
        assert program == "tgc"
        assert arguments[0] in cli.group.commands
        if "opencl" in arguments and not find_spec("pyopencl"):
            continue
        if command == "store" and "fetch" in arguments and not find_spec("fsspec"):
            continue
        capsys.readouterr()
        with monkeypatch.context() as planted:
            if command == "reduce" and "--command" not in arguments:
                plant_faults(arguments, planted)
            assert cli.invoke(shortened(arguments)) == 0, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.usefixtures("folder")
def test_examples_of_tgc_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["--help"]) == 0
    lines = re.findall(r"^ *tgc (\w+ .*)", capsys.readouterr().out, re.M)
    assert len(lines) >= 2
    for line in lines:
        assert cli.invoke(shlex.split(line)) == 0
