"""How near the LLVM backend's code for a register tile comes to the processor's multiply-add peak.

A hand-written kernel, independent of the passes: 1x1 convolution / matrix product over packed weights, one tile of rows x
columns held in vector registers. Its inner loop is loads, broadcasts and fused multiply-adds only. The peak is measured by
the same tile with its operands in registers. One thread; prints JSON.

    python benchmarks/llvm_tile.py [--rows 14] [--columns 32] [-m 196] [-n 256] [-k 256]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time

import numpy as np
import numpy.typing as npt

from tgc.backends.llvm.codegen import compile_module
from tgc.backends.llvm.jit import LoadedObject, load_object
from tgc.backends.llvm.machine import host_target, machine_of
from tgc.backends.llvm.module import print_module
from tgc.backends.options import EmitOptions
from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, index
from tgc.ir.kernel import Alloc, Block, For, Kernel, Parameter, Statement, Store
from tgc.ir.program import Argument, Call, Program, Storage, Tensor
from tgc.targets import CPU

PEAK_STEPS = 20000
RUN_OFFSET = 48  # of tgc_model.run, where pointers have 64 bits
Floats = npt.NDArray[np.float32]


def plus(*terms: Expr) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = apply(ops.ADD, total, term)
    return total


def times(a: Expr, b: Expr) -> Expr:
    return apply(ops.MUL, a, b)


def accumulators(rows: int, vectors: int, lanes: int) -> dict[tuple[int, int], Buffer]:
    return {(r, v): Buffer(f"sum{r}_{v}", F32, lanes, "register") for r in range(rows) for v in range(vectors)}


def tile(sums: dict[tuple[int, int], Buffer], lanes: int, inner: Statement, out: Buffer, at: Expr, row: int) -> list[Statement]:
    """Clears the sums, runs `inner`, stores the sums as rows of `row` elements from out[at] on."""
    whole = Ramp(index(0), 1, lanes)
    zero = Broadcast(Lit(0.0, F32), lanes)
    stores = [Store(out, Ramp(plus(at, index(r * row + v * lanes)), 1, lanes), Load(s, whole)) for (r, v), s in sums.items()]
    return [*(Alloc(s) for s in sums.values()), *(Store(s, whole, zero) for s in sums.values()), inner, *stores]


def gemm(rows: int, columns: int, lanes: int, m: int, n: int, k: int) -> Program:
    """out[m, n] = a[m, k] @ w[k, n], w packed as [n / columns, k, columns]."""
    a, w, out = Buffer("a", F32, m * k), Buffer("w", F32, n * k), Buffer("out", F32, m * n)
    panel, block, step = Var("panel"), Var("block"), Var("step")
    sums = accumulators(rows, columns // lanes, lanes)
    whole = Ramp(index(0), 1, lanes)
    body: list[Statement] = []
    for (r, v), total in sums.items():
        left = Load(a, plus(times(block, index(rows * k)), step, index(r * k)))
        right = Load(w, Ramp(plus(times(panel, index(columns * k)), times(step, index(columns)), index(v * lanes)), 1, lanes))
        body.append(Store(total, whole, plus(Load(total, whole), times(Broadcast(left, lanes), right))))
    at = plus(times(block, index(rows * n)), times(panel, index(columns)))
    nest = tile(sums, lanes, For(step, k, Block(tuple(body))), out, at, n)
    kernel = Kernel(
        "gemm", (Parameter(a, "read"), Parameter(w, "read"), Parameter(out, "write")),
        For(panel, n // columns, For(block, m // rows, Block(tuple(nest)))),
    )  # fmt: skip
    return Program(
        "tile", (Tensor("a", F32, (m, k), "a"),), (Tensor("out", F32, (m, n), "out"),), (kernel,),
        (Call("gemm", (Argument("a"), Argument("w"), Argument("out"))),),
        (Storage("a", "input", F32, m * k, 0, (m, k)), Storage("w", "weight", F32, n * k, 0, (n // columns, k, columns)),
         Storage("out", "output", F32, m * n, 0, (m, n))),
        np.zeros(n * k * 4, np.uint8), 0,
    )  # fmt: skip


def peak(rows: int, columns: int, lanes: int) -> Program:
    """The same accumulators, `PEAK_STEPS` times, on operands that stay in registers."""
    vectors = columns // lanes
    a, out = Buffer("a", F32, 2 * lanes), Buffer("out", F32, rows * columns)
    sums = accumulators(rows, vectors, lanes)
    left, right = Load(a, Ramp(index(0), 1, lanes)), Load(a, Ramp(index(lanes), 1, lanes))
    whole = Ramp(index(0), 1, lanes)
    body = [Store(s, whole, plus(times(Load(s, whole), left), right)) for s in sums.values()]
    nest = tile(sums, lanes, For(Var("step"), PEAK_STEPS, Block(tuple(body))), out, index(0), columns)
    kernel = Kernel("peak", (Parameter(a, "read"), Parameter(out, "write")), Block(tuple(nest)))
    size = rows * columns
    return Program(
        "tile", (Tensor("a", F32, (2 * lanes,), "a"),), (Tensor("out", F32, (size,), "out"),), (kernel,),
        (Call("peak", (Argument("a"), Argument("out"))),),
        (Storage("a", "input", F32, 2 * lanes, 0, (2 * lanes,)), Storage("out", "output", F32, size, 0, (size,))),
        np.zeros(0, np.uint8), 0,
    )  # fmt: skip


def aligned(size: int) -> Floats:
    raw = np.zeros(size * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * 4].view(np.float32)


def build(program: Program) -> tuple[LoadedObject, float]:
    """The program in memory, and the seconds that compiling took."""
    start = time.perf_counter()
    machine = machine_of(CPU)
    code = compile_module(print_module(program, machine, EmitOptions()), machine)
    return load_object(code), time.perf_counter() - start


def seconds(program: Program, loaded: LoadedObject, weights: Floats, inputs: list[Floats], out: Floats, repeats: int) -> float:
    """The shortest of `repeats` runs."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    run = kind(ctypes.c_void_p.from_address(loaded.address(f"{program.name}_model") + RUN_OFFSET).value or 0)
    sources, results = (ctypes.c_void_p * 1)(inputs[0].ctypes.data), (ctypes.c_void_p * 1)(out.ctypes.data)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        status = run(weights.ctypes.data, None, sources, results)
        best = min(best, time.perf_counter() - start)
        if status:
            raise SystemExit(f"{program.name} answered {status}")
    return best


