"""Small programs for the tests of the LLVM backend, and their execution in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from tgc.backends.llvm.codegen import compile_module
from tgc.backends.llvm.jit import LoadedObject, load_object
from tgc.backends.llvm.machine import Machine, machine_of
from tgc.backends.llvm.module import print_module
from tgc.backends.options import EmitOptions
from tgc.ir import ops
from tgc.ir.dtypes import BF16, BOOL, DTYPES, F16, F32, INDEX, DType
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, index
from tgc.ir.kernel import Alloc, Block, For, If, Kernel, Parameter, Statement, Store
from tgc.ir.program import Argument, Call, Program, Storage, Tensor
from tgc.targets import CPU

AT = Var("i")
STORED = tuple(dtype for dtype in DTYPES if dtype != INDEX)
NARROW = (F16, BF16)


def program_of(kernel: Kernel) -> Program:
    """A program that runs `kernel` once, its read parameters the inputs and the others the outputs."""
    storages, inputs, outputs = [], [], []
    for parameter in kernel.parameters:
        buffer, reads = parameter.buffer, parameter.access == "read"
        storages.append(Storage(buffer.name, "input" if reads else "output", buffer.dtype, buffer.size, 0, (buffer.size,)))
        (inputs if reads else outputs).append(Tensor(buffer.name, buffer.dtype, (buffer.size,), buffer.name))
    arguments = tuple(Argument(parameter.buffer.name) for parameter in kernel.parameters)
    return Program(
        "net", tuple(inputs), tuple(outputs), (kernel,), (Call(kernel.name, arguments),), tuple(storages), np.zeros(0, np.uint8), 0
    )  # fmt: skip


def pointwise(make: tuple[DType, ...], out: DType, size: int, lanes: int, body: object) -> Program:
    """out[i] = body(x0[i], x1[i], ...) over `size` elements, `lanes` at a time."""
    sources = [Buffer(f"x{n}", dtype, size) for n, dtype in enumerate(make)]
    target = Buffer("y", out, size)
    at = apply(ops.MUL, AT, index(lanes))
    place: Expr = at if lanes == 1 else Ramp(at, 1, lanes)
    result = body(*(Load(source, place) for source in sources))  # type: ignore[operator]
    loop = For(AT, size // lanes, Store(target, place, result))
    reads = tuple(Parameter(source, "read") for source in sources)
    return program_of(Kernel("pointwise", (*reads, Parameter(target, "write")), loop))


def load(program: Program, machine: Machine | None = None, options: EmitOptions | None = None) -> LoadedObject:
    """The program compiled for this processor and loaded."""
    chosen = machine or machine_of(CPU)
    return load_object(compile_module(print_module(program, chosen, options or EmitOptions()), chosen))


class Descriptor(ctypes.Structure):
    """tgc_model, as templates/runtime/tgc_runtime.h declares it."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("inputs", ctypes.c_void_p), ("outputs", ctypes.c_void_p), ("weights", ctypes.c_void_p),
        ("weights_bytes", ctypes.c_uint64), ("arena_bytes", ctypes.c_uint64), ("run", ctypes.c_void_p),
        ("weights_sha256", ctypes.c_uint8 * 32), ("abi_version", ctypes.c_uint32), ("input_count", ctypes.c_uint32),
        ("output_count", ctypes.c_uint32), ("alignment", ctypes.c_uint32),
    )  # fmt: skip


def descriptor(program: Program, loaded: LoadedObject) -> Descriptor:
    return Descriptor.from_address(loaded.address(f"{program.name}_model"))


def run_function(program: Program, loaded: LoadedObject) -> object:
    """The model's entry as a Python function of four addresses."""
    pointer = ctypes.c_void_p
    return ctypes.CFUNCTYPE(ctypes.c_int32, pointer, pointer, pointer, pointer)(descriptor(program, loaded).run)


def addresses(arrays: list[np.ndarray]) -> object:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))


