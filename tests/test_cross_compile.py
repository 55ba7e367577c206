"""Objects for every LLVM target: complete, and with the right numbers where this machine or an emulator can run them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from c_build import DRIVER, checked, compiler, write
from llvm_programs import every_cast, every_operation, merged, program_of, samples, softmax_like
from programs import matmul, mixed, padded, stateful, two_kernels
from wasm_object import with_run_exported

from tgc.backends.llvm import emit, host_target
from tgc.backends.llvm.codegen import compile_module
from tgc.backends.llvm.machine import machine_of
from tgc.backends.llvm.symbols import undefined_symbols
from tgc.backends.options import EmitOptions
from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Buffer, Lit, Load, Var, apply, index
from tgc.ir.interpret import run_program
from tgc.ir.kernel import Block, For, Kernel, Parameter, Store
from tgc.ir.program import Program
from tgc.targets import CORTEX_A75, CPU, RISCV64, TARGETS, WASM32, X86_V2, Target

LLVM_TARGETS = [target for target in TARGETS if target.backend == "llvm"]
PROGRAMS = [matmul(), padded(), padded(lanes=4), two_kernels(), stateful(), mixed(), softmax_like()]


def everything(lanes: int) -> Program:
    """All operations and casts, and the loops that LLVM likes to replace by calls of memset and memcpy."""
    x, y, at = Buffer("x", F32, 4096), Buffer("y", F32, 4096), Var("i")
    clear = For(at, 4096, Store(y, at, Lit(0.0, F32)))
    copy = For(at, 2048, Store(y, apply(ops.ADD, at, index(2048)), Load(x, at)))
    kernel = Kernel("k", (Parameter(x, "read"), Parameter(y, "write")), Block((clear, copy)))
    cases = [program for _, program in (*every_operation(lanes, 16), *every_cast(lanes, 16))]
    return merged([*cases, program_of(kernel)])


@pytest.mark.parametrize("target", LLVM_TARGETS, ids=lambda target: target.name)
def test_objects_are_complete(target: Target) -> None:
    assert undefined_symbols(emit(everything(8), target, EmitOptions())["net.o"]) == []


@pytest.mark.parametrize("target", [X86_V2, RISCV64, WASM32], ids=lambda target: target.name)
def test_scalar_objects_are_complete_without_half_precision_instructions(target: Target) -> None:
    assert undefined_symbols(emit(everything(1), target, EmitOptions())["net.o"]) == []


def test_undefined_symbols_are_seen() -> None:
    for target in (X86_V2, CORTEX_A75, WASM32):
        machine = machine_of(target)
        text = "declare void @elsewhere()\ndefine void @f() {\n  call void @elsewhere()\n  ret void\n}\n"
        text = f'target triple = "{machine.triple}"\n{text}'
        assert undefined_symbols(compile_module(text, machine)) == ["elsewhere"]


def inputs_of(program: Program) -> dict[str, np.ndarray]:
    return {t.name: samples(t.dtype, int(np.prod(t.shape)), n).reshape(t.shape) for n, t in enumerate(program.inputs)}


def split(program: Program, data: bytes) -> dict[str, np.ndarray]:
    outputs: dict[str, np.ndarray] = {}
    for tensor in program.outputs:
        size = int(np.prod(tensor.shape)) * tensor.dtype.bytes
        outputs[tensor.name], data = np.frombuffer(data[:size], tensor.dtype.numpy).reshape(tensor.shape), data[size:]
    return outputs


def run_linked(
    program: Program, target: Target, folder: Path, cc: str, flags: tuple[str, ...], runner: tuple[str, ...],
    given: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The outputs of the object, linked with a small C program, for `given` or else for sample inputs."""
    write(folder, emit(program, target, EmitOptions()))
    driver = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", f"-DMODEL={program.name}_model", "-I.", str(DRIVER), "tgc_runtime.c"]
    checked([cc, *flags, "-o", "run_model", *driver, f"{program.name}.o"], folder)
    inputs = inputs_of(program) if given is None else given
    (folder / "inputs.bin").write_bytes(b"".join(inputs[tensor.name].tobytes() for tensor in program.inputs))
    weights = [f"{program.name}.weights"] if program.weights.size else []
    checked([*runner, "./run_model", "inputs.bin", "outputs.bin", *weights], folder)
    return split(program, (folder / "outputs.bin").read_bytes())


def agree(program: Program, got: Mapping[str, np.ndarray]) -> None:
    """Products may be summed with one rounding less; everything else is exact."""
    for name, wanted in run_program(program, inputs_of(program)).items():
        np.testing.assert_allclose(got[name].astype(np.float64), wanted.astype(np.float64), rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_aarch64_under_qemu(program: Program, tmp_path: Path) -> None:
    cc, qemu = compiler("aarch64-linux-gnu-gcc"), compiler("qemu-aarch64", "qemu-aarch64-static")
    agree(program, run_linked(program, CORTEX_A75, tmp_path, cc, ("-static",), (qemu,)))


def test_every_operation_and_cast_on_aarch64(tmp_path: Path) -> None:
    cc, qemu = compiler("aarch64-linux-gnu-gcc"), compiler("qemu-aarch64", "qemu-aarch64-static")
    exact = [p for name, p in every_operation(8) if name.split("-")[0] in ("ADD", "MUL", "MAX", "LT", "EQ", "WHERE", "XOR")]
    widening = [p for name, p in every_cast(4) if "CAST-f" in name and p.outputs[0].dtype.is_float]
    program = merged([*exact, *widening])
    got = run_linked(program, CORTEX_A75, tmp_path, cc, ("-static",), (qemu,))
    for name, wanted in run_program(program, inputs_of(program)).items():
        np.testing.assert_array_equal(got[name], wanted, err_msg=name)


@pytest.mark.parametrize("target", [CPU, X86_V2], ids=lambda target: target.name)
def test_host_compiler_links_the_object(target: Target, tmp_path: Path) -> None:
    if target is X86_V2 and not host_target(CPU).triple.startswith("x86_64"):
        pytest.skip("needs an x86-64 machine")
    for program in PROGRAMS:
        agree(program, run_linked(program, target, tmp_path / program.name, compiler("cc", "gcc", "clang"), (), ()))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_wasm_under_node(program: Program, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    inputs = inputs_of(program)
    (tmp_path / "net.wasm").write_bytes(with_run_exported(emit(program, WASM32, EmitOptions())[f"{program.name}.o"]))
    sizes = {side: [int(np.prod(t.shape)) * t.dtype.bytes for t in getattr(program, side)] for side in ("inputs", "outputs")}
    (tmp_path / "plan.json").write_text(json.dumps({"weights": int(program.weights.size), "arena": program.arena_bytes, **sizes}))
    (tmp_path / "inputs.bin").write_bytes(program.weights.tobytes() + b"".join(inputs[t.name].tobytes() for t in program.inputs))
    script = Path(__file__).with_name("run_wasm.mjs")
    command = [node, str(script), "net.wasm", "plan.json", "inputs.bin", "outputs.bin"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    agree(program, split(program, (tmp_path / "outputs.bin").read_bytes()))
