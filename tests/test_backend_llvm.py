"""The LLVM backend's numbers against the interpreter, run in this process."""

from __future__ import annotations

import ctypes
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from llvm_programs import (
    AT,
    NARROW,
    Descriptor,
    addresses,
    aligned,
    descriptor,
    every_cast,
    every_operation,
    load,
    pointwise,
    program_of,
    run_function,
    run_native,
    samples,
    softmax_like,
)  # fmt: skip
from programs import matmul, mixed, padded, stateful, two_kernels

from tgc.backends.llvm import emit, emit_ir
from tgc.backends.llvm.codegen import assembly, compile_module
from tgc.backends.llvm.jit import load_object
from tgc.backends.llvm.machine import host_target, machine_of
from tgc.backends.llvm.module import ABI_VERSION, print_module
from tgc.backends.options import EmitOptions
from tgc.errors import InvalidIrError, ToolchainError
from tgc.ir import ops
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I32, I64, U8, U32, DType
from tgc.ir.expr import Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, cast, index
from tgc.ir.interpret import run_program
from tgc.ir.kernel import Alloc, Block, For, If, Kernel, Parameter, Store
from tgc.ir.program import Program
from tgc.targets import CPU

X, Y = Buffer("x", F32, 64), Buffer("y", F32, 64)


def add(a: Expr, b: Expr) -> Expr:
    return apply(ops.ADD, a, b)


def mul(a: Expr, b: Expr) -> Expr:
    return apply(ops.MUL, a, b)


def agree(program: Program, inputs: dict[str, np.ndarray]) -> None:
    wanted, got = run_program(program, inputs), run_native(program, inputs)
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value)


def copying(*statements: object) -> Program:
    return program_of(Kernel("k", (Parameter(X, "read"), Parameter(Y, "readwrite")), Block(statements)))  # type: ignore[arg-type]


def ramp_input() -> dict[str, np.ndarray]:
    return {"x": np.arange(64, dtype=np.float32)}


@pytest.mark.parametrize("lanes", [1, 8])
def test_every_operation_on_every_type(lanes: int) -> None:
    for name, program in every_operation(lanes):
        inputs = {t.name: samples(t.dtype, 32, seed) for seed, t in enumerate(program.inputs)}
        if name.startswith("SQRT"):
            inputs["x0"] = np.abs(inputs["x0"])
        if name.startswith("SH"):
            inputs["x1"] = (np.arange(32) % program.inputs[0].dtype.bits).astype(inputs["x1"].dtype)
        if name.startswith("DIV"):
            inputs["x1"][inputs["x1"] == 0] = 1
        wanted, got = run_program(program, inputs)["y"], run_native(program, inputs)["y"]
        np.testing.assert_array_equal(got, wanted, err_msg=name)


@pytest.mark.parametrize("lanes", [1, 8])
def test_every_cast(lanes: int) -> None:
    for name, program in every_cast(lanes):
        source, target = program.inputs[0].dtype, program.outputs[0].dtype
        values = samples(source, 32, 3)
        if source.is_float and target.kind == "uint":
            values = np.abs(values)
        inputs = {"x0": values}
        np.testing.assert_array_equal(run_native(program, inputs)["y"], run_program(program, inputs)["y"], err_msg=name)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("narrow", NARROW, ids=str)
def test_sixteen_bit_floats_convert_exactly(narrow: object, native: bool) -> None:
    """All values one way; the other way halves between two values, their neighbours, and what over- and underflows."""
    machine = replace(machine_of(CPU), native_half=native and machine_of(CPU).native_half)
    dtype = BF16 if narrow == BF16 else F16
    patterns = np.arange(1 << 16, dtype=np.uint16)
    every = patterns.view(dtype.numpy)
    wide = run_native(pointwise((dtype,), F32, 1 << 16, 16, lambda x: cast(x, F32)), {"x0": every}, machine)["y"]
    np.testing.assert_array_equal(wide, every.astype(np.float32))
    with np.errstate(all="ignore"):
        middles = ((wide.astype(np.float64) + np.roll(wide, -1)) / 2).astype(np.float32)
        for values in (middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))):
            back = run_native(pointwise((F32,), dtype, 1 << 16, 8, lambda x: cast(x, dtype)), {"x0": values}, machine)["y"]
            np.testing.assert_array_equal(back.astype(np.float32), values.astype(dtype.numpy).astype(np.float32))


def test_a_double_is_rounded_once_to_half() -> None:
    above_tie = np.full(16, 1 + 2.0**-11 + 2.0**-40)
    program = pointwise((F64,), F16, 16, 8, lambda x: cast(x, F16))
    assert (run_native(program, {"x0": above_tie})["y"].astype(np.float64) == 1 + 2.0**-10).all()
    random = np.random.default_rng(1).normal(0, 1000, 16)
    np.testing.assert_array_equal(run_native(program, {"x0": random})["y"], random.astype(np.float16))