def aligned(data: np.ndarray) -> np.ndarray:
    """A copy of the bytes of `data` that begins at a multiple of 64."""
    raw = np.zeros(data.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    raw[start : start + data.nbytes] = data.reshape(-1).view(np.uint8)
    return raw[start : start + data.nbytes]


def run_native(program: Program, inputs: Mapping[str, np.ndarray], machine: Machine | None = None) -> dict[str, np.ndarray]:
    """The program's outputs, computed by compiled code in this process."""
    loaded = load(program, machine)
    weights, arena = aligned(program.weights), aligned(np.full(program.arena_bytes, 0xFF, np.uint8))
    sources = [np.ascontiguousarray(inputs[tensor.name]) for tensor in program.inputs]
    results = [_unwritten(tensor) for tensor in program.outputs]
    run = run_function(program, loaded)
    status = run(weights.ctypes.data, arena.ctypes.data, addresses(sources), addresses(results))  # type: ignore[operator]
    assert status == 0
    return {tensor.name: result for tensor, result in zip(program.outputs, results, strict=True)}


def _unwritten(tensor: Tensor) -> np.ndarray:
    """Memory as the interpreter leaves it where nothing is written: every byte 0xFF."""
    size = int(np.prod(tensor.shape))
    return np.full(size * tensor.dtype.bytes, 0xFF, np.uint8).view(tensor.dtype.numpy).reshape(tensor.shape)


def binary(op: ops.Op) -> object:
    return lambda a, b: apply(op, a, b)


def every_operation(lanes: int, size: int = 32) -> list[tuple[str, Program]]:
    """One program for each operation on each type that kernels may apply it to."""
    programs: list[tuple[str, Program]] = []
    for dtype in STORED:
        if dtype in NARROW:
            continue
        for op in (ops.ADD, ops.MUL, ops.MAX, ops.LT, ops.EQ, ops.DIV, ops.AND, ops.OR, ops.XOR, ops.SHL, ops.SHR):
            if (dtype.is_float and op.bits_only) or (dtype == BOOL and op in (ops.DIV, ops.SHL, ops.SHR)):
                continue
            out = BOOL if op.rule == "compare" else dtype
            programs.append((f"{op}-{dtype}-{lanes}", pointwise((dtype, dtype), out, size, lanes, binary(op))))
        if dtype.is_float:
            programs.append((f"SQRT-{dtype}-{lanes}", pointwise((dtype,), dtype, size, lanes, lambda a: apply(ops.SQRT, a))))
    for dtype in STORED:
        where = pointwise((BOOL, dtype, dtype), dtype, size, lanes, lambda c, a, b: apply(ops.WHERE, c, a, b))
        programs.append((f"WHERE-{dtype}-{lanes}", where))
    return programs


def every_cast(lanes: int, size: int = 32) -> list[tuple[str, Program]]:
    """One program for each pair of types."""
    return [
        (f"CAST-{a}-{b}-{lanes}", pointwise((a,), b, size, lanes, lambda x, b=b: Apply(ops.CAST, (x,), b)))
        for a in STORED for b in STORED if a != b
    ]  # fmt: skip


def merged(programs: list[Program]) -> Program:
    """One program that holds the kernels of all, for compiling them at once; each call keeps its own storages."""
    parts: dict[str, list[object]] = {key: [] for key in ("inputs", "outputs", "kernels", "steps", "storages")}
    for n, program in enumerate(programs):
        kernel, call = program.kernels[0], program.calls[0]
        parts["kernels"].append(Kernel(f"k{n}", kernel.parameters, kernel.body))
        parts["steps"].append(Call(f"k{n}", tuple(Argument(f"{a.storage}_{n}") for a in call.arguments)))
        parts["storages"] += [Storage(f"{s.name}_{n}", s.role, s.dtype, s.size, s.offset, s.shape) for s in program.storages]
        parts["inputs"] += [Tensor(f"{t.name}_{n}", t.dtype, t.shape, f"{t.name}_{n}") for t in program.inputs]
        parts["outputs"] += [Tensor(f"{t.name}_{n}", t.dtype, t.shape, f"{t.name}_{n}") for t in program.outputs]
    frozen = {key: tuple(value) for key, value in parts.items()}
    return Program(name="net", weights=np.zeros(0, np.uint8), arena_bytes=0, **frozen)  # type: ignore[arg-type]


def softmax_like(rows: int = 3, columns: int = 20) -> Program:
    """Two kernels through the arena, with a weight: t = max(x * w, 0); y = t / sum of t's row. Uses Alloc, If and vectors."""
    x, w, t = Buffer("x", F32, rows * columns), Buffer("w", F32, columns), Buffer("t", F32, rows * columns)
    y, total = Buffer("y", F32, rows * columns), Buffer("total", F32, 1, "register")
    row, column = Var("row"), Var("column")
    at = apply(ops.ADD, apply(ops.MUL, row, index(columns)), apply(ops.MUL, column, index(4)))
    four, zeros = Ramp(at, 1, 4), Broadcast(Lit(0.0, F32), 4)
    scaled = apply(ops.MAX, apply(ops.MUL, Load(x, four), Load(w, Ramp(apply(ops.MUL, column, index(4)), 1, 4))), zeros)
    first = For(row, rows, For(column, columns // 4, Store(t, four, scaled)))
    one = apply(ops.ADD, apply(ops.MUL, row, index(columns)), column)
    here = Load(total, index(0))
    body: tuple[Statement, ...] = (
        Alloc(total), Store(total, index(0), Lit(0.0, F32)),
        For(column, columns, Store(total, index(0), apply(ops.ADD, here, Load(t, one)))),
        If(apply(ops.EQ, here, Lit(0.0, F32)), Store(total, index(0), Lit(1.0, F32))),
        For(column, columns, Store(y, one, apply(ops.DIV, Load(t, one), here))),
    )  # fmt: skip
    kernels = (
        Kernel("scale", (Parameter(x, "read"), Parameter(w, "read"), Parameter(t, "write")), first),
        Kernel("normalise", (Parameter(t, "read"), Parameter(y, "write")), For(row, rows, Block(body))),
    )
    size, shape = rows * columns, (rows, columns)
    storages = (
        Storage("x", "input", F32, size, 0, shape), Storage("y", "output", F32, size, 0, shape),
        Storage("w", "weight", F32, columns, 64, (columns,)), Storage("t", "arena", F32, size, 128, shape),
    )  # fmt: skip
    weights = np.zeros(64 + columns * 4, np.uint8)
    weights[64:] = np.linspace(-1, 2, columns, dtype=np.float32).view(np.uint8)
    calls = (Call("scale", (Argument("x"), Argument("w"), Argument("t"))), Call("normalise", (Argument("t"), Argument("y"))))
    inputs, outputs = (Tensor("in put", F32, shape, "x"),), (Tensor("y", F32, shape, "y"),)
    return Program("net", inputs, outputs, kernels, calls, storages, weights, 128 + size * 4)


def samples(dtype: DType, size: int, seed: int) -> np.ndarray:
    """Values that tell right from wrong: edges of the type first, then random ones."""
    random = np.random.default_rng(seed)
    if dtype == BOOL:
        return random.integers(0, 2, size).astype(np.bool_)
    if dtype.is_float:
        edges = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 100.25, -3.75]
        return np.concatenate([np.array(edges), random.normal(0, 30, size)])[:size].astype(dtype.numpy)
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max  # type: ignore[arg-type]
    return random.integers(low, high, size, dtype=dtype.numpy, endpoint=True)
