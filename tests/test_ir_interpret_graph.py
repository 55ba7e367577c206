"""The interpreter of graphs against numpy written by hand."""

import ml_dtypes
import numpy as np
import pytest

from tgc.ir import ops
from tgc.ir.contract import contract
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I32, I64, INDEX, U8, U32, DType
from tgc.ir.expr import Arg, Coordinate, Lit, apply, bitcast, cast
from tgc.ir.graph import Graph, Node
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate, run_graph


def mapped(expr, *arrays: np.ndarray) -> np.ndarray:
    b = GraphBuilder()
    return evaluate(b.map(expr, *(b.constant(a) for a in arrays)))


def test_coordinates_and_literals_broadcast() -> None:
    b = GraphBuilder()
    doubled = apply(ops.ADD, apply(ops.MUL, Coordinate(0), Lit(10, INDEX)), Coordinate(1))
    np.testing.assert_array_equal(evaluate(b.map(cast(doubled, I64), shape=(2, 3))), [[0, 1, 2], [10, 11, 12]])
    constant = evaluate(b.map(Lit(1.5, F16), shape=(2, 2)))
    assert constant.dtype == np.float16
    np.testing.assert_array_equal(constant, np.full((2, 2), 1.5))


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        (np.float32([1.9, -1.9, 0.5, np.nan, 300.0, -1.0]), U8, np.uint8([1, 255, 0, 0, 44, 255])),
        (np.float32([2.0**63, 1e30, -1e30, np.inf]), I64, np.int64([-(2**63), -2048, -(2**63), -2048])),
        (np.float64([0.0, -0.0, np.nan, 0.25]), BOOL, np.array([False, False, True, True])),
        (np.int32([-1, 256, 127]), I8, np.int8([-1, 0, 127])),
        (np.float32([1e6, 1 / 3]), F16, np.float16([np.inf, 1 / 3])),
        (np.bool_([True, False]), BF16, np.array([1, 0], ml_dtypes.bfloat16)),
    ],
)
def test_cast(value: np.ndarray, dtype: DType, wanted: np.ndarray) -> None:
    from tgc.ir.dtypes import from_numpy

    result = mapped(cast(Arg(0, from_numpy(value.dtype)), dtype), value)
    assert result.dtype == wanted.dtype
    np.testing.assert_array_equal(result, wanted)


def test_bitcast_and_integer_division() -> None:
    np.testing.assert_array_equal(mapped(bitcast(Arg(0, F32), U32), np.float32([1.0])), [0x3F800000])
    a, b = np.int32([7, -7, 7, -7]), np.int32([2, 2, -2, -2])
    np.testing.assert_array_equal(mapped(apply(ops.DIV, Arg(0, I32), Arg(1, I32)), a, b), [3, -3, -3, 3])


@pytest.mark.parametrize("op", ops.REDUCE_OPS, ids=str)
@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64, I8, I32, BOOL], ids=str)
def test_reduce(op: ops.Op, dtype: DType) -> None:
    data = (np.arange(24).reshape(2, 3, 4) % 5 - 1).astype(dtype.numpy)
    b = GraphBuilder()
    result = evaluate(b.reduce(op, b.constant(data), (0, 2)))
    wide = data.astype(np.float64) if dtype.is_float else data
    wanted = {"ADD": np.add, "MUL": np.multiply, "MAX": np.maximum}[op.name].reduce(wide, axis=(0, 2), keepdims=True, dtype=wide.dtype)
    assert result.dtype == data.dtype
    np.testing.assert_array_equal(result, wanted.astype(data.dtype))


@pytest.mark.parametrize(("op", "identity"), [(ops.ADD, 0), (ops.MUL, 1), (ops.MAX, -np.inf)], ids=str)
def test_an_empty_reduction_gives_the_identity(op: ops.Op, identity: float) -> None:
    b = GraphBuilder()
    empty = b.reduce(op, b.constant(np.zeros((2, 0), np.float32)), (1,))
    np.testing.assert_array_equal(evaluate(empty), [[identity]] * 2)