@pytest.mark.parametrize("lanes", [1, 16])
def test_maximum_passes_nan_on(lanes: int) -> None:
    a = np.float32([1, np.nan, 2, np.nan] * 8)
    b = np.float32([2, 1, np.nan, np.nan] * 8)
    agree(pointwise((F32, F32), F32, 32, lanes, lambda x, y: apply(ops.MAX, x, y)), {"x0": a, "x1": b})
    zero: Expr = Lit(0.0, F32) if lanes == 1 else Broadcast(Lit(0.0, F32), lanes)
    agree(pointwise((F32,), F32, 32, lanes, lambda x: apply(ops.MAX, x, zero)), {"x0": a})
    agree(pointwise((F32,), F32, 32, lanes, lambda x: apply(ops.MAX, zero, x)), {"x0": -b})


@pytest.mark.parametrize("dtype", [I8, I32, I64, U8, U32], ids=str)
def test_integer_division_never_traps(dtype: object) -> None:
    kind = I32 if dtype == I32 else dtype
    info = np.iinfo(kind.numpy)  # type: ignore[attr-defined]
    a = np.array([info.min, info.min, 7, info.max] * 4, kind.numpy)  # type: ignore[attr-defined]
    b = np.array([info.max, 0, 0, 1] * 4, kind.numpy)  # type: ignore[attr-defined]
    if info.min < 0:
        b[0::4] = -1
    program = pointwise((kind, kind), kind, 16, 4, lambda x, y: apply(ops.DIV, x, y))  # type: ignore[arg-type]
    got = run_native(program, {"x0": a, "x1": b})["y"]
    np.testing.assert_array_equal(got[3::4], a[3::4])
    if info.min < 0:
        np.testing.assert_array_equal(got[0::4], a[0::4])


def test_index_division_rounds_toward_zero() -> None:
    below = apply(ops.DIV, add(AT, index(-3)), index(2))
    agree(copying(For(AT, 8, Store(Y, AT, cast(below, F32)))), ramp_input())
    above = apply(ops.DIV, add(mul(AT, index(5)), index(1)), index(7))
    agree(copying(For(AT, 40, Store(Y, add(AT, index(8)), Load(X, above)))), ramp_input())


@pytest.mark.parametrize("stride", [1, -1, 2, 3, -2, 0])
def test_strided_loads_and_stores(stride: int) -> None:
    there = Ramp(index(30), stride, 8)
    agree(copying(Store(Y, Ramp(index(5), 1, 8), Load(X, there))), ramp_input())
    if stride:
        agree(copying(Store(Y, there, Load(X, Ramp(index(5), 1, 8)))), ramp_input())


@pytest.mark.parametrize("dtype", [F32, BF16, U8, BOOL], ids=str)
@pytest.mark.parametrize(("count", "stride", "lanes"), [(2, 2, 8), (3, 3, 8), (5, 5, 4), (8, 8, 4), (8, 19, 8), (16, 16, 16), (4, 5, 4)])
def test_stores_that_interleave(count: int, stride: int, lanes: int, dtype: DType) -> None:
    """With a gap or without one; the numbers between stay what they were."""
    size = stride * lanes * 2
    x, y = Buffer("x", dtype, 2 * count * lanes), Buffer("y", dtype, size)
    place = mul(AT, index(stride * lanes))
    made = [
        Store(y, Ramp(add(place, index(n)), stride, lanes), Load(x, Ramp(add(mul(AT, index(count * lanes)), index(n * lanes)), 1, lanes)))
        for n in range(count)
    ]
    seven = Lit(True if dtype == BOOL else 7.0 if dtype.is_float else 7, dtype)
    start = For(Var("z"), size, Store(y, Var("z"), seven))
    kernel = Kernel("k", (Parameter(x, "read"), Parameter(y, "write")), Block((start, For(AT, 2, Block(tuple(made))))))
    program = program_of(kernel)
    given = np.arange(x.size) % (2 if dtype.kind == "bool" else 100)
    agree(program, {"x": given.astype(dtype.numpy)})
    shuffled = "shufflevector" in print_module(program, machine_of(CPU), EmitOptions())
    assert shuffled == ((stride <= 8 and count == stride) or count == lanes <= stride)


def test_the_last_element_of_a_strided_load_may_be_the_buffers_last() -> None:
    agree(copying(Store(Y, Ramp(index(0), 1, 8), Load(X, Ramp(index(49), 2, 8)))), ramp_input())


