"""The normal form of indices, against the same arithmetic on every value of the loop variables."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Expr, Load, Var
from tgc.ir.index import Index
from tgc.ir.index_clamp import clamp
from tgc.ir.text_expression import print_expr

Values = np.ndarray
EXTENTS = {Var("a"): 5, Var("b"): 4, Var("c"): 3, Var("d"): 1}
GRID = dict(zip(EXTENTS, np.meshgrid(*(np.arange(n) for n in EXTENTS.values()), indexing="ij"), strict=True))
A, B, C = (ix.axis(Var(name), EXTENTS[Var(name)]) for name in "abc")


@dataclass(frozen=True)
class Pair:
    """An index, and what it must be for every value of the variables."""

    index: Index
    values: Values


def evaluate(expr: Expr) -> Values:
    """An expression on the whole grid of variables; DIV truncates, as in kernels."""
    match expr:
        case ex.Lit(value):
            return np.full(GRID[Var("a")].shape, value)
        case Var():
            return GRID[expr]
        case ex.Apply(op, args):
            return np.asarray(ops.NUMPY[op.name](*map(evaluate, args)))
        case _:
            raise TypeError(expr)


def leaves() -> st.SearchStrategy[Pair]:
    variables = [Pair(ix.axis(var, extent), GRID[var]) for var, extent in EXTENTS.items()]
    whole = st.integers(-20, 20).map(lambda n: Pair(ix.constant(n), np.full(GRID[Var("a")].shape, n)))
    return st.sampled_from(variables) | whole


def grown(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    def scaled(make: Callable[[Index, int], Index], values: Callable[[Values, int], Values], numbers: st.SearchStrategy[int]):
        return st.builds(lambda p, n: Pair(make(p.index, n), values(p.values, n)), inner, numbers)

    def joined(make: Callable[[Index, Index], Index], values: Callable[[Values, Values], Values]):
        return st.builds(lambda p, q: Pair(make(p.index, q.index), values(p.values, q.values)), inner, inner)

    divisors = st.integers(1, 12)
    return (
        joined(lambda x, y: x + y, np.add)
        | joined(ix.minimum, np.minimum)
        | joined(ix.maximum, np.maximum)
        | scaled(lambda x, n: x * n, np.multiply, st.integers(-6, 6))
        | scaled(lambda x, n: x + n, np.add, st.integers(-9, 9))
        | scaled(lambda x, n: x // n, np.floor_divide, divisors)
        | scaled(lambda x, n: x % n, np.mod, divisors)
    )


pairs = st.recursive(leaves(), grown, max_leaves=7)


@given(pairs)
def test_the_normal_form_means_what_it_was_made_from(pair: Pair) -> None:
    np.testing.assert_array_equal(evaluate(ix.to_expr(pair.index)), pair.values)


@given(pairs)
def test_bounds_hold_every_value(pair: Pair) -> None:
    low, high = ix.bounds(pair.index)
    assert low <= pair.values.min()
    assert pair.values.max() <= high


@given(pairs)
def test_expressions_round_trip(pair: Pair) -> None:
    again = ix.from_expr(ix.to_expr(pair.index), EXTENTS)
    np.testing.assert_array_equal(evaluate(ix.to_expr(again)), pair.values)


@given(pairs)
def test_a_coefficient_is_the_constant_step(pair: Pair) -> None:
    for axis, var in enumerate(EXTENTS):
        step = ix.coefficient(pair.index, var)
        if step is not None:
            np.testing.assert_array_equal(np.diff(pair.values, axis=axis), step)


@given(pairs)
def test_unlisted_variables_do_not_matter(pair: Pair) -> None:
    used = ix.variables(pair.index)
    for axis, var in enumerate(EXTENTS):
        if var not in used:
            assert not np.diff(pair.values, axis=axis).any()


@given(pairs, pairs, st.integers(1, 9))
def test_equal_arithmetic_gives_one_form(p: Pair, q: Pair, n: int) -> None:
    x, y = p.index, q.index
    assert x + y == y + x
    assert (x + y) * n == x * n + y * n
    assert x // n * n + x % n == x
    assert (x * n + 0) // n == x


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (A * 4 + B, "a * 4 + b"),
        ((A * 4 + B) // 4, "a"),
        ((A * 4 + B) % 4, "b"),
        ((A * 12 + B * 3 + C) // 3 % 4, "b"),
        ((A * 4 + B) // 4 * 4 + (A * 4 + B) % 4, "a * 4 + b"),
        ((A // 2) // 2, "a / 4"),
        ((A // 2 + 1) // 3, "(a + 2) / 6"),
        ((A * 4 + B * 2) // 8, "(a * 2 + b) / 4"),
        ((A * 4 + B) // 8, "a / 2"),
        ((A * 6 + C) // 4, "(a * 6 + c) / 4"),
        ((A // 2 * 8 + B * 2 + A % 2) // 8, "a / 2"),
        ((A + -1) // 4 + 1, "(a + 3) / 4"),
        ((A + -9) // 4, "(a + 3) / 4 + -3"),
        (A * -2 + 8, "a * -2 + 8"),
        (A % 5, "a"),
        (A // 5, "0"),
        (ix.axis(Var("d"), 1) * 7, "0"),
        (ix.minimum(A * 2, ix.constant(5)), "where(a * 2 < 5, a * 2, 5)"),
        (ix.minimum(A, ix.constant(4)), "a"),
        (ix.maximum(A + -2, ix.constant(0)), "max(a + -2, 0)"),
        (ix.maximum(A, B + -9), "a"),
    ],
)
def test_normal_forms(made: Index, text: str) -> None:
    assert print_expr(ix.to_expr(made)) == text


@pytest.mark.parametrize(
    ("made", "bounds"),
    [
        (A * 3 + 1, (1, 13)),
        (A * -3, (-12, 0)),
        ((A * 4 + B) % 6, (0, 5)),
        ((A * 4 + B) % 6 * -2, (-10, 0)),
        ((A * 4 + B) % 6 + (A * 4 + B) // 6 * 10, (0, 31)),
        (ix.minimum(A * 2, ix.constant(5)) + C, (0, 7)),
        (ix.opaque(Var("n"), -2, 7) * -1 + A, (-7, 6)),
    ],
)
def test_bounds(made: Index, bounds: tuple[int, int]) -> None:
    assert ix.bounds(made) == bounds


def test_what_is_not_known_is_opaque() -> None:
    n = Var("n")
    assert ix.bounds(ix.from_expr(n, EXTENTS)) == ix.UNBOUNDED
    negative = ex.apply(ops.DIV, ex.apply(ops.ADD, Var("a"), ex.index(-3)), ex.index(2))  # truncates, so it is no normal quotient
    assert ix.bounds(ix.from_expr(negative, EXTENTS)) == (-1, 0)
    np.testing.assert_array_equal(evaluate(ix.to_expr(ix.from_expr(negative, EXTENTS))), evaluate(negative))
    loaded = ex.cast(Load(ex.Buffer("x", ex.INDEX, 4), Var("a")), ex.INDEX)
    assert ix.variables(ix.from_expr(loaded, EXTENTS)) == {Var("a")}
    assert ix.coefficient(ix.from_expr(loaded, EXTENTS), Var("a")) is None


@given(pairs, st.integers(1, 6))
def test_clamp_stays_inside(pair: Pair, extent: int) -> None:
    expr = ix.to_expr(pair.index)
    assume(not isinstance(expr, ex.Lit))
    clamped = clamp(expr, extent)
    np.testing.assert_array_equal(evaluate(ix.to_expr(clamped)), np.clip(pair.values, 0, extent - 1))
    low, high = ix.bounds(clamped)
    assert low >= 0
    assert high < extent
