"""The self-test that an artifact carries: from Python and from C, on good programs and on broken ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from c_build import STRICT, checked, compiler, write
from onnx import TensorProto, helper, numpy_helper

import tgc
from tgc.backends.golden import SAMPLES, bits, first_mismatch, generated, record
from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.errors import ModelError, OptionError, ToolchainError
from tgc.ir.dtypes import DTYPES, F64, INDEX, SMALL
from tgc.ir.packing import to_stored
from tgc.ir.program import Tensor
from tgc.run.opencl import driver_environment, icd_loader

TARGETS = ["cpu", "c", "opencl"]
TYPES = [*(dtype for dtype in DTYPES if dtype != INDEX), *SMALL]
BAD_WEIGHTS, BAD_RESULT = 2, 6
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def model(nodes, inputs, outputs, weights=()):
    """A model of opset 17; inputs and outputs are (name, element type, shape)."""
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info(*i) for i in inputs], [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convolution(seed=0):
    """A convolution of pixels, its largest channel, and a matrix product; outputs of 512 floats, 64 whole numbers and 4 floats."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
        helper.make_node("MatMul", ["v", "m"], ["z"]),
    ]
    return model(
        nodes, [("pixels", TensorProto.UINT8, [1, 3, 8, 8]), ("v", TensorProto.FLOAT, [1, 5])],
        [("y", TensorProto.FLOAT, [1, 8, 8, 8]), ("best", TensorProto.INT64, [1, 8, 8]), ("z", TensorProto.FLOAT, [1, 4])],
        [("w", rng.normal(size=(8, 3, 3, 3)).astype(np.float32)), ("m", rng.normal(size=(5, 4)).astype(np.float32))],
    )  # fmt: skip


def needs(target: str) -> None:
    """Skips where this machine lacks what the target runs on."""
    if target == "opencl":
        try:
            icd_loader()
        except ToolchainError as error:
            pytest.skip(error.what)


def compiled(target: str, folder: Path, **options) -> tgc.Artifact:
    needs(target)
    return tgc.compile(convolution(), target, folder, name="net", selftest=True, **options)


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Puts other bytes into a file of an artifact, and its hash into the manifest, so that only the self-test can tell."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flip_exponent_bit(folder: Path) -> None:
    """One bit of one weight, the first that is not zero."""
    data = bytearray((folder / "net.weights").read_bytes())
    place = next(i for i in range(0, len(data), 4) if data[i : i + 4] != bytes(4))
    data[place + 3] ^= 0x08
    rewrite(folder, "net.weights", bytes(data))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weights", ["file", "embed"])
def test_passes(target, weights, tmp_path):
    compiled(target, tmp_path / "out", weights=weights)
    loaded = tgc.load(tmp_path / "out")
    assert [len(output.elements) for output in loaded.golden.outputs][0::2] == [SAMPLES, 4]
    assert loaded.selftest() is None
    assert loaded.selftest() is None


@pytest.mark.parametrize("target", TARGETS)
def test_a_flipped_weight_bit_is_caught(target, tmp_path):
    compiled(target, tmp_path / "out")
    flip_exponent_bit(tmp_path / "out")
    wrong = tgc.load(tmp_path / "out").selftest()
    assert wrong.output in ("y", "best", "z")
    assert wrong.expected != wrong.found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("skipped", [0, -1])
def test_a_missing_kernel_is_caught(target, skipped, tmp_path):
    artifact = compiled(target, None)
    calls = [call for i, call in enumerate(artifact.program.calls) if i != skipped % len(artifact.program.calls)]
    options = EmitOptions(golden=record(artifact.graph, artifact.program))
    write(tmp_path / "out", emit(replace(artifact.program, steps=tuple(calls)), artifact.target, options))
    assert tgc.load(tmp_path / "out").selftest() is not None


