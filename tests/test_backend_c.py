"""Generated C against the interpreter: every operation, scalar and vector, with and without the vector extension."""

from __future__ import annotations

import numpy as np
import programs
import pytest
from c_build import compiler, run
from programs import I

from tgc.backends.c import emit
from tgc.backends.options import EmitOptions
from tgc.ir import ops
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, DType
from tgc.ir.expr import Buffer, Expr, Lit, Load, apply, bitcast, cast
from tgc.ir.interpret import run_program
from tgc.ir.program import Program
from tgc.ir.verify import verify_program
from tgc.targets import C

COUNT = 64
INTEGERS = (I8, I16, I32, I64, U8, U16, U32, U64)
FLOATS = (F32, F64)
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def source(name: str, dtype: DType) -> Load:
    return Load(Buffer(f"{name}_{dtype}", dtype, COUNT), I)


def arithmetic() -> dict[str, Expr]:
    """Every operation on every type that has it; `b` is never zero and never a large shift."""
    cases: dict[str, Expr] = {}
    for dtype in (*FLOATS, *INTEGERS):
        a, b = source("a", dtype), source("b", dtype)
        binary = (ops.ADD, ops.MUL, ops.DIV, ops.MAX, ops.LT, ops.EQ) + ((ops.AND, ops.OR, ops.XOR) if dtype.is_integer else ())
        cases |= {f"{op.name}_{dtype}": apply(op, a, b) for op in binary}
        cases[f"WHERE_{dtype}"] = apply(ops.WHERE, source("m", BOOL), a, b)
        cases[f"MAX_LIT_{dtype}"] = apply(ops.MAX, a, Lit(1.5 if dtype.is_float else 3, dtype))
        cases[f"DIV_LIT_{dtype}"] = apply(ops.DIV, a, Lit(3.0 if dtype.is_float else 3, dtype))
        if dtype.kind != "uint":
            minus = Lit(-1.0 if dtype.is_float else -1, dtype)
            cases[f"NEG_{dtype}"] = apply(ops.MUL, a, minus)
            cases[f"SUB_{dtype}"] = apply(ops.ADD, a, apply(ops.MUL, b, minus))
        if dtype.is_integer:
            cases |= {f"{op.name}_{dtype}": apply(op, a, source("s", dtype)) for op in (ops.SHL, ops.SHR)}
            cases |= {f"{op.name}_LIT_{dtype}": apply(op, a, Lit(2, dtype)) for op in (ops.SHL, ops.SHR)}
        else:
            cases[f"SQRT_{dtype}"] = apply(ops.SQRT, a)
    m, n = source("m", BOOL), source("n", BOOL)
    cases |= {f"{op.name}_bool": apply(op, m, n) for op in (ops.MUL, ops.MAX, ops.LT, ops.EQ)}
    cases["NOT_bool"] = apply(ops.EQ, m, Lit(False, BOOL))
    cases["WHERE_bool"] = apply(ops.WHERE, m, n, apply(ops.LT, source("a", F32), source("b", F32)))
    cases["WHERE_f16"] = apply(ops.WHERE, m, source("h", F16), Lit(0.5, F16))
    return cases


def conversions() -> dict[str, Expr]:
    """CAST between all types, BITCAST between those of one width."""
    cases: dict[str, Expr] = {}
    types = (BOOL, *INTEGERS, *FLOATS, F16, BF16)
    for result in types:
        for operand in types:
            name = "c" if operand.is_float and result.is_integer else "b" if operand in INTEGERS else "a"  # `c` fits every integer
            if operand != result:
                cases[f"CAST_{operand}_{result}"] = cast(source(name, operand), result)
            if operand != result and operand.bits == result.bits and operand.bits in (32, 64):
                cases[f"BITCAST_{operand}_{result}"] = bitcast(source("b", operand), result)
    return cases


def words() -> dict[str, Expr]:
    """What a target may have in one instruction: four products of bytes, two of bf16 (small whole numbers, so that all is exact)."""
    total, bytes_, halves = source("b", I32), (source("a", U32), source("d", U32)), (source("P", U32), source("Q", U32))
    cases = {op.name: apply(op, total, *bytes_) for op in (ops.DOT4, ops.DOT4S)}
    return {**cases, "DOT2": apply(ops.DOT2, source("R", F32), *halves)}


def values(name: str, dtype: DType) -> np.ndarray:
    """Deterministic numbers with the awkward ones among them."""
    rng = np.random.default_rng(sum(map(ord, name)))
    kind = name[0]
    if kind in "PQR":  # whole numbers, two of bf16 in a word
        whole = rng.integers(-100, 100, 2 * COUNT if dtype == U32 else COUNT).astype(np.float32)
        return whole.astype(BF16.numpy).view(np.uint32) if dtype == U32 else whole
    if dtype == BOOL:
        return rng.random(COUNT) < 0.5
    if dtype.is_float:
        data = rng.standard_normal(COUNT) * 10.0 ** rng.integers(-4, 4, COUNT)
        data[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 70000.0, 1.0]
        data = rng.permutation(data) if kind == "a" else data
        return (np.abs(rng.standard_normal(COUNT) * 30) if kind == "c" else data).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    if kind == "s":
        return rng.integers(0, dtype.bits, COUNT).astype(dtype.numpy)
    data = rng.integers(info.min, info.max, COUNT, dtype=dtype.numpy, endpoint=True)
    data[:4] = [info.max, info.min, 1, 3]
    data = data[::-1] if kind == "a" else data
    if kind == "b":
        data[data == 0] = 7
        data[5] = -1 if dtype.kind == "int" else 5
    return np.ascontiguousarray(data)


