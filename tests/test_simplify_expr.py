"""The rules of simplify_expr: text in, text out; and that no rule changes a value, on random expressions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_evaluation import evaluate

from tgc.ir import ops, scalar
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I32, I64, INDEX, U8, U32, DType
from tgc.ir.expr import Apply, Arg, Broadcast, Expr, Lit, Ramp, Var, apply, cast
from tgc.ir.rewrite import walk
from tgc.ir.text_expression import parse_expression, print_expr
from tgc.ir.text_tokens import Cursor, tokenize
from tgc.passes.simplify_expr import RULES, holds, simplify

NAMES = {"x": Arg(0, F32), "y": Arg(1, F32), "i": Arg(2, I32), "j": Arg(3, U8), "p": Arg(4, BOOL), "q": Arg(5, BOOL), "h": Arg(6, F16)}


def parse(text: str) -> Expr:
    return parse_expression(Cursor(tokenize(text)), NAMES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x + 0.0", "x"),
        ("0.0 + x", "x"),
        ("i + 0:i32", "i"),
        ("x * 1.0", "x"),
        ("p * true", "p"),
        ("x / 1.0", "x"),
        ("x / 4.0", "x * 0.25"),
        ("x * 0.0", "x * 0.0"),
        ("i * 0:i32", "0:i32"),
        ("p * false", "false"),
        ("x / 3.0", "x / 3.0"),
        ("i / 4:i32", "i / 4:i32"),
        ("x * -1.0 * -1.0", "x"),
        ("2.0 * x * 3.0", "x * 6.0"),
        ("x * 1e-30 * 1e-30", "x * 1e-30 * 1e-30"),
        ("i + 3:i32 + 4:i32", "i + 7:i32"),
        ("i * 65536:i32 * 65536:i32", "0:i32"),
        ("x + 12582912.0 + -12582912.0", "x + 12582912.0 + -12582912.0"),
        ("max(x, x)", "x"),
        ("max(x, -inf)", "x"),
        ("max(j, 0:u8)", "j"),
        ("max(p, true)", "true"),
        ("max(max(x, 1.0), 2.0)", "max(x, 2.0)"),
        ("x < x", "false"),
        ("x == x", "x == x"),
        ("i == i", "true"),
        ("(p == false) == false", "p"),
        ("p == true", "p"),
        ("j < 0:u8", "false"),
        ("where(true, x, y)", "x"),
        ("where(1.0 < 0.5, x, y)", "y"),
        ("where(p, x, x)", "x"),
        ("where(p, true, false)", "p"),
        ("where(p, false, true)", "p == false"),
        ("where(p == false, x, y)", "where(p, y, x)"),
        ("where(p, where(p, x, y), 0.0)", "where(p, x, 0.0)"),
        ("f16(f32(h))", "h"),
        ("f64(f32(h))", "f64(h)"),
        ("f32(f16(x))", "f32(f16(x))"),
        ("u8(i32(j))", "j"),
        ("i32(f32(j))", "i32(j)"),
        ("i32(f32(i))", "i32(f32(i))"),
        ("bitcast(f32, bitcast(i32, x))", "x"),
        ("i | 0:i32", "i"),
        ("i << 0:i32", "i"),
        ("j & j", "j"),
        ("1.0 + 2.0 * 3.0", "7.0"),
        ("exp2(3.0)", "8.0"),
        ("200:u8 + 100:u8", "44:u8"),
        ("i32(2.75)", "2:i32"),
        ("bitcast(i32, 1.0)", "1065353216:i32"),
        ("1:i32 / 0:i32", "1:i32 / 0:i32"),
        ("i8(300.0)", "i8(300.0)"),
        ("1:i32 << 40:i32", "1:i32 << 40:i32"),
        ("where(p * true, x + 0.0, x)", "x"),
    ],
)
def test_rules(before: str, after: str) -> None:
    assert print_expr(simplify(parse(before))) == print_expr(parse(after))


def test_vectors_keep_their_lanes() -> None:
    lanes = Broadcast(Var("i"), 4)
    expr = apply(ops.WHERE, Lit(True, BOOL), Var("i"), lanes)
    assert simplify(expr).lanes == 4
    ramp = apply(ops.ADD, Ramp(Var("i"), 1, 4), Lit(0, INDEX))
    assert simplify(ramp) == Ramp(Var("i"), 1, 4)


def test_every_rule_says_its_equation() -> None:
    assert all("=" in (rule.__doc__ or "") for rule in RULES)


def test_rounding_and_error_free_sums_survive() -> None:
    x = np.linspace(-50, 50, 4001).astype(np.float32)
    for name in ("round_half_even", "floor", "cos", "log1p", "sinh", "expm1", "erf"):
        expr = getattr(scalar, name)(Arg(0, F32))
        got, expected = evaluate(simplify(expr), [x]), evaluate(expr, [x])
        np.testing.assert_allclose(got, expected, rtol=3e-7, atol=1e-7)


TYPES = (BOOL, I8, I32, I64, U8, U32, F16, BF16, F32, F64)


@pytest.mark.parametrize("narrow", TYPES, ids=str)
@pytest.mark.parametrize("wide", TYPES, ids=str)
def test_a_type_that_holds_another_has_its_extremes(wide: DType, narrow: DType) -> None:
    if not holds(wide, narrow):
        return
    extremes = (
        np.array([0, 1], bool)
        if narrow == BOOL
        else np.array([np.iinfo(narrow.numpy).min, np.iinfo(narrow.numpy).max], narrow.numpy)
        if narrow.is_integer
        else np.array([0.1, 1e-7, 3e4, 65000.0]).astype(narrow.numpy)
    )
    assert (extremes.astype(wide.numpy).astype(narrow.numpy) == extremes).all()


ARGUMENTS = {F32: (0, 1), I32: (2, 3), BOOL: (4, 5), U8: (6,)}
FLOAT_VALUES = [0.0, 1.0, -1.0, 2.0, 0.5, -0.25, 3.0, float("inf"), float("-inf"), float("nan")]


@st.composite
def expressions(draw: st.DrawFn, dtype: DType, depth: int = 4) -> Expr:
    """Expressions of a type over ARGUMENTS."""
    kind = draw(st.integers(0, 7 if depth else 1))
    if kind == 0:
        return Arg(draw(st.sampled_from(ARGUMENTS[dtype])), dtype)
    if kind == 1:
        values = FLOAT_VALUES if dtype.is_float else [False, True] if dtype == BOOL else [0, 1, 2, 3, 7]
        return Lit(draw(st.sampled_from(values)), dtype)

    def part(of: DType) -> Expr:
        return draw(expressions(of, depth - 1))

    if kind == 2:
        return apply(ops.WHERE, part(BOOL), part(dtype), part(dtype))
    if kind == 3 and dtype == BOOL:
        of = draw(st.sampled_from([F32, I32, U8, BOOL]))
        return apply(draw(st.sampled_from([ops.LT, ops.EQ])), part(of), part(of))
    if kind == 4 and dtype in (I32, U8, F32):
        return cast(part(draw(st.sampled_from([BOOL, U8] if dtype != F32 else [BOOL, U8, I32]))), dtype)
    if kind == 5 and dtype == I32:
        return apply(draw(st.sampled_from([ops.AND, ops.OR, ops.XOR])), part(I32), part(I32))
    if kind == 6 and dtype == F32:
        return apply(ops.DIV, part(F32), part(F32))
    op = draw(st.sampled_from([ops.MUL, ops.MAX] if dtype == BOOL else [ops.ADD, ops.MUL, ops.MAX]))
    return apply(op, part(dtype), part(dtype))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([F32, I32, BOOL]).flatmap(expressions))
def test_values_stay(expr: Expr) -> None:
    random = np.random.default_rng(1)
    floats = random.choice(np.array([-1.5, -1, -0.5, 0.25, 0.75, 1, 2, 3, 100, 0, np.inf, np.nan], np.float32), (2, 64))
    ints = random.integers(-5, 5, (2, 64)).astype(np.int32)
    bools = random.integers(0, 2, (2, 64)).astype(bool)
    arguments = [*floats, *ints, *bools, random.integers(0, 256, 64).astype(np.uint8)]
    simple = simplify(expr)
    assert simple.dtype == expr.dtype
    assert simplify(simple) == simple
    if not shows_the_sign_of_zero(expr):
        np.testing.assert_allclose(evaluate(simple, arguments), evaluate(expr, arguments), rtol=1e-5)


def shows_the_sign_of_zero(expr: Expr) -> bool:
    """Whether a division could make the sign of a zero, which simplify does not keep, into a sign of infinity."""
    return any(isinstance(node, Apply) and node.op is ops.DIV for node in walk(expr))
