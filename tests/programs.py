"""Programs written by hand, for the tests of backends: small, and between them they use what backends have to print."""

from __future__ import annotations

import numpy as np

from tgc.ir import ops
from tgc.ir.dtypes import BOOL, F16, F32, I8, I64, INDEX, DType
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, cast, index
from tgc.ir.kernel import Alloc, For, If, Kernel, Parameter, Statement, Store, block
from tgc.ir.program import Argument, Call, Program, Repeat, Storage, Tensor
from tgc.ir.rewrite import walk

I, J, K = Var("i"), Var("j"), Var("k")  # noqa: E741


def add(*terms: Expr) -> Expr:
    """The sum of the terms."""
    total = terms[0]
    for term in terms[1:]:
        total = apply(ops.ADD, total, term)
    return total


def mul(a: Expr, b: Expr) -> Expr:
    """a * b."""
    return apply(ops.MUL, a, b)


def scaled(var: Expr, factor: int) -> Expr:
    """var * factor, an index."""
    return mul(var, index(factor))


def buffer(name: str, size: int, dtype: DType = F32) -> Buffer:
    """A global buffer."""
    return Buffer(name, dtype, size)


def splat(value: Expr, lanes: int) -> Broadcast:
    """The value in every lane."""
    return Broadcast(value, lanes)


def one_kernel(
    name: str, body: Statement, inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...], weights: tuple[tuple[Buffer, np.ndarray], ...] = ()
) -> Program:
    """A program that calls one kernel once."""
    parameters = (
        *(Parameter(b, "read", f"{b.dtype} {b.size}") for b in inputs), *(Parameter(b, "read", "weights") for b, _ in weights),
        *(Parameter(b, "write") for b in outputs),
    )  # fmt: skip
    kernel = Kernel(f"{name}_kernel", parameters, body, (f"/{name}/Node",))
    storages, data = [], b""
    for b in inputs:
        storages.append(Storage(b.name, "input", b.dtype, b.size, 0, (b.size,)))
    for b, values in weights:
        storages.append(Storage(b.name, "weight", b.dtype, b.size, len(data), (b.size,)))
        data += values.tobytes() + bytes(-values.nbytes % 64)
    for b in outputs:
        storages.append(Storage(b.name, "output", b.dtype, b.size, 0, (b.size,)))
    call = Call(kernel.name, tuple(Argument(p.buffer.name) for p in parameters), kernel.origins)
    return Program(
        name, tuple(Tensor(b.name, b.dtype, (b.size,), b.name) for b in inputs),
        tuple(Tensor(b.name, b.dtype, (b.size,), b.name) for b in outputs), (kernel,), (call,), tuple(storages),
        np.frombuffer(data, np.uint8), 0,
    )  # fmt: skip


def relu(count: int = 10) -> Program:
    """y = max(x, 0), one scalar at a time."""
    x, y = buffer("x", count), buffer("y", count)
    body = For(I, count, Store(y, I, apply(ops.MAX, Load(x, I), Lit(0.0, F32))))
    return one_kernel("relu", body, (x,), (y,))


