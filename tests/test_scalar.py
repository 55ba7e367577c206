"""Scalar functions against numpy: integers, logic, comparison, rounding, remainders and powers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scalar_evaluation import Array, evaluate, grid

from tgc.ir import scalar as s
from tgc.ir.dtypes import BF16, BOOL, DTYPES, F16, F32, F64, I8, I32, I64, INDEX, U8, U32, DType
from tgc.ir.expr import Apply, Arg, Expr, Lit
from tgc.ir.rewrite import walk

FLOATS = pytest.mark.parametrize("dtype", [F32, F64], ids=str)
INTEGERS = pytest.mark.parametrize("dtype", [I8, I32, I64, U8, U32], ids=str)
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.0,
    1e30,
    -1e30,
    np.inf,
    -np.inf,
    np.nan,
    8388607.5,
    -4194303.5,
    4503599627370495.5,
]


def run(build: Callable[..., Expr], *arguments: Array) -> Array:
    """`build` on arguments of the arrays' types."""
    names = {np.dtype(dtype.numpy): dtype for dtype in DTYPES if dtype != INDEX}
    return evaluate(build(*(Arg(k, names[a.dtype]) for k, a in enumerate(arguments))), arguments)


def pairs(values: list[float], dtype: DType) -> tuple[Array, Array]:
    """Every pair of values."""
    with np.errstate(all="ignore"):
        array = np.array(values).astype(dtype.numpy)
    a, b = np.meshgrid(array, array)
    return a.ravel(), b.ravel()


def integers(dtype: DType) -> tuple[Array, Array]:
    info = np.iinfo(dtype.numpy)
    array = np.array(sorted({info.min, info.min + 1, 0, 1, 2, 3, 7, info.max, *([-1, -2, -3, -7] if info.min else [])}), dtype.numpy)
    a, b = np.meshgrid(array, array)
    return a.ravel(), b.ravel()


@FLOATS
@pytest.mark.parametrize("name", ["lt", "gt", "le", "ge", "eq", "ne"])
def test_comparisons_of_floats(name: str, dtype: DType) -> None:
    reference = {"lt": np.less, "gt": np.greater, "le": np.less_equal, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal}[name]
    a, b = pairs(SPECIAL, dtype)
    np.testing.assert_array_equal(run(getattr(s, name), a, b), reference(a, b))


@FLOATS
def test_minimum_maximum_clip_keep_nan(dtype: DType) -> None:
    a, b = pairs(SPECIAL, dtype)
    np.testing.assert_array_equal(run(s.minimum, a, b), np.minimum(a, b))
    np.testing.assert_array_equal(run(s.maximum, a, b), np.maximum(a, b))
    np.testing.assert_array_equal(run(lambda x: s.minimum(x, 2), a), np.minimum(a, 2))
    np.testing.assert_array_equal(run(lambda x: s.clip(x, -1, 2), a), np.clip(a, -1, 2))
    np.testing.assert_array_equal(run(lambda x, y: s.clip(x, y, 2), a, b), np.minimum(np.maximum(a, b), 2))


@FLOATS
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("trunc", np.trunc),
        ("floor", np.floor),
        ("ceil", np.ceil),
        ("round_half_even", np.rint),
        ("abs", np.abs),
        ("sign", np.sign),
        ("neg", np.negative),
        ("reciprocal", np.reciprocal),
    ],
)
def test_rounding_and_sign(name: str, reference: Callable[[Array], Array], dtype: DType) -> None:
    x = np.concatenate(
        [grid(dtype.numpy, -np.inf, np.inf, 2000), np.array(SPECIAL, dtype.numpy), np.arange(-50, 50, dtype=dtype.numpy) / 2]
    )
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(getattr(s, name), x), reference(x))


@FLOATS
def test_classification(dtype: DType) -> None:
    x = np.array(SPECIAL, dtype.numpy)
    np.testing.assert_array_equal(run(s.is_nan, x), np.isnan(x))
    np.testing.assert_array_equal(run(s.is_inf, x), np.isinf(x))
    np.testing.assert_array_equal(run(lambda a: s.is_inf(a, negative=False), x), np.isposinf(x))
    np.testing.assert_array_equal(run(lambda a: s.is_inf(a, positive=False), x), np.isneginf(x))
    np.testing.assert_array_equal(run(s.is_finite, x), np.isfinite(x))
    np.testing.assert_array_equal(run(s.sign_bit, x), np.signbit(x))
    np.testing.assert_array_equal(run(lambda a: s.copysign(s.lit(2, a), a), x), np.copysign(x.dtype.type(2), x))


def test_logic() -> None:
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    assert run(s.logical_and, a, b).tolist() == (a & b).tolist()
    assert run(s.logical_or, a, b).tolist() == (a | b).tolist()
    assert run(s.logical_xor, a, b).tolist() == (a ^ b).tolist()
    assert run(s.logical_not, a).tolist() == (~a).tolist()
    assert run(s.bit_not, a).tolist() == (~a).tolist()
    with pytest.raises(TypeError, match="logic on f32"):
        s.logical_and(Arg(0, F32), Arg(1, F32))


