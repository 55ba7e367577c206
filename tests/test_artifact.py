"""What an artifact consists of, and running it from Python."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import programs
import pytest
from c_build import STRICT, checked, compiler, write

import tgc
from tgc.backends import files as artifact_files
from tgc.backends.c import emit
from tgc.backends.options import EmitOptions
from tgc.backends.toolchain import compile_shared
from tgc.errors import ModelError, OptionError, TgcError, ToolchainError
from tgc.ir.interpret import run_program
from tgc.ir.work import work_of
from tgc.run import load
from tgc.targets import C

EMBED = EmitOptions(weights="embed")


@pytest.fixture
def saved(tmp_path):
    """The folder of a compiled matrix product."""
    write(tmp_path / "matmul", emit(programs.matmul(), C, EmitOptions()))
    return tmp_path / "matmul"


def test_manifest(saved):
    program = programs.matmul()
    manifest = json.loads((saved / "manifest.json").read_bytes())
    assert manifest["name"] == "matmul"
    assert manifest["target"]["name"] == "c"
    assert manifest["options"] == {"weights": "file", "selftest": False}
    assert manifest["inputs"] == [{"name": "a", "identifier": "a", "dtype": "f32", "shape": [96]}]
    assert len(manifest["weights"].pop("layout")) == 64
    assert [tensor["bytes"] for tensor in manifest["weights"].pop("tensors")] == [s.bytes for s in program.storages if s.role == "weight"]
    assert manifest["weights"] == {
        "bytes": program.weights.size, "sha256": hashlib.sha256(program.weights.tobytes()).hexdigest(), "file": "matmul.weights",
    }  # fmt: skip
    assert manifest["nodes"] == {"/matmul/Node": ["matmul_kernel"]}
    work = asdict(work_of(program.kernels[0]))
    assert manifest["kernels"] == [{"name": "matmul_kernel", "calls": 1, "nodes": ["/matmul/Node"], **work}]
    assert [step["kernel"] for step in manifest["steps"]] == ["matmul_kernel"]
    assert {row["name"] for row in manifest["memory"]} == {s.name for s in program.storages if s.role != "weight"}
    assert set(manifest["files"]) | {"manifest.json"} == {path.name for path in saved.iterdir()}
    assert all(hashlib.sha256((saved / name).read_bytes()).hexdigest() == digest for name, digest in manifest["files"].items())


def test_same_bytes_every_time():
    assert emit(programs.matmul(), C, EmitOptions()) == emit(programs.matmul(), C, EmitOptions())


@pytest.mark.parametrize("options", [EmitOptions(), EMBED], ids=["file", "embed"])
def test_header_in_cpp17(tmp_path, options):
    write(tmp_path, emit(programs.two_kernels(), C, options))
    (tmp_path / "use.cpp").write_text("""