def test_views() -> None:
    b = GraphBuilder()
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    x = b.constant(data)
    cases: list[tuple[Node, np.ndarray]] = [
        (b.reshape(x, (4, 6)), data.reshape(4, 6)),
        (b.permute(x, (2, 0, 1)), data.transpose(2, 0, 1)),
        (b.expand(b.reshape(x, (2, 3, 4, 1)), (2, 3, 4, 2)), np.repeat(data[..., None], 2, axis=3)),
        (b.slice(x, (1, 2, 3), (1, -2, -1), (1, 2, 4)), data[1:, ::-2, ::-1]),
        (b.slice(x, (0, 0, 0), (1, 1, 1), (2, 0, 4)), data[:, :0]),
        (b.pad(x, (0, 1, 0), (1, 0, 2), Lit(9.0, F32)), np.pad(data, ((0, 1), (1, 0), (0, 2)), constant_values=9)),
        (b.window(x, 2, 2, 2, 1), np.stack([data[..., 0::2], data[..., 1::2]], axis=-1)),
        (b.window(x, 1, 2, 1, 2), np.stack([data[:, :1], data[:, 2:]], axis=-1)),
        (b.concat((x, x), 1), np.concatenate([data, data], 1)),
    ]
    for node, wanted in cases:
        result = evaluate(node)
        assert result.shape == node.shape
        np.testing.assert_array_equal(result, wanted)


def test_gather_clamps() -> None:
    b = GraphBuilder()
    rows, columns = b.constant(np.int64([[0, -5], [1, 9]])), b.constant(np.int32([[2, 2], [-1, 1]]))
    table = np.arange(6, dtype=np.int8).reshape(2, 3)
    np.testing.assert_array_equal(evaluate(b.gather(b.constant(table), (rows, columns), (2, 2))), [[2, 2], [3, 4]])


@pytest.mark.parametrize("dtype", [F16, F32, I8, I32, I64], ids=str)
def test_a_convolution_is_a_contraction(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    image, weights = (rng.integers(-4, 5, size).astype(dtype.numpy) for size in ((2, 3, 6), (5, 3, 2)))
    b = GraphBuilder()
    windows = b.window(b.constant(image), 2, 2)  # n c o k
    x = b.expand(b.reshape(b.permute(windows, (0, 2, 1, 3)), (2, 5, 1, 3, 2)), (2, 5, 5, 3, 2))  # n o m c k
    w = b.expand(b.reshape(b.constant(weights), (1, 1, 5, 3, 2)), x.shape)
    result = evaluate(b.reduce(ops.ADD, b.map(apply(ops.MUL, Arg(0, dtype), Arg(1, dtype)), x, w), (3, 4)))
    wanted = np.einsum("ncok,mck->nom", np.stack([image[..., :-1], image[..., 1:]], -1).astype(float), weights.astype(float))
    assert result.dtype == np.dtype(dtype.numpy)
    np.testing.assert_array_equal(result.reshape(2, 5, 5), wanted.astype(dtype.numpy))


@pytest.mark.parametrize(
    "shapes",
    [((4, 1, 3), (1, 5, 3)), ((4, 1, 1), (4, 5, 3)), ((1, 1, 3), (1, 1, 1)), ((4, 5, 0), (1, 5, 0)), ((4, 5, 1), (4, 5, 1))],
)
def test_contract_is_multiply_and_sum(shapes: tuple[tuple[int, ...], tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    left, right = (rng.normal(size=s) for s in shapes)
    full = (4, 5, 0 if 0 in shapes[0] else 3)
    wanted = np.broadcast_to(left * right, full).sum(2, keepdims=True)
    for limit in (1 << 30, 16):
        monkeypatch.setattr("tgc.ir.contract.COPY_BYTES", limit)
        result = contract(left, right, full, (2,), F64)
        np.testing.assert_allclose(np.broadcast_to(result, wanted.shape), wanted, rtol=1e-12)


def test_run_graph_checks_its_inputs() -> None:
    b = GraphBuilder()
    x = b.input("x", F32, (2,))
    graph = Graph("g", (x,), (("y", b.map(apply(ops.ADD, Arg(0, F32), Arg(0, F32)), x)), ("same", x)))
    given = np.float32([1, 2])
    results = run_graph(graph, {"x": given})
    np.testing.assert_array_equal(results["y"], [2, 4])
    assert not np.shares_memory(results["same"], given)
    with pytest.raises(ValueError, match="'x' is missing"):
        run_graph(graph, {})
    with pytest.raises(ValueError, match=r"'x' is float64\[2\], not f32\[2\]"):
        run_graph(graph, {"x": np.zeros(2)})
    with pytest.raises(ValueError, match="'x' is missing"):
        evaluate(x)


def test_a_deep_graph_needs_no_recursion() -> None:
    b = GraphBuilder()
    node: Node = b.input("x", F32, (1,))
    graph_input = node
    for _ in range(5000):
        node = b.map(apply(ops.ADD, Arg(0, F32), Lit(1.0, F32)), node)
    assert evaluate(node, {graph_input: np.zeros(1, np.float32)}) == [5000]
