"""Comparing tensors, drawing inputs, sampling kernels for the interpreter, and summarising times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from tgc.alone import single
from tgc.bench.timing import interleave, summarise
from tgc.errors import ModelError, OptionError
from tgc.inputs import draw, read_tensor
from tgc.ir import ops
from tgc.ir.dtypes import BOOL, F32, I64, U8
from tgc.ir.expr import Buffer, Lit, Load, Var, apply, index
from tgc.ir.graph import Input
from tgc.ir.interpret import run_kernel, run_program
from tgc.ir.kernel import Alloc, Barrier, Block, For, Kernel, Parameter, Store
from tgc.verify.compare import Tolerance, compare
from tgc.verify.kernels import sample, steps

ANY = Tolerance()


def test_equal_tensors_have_no_error() -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5], np.float32)
    difference = compare("y", values, values.copy(), ANY)
    assert (difference.absolute, difference.relative, difference.ulp, difference.passed) == (0, 0, 0, True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ulp_counts_representable_values(dtype: type) -> None:
    base = np.array([1.0, -2.0, 0.0, 100.0], dtype)
    moved = base.copy()
    moved[1] = np.nextafter(np.nextafter(base[1], dtype(0)), dtype(0))
    moved[2] = np.nextafter(dtype(0), dtype(-1))
    assert compare("y", moved, base, ANY).ulp == 2
    across = compare("y", np.array([np.nextafter(dtype(0), dtype(1))]), np.array([np.nextafter(dtype(0), dtype(-1))]), ANY)
    assert across.ulp == 2  # from one side of zero to the other, zero itself between them


def test_relative_error_is_of_the_largest_magnitude() -> None:
    difference = compare("y", np.array([0.0, 10.001], np.float32), np.array([0.0005, 10.0], np.float32), ANY)
    assert difference.absolute == pytest.approx(1e-3, rel=1e-3)
    assert difference.relative == pytest.approx(1e-4, rel=1e-3)
    assert not difference.passed
    assert compare("y", np.array([10.001], np.float32), np.array([10.0], np.float32), Tolerance(2e-4)).passed
    assert compare("y", np.array([10.001], np.float32), np.array([10.0], np.float32), Tolerance(0.0, 2e-3)).passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_on_one_side_fails(bad: float) -> None:
    finite, broken = np.array([1.0, 2.0], np.float32), np.array([1.0, bad], np.float32)
    assert not compare("y", broken, finite, Tolerance(1e9)).passed
    assert not compare("y", finite, broken, Tolerance(1e9)).passed


def test_shapes_and_types_have_to_match() -> None:
    assert not compare("y", np.zeros((2, 1), np.float32), np.zeros(2, np.float32), ANY).passed
    assert not compare("y", np.zeros(2, np.float64), np.zeros(2, np.float32), ANY).passed
    assert compare("y", np.zeros(0, np.float32), np.zeros(0, np.float32), ANY).passed


def test_whole_numbers_have_to_agree() -> None:
    assert not compare("y", np.array([255], np.uint8), np.array([254], np.uint8), ANY).passed
    assert compare("y", np.array([255], np.uint8), np.array([254], np.uint8), Tolerance(0.0, 1.0)).passed


def test_drawn_inputs_are_reproducible_and_sensible() -> None:
    tensors = [Input("f", F32, (100,)), Input("u", U8, (1000,)), Input("i", I64, (100,)), Input("b", BOOL, (100,)), Input("s", F32, ())]
    first, second = draw(tensors, 3), draw(tensors, 3)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert {name: (array.dtype, array.shape) for name, array in first.items()}["s"] == (np.float32, ())
    assert first["u"].min() < 10
    assert first["u"].max() > 245
    assert set(first["i"].tolist()) == {0, 1}
    ranged = draw(tensors, 3, {"i": (5, 8), "f": (2.0, 3.0)})
    assert set(ranged["i"].tolist()) == {5, 6, 7}
    assert ranged["f"].min() >= 2
    with pytest.raises(OptionError, match="no input 'q'"):
        draw(tensors, 0, {"q": (0, 1)})


def test_tensors_are_read_from_files(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.int64).reshape(2, 3)
    (tmp_path / "a.pb").write_bytes(numpy_helper.from_array(values).SerializeToString())
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_tensor(tmp_path / "a.pb"), values)
    np.testing.assert_array_equal(read_tensor(tmp_path / "a.npy"), values)
    (tmp_path / "b.npy").write_bytes(b"garbage")
    (tmp_path / "b.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(OptionError, match="cannot read"):
        read_tensor(tmp_path / "b.npy")
    with pytest.raises(ModelError, match="not an ONNX tensor"):
        read_tensor(tmp_path / "b.pb")
    with pytest.raises(OptionError, match="neither"):
        read_tensor(tmp_path / "a.txt")


def double(rows: int, columns: int) -> Kernel:
    """y[r, c] = 2 * x[r, c]"""
    x, y = Buffer("x", F32, rows * columns), Buffer("y", F32, rows * columns)
    r, c = Var("r"), Var("c")
    at = apply(ops.ADD, apply(ops.MUL, r, index(columns)), c)
    body = For(r, rows, For(c, columns, Store(y, at, apply(ops.MUL, Load(x, at), Lit(2.0, F32)))))
    return Kernel("double", (Parameter(x, "read"), Parameter(y, "write")), body)


def test_small_kernels_are_interpreted_whole() -> None:
    kernel = double(3, 5)
    assert sample(kernel, steps(kernel.body)) == (kernel, 1.0)


def test_big_kernels_are_sampled_in_independent_loops() -> None:
    kernel = double(100, 50)
    part, share = sample(kernel, steps(kernel.body) // 10)
    assert part is not None
    assert 0.05 <= share <= 0.1
    x, y = np.ones(5000, np.float32), np.zeros(5000, np.float32)
    run_kernel(part, {"x": x, "y": y})
    assert int((y == 2).sum()) == round(share * 5000)
    assert y.reshape(100, 50)[50:].any()  # spread over all rows


def test_a_sum_is_never_sampled() -> None:
    x, y, total = Buffer("x", F32, 1000), Buffer("y", F32, 1), Buffer("t", F32, 1, "register")
    i, zero = Var("i"), index(0)
    add = Store(total, zero, apply(ops.ADD, Load(total, zero), Load(x, i)))
    body = Block((Alloc(total), Store(total, zero, Lit(0.0, F32)), For(i, 1000, add), Store(y, zero, Load(total, zero))))
    assert sample(Kernel("sum", (Parameter(x, "read"), Parameter(y, "write")), body), 100) == (None, 0.0)


def test_work_items_that_wait_for_each_other_are_sampled_by_groups() -> None:
    """Each of 4 work-items reads what the one before it put into local memory: of 100 groups some are left out, work-items never."""
    x, y, local = Buffer("x", F32, 400), Buffer("y", F32, 400), Buffer("l", F32, 4, "local")
    group, item = Var("g"), Var("i")
    at = apply(ops.ADD, apply(ops.MUL, group, index(4)), item)
    before = apply(ops.AND, apply(ops.ADD, item, index(3)), index(3))
    work = Block((Alloc(local), Store(local, item, Load(x, at)), Barrier(), Store(y, at, Load(local, before))))
    body = For(group, 100, For(item, 4, work, "lane0"), "grid0")
    part, share = sample(Kernel("turn", (Parameter(x, "read"), Parameter(y, "write")), body), steps(body) // 10)
    assert part is not None
    assert 0.05 <= share <= 0.1
    values, found = np.arange(1, 401, dtype=np.float32), np.zeros(400, np.float32)
    run_kernel(part, {"x": values, "y": found})
    written = found != 0
    assert int(written.sum()) == round(share * 400)
    np.testing.assert_array_equal(found[written], np.roll(values.reshape(100, 4), 1, axis=1).reshape(-1)[written])
    assert sample(Kernel("turn", (Parameter(x, "read"), Parameter(y, "write")), body), 2) == (None, 0.0)


def test_a_kernel_alone_keeps_what_it_does_not_write() -> None:
    kernel = double(1, 4)
    y = np.array([9.0, 9.0, 9.0, 9.0], np.float32)
    results = run_program(single(kernel, 64), {"x": np.arange(4, dtype=np.float32), "y": y})
    np.testing.assert_array_equal(results["y_after"], [0, 2, 4, 6])


def test_times_are_order_statistics() -> None:
    latency = summarise([float(n) for n in range(100, 0, -1)])
    assert (latency.runs, latency.minimum, latency.median, latency.p99, latency.maximum) == (100, 1.0, 50.5, 99.0, 100.0)
    assert summarise([2.0]).p99 == 2.0


def test_engines_run_in_turns() -> None:
    order: list[str] = []
    latencies = interleave([lambda: order.append("a"), lambda: order.append("b")], seconds=0.0, at_least=4)
    assert order == ["a", "b"] * (len(order) // 2)
    assert [latency.runs for latency in latencies] == [4, 4]
