"""EXP2, LOG2 and SIN written out: what remains, and their special values, with and without contraction."""

from __future__ import annotations

import numpy as np
import pytest
from scalar_evaluation import evaluate, ulp_error

from tgc.ir import ops, scalar
from tgc.ir.dtypes import BF16, F16, F32, F64, DType
from tgc.ir.expr import Apply, Arg, Broadcast, Expr, apply
from tgc.ir.rewrite import walk
from tgc.passes.decompose import decompose

FLOATS = pytest.mark.parametrize("dtype", [F32, F64], ids=str)
CONTRACT = pytest.mark.parametrize("contract", [False, True])
THREE = ("EXP2", "LOG2", "SIN")


def names(expr: Expr) -> set[str]:
    return {node.op.name for node in walk(expr) if isinstance(node, Apply)}


@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64], ids=str)
@pytest.mark.parametrize("name", THREE)
def test_nothing_but_arithmetic_remains(name: str, dtype: DType) -> None:
    expr = apply(ops.BY_NAME[name], Arg(0, dtype))
    assert decompose(expr, frozenset(THREE)) == expr
    written = decompose(expr)
    assert written.dtype == dtype
    assert not names(written) & set(THREE)


def test_only_what_the_target_lacks_goes() -> None:
    x = Arg(0, F32)
    expr = scalar.add(scalar.exp(x), scalar.log(x))
    assert names(decompose(expr, frozenset({"LOG2"}))) & set(THREE) == {"LOG2"}


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="one lane"):
        decompose(apply(ops.EXP2, Broadcast(Arg(0, F32), 4)))


@CONTRACT
@FLOATS
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("EXP2", [0, -0.0, np.inf, -np.inf, np.nan, 1, 10, -3, 1e30, -1e30], [1, 1, np.inf, 0, np.nan, 2, 1024, 0.125, np.inf, 0]),
        ("LOG2", [0, -0.0, np.inf, -np.inf, np.nan, 1, 1024, 0.125, -1], [-np.inf, -np.inf, np.inf, np.nan, np.nan, 0, 10, -3, np.nan]),
        ("SIN", [0, -0.0, np.inf, -np.inf, np.nan], [0, 0, np.nan, np.nan, np.nan]),
    ],
)
def test_special_values(name: str, x: list[float], y: list[float], dtype: DType, contract: bool) -> None:
    expr = decompose(apply(ops.BY_NAME[name], Arg(0, dtype)))
    np.testing.assert_array_equal(evaluate(expr, [np.array(x, dtype.numpy)], contract), np.array(y, dtype.numpy))


@CONTRACT
@FLOATS
def test_whole_powers_are_exact_down_to_the_last_subnormal(dtype: DType, contract: bool) -> None:
    info = np.finfo(dtype.numpy)
    exponents = np.arange(info.minexp - info.nmant - 3, info.maxexp + 3).astype(dtype.numpy)
    with np.errstate(all="ignore"):
        powers = np.exp2(exponents.astype(np.longdouble)).astype(dtype.numpy)
    got = evaluate(decompose(scalar.exp2(Arg(0, dtype))), [exponents], contract)
    np.testing.assert_array_equal(got, powers)
    finite = np.isfinite(powers) & (powers > 0)
    back = evaluate(decompose(scalar.log2(Arg(0, dtype))), [powers[finite]], contract)
    np.testing.assert_array_equal(back, exponents[finite])


@CONTRACT
@FLOATS
@pytest.mark.parametrize("factor", [1.4426950408889634, -1.4426950408889634, 2.8853900817779268, 3.3, -0.37, 100.0])
def test_a_constant_factor_is_not_rounded_into_the_exponent(factor: float, dtype: DType, contract: bool) -> None:
    exponent = np.linspace(-120, 120, 40001)
    x = (exponent / factor).astype(dtype.numpy)
    natural = abs(factor) / 1.4426950408889634 in (1, 2)
    exact = (
        np.exp(x.astype(np.longdouble) * np.sign(factor) * round(abs(factor) / 1.4426950408889634))
        if natural
        else np.exp2(x.astype(np.longdouble) * np.longdouble(scalar.lit(factor, dtype).value))
    )
    expr = decompose(scalar.exp2(scalar.mul(Arg(0, dtype), factor)))
    assert np.max(ulp_error(evaluate(expr, [x], contract), exact)) < 1.5


@CONTRACT
@FLOATS
def test_a_product_inside_is_reduced_consistently(dtype: DType, contract: bool) -> None:
    random = np.random.default_rng(11)
    x, y = (random.uniform(-9, 9, 20000).astype(dtype.numpy) for _ in range(2))
    for name, reference in (("EXP2", np.exp2), ("SIN", np.sin)):
        expr = decompose(apply(ops.BY_NAME[name], scalar.mul(Arg(0, dtype), Arg(1, dtype))))
        product = (x * y).astype(np.longdouble)
        exact = reference(product)
        slack = np.abs(product) * np.finfo(dtype.numpy).eps * (np.abs(exact) if name == "EXP2" else 1)
        assert np.all(np.abs(evaluate(expr, [x, y], contract) - exact) <= slack + 2 * np.spacing(np.abs(exact.astype(dtype.numpy))))


@CONTRACT
def test_sine_near_multiples_of_pi_and_far_out(contract: bool) -> None:
    expr = decompose(scalar.sin(Arg(0, F32)))
    near = (np.arange(1, 30000) * np.pi).astype(np.float32)
    assert np.max(ulp_error(evaluate(expr, [near], contract), np.sin(near.astype(np.longdouble)))) < 2
    far = np.exp2(np.linspace(17, 127, 5000)).astype(np.float32)
    assert np.max(np.abs(evaluate(expr, [far], contract))) <= 1
    exact = far < 1e8
    assert np.max(ulp_error(evaluate(expr, [far[exact]], contract), np.sin(far[exact].astype(np.longdouble)))) < 2


@CONTRACT
@FLOATS
def test_an_exponential_that_is_only_added_to_a_constant_may_stop_at_the_smallest_normal(dtype: DType, contract: bool) -> None:
    x = Arg(0, dtype)
    plus_one = scalar.add(scalar.exp(x), 1)
    values = np.array([-2000, -800, -87, 0, 50, 2000, np.nan], dtype.numpy)
    with np.errstate(all="ignore"):
        expected = 1 + np.exp(values)
    np.testing.assert_allclose(evaluate(decompose(plus_one), [values], contract), expected, rtol=1e-6)
    both = decompose(scalar.mul(plus_one, scalar.exp(x)))
    assert evaluate(both, [np.array([-2000], dtype.numpy)], contract)[0] == 0
