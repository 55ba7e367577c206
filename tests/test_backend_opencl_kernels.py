"""Each operation on each dtype and number of lanes, as OpenCL C on a device, against the interpreter."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tgc.backends.opencl.dialect import OPENCL
from tgc.backends.opencl.kernels import kernel_text, prelude
from tgc.errors import InvalidIrError
from tgc.ir import dtypes, ops
from tgc.ir.dtypes import BOOL, F32, I32, INDEX, DType
from tgc.ir.expr import Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, bitcast, cast, index
from tgc.ir.interpret import run_kernel
from tgc.ir.kernel import Alloc, Barrier, For, If, Kernel, Parameter, Store, block

cl = pytest.importorskip("pyopencl", reason="pyopencl with PoCL is not installed")
os.environ.setdefault("PYOPENCL_NO_CACHE", "1")
SIZE = 64
STORED = [dtype for dtype in dtypes.DTYPES if dtype != INDEX]
COMPUTED = [dtype for dtype in STORED if dtype.name not in ("f16", "bf16")]


@pytest.fixture(scope="module")
def queue():
    platforms = cl.get_platforms()
    if not platforms:
        pytest.skip("no OpenCL platform")
    return cl.CommandQueue(cl.Context(platforms[0].get_devices()[:1]))


def run(queue, kernel: Kernel, buffers: dict[str, np.ndarray]) -> None:
    """Runs `kernel` on the device in place."""
    text = kernel_text(kernel, OPENCL)
    program = cl.Program(queue.context, prelude((text,)) + text.text).build(options=["-cl-std=CL1.2"])
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    memory = {name: cl.Buffer(queue.context, flags, hostbuf=value) for name, value in buffers.items()}
    arguments = [value for p in kernel.parameters for value in (memory[p.buffer.name], np.int32(0))]
    getattr(program, text.symbol)(queue, text.launch.global_size, text.launch.lane, *arguments)
    for name, value in buffers.items():
        cl.enqueue_copy(queue, value, memory[name])


def same(queue, kernel: Kernel, buffers: dict[str, np.ndarray], ulp: int = 0) -> None:
    expected = {name: value.copy() for name, value in buffers.items()}
    run_kernel(kernel, expected)
    run(queue, kernel, buffers)
    for name, value in buffers.items():
        if value.dtype.name in ("float32", "float64"):
            np.testing.assert_allclose(value, expected[name], rtol=ulp * np.finfo(value.dtype).eps, atol=0, err_msg=name)
        elif value.dtype.name in ("float16", "bfloat16"):  # exact in f32, which numpy compares NaN and all
            np.testing.assert_array_equal(value.astype(np.float32), expected[name].astype(np.float32), err_msg=name)
        else:
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def samples(dtype: DType, seed: int, shift: bool = False) -> np.ndarray:
    """Values of `dtype`: corners first, then noise."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "bool":
        return rng.integers(0, 2, SIZE).astype(bool)
    if dtype.is_float:
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.5, 2.5])
        noise = np.concatenate([rng.permutation(special), rng.normal(0, 3, SIZE - 8)])
        return noise.astype(np.float32).astype(dtype.numpy)
    if shift:
        return rng.integers(0, dtype.bits, SIZE).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    values = rng.integers(info.min, info.max, SIZE, dtype.numpy, endpoint=True)
    values[:2] = info.min, info.max
    return values


def at(lanes: int) -> Expr:
    """The index of an elementwise loop over SIZE elements, `lanes` at a time."""
    first = apply(ops.MUL, Var("i"), index(lanes)) if lanes > 1 else Var("i")
    return Ramp(first, 1, lanes) if lanes > 1 else first