@INTEGERS
def test_integer_arithmetic(dtype: DType) -> None:
    a, b = integers(dtype)
    with np.errstate(all="ignore"):
        for build, reference in (
            (s.add, np.add),
            (s.sub, np.subtract),
            (s.mul, np.multiply),
            (s.minimum, np.minimum),
            (s.le, np.less_equal),
        ):
            np.testing.assert_array_equal(run(build, a, b), reference(a, b))
        for build, reference in ((s.abs, np.abs), (s.sign, np.sign), (s.neg, np.negative), (s.bit_not, np.invert), (s.floor, np.floor)):
            np.testing.assert_array_equal(run(build, a), reference(a))
        keep = (b != 0) & ~((b == dtype.numpy(-1) if dtype.kind == "int" else b == 0) & (a == np.iinfo(dtype.numpy).min))  # type: ignore[operator]
        a, b = a[keep], b[keep]
        for build, reference in ((s.floor_div, np.floor_divide), (s.mod, np.mod), (s.fmod, np.fmod)):
            np.testing.assert_array_equal(run(build, a, b), reference(a, b))


def test_shifts_by_the_width_and_more() -> None:
    a, b = np.array([5, 5, 200, 200], np.uint8), np.array([1, 8, 3, 255], np.uint8)
    assert run(s.shift_left, a, b).tolist() == [10, 0, 64, 0]
    assert run(s.shift_right, a, b).tolist() == [2, 0, 25, 0]
    assert run(lambda x: s.shift_right(x, 9), np.array([-5, 5], np.int8)).tolist() == [-1, 0]


def test_shifts_by_less_than_nothing() -> None:
    a, b = np.array([16, 4, -5], np.int8), np.array([1, -1, -1], np.int8)
    assert run(s.shift_left, a, b).tolist() == [32, 0, 0]
    assert run(s.shift_right, a, b).tolist() == [8, 0, -1]


@FLOATS
@pytest.mark.parametrize("contract", [False, True])
def test_float_remainders_are_exact(contract: bool, dtype: DType) -> None:
    random = np.random.default_rng(5)
    b = random.uniform(-10, 10, 5000).astype(dtype.numpy)
    a = (b * random.uniform(-1e5, 1e5, 5000)).astype(dtype.numpy)
    a[:1000] = b[:1000] * random.integers(-1000, 1000, 1000)
    more = np.array([[5.3, np.inf], [-5.3, np.inf], [np.inf, 2], [1, 0], [np.nan, 1], [0, 3], [-0.5, 1e-3]], dtype.numpy)
    a, b = np.concatenate([a, more[:, 0]]), np.concatenate([b, more[:, 1]])
    expr = s.fmod(Arg(0, dtype), Arg(1, dtype))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluate(expr, [a, b], contract), np.fmod(a, b))
        finite = np.isfinite(b)
        got = evaluate(s.mod(Arg(0, dtype), Arg(1, dtype)), [a, b], contract)
        np.testing.assert_array_equal(got[finite], np.mod(a, b)[finite])


@FLOATS
def test_pow_special_cases(dtype: DType) -> None:
    values = [0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 4.0, np.inf, -np.inf, np.nan]
    x, y = pairs(values, dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(s.pow, x, y), np.power(x, y), rtol=1e-6)


@FLOATS
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 7, -1, -2, 0.5, -0.5, 1.5, -0.25, 100])
def test_pow_by_a_constant(exponent: float, dtype: DType) -> None:
    x = np.array([0.0, 1.0, 0.3, 2.0, 1.25, 1.01], dtype.numpy)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(lambda a: s.pow(a, exponent), x), np.power(x, dtype.numpy(exponent)), rtol=1e-5)  # type: ignore[operator]
        negative = run(lambda a: s.pow(a, exponent), -x[1:])
        np.testing.assert_allclose(negative, np.power(-x[1:], dtype.numpy(exponent)), rtol=1e-5)  # type: ignore[operator]


def test_pow_by_a_small_whole_number_is_multiplication() -> None:
    expr = s.pow(Arg(0, F32), 8)
    assert [node.op.name for node in walk(expr) if isinstance(node, Apply)] == ["MUL"] * 3


@INTEGERS
def test_integer_pow(dtype: DType) -> None:
    x, y = np.meshgrid(np.array([0, 1, 2, 3, 10], dtype.numpy), np.array([0, 1, 2, 5, 64, 100], dtype.numpy))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(s.pow, x.ravel(), y.ravel()), np.power(x, y).ravel())
    if dtype.kind == "int":
        assert run(s.pow, np.array([-2, -1, 1, 2, -1, -3], dtype.numpy), np.array([-1, -1, -5, -2, -2, 3], dtype.numpy)).tolist() == [
            0,
            -1,
            1,
            0,
            1,
            -27,
        ]
        assert run(lambda a: s.pow(a, -1), np.array([2, 1, -1], dtype.numpy)).tolist() == [0, 1, -1]


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("name", ["exp", "tanh", "erf", "floor", "gelu", "sigmoid", "softplus"])
def test_narrow_floats_round_the_f32_result(name: str, dtype: DType) -> None:
    x = np.linspace(-8, 8, 500).astype(dtype.numpy)
    wide = run(getattr(s, name), x.astype(np.float32))
    np.testing.assert_array_equal(evaluate(getattr(s, name)(Arg(0, dtype)), [x]), wide.astype(dtype.numpy))


def test_constants_are_rounded_and_wrapped() -> None:
    assert s.lit(0.1, F32) == Lit(float(np.float32(0.1)), F32)
    assert s.lit(-1, U8) == Lit(255, U8)
    assert s.lit(200, I8) == Lit(-56, I8)
    assert s.lit(1e300, F32).value == float("inf")
    assert s.lit(2, BOOL) == Lit(True, BOOL)
    with pytest.raises(TypeError):
        s.add(1, 2)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "sin", "cos", "tanh", "erf", "atan", "sigmoid"])
def test_functions_of_floats_refuse_integers(name: str) -> None:
    with pytest.raises(TypeError, match="on i32"):
        getattr(s, name)(Arg(0, I32))