def test_gather_and_scatter_through_loaded_indices() -> None:
    where = Buffer("where", I64, 8)
    at = cast(Load(where, Ramp(index(0), 1, 8)), index(0).dtype)
    parameters = (Parameter(X, "read"), Parameter(where, "read"), Parameter(Y, "readwrite"))
    inputs = ramp_input() | {"where": np.array([9, 3, 63, 0, 7, 7, 1, 50])}
    agree(program_of(Kernel("k", parameters, Store(Y, Ramp(index(0), 1, 8), Load(X, at)))), inputs)
    got = run_native(program_of(Kernel("k", parameters, Store(Y, at, Load(X, Ramp(index(10), 1, 8))))), inputs)["y"]
    assert got[7] == 15
    assert got[63] == 12


def test_a_ramp_is_a_value_too() -> None:
    agree(copying(For(AT, 4, Store(Y, Ramp(mul(AT, index(8)), 1, 8), cast(Ramp(AT, 3, 8), F32)))), ramp_input())


def test_a_buffer_that_is_written_is_read_again() -> None:
    """A value read before a store must not be used after it, in a loop or under a condition."""
    first = Load(Y, index(0))
    agree(
        copying(
            Store(Y, index(0), Lit(1.0, F32)),
            For(AT, 5, Store(Y, index(0), add(mul(first, Lit(2.0, F32)), first))),
            If(
                apply(ops.LT, Lit(1.0, F32), first),
                For(AT, 3, Block((Store(Y, add(AT, index(1)), first), Store(Y, index(0), add(first, Lit(1.0, F32)))))),
            ),
            Store(Y, index(9), first),
        ),
        ramp_input(),
    )


def test_register_arrays_and_loops_that_run_once() -> None:
    tile = Buffer("tile", F32, 16, "register")
    once, inner = Var("once"), Var("j")
    agree(
        copying(
            Alloc(tile),
            For(once, 1, For(AT, 4, Store(tile, Ramp(mul(add(AT, once), index(4)), 1, 4), Load(X, Ramp(mul(AT, index(4)), 1, 4))))),
            For(once, 1, Store(Y, add(once, index(40)), Lit(5.0, F32))),
            For(once, 2, Store(Y, add(once, index(50)), cast(once, F32))),
            For(AT, 16, For(inner, 1, Store(Y, AT, Load(tile, apply(ops.ADD, mul(AT, index(-1)), index(15)))))),
            For(inner, 0, Store(Y, index(0), Lit(9.0, F32))),
        ),
        ramp_input(),
    )


def test_a_scalar_chooses_between_vectors() -> None:
    odd = apply(ops.EQ, AT, index(1))
    eight = Ramp(mul(AT, index(8)), 1, 8)
    agree(copying(For(AT, 2, Store(Y, eight, apply(ops.WHERE, odd, Load(X, eight), Broadcast(Lit(-1.0, F32), 8))))), ramp_input())


def test_kernels_in_order_through_arena_and_weights() -> None:
    program = softmax_like()
    agree(program, {"in put": np.linspace(-2, 3, 60, dtype=np.float32).reshape(3, 20)})


@pytest.mark.parametrize("program", [matmul(), padded(), padded(lanes=8), two_kernels(), stateful(), mixed()], ids=lambda p: p.name)
def test_hand_written_programs(program: Program) -> None:
    inputs = {t.name: samples(t.dtype, int(np.prod(t.shape)), n).reshape(t.shape) for n, t in enumerate(program.inputs)}
    wanted, got = run_program(program, inputs), run_native(program, inputs)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name].astype(np.float64), value.astype(np.float64), rtol=1e-5, atol=1e-4)


def test_run_refuses_null_and_misaligned_pointers() -> None:
    program = softmax_like()
    loaded = load(program)
    run = run_function(program, loaded)
    x, y = np.zeros((3, 20), np.float32), np.zeros((3, 20), np.float32)
    good, null = addresses([x]), (ctypes.c_void_p * 1)(None)
    results = addresses([y])
    keep_weights, keep_arena = aligned(program.weights), aligned(np.zeros(program.arena_bytes, np.uint8))
    weights, arena = keep_weights.ctypes.data, keep_arena.ctypes.data
    assert run(weights, arena, good, results) == 0  # type: ignore[operator]
    faulty = [
        (None, arena, good, results), (weights, None, good, results), (weights, arena, None, results), (weights, arena, good, None),
        (weights, arena, null, results), (weights, arena, good, null), (weights + 4, arena, good, results),
        (weights, arena + 32, good, results), (weights, arena, (ctypes.c_void_p * 1)(x.ctypes.data + 1), results),
    ]  # fmt: skip
    assert [run(*arguments) for arguments in faulty] == [1] * len(faulty)  # type: ignore[operator]