def elementwise(name: str, results: list[Expr], sources: list[Buffer], lanes: int) -> tuple[Kernel, list[Buffer]]:
    """A kernel that stores each of `results` to a buffer of its own."""
    outputs = [Buffer(f"y{k}", value.dtype, SIZE) for k, value in enumerate(results)]
    stores = [Store(out, at(lanes), value) for out, value in zip(outputs, results, strict=True)]
    body = For(Var("i"), SIZE // lanes, block(*stores), "grid0")
    return Kernel(name, tuple([Parameter(b, "read") for b in sources] + [Parameter(b, "write") for b in outputs]), body), outputs


def zeros(buffers: list[Buffer]) -> dict[str, np.ndarray]:
    return {b.name: np.zeros(b.size, b.dtype.numpy) for b in buffers}


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", COMPUTED, ids=str)
def test_operations(queue, dtype, lanes):
    a, b, c, s = Buffer("a", dtype, SIZE), Buffer("b", dtype, SIZE), Buffer("c", BOOL, SIZE), Buffer("s", dtype, SIZE)
    x, y, z, n = (Load(buffer, at(lanes)) for buffer in (a, b, c, s))
    two = [ops.ADD, ops.MUL, ops.MAX, ops.LT, ops.EQ]
    if dtype.is_integer:
        two += [ops.AND, ops.OR, ops.XOR]
    results = [apply(op, x, y) for op in two] + [apply(ops.WHERE, z, x, y)]
    if dtype.is_integer:
        results += [apply(ops.SHL, x, n), apply(ops.SHR, x, n)]
    if dtype.kind != "bool":
        minus = Lit(-1, dtype) if dtype.kind != "uint" else Lit(3, dtype)
        minus_one = minus if lanes == 1 else Broadcast(minus, lanes)
        results += [apply(ops.MUL, x, minus_one), apply(ops.ADD, x, apply(ops.MUL, y, minus_one)), apply(ops.MAX, x, minus_one)]
        divisor = apply(ops.WHERE, apply(ops.EQ, y, zero_of(dtype, lanes)), one_of(dtype, lanes), y)
        results += [apply(ops.DIV, x, divisor)] if dtype.kind != "int" else []
    kernel, outputs = elementwise("operations", results, [a, b, c, s], lanes)
    buffers = {"a": samples(dtype, 1), "b": samples(dtype, 2), "c": samples(BOOL, 3), "s": samples(dtype, 4, dtype.is_integer)}
    same(queue, kernel, buffers | zeros(outputs), ulp=3)


def zero_of(dtype: DType, lanes: int) -> Expr:
    return Lit(0, dtype) if lanes == 1 else Broadcast(Lit(0, dtype), lanes)


def one_of(dtype: DType, lanes: int) -> Expr:
    return Lit(1, dtype) if lanes == 1 else Broadcast(Lit(1, dtype), lanes)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("dtype", [dtypes.I8, dtypes.I32, dtypes.I64], ids=str)
def test_signed_division_truncates(queue, dtype, lanes):
    a, b = Buffer("a", dtype, SIZE), Buffer("b", dtype, SIZE)
    kernel, outputs = elementwise("divide", [apply(ops.DIV, Load(a, at(lanes)), Load(b, at(lanes)))], [a, b], lanes)
    values = np.arange(-32, 32).astype(dtype.numpy)
    same(queue, kernel, {"a": values, "b": np.resize(np.array([3, -3, 7, -1], dtype.numpy), SIZE)} | zeros(outputs))


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", [dtypes.F32, dtypes.F64], ids=str)
def test_functions(queue, dtype, lanes):
    a = Buffer("a", dtype, SIZE)
    x = Load(a, at(lanes))
    kernel, outputs = elementwise("functions", [apply(op, x) for op in (ops.EXP2, ops.LOG2, ops.SQRT, ops.SIN)], [a], lanes)
    same(queue, kernel, {"a": np.abs(samples(dtype, 5))} | zeros(outputs), ulp=8)


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("source", STORED, ids=str)
def test_casts(queue, source, lanes):
    a = Buffer("a", source, SIZE)
    x = Load(a, at(lanes))
    kernel, outputs = elementwise("casts", [cast(x, target) for target in STORED], [a], lanes)
    values = samples(source, 6)
    if source.is_float:  # what no integer holds is not defined
        values = np.abs(np.where(np.isfinite(values), values, 1)).astype(source.numpy)
    same(queue, kernel, {"a": values} | zeros(outputs))


@pytest.mark.parametrize("name", ["f16", "bf16"])
@pytest.mark.parametrize("lanes", [1, 4])
def test_rounding_to_sixteen_bits(queue, name, lanes):
    """Ties to even, subnormals, overflow, NaN; and back."""
    dtype = dtypes.BY_NAME[name]
    a = Buffer("a", F32, SIZE)
    narrow = cast(Load(a, at(lanes)), dtype)
    kernel, outputs = elementwise("narrow", [narrow, cast(narrow, F32)], [a], lanes)
    ties = [1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 65519.99, 65520, 2**-25]
    corners = [*ties, 65504, 1e-7, 6e-8, -(2**-24), 1e-40, 3e38, np.nan]
    values = np.concatenate([corners, samples(F32, 7)[len(corners) :]]).astype(np.float32)
    same(queue, kernel, {"a": values} | zeros(outputs))


@pytest.mark.parametrize("lanes", [1, 4])
def test_bitcast(queue, lanes):
    a = Buffer("a", F32, SIZE)
    x = Load(a, at(lanes))
    kernel, outputs = elementwise("bits", [bitcast(x, dtypes.U32), bitcast(bitcast(x, I32), F32)], [a], lanes)
    same(queue, kernel, {"a": samples(F32, 8)} | zeros(outputs))


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_strided_gathered_scattered(queue, dtype):
    a, i, y, z = Buffer("a", dtype, SIZE), Buffer("i", I32, 4), Buffer("y", dtype, 16), Buffer("z", dtype, SIZE)
    where = cast(Load(i, Ramp(index(0), 1, 4)), INDEX)
    body = block(
        Store(y, Ramp(index(0), 1, 4), Load(a, Ramp(index(3), 5, 4))),
        Store(y, Ramp(index(4), 1, 4), Load(a, where)),
        Store(z, Ramp(index(1), 7, 4), Load(a, Ramp(index(8), 1, 4))),
        Store(z, apply(ops.ADD, where, Broadcast(index(1), 4)), Load(a, Ramp(index(20), 1, 4))),
    )
    kernel = Kernel("moves", (Parameter(a, "read"), Parameter(i, "read"), Parameter(y, "write"), Parameter(z, "write")), body)
    buffers = {"a": samples(dtype, 9), "i": np.array([60, 2, 33, 47], np.int32)}
    same(queue, kernel, buffers | zeros([y, z]))


def test_guarded_loads_stay_inside(queue):
    """Lanes whose condition is false read nothing, even far outside the buffer."""
    a = Buffer("a", F32, 6)
    y = Buffer("y", F32, 8)
    place = Ramp(apply(ops.MUL, Var("i"), index(4)), 1, 4)
    inside = apply(ops.LT, place, Broadcast(index(6), 4))
    value = apply(ops.WHERE, inside, Load(a, place), Broadcast(Lit(-7.0, F32), 4))
    kernel = Kernel("guarded", (Parameter(a, "read"), Parameter(y, "write")), For(Var("i"), 2, Store(y, place, value), "grid0"))
    buffers = {"a": np.arange(6, dtype=np.float32), "y": np.zeros(8, np.float32)}
    run(queue, kernel, buffers)
    np.testing.assert_array_equal(buffers["y"], [0, 1, 2, 3, 4, 5, -7, -7])


def test_groups_share_local_memory(queue):
    """Every group reverses its 16 elements through local memory; then a condition and an inner loop."""
    x, y, shared, acc = Buffer("x", F32, 64), Buffer("y", F32, 64), Buffer("shared", F32, 16, "local"), Buffer("acc", F32, 1, "register")
    g, lane, k = Var("g"), Var("l"), Var("k")
    place = apply(ops.ADD, apply(ops.MUL, g, index(16)), lane)
    mirrored = apply(ops.ADD, index(15), apply(ops.MUL, lane, index(-1)))
    inner = block(
        Store(shared, lane, Load(x, place)), Barrier(), Alloc(acc), Store(acc, index(0), Load(shared, mirrored)),
        For(k, 3, Store(acc, index(0), apply(ops.ADD, Load(acc, index(0)), cast(k, F32)))),
        If(apply(ops.LT, lane, index(9)), Store(y, place, Load(acc, index(0)))),
    )  # fmt: skip
    body = For(g, 4, block(Alloc(shared), For(lane, 16, inner, "lane0")), "grid0")
    kernel = Kernel("reverse", (Parameter(x, "read", "input [64]"), Parameter(y, "write")), body)
    text = kernel_text(kernel, OPENCL)
    assert text.launch.global_size == (64, 1, 1)
    assert text.launch.lane == (16, 1, 1)
    assert "__local float shared[16];" in text.text
    buffers = {"x": np.arange(64, dtype=np.float32), "y": np.zeros(64, np.float32)}
    run(queue, kernel, buffers)
    rows = np.arange(64, dtype=np.float32).reshape(4, 16)[:, ::-1] + 3
    np.testing.assert_array_equal(buffers["y"].reshape(4, 16), np.where(np.arange(16) < 9, rows, 0))


def test_a_condition_that_a_hoisted_index_needs_is_hoisted_too(queue):
    """The index is computed before the If; the comparison that it shares with the value inside has to be there by then."""
    x, y, lane = Buffer("x", F32, SIZE, "global"), Buffer("y", F32, SIZE, "global"), Var("lane")
    three = apply(ops.MUL, lane, index(3))
    near = apply(ops.LT, apply(ops.ADD, three, index(1)), index(10))
    place = apply(ops.WHERE, near, three, apply(ops.ADD, three, index(7)))
    body = Store(y, lane, apply(ops.WHERE, near, Load(x, place), apply(ops.ADD, Load(x, place), Lit(1.0, F32))))
    inner = For(lane, 16, If(apply(ops.LT, lane, index(9)), body), "lane0")
    kernel = Kernel("k", (Parameter(x, "read"), Parameter(y, "write")), inner)
    same(queue, kernel, {"x": np.arange(SIZE, dtype=np.float32), "y": np.zeros(SIZE, np.float32)})


def test_names_of_the_language_are_avoided(queue):
    half, y = Buffer("half", F32, 4), Buffer("start1", F32, 4)
    body = For(Var("max"), 4, Store(y, Var("max"), apply(ops.ADD, Load(half, Var("max")), Load(half, Var("max")))), "grid0")
    kernel = Kernel("select", (Parameter(half, "read"), Parameter(y, "write")), body)
    same(queue, kernel, {"half": np.arange(4, dtype=np.float32), "start1": np.zeros(4, np.float32)})


@pytest.mark.parametrize("body", [
    block(Barrier(), For(Var("i"), 4, Barrier(), "lane0")),
    For(Var("i"), 4, For(Var("j"), 4, Barrier(), "lane0"), "lane0"),
])  # fmt: skip
def test_malformed_launches(body):
    with pytest.raises(InvalidIrError, match="loop"):
        kernel_text(Kernel("bad", (), body), OPENCL)