def matmul(rows: int = 8, columns: int = 16, depth: int = 12, lanes: int = 8, names: tuple[str, str, str] = ("a", "b", "c")) -> Program:
    """c = a @ b with b a weight: register tiles of 4 rows and one vector, accumulated in variables."""
    a, b, c = buffer(names[0], rows * depth), buffer(names[1], depth * columns), buffer(names[2], rows * columns)
    tile = Buffer("acc", F32, 4 * lanes, "register")
    zero = splat(Lit(0.0, F32), lanes)

    def slot(row: int) -> Ramp:
        return Ramp(index(row * lanes), 1, lanes)

    def row_of(row: int) -> Expr:
        return add(scaled(I, 4), index(row))

    def update(row: int) -> Store:
        left = splat(Load(a, add(scaled(row_of(row), depth), K)), lanes)
        right = Load(b, Ramp(add(scaled(K, columns), scaled(J, lanes)), 1, lanes))
        return Store(tile, slot(row), add(mul(left, right), Load(tile, slot(row))))

    def finish(row: int) -> Store:
        return Store(c, Ramp(add(scaled(row_of(row), columns), scaled(J, lanes)), 1, lanes), Load(tile, slot(row)))

    inner = block(
        Alloc(tile), *(Store(tile, slot(r), zero) for r in range(4)), For(K, depth, block(*(update(r) for r in range(4)))),
        *(finish(r) for r in range(4)),
    )  # fmt: skip
    body = For(I, rows // 4, For(J, columns // lanes, inner))
    values = np.random.default_rng(1).standard_normal(depth * columns).astype(np.float32)
    return one_kernel("matmul", body, (a,), (c,), ((b, values),))


def padded(count: int = 13, pad: int = 3, lanes: int = 1) -> Program:
    """y = 2 x with `pad` zeros on both sides and up to a multiple of the lanes: the load's index is clamped into x."""
    total = -(-(count + 2 * pad) // lanes) * lanes
    x, y = buffer("x", count), buffer("y", total)

    def wide(value: Expr) -> Expr:
        return value if lanes == 1 else splat(value, lanes)

    at: Expr = I if lanes == 1 else Ramp(scaled(I, lanes), 1, lanes)
    inside = mul(apply(ops.LT, wide(index(pad - 1)), at), apply(ops.LT, at, wide(index(pad + count))))
    last = wide(index(count - 1))
    shifted = apply(ops.MAX, add(at, wide(index(-pad))), wide(index(0)))
    clamped = apply(ops.WHERE, apply(ops.LT, last, shifted), last, shifted)
    value = apply(ops.WHERE, inside, mul(Load(x, clamped), wide(Lit(2.0, F32))), wide(Lit(0.0, F32)))
    return one_kernel(f"padded{lanes}", For(I, total // lanes, Store(y, at, value)), (x,), (y,))


def two_kernels() -> Program:
    """y = (x + 1) * 2, by way of the arena, the second kernel called twice on halves."""
    x, t = buffer("x", 16), buffer("t", 16)
    half, out = buffer("half", 8), buffer("out", 8)
    plus_one = For(I, 16, Store(t, I, add(Load(x, I), Lit(1.0, F32))))
    twice = For(I, 8, Store(out, I, mul(Load(half, I), Lit(2.0, F32))))
    first = Kernel("plus_one", (Parameter(x, "read"), Parameter(t, "write")), plus_one, ("a",))
    second = Kernel("twice", (Parameter(half, "read"), Parameter(out, "write")), twice)
    calls = (
        Call("plus_one", (Argument("x"), Argument("t")), ("a",)), Call("twice", (Argument("t"), Argument("y")), ("b",)),
        Call("twice", (Argument("t", 8), Argument("y", 8)), ("c",)),
    )  # fmt: skip
    storages = (
        Storage("x", "input", F32, 16, 0, (4, 4)), Storage("y", "output", F32, 16, 0, (4, 4)), Storage("t", "arena", F32, 16, 64, (4, 4)),
    )  # fmt: skip
    return Program(
        "two", (Tensor("in put", F32, (4, 4), "x"),), (Tensor("in.put", F32, (4, 4), "y"),), (first, second), calls, storages,
        np.zeros(0, np.uint8), 128,
    )  # fmt: skip


def stateful() -> Program:
    """y = x[0] squared sixteen times over in a register, then a branch: stores and loads of one buffer in turn."""
    x, y = buffer("x", 4, I64), buffer("y", 4, I64)
    acc = Buffer("acc", I64, 1, "register")
    zero = index(0)
    step = Store(acc, zero, add(mul(Load(acc, zero), Load(acc, zero)), Load(x, I)))
    positive = apply(ops.LT, Lit(0, I64), Load(acc, zero))
    body = For(I, 4, block(
        Alloc(acc), Store(acc, zero, Load(x, I)), For(J, 16, step), Store(y, I, Lit(-1, I64)), If(positive, Store(y, I, Load(acc, zero))),
    ))  # fmt: skip
    return one_kernel("stateful", body, (x,), (y,))


def mixed() -> Program:
    """z = x where m, else -y, in f16 storage and i8 and bool beside it."""
    m, x, z, s = buffer("m", 8, BOOL), buffer("x", 8, F16), buffer("z", 8, F16), buffer("s", 8, I8)
    wide = cast(Load(x, I), F32)
    chosen = apply(ops.WHERE, Load(m, I), wide, mul(wide, Lit(-1.0, F32)))
    body = For(I, 8, block(Store(z, I, cast(chosen, F16)), Store(s, I, cast(chosen, I8))))
    return one_kernel("mixed", body, (m, x), (z, s))


def vectorized(expr: Expr, at: Expr, lanes: int) -> Expr:
    """The scalar expression on a vector of its loads."""
    match expr:
        case Load(source, _):
            return Load(source, at)
        case Apply(op, args, dtype):
            return Apply(op, tuple(vectorized(arg, at, lanes) for arg in args), dtype)
        case Lit():
            return splat(expr, lanes)
        case _:
            raise TypeError(expr)


def many(name: str, cases: dict[str, Expr], lanes: int, count: int) -> Program:
    """A program with one kernel and one output a case: each an expression of loads at I, computed `lanes` at a time."""
    sources = {load.buffer.name: load.buffer for load in walk(*cases.values()) if isinstance(load, Load)}
    at: Expr = I if lanes == 1 else Ramp(scaled(I, lanes), 1, lanes)
    kernels, calls, storages, outputs = [], [], [], []
    for b in sources.values():
        storages.append(Storage(b.name, "input", b.dtype, b.size, 0, (b.size,)))
    for case, expr in cases.items():
        y = buffer(f"y_{case}", count, expr.dtype)
        reads = {load.buffer.name: load.buffer for load in walk(expr) if isinstance(load, Load)}
        value = expr if lanes == 1 else vectorized(expr, at, lanes)
        parameters = (*(Parameter(b, "read") for b in reads.values()), Parameter(y, "write"))
        kernels.append(Kernel(case, parameters, For(I, count // lanes, Store(y, at, value))))
        calls.append(Call(case, tuple(Argument(p.buffer.name) for p in parameters)))
        storages.append(Storage(y.name, "output", y.dtype, count, 0, (count,)))
        outputs.append(Tensor(case, y.dtype, (count,), y.name))
    inputs = tuple(Tensor(b.name, b.dtype, (b.size,), b.name) for b in sources.values())
    return Program(name, inputs, tuple(outputs), tuple(kernels), tuple(calls), tuple(storages), np.zeros(0, np.uint8), 0)


def permuted(count: int = 32, lanes: int = 8) -> Program:
    """Vectors that are not contiguous: y reversed through gathered indices, z every second element, w scattered in pairs."""
    x, at = buffer("x", 2 * count), buffer("at", count, I64)
    y, z, w = buffer("y", count), buffer("z", count), buffer("w", 2 * count)
    here = Ramp(scaled(I, lanes), 1, lanes)
    gathered = Load(x, cast(Load(at, here), INDEX))
    strided = Load(x, Ramp(scaled(I, 2 * lanes), 2, lanes))
    body = For(I, count // lanes, block(
        Store(y, here, gathered), Store(z, here, strided), Store(w, Ramp(scaled(I, 2 * lanes), 2, lanes), add(strided, gathered)),
        Store(w, add(Ramp(scaled(I, 2 * lanes), 2, lanes), splat(index(1), lanes)), gathered),
    ))  # fmt: skip
    return one_kernel("permuted", body, (x, at), (y, z, w))


def register_array(rows: int = 4, lanes: int = 4) -> Program:
    """Row sums by way of an array in registers that scalars and vectors both reach, and a table of partial results."""
    x, y = buffer("x", rows * lanes), buffer("y", rows)
    row, sums = Buffer("row", F32, lanes, "register"), Buffer("sums", F32, rows, "register")
    one = index(0)
    body = block(
        Alloc(sums),
        For(I, rows, block(
            Alloc(row), Store(row, Ramp(one, 1, lanes), Load(x, Ramp(scaled(I, lanes), 1, lanes))), Store(sums, I, Lit(0.0, F32)),
            For(J, lanes, Store(sums, I, add(Load(sums, I), Load(row, J)))),
        )),
        For(K, rows, Store(y, K, Load(sums, K))),
    )  # fmt: skip
    return one_kernel("register_array", body, (x,), (y,))


def loops() -> Program:
    """y = (x + 1) * 2 by way of the arena, four elements a launch: a loop, two loops in each other, and a launch between."""
    x, y = buffer("x", 4), buffer("y", 4)
    plus_one = Kernel("plus", (Parameter(x, "read"), Parameter(y, "write")), For(I, 4, Store(y, I, add(Load(x, I), Lit(1.0, F32)))))
    twice = Kernel("times", (Parameter(x, "read"), Parameter(y, "write")), For(I, 4, Store(y, I, mul(Load(x, I), Lit(2.0, F32)))))
    steps = (
        Repeat(4, (Call("plus", (Argument("x", 0, (4,)), Argument("t", 12, (-4,)))),)),
        Call("times", (Argument("t", 0), Argument("y", 28))),
        Repeat(2, (
            Repeat(2, (Call("times", (Argument("t", 0, (8, 4)), Argument("y", 0, (8, 4)))),)), Call("plus", (Argument("x"), Argument("u"))),
        )),
        Repeat(3, (Call("plus", (Argument("y", 0, (4,)), Argument("y", 16, (4,)))),)),
    )  # fmt: skip
    storages = (
        Storage("x", "input", F32, 16, 0, (16,)), Storage("y", "output", F32, 32, 0, (32,)), Storage("t", "arena", F32, 16, 64, (16,)),
        Storage("u", "arena", F32, 4, 0, (4,)),
    )  # fmt: skip
    tensors = (Tensor("x", F32, (16,), "x"),), (Tensor("y", F32, (32,), "y"),)
    return Program("loops", *tensors, (plus_one, twice), steps, storages, np.zeros(0, np.uint8), 128)