#include "two.h"
int use(void *arena, float *data) {
  two_context context;
  if (two_init(&context, arena, TWO_ARENA_BYTES, nullptr) != TGC_OK) return 1;
  two_bind_in_put(&context, data);
  two_bind_in_put_2(&context, data);
  static_assert(TWO_IN_PUT_COUNT == 16 && TWO_IN_PUT_2_INDEX == 0, "");
  return two_run(&context);
}
""")
    checked([compiler("g++", "clang++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "use.cpp"], tmp_path)


@pytest.mark.parametrize("options", [EmitOptions(), EMBED], ids=["file", "embed"])
def test_cmake_builds_the_example(tmp_path, options):
    cmake = shutil.which("cmake") or pytest.skip("needs cmake")
    write(tmp_path / "out", emit(programs.matmul(), C, options))
    checked([cmake, "-S", "out", "-B", "build"], tmp_path)
    checked([cmake, "--build", "build"], tmp_path)
    command = ["build/example_main", *(["out/matmul.weights"] if options is not EMBED else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "c: 0 0 0 0 0 0 0 0 ...\n"


def test_example_is_strict_c99(tmp_path):
    write(tmp_path, emit(programs.mixed(), C, EmitOptions()))
    for cc in ("gcc", "clang-14"):
        checked([compiler(cc, "cc"), *STRICT, "-pedantic", "-c", "example_main.c", "tgc_runtime.c"], tmp_path)


@pytest.mark.parametrize("program", [
    programs.relu(), programs.matmul(), programs.padded(), programs.padded(lanes=8), programs.two_kernels(), programs.stateful(),
    programs.mixed(),
], ids=lambda program: program.name)  # fmt: skip
@pytest.mark.parametrize("options", [EmitOptions(), EMBED], ids=["file", "embed"])
def test_load_and_run(tmp_path, program, options):
    write(tmp_path / "out", emit(program, C, options))
    model = load(tmp_path / "out")
    rng = np.random.default_rng(3)
    inputs = {i.name: (rng.standard_normal(i.shape) * 3).astype(i.dtype.numpy) for i in model.inputs}
    want = run_program(program, inputs)
    for _ in range(2):  # the arena's contents between runs mean nothing
        got = model.run(inputs)
        for name, expected in want.items():
            np.testing.assert_allclose(got[name].astype(float), expected.astype(float), rtol=1e-5, atol=1e-5)


def test_model_describes_itself(saved):
    model = load(saved)
    assert model.name == "matmul"
    assert model.target == "c"
    assert [(i.name, i.dtype.name, i.shape) for i in model.inputs] == [("a", "f32", (96,))]
    assert [o.text() for o in model.outputs] == ["f32 [128]"]


@pytest.mark.parametrize(("inputs", "said"), [
    ({}, "no value was given"), ({"a": np.zeros(96, np.float32), "b": 1}, "no input 'b'"),
    ({"a": np.zeros(95, np.float32)}, r"not float32 \[95\]"),
    ({"a": np.zeros(96)}, "takes f32"), ({"a": "text"}, "takes f32"),
])  # fmt: skip
def test_wrong_inputs(saved, inputs, said):
    with pytest.raises(OptionError, match=said):
        load(saved).run(inputs)


def test_strided_inputs_are_copied(saved):
    model, data = load(saved), np.random.default_rng(0).standard_normal(192).astype(np.float32)
    np.testing.assert_array_equal(model.run({"a": data[::2]})["c"], model.run({"a": data[::2].copy()})["c"])


def damage_weights(folder):
    data = bytearray((folder / "matmul.weights").read_bytes())
    data[7] ^= 1
    (folder / "matmul.weights").write_bytes(data)


@pytest.mark.parametrize(("damage", "said"), [
    (damage_weights, "hash differs"),
    (lambda folder: (folder / "matmul.weights").unlink(), "no such file, and its entry in the store: .*is not in the store"),
    (lambda folder: (folder / "manifest.json").unlink(), "holds no compiled model"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "is no JSON"),
    (lambda folder: (folder / "manifest.json").write_text('{"format": 99}'), "format 2"),
    (lambda folder: (folder / "manifest.json").write_text('{"format": 2, "name": "x"}'), "damaged"),
])  # fmt: skip
def test_damaged_artifacts(saved, damage, said):
    damage(saved)
    with pytest.raises(ModelError, match=said):
        load(saved)


def test_manifest_cannot_name_files_elsewhere(saved):
    manifest = json.loads((saved / "manifest.json").read_bytes())
    manifest["files"]["../secret"] = "0"
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="outside the artifact"):
        load(saved)


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ToolchainError, match=r"no C compiler.*\n.*install gcc or clang"):
        compile_shared([tmp_path / "a.c"], tmp_path / "a.so")
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    with pytest.raises(ToolchainError, match="no program 'no-such-compiler'"):
        compile_shared([tmp_path / "a.c"], tmp_path / "a.so")


def test_failing_compiler(tmp_path):
    compiler("cc", "gcc", "clang")
    (tmp_path / "a.c").write_text("int f( {\n" + "x\n" * 100)
    with pytest.raises(ToolchainError, match=r"failed with status 1\n.*a\.c:1"):
        compile_shared([tmp_path / "a.c"], tmp_path / "a.so")


def test_too_many_weights_to_embed(monkeypatch):
    monkeypatch.setattr(artifact_files, "EMBED_LIMIT", 100)
    with pytest.raises(OptionError, match="use --weights=file"):
        emit(programs.matmul(), C, EMBED)


def test_names_from_a_model_cannot_break_out(tmp_path):
    program = programs.relu()
    odd = ["*/ int x; /*", 'quo"te\\\n??/', "größe", "int", "", "remove", "printf", "input", "weights", "arena"]
    for name in odd:
        tensor = replace(program.inputs[0], name=name)
        kernel = replace(program.kernels[0], origins=(name,))
        changed = replace(program, inputs=(tensor,), kernels=(kernel,))
        write(tmp_path, emit(changed, C, EmitOptions()))
        checked([compiler("gcc", "cc"), *STRICT, "-pedantic", "-Wtrigraphs", "-c", "relu.c", "example_main.c"], tmp_path)
        write(tmp_path / "out", emit(changed, C, EmitOptions()))
        assert load(tmp_path / "out").run({name: np.full(10, 2, np.float32)})["y"].sum() == 20


def test_errors_are_tgc_errors():
    assert issubclass(ToolchainError, TgcError)
    assert tgc.load is load


def test_the_documented_program(tmp_path):
    """docs/c-api.md says what it does: its program is compiled and run as it stands."""
    text = (Path(__file__).parents[1] / "docs" / "c-api.md").read_text()
    program = programs.matmul()
    image, scores = replace(program.inputs[0], name="image"), replace(program.outputs[0], name="scores")
    write(tmp_path, emit(replace(program, name="classifier", inputs=(image,), outputs=(scores,)), C, EmitOptions()))
    (tmp_path / "main.c").write_text(re.findall(r"```c\n(.*?)```", text, re.S)[0])
    checked([compiler("gcc", "clang"), *STRICT, "-o", "main", "main.c", "classifier.c", "tgc_runtime.c", "-lm"], tmp_path)
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True)
    weight = float(np.frombuffer(program.weights.tobytes(), np.float32)[0])
    np.testing.assert_allclose([float(line) for line in done.stdout.split()], [0, weight, 2 * weight], rtol=1e-5)
