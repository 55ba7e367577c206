"""OpenCL artifacts as a whole: numbers through the C ABI, the C API's promises, strict compilers, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import programs
import pytest

from tgc.backends import opencl
from tgc.backends.opencl.emit import RUNTIME as FILES
from tgc.backends.options import EmitOptions
from tgc.errors import OptionError, TgcError, ToolchainError, UnsupportedError
from tgc.ir.dtypes import F32, F64
from tgc.ir.expr import Load
from tgc.ir.interpret import run_program
from tgc.ir.kernel import For, Store
from tgc.ir.program import Program, Repeat, Storage
from tgc.run import load
from tgc.run.opencl import chosen_device, driver_environment, icd_loader
from tgc.targets import OPENCL

HERE = Path(__file__).parent
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RUNTIME = tuple(name for name in FILES if name.endswith(".c"))
PROGRAMS = [
    programs.relu(), programs.matmul(lanes=4), programs.padded(), programs.padded(lanes=4), programs.two_kernels(), programs.stateful(),
    programs.mixed(), programs.permuted(lanes=4), programs.register_array(), programs.loops(),
]  # fmt: skip
CASES = [
    "host_pointers", "two_contexts", "in_order", "out_of_order", "ring_and_mapped", "binary_cache", "given_context", "bad_arguments",
    "build_failure", "again_and_again", "doubles",
]  # fmt: skip


def device() -> None:
    """Skips where there is nothing to run on."""
    try:
        icd_loader()
    except ToolchainError as error:
        pytest.skip(error.what)


def write(program: Program, folder: Path, options: EmitOptions | None = None) -> Path:
    files = opencl.emit(program, OPENCL, options or EmitOptions())
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def compile_c(folder: Path, *arguments: str, command: str = "cc") -> None:
    done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True)
    if "CL/cl.h" in done.stderr or "-lOpenCL" in done.stderr:
        pytest.skip("the OpenCL headers or loader are not installed")
    assert done.returncode == 0, done.stderr


def samples(program: Program) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    values = {}
    for tensor in program.inputs:
        small = rng.integers(0, 2 if tensor.dtype.kind == "bool" else 8, tensor.shape)
        noise = rng.normal(0, 3, tensor.shape) if tensor.dtype.is_float else small
        values[tensor.name] = noise.astype(tensor.dtype.numpy)
    return values


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@pytest.mark.parametrize("weights", ["file", "embed"])
def test_numbers(program, weights, tmp_path):
    if weights == "embed" and not program.weights.size:
        pytest.skip("it has no weights")
    device()
    model = load(write(program, tmp_path / "out", EmitOptions(weights)))
    inputs = samples(program)
    expected = run_program(program, inputs)
    for _ in range(2):
        for name, value in model.run(inputs).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_strict_compilers(program, tmp_path):
    folder = write(program, tmp_path / "out", EmitOptions("embed"))
    sources = [file.name for file in sorted(folder.glob("*.c"))]
    compile_c(folder, *STRICT, "-fsyntax-only", *sources)
    compile_c(folder, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", f"{program.name}.h", command="c++")


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Path:
    """tests/opencl_host.c with the program `two`, under the sanitizers."""
    device()
    folder = write(programs.two_kernels(), tmp_path_factory.mktemp("host"))
    (folder / "cache").mkdir()
    sources = ("two.c", *RUNTIME, str(HERE / "opencl_host.c"))
    compile_c(folder, *STRICT, *SANITIZE, "-I.", *sources, "-o", "opencl_host", "-lOpenCL", "-Wl,--wrap=clGetDeviceInfo")
    return folder / "opencl_host"


def run_case(host: Path, case: str, **variables: str) -> None:
    """Leaks are the driver's and its compiler's; ours are found by reference counts."""
    environment = {**os.environ, **driver_environment(), "ASAN_OPTIONS": "detect_leaks=0", **variables}
    done = subprocess.run([host, case], cwd=host.parent, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_c_api(host, case):
    run_case(host, case)


def test_c_api_without_a_driver(host, tmp_path):
    empty = str(tmp_path)
    run_case(host, "no_platform", OCL_ICD_VENDORS=empty, OCL_ICD_FILENAMES="")


@pytest.mark.parametrize("name", ["image", "launch", "input", "output_memory", "remove"])
def test_names_of_tensors_cannot_collide(tmp_path, name):
    device()
    program = programs.relu()
    folder = write(replace(program, inputs=(replace(program.inputs[0], name=name),)), tmp_path / "out")
    compile_c(folder, *STRICT, "-c", "example_main.c", "relu.c")
    assert "RELU_IMAGES 0" in (folder / "relu.h").read_text()
    assert load(folder).run({name: np.full(10, 2, np.float32)})["y"].sum() == 20


def test_example_runs(tmp_path):
    device()
    folder = write(programs.matmul(lanes=4), tmp_path / "out")
    compile_c(folder, *STRICT, "example_main.c", "matmul.c", *RUNTIME, "-o", "example", "-lOpenCL")
    environment = {**os.environ, **driver_environment()}
    done = subprocess.run([folder / "example"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout == "c: 0 0 0 0 0 0 0 0 ...\n", done.stderr
    (folder / "matmul.weights").write_bytes(b"no")
    done = subprocess.run([folder / "example"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "weights" in done.stderr


def test_text_names_nodes_shapes_and_launches():
    files = opencl.emit(programs.matmul(lanes=4), OPENCL, EmitOptions())
    source, host = files["matmul.cl"].decode(), files["matmul.c"].decode()
    assert "/* /matmul/Node */" in source
    assert "__global const float *restrict a, const int start0, /* f32 96 */" in source
    assert "/* a: f32 96, row-major */" in host
    assert all(f'"{line}\\n"' in host for line in source.splitlines() if '"' not in line and "?" not in line)


@pytest.mark.parametrize(("dtype", "needs"), [(F32, False), (F64, True)], ids=str)
def test_doubles_are_asked_for(dtype, needs):
    x, y = programs.buffer("x", 4, dtype), programs.buffer("y", 4, dtype)
    body = For(programs.I, 4, Store(y, programs.I, Load(x, programs.I)))
    files = opencl.emit(programs.one_kernel("copy", body, (x,), (y,)), OPENCL, EmitOptions())
    assert ("cl_khr_fp64 : enable" in files["copy.cl"].decode()) == needs
    assert ("TGC_CL_NEEDS_FP64" in files["copy.c"].decode()) == needs


def test_same_bytes_twice():
    assert opencl.emit(programs.mixed(), OPENCL, EmitOptions()) == opencl.emit(programs.mixed(), OPENCL, EmitOptions())


def test_empty_launches_are_left_out():
    program = programs.two_kernels()
    empty = replace(program.kernels[1], body=replace(program.kernels[1].body, extent=0, kind="grid0"))
    host = opencl.emit(replace(program, kernels=(program.kernels[0], empty)), OPENCL, EmitOptions())["two.h"].decode()
    assert "#define TWO_LAUNCHES 1" in host


def test_loops_are_loops():
    """Launches are listed once, and the runtime repeats them."""
    files = opencl.emit(programs.loops(), OPENCL, EmitOptions())
    assert "#define LOOPS_LAUNCHES 5" in files["loops.h"].decode()
    assert "{ 0, 1, 4 },\n  { 2, 4, 2 },\n  { 2, 3, 2 },\n  { 4, 5, 3 },\n" in files["loops.c"].decode()


def test_loops_too_deep_are_refused():
    program = programs.loops()
    deep = program.steps[0]
    for _ in range(8):
        deep = Repeat(1, (deep,))
    with pytest.raises(UnsupportedError, match="more than 8 loops"):
        opencl.emit(replace(program, steps=(deep,)), OPENCL, EmitOptions())


def test_what_is_too_large_for_int_indices():
    program = programs.two_kernels()
    far: list[Storage] = [replace(s, offset=1 << 34) if s.role == "arena" else s for s in program.storages]
    with pytest.raises(UnsupportedError, match="t reaches beyond element 2147483647"):
        opencl.emit(replace(program, storages=tuple(far)), OPENCL, EmitOptions())


@pytest.mark.parametrize(("text", "numbers"), [("0", (0, 0)), ("2", (2, 0)), ("1:3", (1, 3))])
def test_device_variable(text, numbers):
    assert chosen_device({"TGC_OPENCL_DEVICE": text}) == numbers


@pytest.mark.parametrize("text", ["", "gpu", "1:2:3", "-1"])
def test_bad_device_variable(text):
    with pytest.raises(OptionError, match="names no device"):
        chosen_device({"TGC_OPENCL_DEVICE": text})


def test_missing_device(tmp_path, monkeypatch):
    device()
    monkeypatch.setenv("TGC_OPENCL_DEVICE", "77")
    with pytest.raises(TgcError, match="platform_index is beyond the last OpenCL platform"):
        load(write(programs.relu(), tmp_path / "out"))


def test_no_platform_is_an_error_with_a_hint(tmp_path):
    device()
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path), "OCL_ICD_FILENAMES": ""}
    code = "from tgc.run.opencl import icd_loader; icd_loader()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "ToolchainError: there is no OpenCL platform on this machine\n  hint: " in done.stderr
