"""Views as rules, against the interpreter's idea of them: an array whose elements are their own offsets is read through views."""

import random
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import GraphMaker

from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Expr, Lit, Var
from tgc.ir.graph import Expand, Node, Permute, Reshape, Slice, Window
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.text_expression import print_expr
from tgc.ir.views import Vector, dot, flatten, groups, source_index, strides_of, unflatten

B = GraphBuilder()


def numbered(*shape: int) -> Node:
    return B.constant(np.arange(prod(shape), dtype=np.int64).reshape(shape))


def loops(shape: tuple[int, ...]) -> Vector:
    return tuple(ix.axis(Var(f"i{axis}"), size) for axis, size in enumerate(shape))


def offset(node: Node) -> ix.Index:
    """Where in the constant under the views `node` the element at (i0, i1, ...) lies."""
    at = loops(node.shape)
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)):
        at = source_index(node, at)
        node = node.source
    return flatten(at, node.shape)


def values(expr: Expr, shape: tuple[int, ...]) -> np.ndarray:
    match expr:
        case Lit(value):
            return np.full(shape, value)
        case Var(name):
            return np.indices(shape)[int(name[1:])]
        case _:
            return np.asarray(ops.NUMPY[expr.op.name](*(values(arg, shape) for arg in expr.args)))


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (B.permute(numbered(2, 3, 4), (2, 0, 1)), "i1 * 12 + i2 * 4 + i0"),
        (B.expand(numbered(3, 1), (3, 5)), "i0"),
        (B.slice(numbered(6, 8), (5, 1), (-2, 3), (3, 2)), "i0 * -16 + i1 * 3 + 41"),
        (B.window(numbered(2, 9), 1, 3, 2, 2), "i0 * 9 + i1 * 2 + i2 * 2"),
        (B.reshape(numbered(4, 6), (2, 2, 3, 2)), "i0 * 12 + i1 * 6 + i2 * 2 + i3"),
        (B.reshape(B.permute(numbered(2, 3), (1, 0)), (6,)), "i0 / 2 * -5 + i0 * 3"),
        (B.reshape(B.permute(B.reshape(numbered(4, 6), (4, 2, 3)), (0, 2, 1)), (4, 3, 2)), "i0 * 6 + i2 * 3 + i1"),
        (B.permute(B.permute(numbered(2, 3, 4), (1, 2, 0)), (2, 0, 1)), "i0 * 12 + i1 * 4 + i2"),
    ],
)
def test_views_are_index_arithmetic(view: Node, text: str) -> None:
    assert print_expr(ix.to_expr(offset(view))) == text
    np.testing.assert_array_equal(values(ix.to_expr(offset(view)), view.shape), evaluate(view))


@given(st.integers(0, 1 << 32))
def test_any_composition_of_views(seed: int) -> None:
    maker = GraphMaker(random.Random(seed), 5, 0)
    node = numbered(*(maker.random.randint(1, 6) for _ in range(maker.random.randint(0, 3))))
    for _ in range(maker.random.randint(1, 5)):
        rule = maker.random.choice((maker.reshaped, maker.permuted, maker.expanded, maker.sliced, maker.windowed))
        made = rule(node)
        node = made if prod(made.shape) <= 3000 else node
    np.testing.assert_array_equal(values(ix.to_expr(offset(node)), node.shape), evaluate(node))


def test_channel_shuffle_has_no_division() -> None:
    """Reshape, transpose, reshape and back again: the index is plain."""
    x = numbered(1, 6, 4)
    shuffled = B.reshape(B.permute(B.reshape(x, (1, 2, 3, 4)), (0, 2, 1, 3)), (1, 6, 4))
    back = B.reshape(B.permute(B.reshape(shuffled, (1, 3, 2, 4)), (0, 2, 1, 3)), (1, 6, 4))
    assert print_expr(ix.to_expr(offset(back))) == "i1 * 4 + i2"


@given(st.lists(st.integers(1, 5), max_size=4).map(tuple))
def test_unflatten_undoes_flatten(shape: tuple[int, ...]) -> None:
    assert strides_of(shape) == tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
    at = loops(shape)
    assert unflatten(flatten(at, shape), shape) == at
    assert dot(at, strides_of(shape)) == flatten(at, shape)


@pytest.mark.parametrize(
    ("shape", "wanted", "runs"),
    [
        ((2, 3), (6,), [((0, 2), (0, 1))]),
        ((4, 1, 6), (2, 2, 6), [((0, 1), (0, 2)), ((1, 2), (2, 2)), ((2, 3), (2, 3))]),
        ((2, 1, 3), (6,), [((0, 3), (0, 1))]),
        ((5, 1), (1, 5, 1), [((0, 0), (0, 1)), ((0, 1), (1, 2)), ((1, 2), (2, 3))]),
        ((0, 2), (3, 0), [((0, 2), (0, 2))]),
        ((), (1,), [((0, 0), (0, 1))]),
    ],
)
def test_a_reshape_changes_only_neighbouring_axes_that_hold_as_many_elements(
    shape: tuple[int, ...], wanted: tuple[int, ...], runs: list[tuple[tuple[int, int], tuple[int, int]]]
) -> None:
    assert list(groups(shape, wanted)) == runs


def test_a_reshape_beside_a_split_axis_leaves_its_index_alone() -> None:
    node = B.reshape(B.permute(B.reshape(numbered(6, 5, 8), (2, 3, 5, 8)), (1, 0, 3, 2)), (3, 2, 40))
    assert print_expr(ix.to_expr(offset(node))) == "i1 * 120 + i0 * 40 + i2 / 5 * -39 + i2 * 8"