def build(folder: Path, target: str, flags: tuple[str, ...], cc: str) -> list[str]:
    """Compiles the artifact in `folder` and selftest_main.c with strict warnings; the command that runs it."""
    sources = sorted(str(path) for path in folder.iterdir() if path.suffix == ".c" and path.name != "example_main.c")
    objects = [str(path) for path in folder.glob("*.o")]
    main = Path(__file__).with_name("selftest_main.c")
    define = ["-DOPENCL"] if target == "opencl" else ["-D_POSIX_C_SOURCE=200809L"]
    link = ["-lOpenCL"] if target == "opencl" else []
    command = [cc, *STRICT, "-pedantic", *flags, *define, f"-I{folder}", "-o", "run", str(main), *sources, *objects, *link, "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if "CL/cl.h" in done.stderr or "-lOpenCL" in done.stderr:
        pytest.skip("the OpenCL headers or loader are not installed")
    assert done.returncode == 0, done.stderr[:4000]
    return [str(folder / "run")]


def outcome(command: list[str], *arguments: str) -> tuple[int, int, int, float, float]:
    """Status, output, element, expected, found."""
    environment = {**os.environ, **driver_environment(), "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, (done.returncode, done.stderr[:4000])
    status, output, element, expected, found = done.stdout.split()
    return int(status), int(output), int(element), float(expected), float(found)


@pytest.mark.parametrize("target", TARGETS)
def test_from_c(target, tmp_path):
    out = tmp_path / "out"
    compiled(target, out)
    command = build(out, target, SANITIZE, compiler("gcc", "clang"))
    weights = str(out / "net.weights")
    assert outcome(command, weights)[0] == 0
    flip_exponent_bit(out)
    status, output, element, expected, found = outcome(command, weights)
    if target != "opencl":
        assert status == BAD_WEIGHTS
        return
    wrong = tgc.load(out).selftest()
    assert (status, output) == (BAD_RESULT, ["y", "best", "z"].index(wrong.output))
    np.testing.assert_allclose([element, expected, found], [wrong.element, wrong.expected, wrong.found], rtol=1e-6)


def test_from_c_on_aarch64(tmp_path):
    """The compiler ran elsewhere; so the table lies right, and inputs and arithmetic are the same on another processor."""
    cc, qemu = compiler("aarch64-linux-gnu-gcc"), compiler("qemu-aarch64", "qemu-aarch64-static")
    compiled("cortex-a75", tmp_path)
    command = [qemu, *build(tmp_path, "cortex-a75", ("-static",), cc)]
    assert outcome(command, str(tmp_path / "net.weights"))[0] == 0


def test_a_broken_kernel_is_caught_from_c(tmp_path):
    out = tmp_path / "out"
    artifact = compiled("c", None)
    options = EmitOptions(golden=record(artifact.graph, artifact.program))
    write(out, emit(replace(artifact.program, steps=artifact.program.calls[:-1]), artifact.target, options))
    command = build(out, "c", (*SANITIZE, "-Wno-unused-function"), compiler("gcc", "clang"))
    assert outcome(command, str(out / "net.weights"))[0] == BAD_RESULT


@pytest.mark.parametrize("target", TARGETS)
def test_header_in_cpp17(target, tmp_path):
    compiled(target, tmp_path)
    (tmp_path / "use.cpp").write_text("""
#include "net.h"
tgc_status use(net_context *context, void *scratch) {
  tgc_selftest_result result;
  return net_selftest(context, scratch, NET_SELFTEST_BYTES, &result);
}
""")
    checked([compiler("g++", "clang++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "use.cpp"], tmp_path)


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_the_example_runs_it_first(target, tmp_path):
    compiled(target, tmp_path)
    code = [str(path) for path in tmp_path.iterdir() if path.suffix in (".c", ".o")]
    checked([compiler("gcc", "clang"), *STRICT, "-Wno-psabi", "-o", "example", *code, "-lm"], tmp_path)
    assert subprocess.run(["./example"], cwd=tmp_path, capture_output=True, text=True).stdout.startswith("y: ")
    flip_exponent_bit(tmp_path)
    done = subprocess.run(["./example"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_the_documented_calls(tmp_path):
    """docs/c-api.md's calls of the self-test and of other weights, compiled as they stand."""
    text = (Path(__file__).parents[1] / "docs" / "c-api.md").read_text()
    calls = [block for block in re.findall(r"```c\n(.*?)```", text, re.S) if "selftest" in block or "unchecked" in block]
    assert len(calls) == 2
    tgc.compile(convolution(), "c", tmp_path, name="classifier", selftest=True)
    body = "".join(calls)
    function = f'#include "classifier.h"\ntgc_status use(classifier_context context, tgc_weights weights) {{\n{body}return status;\n}}\n'
    (tmp_path / "use.c").write_text(function)
    checked([compiler("gcc", "clang"), *STRICT, "-pedantic", "-c", "use.c"], tmp_path)


def test_every_type_from_c_and_python(tmp_path):
    """A model that hands out what it is fed, in every element type: the runtime's inputs are those of `generated`, bit for bit."""
    types = [getattr(TensorProto, name) for name in (
        "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FLOAT16", "BFLOAT16", "FLOAT", "DOUBLE",
        "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1", "INT4", "UINT4", "INT2", "UINT2",
    )]  # fmt: skip
    nodes = [helper.make_node("Identity", [f"x{i}"], [f"y{i}"]) for i in range(len(types))]
    listed = [[(f"{letter}{i}", kind, [300]) for i, kind in enumerate(types)] for letter in "xy"]
    artifact = tgc.compile(model(nodes, *listed), "c", name="net")
    assert [tensor.dtype for tensor in artifact.program.inputs] == TYPES
    for positive in (False, True):
        golden = replace(record(artifact.graph, artifact.program), positive=positive)
        inputs = generated(artifact.program.inputs, positive)
        outputs = []
        for row, value in zip(golden.outputs, inputs.values(), strict=True):
            outputs.append(replace(row, values=tuple(bits(to_stored(value)[list(row.elements)]).tolist()), tolerance=0.0))
        out = tmp_path / str(positive)
        write(out, emit(artifact.program, artifact.target, EmitOptions(golden=replace(golden, outputs=tuple(outputs)))))
        assert tgc.load(out).selftest() is None
        assert outcome(build(out, "c", SANITIZE, compiler("gcc", "clang")))[0] == 0


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_what_is_generated_of_small_types(dtype):
    """Numbers of either sign, or none below zero, and always finite."""
    plain, positive = (generated([Tensor("x", dtype, (40, 51), "x")], way)["x"].astype(np.float64) for way in (False, True))
    assert np.isfinite(plain).all()
    assert len(np.unique(plain)) >= min(8, 1 << dtype.bits)
    assert not dtype.is_float or (positive >= 0).all()


@pytest.mark.parametrize("dtype", [dtype for dtype in TYPES if dtype not in SMALL], ids=str)
def test_what_is_generated(dtype):
    tensors = [Tensor(name, dtype, (40, 50), name) for name in "ab"]
    plain, positive = generated(tensors, False), generated(tensors, True)
    a, b, p = (value.astype(np.float64) for value in (plain["a"], plain["b"], positive["a"]))
    assert not np.array_equal(a, b)
    if dtype.is_float:
        assert -1 <= a.min() < -0.9 < 0.9 < a.max() < 1
        assert 0 < p.min() < 0.1 < 0.9 < p.max() <= 1
        np.testing.assert_allclose([a.mean(), p.mean()], [0, 0.5], atol=0.05)
    elif dtype.bits == 8 and dtype.is_integer:
        assert len(np.unique(a)) > 250
    else:
        assert np.unique(a).tolist() == [0, 1]


def test_the_first_word_is_splitmix64():
    """The published generator's first output for the seed 0 is e220a8397b1dcdaf; an f64 shows its leading 53 bits."""
    (value,) = generated([Tensor("x", F64, (1,), "x")], True)["x"]
    assert value == ((0xE220A8397B1DCDAF >> 11) + 1) / 2**53


def test_inputs_stay_positive_where_the_model_needs_it(tmp_path):
    nodes = [helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("Log", ["r"], ["y"])]
    tgc.compile(model(nodes, [("x", TensorProto.FLOAT, [64])], [("y", TensorProto.FLOAT, [64])]), "cpu", tmp_path, selftest=True)
    loaded = tgc.load(tmp_path)
    assert loaded.golden.positive
    assert np.isfinite(np.array(loaded.golden.outputs[0].values, np.uint64).view(np.float64)).all()
    assert loaded.selftest() is None


def test_what_hangs_on_rounding_is_not_recorded():
    """floor(x * 2^15) may differ by one under another rounding of x; floor(x * 4) mostly not."""
    nodes = [helper.make_node(kind, ins, [out]) for kind, ins, out in (
        ("Mul", ["x", "big"], "a"), ("Floor", ["a"], "b"), ("Mul", ["x", "four"], "c"), ("Floor", ["c"], "d"),
    )]  # fmt: skip
    nodes += [helper.make_node("Cast", [i], [o], to=TensorProto.INT32) for i, o in (("b", "fine"), ("d", "coarse"))]
    artifact = tgc.compile(model(
        nodes, [("x", TensorProto.FLOAT, [200])], [("fine", TensorProto.INT32, [200]), ("coarse", TensorProto.INT32, [200])],
        [("big", np.float32(2**15)), ("four", np.float32(4))],
    ), "c")  # fmt: skip
    fine, coarse = record(artifact.graph, artifact.program).outputs
    assert len(fine.elements) < 170
    assert len(coarse.elements) >= 195


def test_sampling_is_spread_over_the_whole_output():
    artifact = tgc.compile(convolution(), "c")
    elements = record(artifact.graph, artifact.program).outputs[0].elements
    assert len(elements) == SAMPLES
    assert list(elements) == sorted(set(elements))
    assert all(a // 2 == i for i, a in enumerate(elements))  # 512 values, one out of each two


def test_infinities_and_nans():
    artifact = tgc.compile(convolution(), "c")
    golden = record(artifact.graph, artifact.program)
    row = replace(golden.outputs[0], elements=(0, 1), values=tuple(bits(np.array([np.inf, np.nan])).tolist()), tolerance=1.0)
    golden = replace(golden, outputs=(row,))
    assert first_mismatch(golden, {"y": np.array([np.inf, -np.nan], np.float32)}) is None
    for wrong in ([-np.inf, np.nan], [3e38, np.nan], [np.inf, 0], [np.nan, np.nan]):
        assert first_mismatch(golden, {"y": np.array(wrong, np.float32)}) is not None


@pytest.mark.parametrize("target", ["x86-64-v3", "c", "opencl"])
def test_same_bytes_every_time(target):
    made = [tgc.compile(convolution(), target, name="net", selftest=True).files for _ in range(2)]
    assert made[0] == made[1]


def test_without_one_there_is_none(tmp_path):
    artifact = tgc.compile(convolution(), "cpu", tmp_path, name="net")
    assert not any("selftest" in name for name in artifact.files)
    assert b"selftest" not in artifact.files["net.h"]
    with pytest.raises(OptionError, match=r"no self-test.*\n.*compile it with --selftest"):
        tgc.load(tmp_path).selftest()


def test_command_line(tmp_path, capsys):
    from tgc.cli import invoke

    onnx.save(convolution(), tmp_path / "net.onnx")
    out = str(tmp_path / "out")
    assert invoke(["compile", str(tmp_path / "net.onnx"), "--selftest", "-o", out]) == 0
    assert invoke(["run", out, "--selftest"]) == 0
    assert "the self-test passed" in capsys.readouterr().out
    assert invoke(["run", str(tmp_path / "net.onnx"), "--target", "c", "--selftest"]) == 0
    assert "the self-test passed" in capsys.readouterr().out
    flip_exponent_bit(Path(out))
    assert invoke(["run", out, "--selftest"]) == 1
    assert "the self-test failed: element" in capsys.readouterr().out
    assert invoke(["run", out, "--selftest", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["mismatch"]["output"] in ("y", "best", "z")


@pytest.mark.parametrize("target", TARGETS)
def test_other_weights_without_compiling(target, tmp_path):
    """Weights of a model trained further, from an artifact with the same layout."""
    needs(target)
    for seed in (0, 1):
        tgc.compile(convolution(seed), target, tmp_path / str(seed), name=f"net{seed}", selftest=True)
    layouts = [json.loads((tmp_path / f"{seed}" / "manifest.json").read_bytes())["weights"]["layout"] for seed in (0, 1)]
    assert layouts[0] == layouts[1]
    swapped = tgc.load(tmp_path / "0", weights=tmp_path / "1" / "net1.weights")
    inputs = generated(swapped.inputs, False)
    for name, value in tgc.load(tmp_path / "1").run(inputs).items():
        np.testing.assert_array_equal(swapped.run(inputs)[name], value)
    with pytest.raises(OptionError, match="no self-test"):
        swapped.selftest()


def test_wrong_other_weights(tmp_path):
    tgc.compile(convolution(), "cpu", tmp_path / "out", name="net")
    (tmp_path / "short").write_bytes(struct.pack("<f", 1))
    with pytest.raises(ModelError, match="holds 4 bytes; the program takes"):
        tgc.load(tmp_path / "out", weights=tmp_path / "short")
    with pytest.raises(ModelError, match="No such file"):
        tgc.load(tmp_path / "out", weights=tmp_path / "none")
    tgc.compile(convolution(), "cpu", tmp_path / "embedded", name="net", weights="embed")
    with pytest.raises(OptionError, match="no weights file"):
        tgc.load(tmp_path / "embedded", weights=tmp_path / "short")


def test_another_layout_is_told_apart():
    def layout(made):
        return json.loads(made.files["manifest.json"])["weights"]["layout"]

    rng = np.random.default_rng(0)
    products = [
        model([helper.make_node("MatMul", ["v", "m"], ["z"])], [("v", TensorProto.FLOAT, [1, 6])], [("z", TensorProto.FLOAT, [1, columns])],
              [("m", rng.normal(size=(6, columns)).astype(np.float32))])
        for columns in (4, 5)
    ]  # fmt: skip
    a, b = (layout(tgc.compile(product, "c")) for product in products)
    assert a != b
