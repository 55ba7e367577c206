"""The interpreter of kernels and programs."""

import numpy as np
import pytest

from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.dtypes import BOOL, F32, I8, INDEX
from tgc.ir.expr import Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, cast, index
from tgc.ir.interpret import run_kernel, run_program
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Parameter, Statement, Store, block
from tgc.ir.program import Argument, Call, Program, Storage, Tensor

AT, INNER = Var("i"), Var("j")
X, Y = Buffer("x", F32, 8), Buffer("y", F32, 8)
SUM, TILE = Buffer("sum", F32, 1, "register"), Buffer("tile", F32, 4, "local")


def add(a: Expr, b: Expr) -> Expr:
    return apply(ops.ADD, a, b)


def mul(a: Expr, b: Expr) -> Expr:
    return apply(ops.MUL, a, b)


def run(body: Statement, x: np.ndarray | None = None, y: Buffer = Y) -> np.ndarray:
    kernel = Kernel("k", (Parameter(X, "read"), Parameter(y, "write")), body)
    out = np.zeros(y.size, y.dtype.numpy)
    run_kernel(kernel, {"x": np.arange(8, dtype=np.float32) if x is None else x, "y": out})
    return out


def test_loops_and_registers() -> None:
    row = add(mul(AT, index(4)), INNER)
    rows = For(
        AT, 2,
        Block((
            Alloc(SUM), Store(SUM, index(0), Lit(0.0, F32)),
            For(INNER, 4, Store(SUM, index(0), add(Load(SUM, index(0)), Load(X, row)))),
            Store(Y, AT, Load(SUM, index(0))),
        )),
    )  # fmt: skip
    np.testing.assert_array_equal(run(rows)[:2], [6, 22])


def test_vectors() -> None:
    whole, reversed_ = Ramp(index(0), 1, 8), Ramp(index(7), -1, 8)
    body = Store(Y, whole, add(Load(X, reversed_), Broadcast(Lit(1.0, F32), 8)))
    np.testing.assert_array_equal(run(body), np.arange(8, 0, -1))
    chosen = apply(ops.WHERE, apply(ops.LT, Load(X, whole), Broadcast(Lit(4.0, F32), 8)), Load(X, whole), Broadcast(Lit(0.0, F32), 8))
    np.testing.assert_array_equal(run(Store(Y, whole, chosen)), [0, 1, 2, 3, 0, 0, 0, 0])


def test_index_arithmetic_truncates_and_casts() -> None:
    quotient = apply(ops.DIV, add(AT, index(-3)), index(2))
    np.testing.assert_array_equal(run(For(AT, 4, Store(Y, AT, cast(quotient, F32))))[:4], [-1, -1, 0, 0])
    byte = Buffer("y", I8, 4)
    narrow = run(For(AT, 4, Store(byte, AT, cast(Load(X, AT), I8))), np.float32([-1.5, 1.5, 2, 3, 0, 0, 0, 0]), byte)
    np.testing.assert_array_equal(narrow, [-1, 1, 2, 3])
    picked = cast(Load(X, AT), INDEX)
    np.testing.assert_array_equal(run(For(AT, 8, Store(Y, AT, Load(X, picked)))), np.arange(8))


def test_conditions() -> None:
    odd = apply(ops.EQ, add(AT, mul(apply(ops.DIV, AT, index(2)), index(-2))), index(1))
    np.testing.assert_array_equal(run(For(AT, 8, If(odd, Store(Y, AT, Load(X, AT))))), [0, 1, 0, 3, 0, 5, 0, 7])
    either = apply(ops.ADD, odd, Lit(True, BOOL))
    np.testing.assert_array_equal(run(For(AT, 8, If(either, Store(Y, AT, Load(X, AT))))), np.arange(8))


def group(body: Statement) -> Statement:
    """Two groups of four work-items over the eight elements."""
    return For(Var("g"), 2, For(AT, 4, body, "lane0"), "grid0")