def inputs_of(program: Program) -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):
        return {tensor.name: np.resize(values(tensor.name, tensor.dtype), tensor.shape) for tensor in program.inputs}


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    for name, expected in want.items():
        if expected.dtype.kind in "fV":
            a, b = np.nan_to_num(got[name].astype(np.float64), nan=12345.0), np.nan_to_num(expected.astype(np.float64), nan=12345.0)
            np.testing.assert_array_equal(np.signbit(a), np.signbit(b), err_msg=name)
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], expected, err_msg=name)


BY_HAND = (
    programs.relu(), programs.matmul(), programs.padded(), programs.padded(lanes=8), programs.two_kernels(), programs.stateful(),
    programs.mixed(), programs.permuted(), programs.register_array(),
)  # fmt: skip


@pytest.mark.parametrize("program", BY_HAND, ids=lambda program: program.name)
@pytest.mark.parametrize("flags", [SANITIZE, (*SANITIZE, "-DTGC_NO_VECTORS")], ids=["vectors", "portable"])
def test_programs_are_clean_under_sanitizers(tmp_path, program, flags):
    verify_program(program)
    inputs = inputs_of(program)
    if "at" in inputs:
        inputs["at"] = np.arange(32)[::-1].copy()
    got = run(program, inputs, tmp_path, compiler("gcc"), flags)
    with np.errstate(all="ignore"):
        for name, want in run_program(program, inputs).items():
            np.testing.assert_allclose(got[name].astype(float), want.astype(float), rtol=1e-5, atol=1e-5, err_msg=name)


def test_text_is_readable():
    """A register tile: accumulators are variables, the shared row is loaded once, what is invariant stands outside the loop."""
    text = emit(programs.matmul(), C, EmitOptions())["matmul.c"].decode()
    expected = """
      for (int64_t k = 0; k < 12; ++k) {
        const f32x8 t2 = f32x8_load(&b[k * 16 + j * 8]);
        acc_0 = f32x8_mul_add(f32x8_splat(a[t1 + k]), t2, acc_0);
        acc_8 = f32x8_mul_add(f32x8_splat(a[t4 + k]), t2, acc_8);
        acc_16 = f32x8_mul_add(f32x8_splat(a[t6 + k]), t2, acc_16);
        acc_24 = f32x8_mul_add(f32x8_splat(a[t8 + k]), t2, acc_24);
      }
"""
    assert expected in text
    assert "/* /matmul/Node */\nstatic void matmul_kernel(" in text


@pytest.mark.parametrize("names", [("t0", "t2", "acc_0"), ("double", "f32x8_load", "memcpy"), ("weights", "f32", "matmul_kernel_")])
def test_names_of_buffers_cannot_collide(tmp_path, names):
    program = programs.matmul(names=names)
    verify_program(program)
    inputs = inputs_of(program)
    got = run(program, inputs, tmp_path, compiler("gcc", "clang"), ("-O1",))
    np.testing.assert_allclose(got[names[2]], run_program(program, inputs)[names[2]], rtol=1e-5, atol=1e-5)


def test_runs_on_arm(tmp_path):
    """Under qemu: another vector unit, another compiler's idea of half precision, and dot products of bytes."""
    cc, qemu = compiler("aarch64-linux-gnu-gcc"), compiler("qemu-aarch64", "qemu-aarch64-static")
    program = programs.many("operations", conversions() | words(), 4, COUNT)
    inputs = inputs_of(program)
    got = run(program, inputs, tmp_path, cc, ("-O2", "-static", "-march=armv8.2-a+dotprod"), runner=(qemu, "-cpu", "max"))
    assert_same(got, run_program(program, inputs))


@pytest.mark.parametrize("cases", [arithmetic, conversions, words])
@pytest.mark.parametrize(("cc", "lanes", "flags"), [
    ("gcc", 1, SANITIZE), ("gcc", 8, ("-O2", "-march=native")), ("gcc", 16, ("-O0",)), ("gcc", 16, ("-O1", "-march=native")),
    ("gcc", 8, ("-O1", "-DTGC_NO_VECTORS")),
    ("clang", 8, ("-O1", "-march=native")), ("clang", 4, ("-O0",)), ("clang", 2, ("-O0", "-DTGC_NO_VECTORS")),
])  # fmt: skip
def test_operations(tmp_path, cases, cc, lanes, flags):
    program = programs.many("operations", cases(), lanes, COUNT)
    verify_program(program)
    inputs = inputs_of(program)
    got = run(program, inputs, tmp_path, compiler(cc, f"{cc}-14"), flags)
    assert_same(got, run_program(program, inputs))
