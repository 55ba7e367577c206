"""Each invariant, broken once."""

from dataclasses import replace

import numpy as np
import pytest

from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.dtypes import BOOL, F16, F32, F64, I32, I64, INDEX, U8
from tgc.ir.expr import Apply, Arg, Broadcast, Buffer, Coordinate, Expr, Lit, Load, Ramp, Var, apply, bitcast, cast, index
from tgc.ir.graph import (
    Concat,
    Constant,
    Expand,
    Gather,
    Graph,
    Input,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Slice,
    Window,
)
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Parameter, Statement, Store
from tgc.ir.program import Argument, Call, Program, Storage, Tensor
from tgc.ir.verify import verify_expression, verify_graph, verify_kernel, verify_program

ONE = Lit(1.0, F32)
FOUR = Broadcast(ONE, 4)
AT = Var("i")


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (Apply(ops.ADD, (ONE, Lit(1.0, F64)), F32), "ADD on f32, f64"),
        (Apply(ops.ADD, (ONE,), F32), "ADD takes 2"),
        (Apply(ops.CAST, (ONE, ONE), I32), "CAST takes 1"),
        (Apply(ops.LT, (ONE, ONE), F32), "LT gives bool"),
        (Apply(ops.WHERE, (ONE, ONE, ONE), F32), "chooses by f32"),
        (Apply(ops.ADD, (ONE, FOUR), F32), "lanes"),
        (apply(ops.SQRT, Lit(1, I32)), "SQRT on i32"),
        (apply(ops.XOR, ONE, ONE), "XOR on f32"),
        (apply(ops.ADD, Lit(True, BOOL), Lit(True, BOOL)), "ADD on bool"),
        (bitcast(ONE, I64), "BITCAST of f32 to i64"),
        (Ramp(Lit(0, I32), 1, 4), "ramp from i32"),
        (Ramp(index(0), 1, 3), "3 lanes"),
        (Broadcast(FOUR, 4), "broadcast of 4 lanes"),
        (Lit(256, U8), "256 is no u8"),
        (Lit(1.5, I32), "1.5 is no i32"),
        (Lit(1, BOOL), "1 is no bool"),
        (Var("i", I32), "variable i is i32"),
        (Load(Buffer("x", F32, 4), Lit(0, I32)), "indexed by i32"),
    ],
)
def test_expressions(expr: Expr, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        verify_expression(expr)


X = Input("x", F32, (2, 3))
INDICES = Input("n", I32, (4,))
WIDE = Input("w", F32, (2, 4))
EMPTY = Input("e", F32, (0,))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Map(Arg(1, F32), (X,), (2, 3)), r"Arg\(1\) of 1 sources"),
        (Map(Arg(0, F64), (X,), (2, 3)), r"Arg\(0\) is f32, not f64"),
        (Map(Arg(0, F32), (X,), (3, 2)), "in shape"),
        (Map(cast(Coordinate(2), F32), (X,), (2, 3)), r"Coordinate\(2\)"),
        (Map(Coordinate(0), (X,), (2, 3)), "type index"),
        (Map(cast(AT, F32), (X,), (2, 3)), "Var in a map"),
        (Map(Apply(ops.ADD, (Arg(0, F32),), F32), (X,), (2, 3)), "ADD takes 2"),
        (Reduce(ops.LT, X, (0,)), "LT over f32"),
        (Reduce(ops.ADD, X, ()), r"axes \(\)"),
        (Reduce(ops.ADD, X, (1, 0)), r"axes \(1, 0\)"),
        (Reduce(ops.ADD, X, (2,)), r"axes \(2,\)"),
        (Reshape(X, (5,)), "Reshape"),
        (Permute(X, (0, 0)), "order"),
        (Expand(X, (2, 6)), "Expand"),
        (Expand(X, (2, 3, 4)), "Expand"),
        (Slice(X, (0, 1), (1, 1), (2, 3)), "1 to 3 in an extent of 3"),
        (Slice(X, (0, 0), (1, 0), (2, 1)), "step of 0"),
        (Slice(X, (0,), (1,), (2,)), "rank"),
        (Pad(X, (0, -1), (0, 0), ONE), "around"),
        (Pad(X, (0, 1), (0, 0), Lit(1.0, F64)), "f32 with f64"),
        (Window(X, 1, 3, 1, 2), "in an extent of 3"),
        (Window(X, 1, 2, 0, 1), "stride 0"),
        (Gather(X, (INDICES,), (4,)), "1 coordinates"),
        (Gather(INDICES, (X,), (2, 3)), "not an integer"),
        (Gather(EMPTY, (INDICES,), (4,)), "has none"),
        (Concat((), 0), "no sources"),
        (Concat((X, WIDE), 0), "beside"),
        (Constant(np.zeros((2, 2))), "read-only"),
        (Input("unlisted", F32, ()), "is not listed"),
        (Map(ONE, (), (-1,)), "shape"),
    ],
)  # fmt: skip
def test_graphs(node: Node, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        verify_graph(Graph("g", (X, INDICES, WIDE, EMPTY), (("out", node),)))


def test_graph_names() -> None:
    with pytest.raises(InvalidIrError, match="two inputs are called 'x'"):
        verify_graph(Graph("g", (X, Input("x", F32, ())), ()))
    with pytest.raises(InvalidIrError, match="two outputs are called 'y'"):
        verify_graph(Graph("g", (X,), (("y", X), ("y", X))))


def test_what_the_builder_makes_is_valid() -> None:
    b = GraphBuilder(origin="node")
    x = b.input("x", F32, (2, 3, 8))
    padded = b.pad(x, (0, 0, 1), (0, 0, 1), Lit(0.0, F32))
    windows = b.permute(b.window(padded, 2, 3, 2), (0, 2, 1, 3))
    summed = b.reduce(ops.MAX, b.map(apply(ops.MUL, Arg(0, F32), Arg(0, F32)), windows), (2, 3))
    picked = b.gather(b.constant(np.arange(4.0, dtype=np.float32)), (b.map(cast(Arg(0, F32), I64), summed),), summed.shape)
    verify_graph(Graph("g", (x,), (("y", b.concat((summed, picked), 1)), ("z", b.slice(x, (1, 2, 7), (1, -1, -1), (1, 3, 8))))))


IN, OUT = Buffer("x", F32, 8), Buffer("y", F32, 8)
TEMP = Buffer("t", F32, 1, "register")
TILE = Buffer("tile", F32, 8, "local")


def kernel(body: Statement, name: str = "k") -> Kernel:
    return Kernel(name, (Parameter(IN, "read"), Parameter(OUT, "write")), body)


COPY = For(AT, 8, Store(OUT, AT, Load(IN, AT)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (Store(IN, index(0), ONE), "store to x, which is only read"),
        (Store(OUT, index(0), Load(OUT, index(1))), "load from y, which is only written"),
        (Store(OUT, index(0), Lit(1.0, F64)), "f64 stored to y of f32"),
        (Store(OUT, index(0), FOUR), "4 values stored at 1 places"),
        (Store(OUT, Lit(0, I32), ONE), "indexed by i32"),
        (Store(OUT, AT, ONE), "variable i outside of its loop"),
        (Store(TEMP, index(0), ONE), "buffer t is used where it does not exist"),
        (Block((For(AT, 2, Alloc(TEMP)), Store(TEMP, index(0), ONE))), "buffer t is used where"),
        (Block((Alloc(TEMP), Alloc(TEMP))), "t is the name of two things"),
        (Block((Alloc(TEMP), Store(replace(TEMP, size=2), index(0), ONE))), "declared as"),
        (Alloc(Buffer("g", F32, 1)), "in global memory"),
        (For(AT, 2, For(AT, 2, Block(()))), "i is the name of two things"),
        (For(Var("x"), 2, Block(())), "x is the name of two things"),
        (For(Var("a b"), 2, Block(())), "no C identifier"),
        (For(AT, -1, Block(())), "runs -1 times"),
        (For(AT, 9, Store(OUT, AT, ONE)), "runs from 0 to 8"),
        (For(AT, 2, Store(OUT, Ramp(apply(ops.MUL, AT, index(6)), 1, 4), FOUR)), "runs from 0 to 9"),
        (For(AT, 8, If(apply(ops.LT, AT, index(4)), Store(OUT, apply(ops.ADD, AT, index(8)), ONE))), "runs from 8 to 15"),
        (If(ONE, Block(())), "If on f32"),
        (Barrier(), "outside of the lane loops"),
        (For(AT, 2, For(Var("g"), 2, Block(()), "grid0")), "does not enclose"),
        (For(AT, 2, For(Var("g"), 2, Block(()), "grid0"), "lane0"), "inside a lane loop"),
        (For(AT, 2, For(Var("g"), 2, Block(()), "grid0"), "grid0"), "two grid0 loops"),
        (Store(OUT, index(0), Arg(0, F32)), "Arg in a kernel"),
    ],
)  # fmt: skip
def test_kernels(body: Statement, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        verify_kernel(kernel(body))


def test_valid_kernels() -> None:
    verify_kernel(kernel(COPY))
    verify_kernel(kernel(For(AT, 16, If(apply(ops.LT, AT, index(8)), Store(OUT, AT, Load(IN, AT))))))
    tiled = Block((Alloc(TILE), For(AT, 8, Block((Store(TILE, AT, Load(IN, AT)), Barrier(), Store(OUT, AT, Load(TILE, AT)))), "lane0")))
    verify_kernel(kernel(For(Var("g"), 1, tiled, "grid0")))
    with pytest.raises(InvalidIrError, match="'1k' is no C identifier"):
        verify_kernel(kernel(COPY, "1k"))


def chain() -> Program:
    """in0 -> t0 -> t1 -> out0, the two temporaries side by side."""
    bound = (Storage("in0", "input", F32, 8, 0, (8,)), Storage("out0", "output", F32, 8, 0, (8,)))
    arena = tuple(Storage(name, "arena", F32, 8, offset, (8,)) for name, offset in (("t0", 0), ("t1", 64)))
    calls = tuple(Call("k", (Argument(a), Argument(b))) for a, b in (("in0", "t0"), ("t0", "t1"), ("t1", "out0")))
    return Program(
        "p", (Tensor("x", F32, (8,), "in0"),), (Tensor("y", F32, (8,), "out0"),), (kernel(COPY),), calls, bound + arena,
        np.zeros(0, np.uint8), 128,
    )  # fmt: skip


def moved(name: str, **changes: object) -> Program:
    return replace(chain(), storages=tuple(replace(s, **changes) if s.name == name else s for s in chain().storages))


def called(position: int, *arguments: Argument) -> Program:
    calls = list(chain().calls)
    calls[position] = Call("k", arguments)
    return replace(chain(), steps=tuple(calls))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (replace(chain(), name="p-1"), "'p-1' is no C identifier"),
        (replace(chain(), kernels=chain().kernels * 2), "two kernels are called k"),
        (replace(chain(), storages=chain().storages * 2), "two storages are called in0"),
        (replace(chain(), kernels=(kernel(Barrier()),)), "kernel k: a Barrier"),
        (replace(chain(), outputs=chain().outputs * 2), "two outputs are called 'y'"),
        (replace(chain(), inputs=(Tensor("x", F32, (9,), "in0"),)), r"in0 f32\[8\]"),
        (replace(chain(), inputs=(Tensor("x", F32, (8,), "t0"),)), "of role arena"),
        (moved("t1", offset=32), "no multiple of 64"),
        (moved("t1", offset=128), "ends at 160 of 128"),
        (moved("t1", offset=0), "t0 and t1 share bytes"),
        (moved("t1", dtype=F16), "argument y of k is f32, and t1 f16"),
        (called(1, Argument("t0")), "takes 2 arguments, not 1"),
        (called(1, Argument("t0"), Argument("t1", 4)), "8 elements from 4 of t1"),
        (called(1, Argument("t0"), Argument("in0")), "writes in0, of role input"),
        (called(1, Argument("t0"), Argument("t0")), "writes t0 where"),
        (called(0, Argument("t1"), Argument("t0")), "reads t1, which nothing has written"),
        (called(2, Argument("t1"), Argument("t0")), "nothing writes output 'y'"),
        (replace(chain(), steps=(Call("missing", ()),)), "call of missing"),
    ],
)  # fmt: skip
def test_programs(program: Program, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        verify_program(program)


def test_a_valid_program() -> None:
    verify_program(chain())
    assert INDEX not in {tensor.dtype for tensor in chain().inputs}