def test_work_items_meet_at_barriers() -> None:
    mine = add(mul(Var("g"), index(4)), AT)
    other = add(index(3), mul(AT, index(-1)))
    body = Block((Alloc(TILE), Store(TILE, AT, Load(X, mine)), Barrier(), Store(Y, mine, Load(TILE, other))))
    np.testing.assert_array_equal(run(group(body)), [3, 2, 1, 0, 7, 6, 5, 4])


def test_barriers_in_a_loop_rotate() -> None:
    mine = add(mul(Var("g"), index(4)), AT)
    following = add(add(AT, index(1)), mul(apply(ops.DIV, add(AT, index(1)), index(4)), index(-4)))
    turn = Block((
        Alloc(SUM), Store(SUM, index(0), Load(TILE, following)), Barrier(), Store(TILE, AT, Load(SUM, index(0))), Barrier(),
    ))  # fmt: skip
    body = Block((Alloc(TILE), Store(TILE, AT, Load(X, mine)), Barrier(), For(INNER, 3, turn), Store(Y, mine, Load(TILE, AT))))
    np.testing.assert_array_equal(run(group(body)), [3, 0, 1, 2, 7, 4, 5, 6])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (For(AT, 9, Store(Y, index(0), Load(X, AT))), r"x\[8\] is outside its 8"),
        (Store(Y, index(-1), Lit(0.0, F32)), r"y\[-1\] is outside its 8"),
        (Store(Y, Ramp(index(4), 1, 8), Broadcast(Lit(0.0, F32), 8)), "outside its 8"),
        (block(Alloc(SUM), Store(Y, index(0), Load(SUM, index(0)))), r"read of sum\[0\] before"),
        (Store(Y, AT, Lit(0.0, F32)), "variable i has no value"),
        (Store(SUM, index(0), Lit(0.0, F32)), "buffer sum does not exist"),
        (group(If(apply(ops.LT, AT, index(2)), Barrier())), "a barrier that 2 of 4 work-items along i reach"),
        (group(block(Alloc(TILE), Store(TILE, AT, Lit(0.0, F32)), Store(Y, AT, Load(TILE, index(3))))), r"read of tile\[3\] before"),
    ],
)
def test_faults_are_found(body: Statement, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        run(body)


def test_buffers_must_fit() -> None:
    kernel = Kernel("k", (Parameter(X, "read"),), Block(()))
    with pytest.raises(ValueError, match="x is missing"):
        run_kernel(kernel, {})
    with pytest.raises(ValueError, match=r"float32\[7\], not f32\[8\]"):
        run_kernel(kernel, {"x": np.zeros(7, np.float32)})


def scale(name: str, factor: Expr) -> Kernel:
    """y = x * factor over 8 elements."""
    return Kernel(name, (Parameter(X, "read"), Parameter(Y, "write")), For(AT, 8, Store(Y, AT, mul(Load(X, AT), factor))))


def program(second_offset: int) -> Program:
    """Three doublings; the two temporaries lie in the arena at 0 and at `second_offset`."""
    arena = tuple(Storage(name, "arena", F32, 8, offset, (8,)) for name, offset in (("t0", 0), ("t1", second_offset)))
    bound = (Storage("in0", "input", F32, 8, 0, (2, 4)), Storage("out0", "output", F32, 8, 0, (2, 4)))
    chain = [("in0", "t0"), ("t0", "t1"), ("t1", "out0")]
    return Program(
        "p", (Tensor("x", F32, (2, 4), "in0"),), (Tensor("y", F32, (2, 4), "out0"),), (scale("double", Lit(2.0, F32)),),
        tuple(Call("double", (Argument(a), Argument(b))) for a, b in chain), bound + arena, np.zeros(0, np.uint8), 64,
    )  # fmt: skip


def test_run_program() -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(run_program(program(32), {"x": x})["y"], x * 8)
    with pytest.raises(ValueError, match="'x' is missing"):
        run_program(program(32), {})
    with pytest.raises(InvalidIrError, match="t1 does not fit"):
        run_program(program(64), {"x": x})


def test_an_overlapping_plan_gives_wrong_numbers() -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert not np.array_equal(run_program(program(4), {"x": x})["y"], x * 8)