def test_the_descriptor_describes_the_program() -> None:
    program = softmax_like()
    loaded = load(program, options=EmitOptions("embed"))
    model = descriptor(program, loaded)
    assert (model.name, model.abi_version, model.alignment) == (b"net", ABI_VERSION, 64)
    assert (model.input_count, model.output_count) == (1, 1)
    assert (model.weights_bytes, model.arena_bytes) == (program.weights.size, program.arena_bytes)
    assert bytes(model.weights_sha256) == hashlib.sha256(program.weights.tobytes()).digest()
    assert ctypes.string_at(model.weights, program.weights.size) == program.weights.tobytes()
    assert model.weights % 64 == 0
    tensor = (ctypes.c_void_p * 2).from_address(model.inputs)
    assert ctypes.string_at(tensor[0]) == b"in put"
    assert list((ctypes.c_int64 * 2).from_address(tensor[1])) == [3, 20]
    assert list((ctypes.c_uint64 * 1).from_address(model.inputs + 16)) == [240]
    assert list((ctypes.c_int32 * 2).from_address(model.inputs + 24)) == [11, 2]
    assert descriptor(program, load(program)).weights is None


def test_the_artifact_holds_object_and_header() -> None:
    files = emit(softmax_like(), CPU, EmitOptions())
    assert {"net.o", "net.h", "net.weights", "tgc_runtime.h", "manifest.json"} <= files.keys()
    assert json.loads(files["manifest.json"])["target"]["cpu"] == host_target(CPU).cpu
    assert "net.weights" not in emit(softmax_like(), CPU, EmitOptions("embed"))


def test_a_shared_library_runs_where_there_is_a_linker(tmp_path: Path) -> None:
    program = softmax_like()
    files = emit(program, CPU, EmitOptions("embed"))
    if "net.so" not in files:
        pytest.skip("no linker for shared libraries on this machine")
    (tmp_path / "net.so").write_bytes(files["net.so"])
    model = Descriptor.in_dll(ctypes.CDLL(str(tmp_path / "net.so")), "net_model")
    assert model.name == b"net"


def test_the_text_of_the_module_can_be_read() -> None:
    assert "define internal void @scale(" in emit_ir(softmax_like(), CPU, EmitOptions())
    assert "alloca" not in emit_ir(softmax_like(), CPU, EmitOptions(), optimised=True)


def test_the_same_bytes_each_time() -> None:
    machine = machine_of(CPU)
    first, second = (compile_module(print_module(softmax_like(), machine, EmitOptions()), machine) for _ in range(2))
    assert first == second


def test_the_host_is_named_with_its_features() -> None:
    host = host_target(CPU)
    assert host.cpu not in ("", "host")
    assert host.triple
    assert host_target(host) is host
    assert host.features.startswith("+")


def test_a_register_tile_stays_in_registers() -> None:
    """Sums of a small tile: nothing in the loop but loads and multiply-adds, no traffic with the stack."""
    lanes = machine_of(CPU).vector_bits // 32 or 4
    whole = Ramp(index(0), 1, lanes)
    sums = [Buffer(f"sum{n}", F32, lanes, "register") for n in range(4)]
    x, y = Buffer("x", F32, 64 * lanes), Buffer("y", F32, 4 * lanes)
    row = Load(x, Ramp(mul(AT, index(lanes)), 1, lanes))
    steps = [Store(s, whole, add(Load(s, whole), mul(row, Broadcast(Load(x, add(AT, index(n))), lanes)))) for n, s in enumerate(sums)]
    body = [*(Alloc(s) for s in sums), *(Store(s, whole, Broadcast(Lit(0.0, F32), lanes)) for s in sums), For(AT, 60, Block(tuple(steps)))]
    body += [Store(y, Ramp(index(n * lanes), 1, lanes), Load(s, whole)) for n, s in enumerate(sums)]
    program = program_of(Kernel("tile", (Parameter(x, "read"), Parameter(y, "write")), Block(tuple(body))))
    machine = machine_of(CPU)
    text = assembly(print_module(program, machine, EmitOptions()), machine)
    tile = text[text.index("\ntile:") : text.index("net_run_kernels")]
    assert "sp)" not in tile
    assert "[sp" not in tile


def test_operations_that_passes_should_have_replaced_are_refused() -> None:
    with pytest.raises(InvalidIrError, match="decompose"):
        load(pointwise((F32,), F32, 4, 1, lambda x: apply(ops.EXP2, x)))
    with pytest.raises(InvalidIrError, match="f32"):
        load(pointwise((BF16, BF16), BF16, 4, 1, lambda x, y: apply(ops.ADD, x, y)))


def test_loading_what_is_no_object() -> None:
    with pytest.raises(ToolchainError):
        load_object(b"nothing like an object")
    with pytest.raises(ToolchainError, match="no symbol"):
        load(softmax_like()).address("elsewhere")