def measure(rows: int, columns: int, m: int, n: int, k: int) -> dict[str, object]:
    lanes = host_target(CPU).vector_lanes(32)
    random = np.random.default_rng(0)
    top = peak(rows, columns, lanes)
    operands = aligned(2 * lanes)
    peak_time = seconds(top, build(top)[0], aligned(16), [operands], aligned(rows * columns), 20)
    program = gemm(rows, columns, lanes, m, n, k)
    loaded, compile_seconds = build(program)
    a, w, out = aligned(m * k), aligned(n * k), aligned(m * n)
    a[:], w[:] = random.standard_normal(a.size), random.standard_normal(w.size)
    tile_time = seconds(program, loaded, w, [a], out, 500)
    wanted = a.reshape(m, k) @ w.reshape(n // columns, k, columns).transpose(1, 0, 2).reshape(k, n)
    peak_gflops = 2 * rows * columns * PEAK_STEPS / peak_time / 1e9
    gflops = 2 * m * n * k / tile_time / 1e9
    return {
        "tile": [rows, columns], "shape": [m, n, k], "lanes": lanes, "compile_ms": round(compile_seconds * 1e3, 1),
        "peak_gflops": round(peak_gflops, 1), "gflops": round(gflops, 1), "share_of_peak": round(gflops / peak_gflops, 3),
        "worst_error": float(np.abs(out.reshape(m, n) - wanted).max()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=14)
    parser.add_argument("--columns", type=int, default=32)
    for name, default in (("m", 196), ("n", 256), ("k", 256)):
        parser.add_argument(f"-{name}", type=int, default=default)
    options = parser.parse_args()
    if options.m % options.rows or options.n % options.columns:
        parser.error("rows must divide m and columns n")
    print(json.dumps(measure(options.rows, options.columns, options.m, options.n, options.k)))


if __name__ == "__main__":
    main()
