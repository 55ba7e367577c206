"""Exponentials, logarithms, powers, hyperbolic functions and the activations made of them.

Branch-free: both sides of a choice are computed, so every formula vectorises as it stands. On f16 and bf16 everything is
computed in f32; integers are refused. "N operations" counts what the inner loop does, with a multiply and the add that
takes it as one; `docs/accuracy.md` has the measured errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tgc.ir import ops
from tgc.ir import scalar_coefficients as table
from tgc.ir.dtypes import F64
from tgc.ir.expr import Expr, Lit, apply
from tgc.ir.scalar_arithmetic import (
    Operand,
    abs,
    add,
    clip,
    copysign,
    div,
    eq,
    floor,
    in_f32,
    in_f32_pair,
    lit,
    logical_and,
    logical_or,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    reciprocal,
    sub,
    where,
)  # fmt: skip

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """c[0] + c[1] x + c[2] x^2 + ... by Horner's rule: one multiply-add a coefficient."""
    result: Expr = lit(coefficients[-1], x)
    for coefficient in reversed(coefficients[:-1]):
        result = add(mul(result, x), coefficient)
    return result


def for_type(x: Expr, single: Sequence[float], double: Sequence[float]) -> Sequence[float]:
    """The coefficients for x's type."""
    return double if x.dtype == F64 else single


def float_only(x: Expr, name: str) -> Expr:
    """x, checked."""
    if not x.dtype.is_float:
        raise TypeError(f"{name} on {x.dtype}")
    return x


# ---- powers


def exp2(x: Expr) -> Expr:
    """2 to the x. 1 operation where the target has it."""
    return apply(ops.EXP2, float_only(x, "exp2"))


def log2(x: Expr) -> Expr:
    """Logarithm to base 2; -inf at 0, NaN below."""
    return apply(ops.LOG2, float_only(x, "log2"))


def sqrt(x: Expr) -> Expr:
    """Square root, correctly rounded; NaN below 0."""
    return apply(ops.SQRT, float_only(x, "sqrt"))


def rsqrt(x: Expr) -> Expr:
    """1 / sqrt(x)."""
    # 1 / sqrt(x), each step correctly rounded
    return reciprocal(sqrt(x))


@in_f32
def exp(x: Expr) -> Expr:
    """e to the x. `decompose` knows this product and reduces x before it multiplies; with a native EXP2 the error grows with |x|."""
    # e^x = 2^(x log2 e)
    return exp2(mul(float_only(x, "exp"), LOG2_E))


@in_f32
def log(x: Expr) -> Expr:
    """Natural logarithm; -inf at 0, NaN below."""
    # ln x = log2(x) * ln 2
    return mul(log2(x), LN_2)


@in_f32
def log1p(x: Expr) -> Expr:
    """ln(1 + x), accurate near 0; -inf at -1, NaN below. 8 operations, one of them LOG2, one DIV."""
    # ln(1 + x) = ln(u) * x / (u - 1) with u = 1 + x rounded: the factor repairs the rounding (Kahan; HP-15C handbook, 1982).
    # For x so small that u = 1, and for infinity, the answer is x.
    u = add(float_only(x, "log1p"), 1)
    plain = logical_or(eq(u, 1), eq(x, math.inf))
    return where(plain, x, mul(log(u), div(x, add(u, -1))))


@in_f32
def expm1(x: Expr) -> Expr:
    """e^x - 1, accurate near 0."""
    # |x| <= 1/2:  x + x^2 P(x);  else e^x - 1
    tail = polynomial(x, for_type(x, table.EXPM1_F32, table.EXPM1_F64))
    near = add(x, mul(mul(x, x), tail))
    return where(lt(abs(x), 0.5), near, add(exp(x), -1))


@in_f32_pair
def pow(x: Expr, y: Operand) -> Expr:
    """x to the y. Constant whole exponents up to 64 by multiplication, 1/2 and -1/2 by square root, else through logarithms.

    Through logarithms the error is up to about |y log2 x| ULP. Negative x with whole y has the sign that y's parity says;
    with other y it gives NaN. x^0 = 1^y = 1. On zeros the sign of zero is not kept: (-0)^-1 = +inf.
    """
    if not isinstance(y, bool | int | float) and not isinstance(y, Lit):
        return _integer_pow(x, y) if x.dtype.is_integer else _float_pow(x, y)
    exponent = y.value if isinstance(y, Lit) else y
    if exponent == int(exponent) and -64 <= exponent <= 64 if math.isfinite(exponent) else False:
        return _whole_pow(x, int(exponent))
    if not x.dtype.is_float:
        return _integer_pow(x, lit(exponent, x))
    if exponent in (0.5, -0.5):
        return sqrt(x) if exponent == 0.5 else rsqrt(x)
    if math.isfinite(exponent) and exponent != math.floor(exponent):
        # x^y = 2^(y * log2 x), where a negative x gives NaN as it should
        return exp2(mul(log2(x), exponent))
    return _float_pow(x, lit(exponent, x))


def _whole_pow(x: Expr, n: int) -> Expr:
    """x^n by repeated squaring; negative n on floats through the reciprocal."""
    if n < 0:
        return reciprocal(_whole_pow(x, -n)) if x.dtype.is_float else _integer_pow(x, lit(n, x))
    result: Expr | None = None
    square = x
    while n:
        if n & 1:
            result = square if result is None else mul(result, square)
        n >>= 1
        if n:
            square = mul(square, square)
    return lit(1, x) if result is None else result


def _float_pow(x: Expr, y: Expr) -> Expr:
    """x^y for any x and y."""
    # p = |x|^y = 2^(y * log2 |x|), 1 where y = 0 or |x| = 1;  x^y = p for x >= 0 and x = -inf, +-p for whole y, else NaN
    size = abs(x)
    power = where(logical_or(eq(y, 0), eq(size, 1)), 1, exp2(mul(y, log2(size))))
    half = mul(y, 0.5)
    whole, odd = eq(floor(y), y), ne(floor(half), half)
    fraction = where(logical_and(eq(size, math.inf), eq(y, y)), power, math.nan)
    negative = where(whole, where(odd, neg(power), power), fraction)
    return where(lt(x, 0), negative, power)


def _integer_pow(x: Expr, y: Expr) -> Expr:
    """x^y on integers, wrapping; negative y truncates 1 / x^|y| toward zero, and gives 0 for x = 0."""
    # x^y = product over bits k of y of (bit k ? x^(2^k) : 1)
    if not x.dtype.is_integer or y.dtype != x.dtype:
        raise TypeError(f"pow of {x.dtype} to {y.dtype}")
    result: Expr = lit(1, x)
    square = x
    for k in range(x.dtype.bits - 1 if x.dtype.kind == "int" else x.dtype.bits):
        bit = ne(apply(ops.AND, y, lit(1 << k, y)), 0)
        result = mul(result, where(bit, square, 1))
        square = mul(square, square)
    if x.dtype.kind == "uint":
        return result
    odd = ne(apply(ops.AND, y, lit(1, y)), 0)
    inverse = where(eq(x, 1), 1, where(eq(x, -1), where(odd, -1, lit(1, x)), 0))
    return where(lt(y, 0), inverse, result)


# ---- hyperbolic functions


@in_f32
def sinh(x: Expr) -> Expr:
    """Hyperbolic sine."""
    # |x| < 1:  x + x^3 P(x^2);  else (e^x - e^-x) / 2 with e^x = h^2, which overflows only where sinh does
    square = mul(x, x)
    near = add(x, mul(mul(x, square), polynomial(square, for_type(x, table.SINH_F32, table.SINH_F64))))
    h = exp(mul(x, 0.5))
    g = reciprocal(h)
    return where(lt(abs(x), 1), near, sub(mul(mul(h, 0.5), h), mul(mul(g, 0.5), g)))


@in_f32
def cosh(x: Expr) -> Expr:
    """Hyperbolic cosine."""
    # (e^x + e^-x) / 2 with e^x = h^2
    h = exp(mul(x, 0.5))
    g = reciprocal(h)
    return add(mul(mul(h, 0.5), h), mul(mul(g, 0.5), g))


@in_f32
def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent."""
    # |x| < 0.625:  x + x^3 P(x^2), on f64 P / Q;  else 1 - 2 / (e^2x + 1)
    square = mul(float_only(x, "tanh"), x)
    tail = polynomial(square, for_type(x, table.TANH_F32, table.TANH_F64))
    if x.dtype == F64:
        tail = div(tail, polynomial(square, table.TANH_DENOMINATOR_F64))
    near = add(x, mul(mul(x, square), tail))
    far = add(div(-2, add(exp(mul(x, 2)), 1)), 1)
    return where(lt(abs(x), 0.625), near, far)


@in_f32
def asinh(x: Expr) -> Expr:
    """Inverse hyperbolic sine."""
    # a = |x|:  log1p(a + a^2 / (1 + sqrt(a^2 + 1)));  for a so large that a^2 + 1 = a^2, ln(2 a) = log1p(a) + ln 2
    a = abs(x)
    large = lt(_square_limit(x), a)
    b = where(large, 0, a)
    square = mul(b, b)
    argument = where(large, a, add(b, div(square, add(sqrt(add(square, 1)), 1))))
    return copysign(add(log1p(argument), where(large, lit(LN_2, x), 0)), x)


@in_f32
def acosh(x: Expr) -> Expr:
    """Inverse hyperbolic cosine; NaN below 1."""
    # t = x - 1:  log1p(t + sqrt(t (t + 2)));  for large x, ln(2 x) = log1p(x) + ln 2
    large = lt(_square_limit(x), x)
    t = add(x, -1)
    s = where(large, 0, t)
    argument = where(large, x, add(s, sqrt(mul(s, add(s, 2)))))
    return where(lt(x, 1), lit(math.nan, x), add(log1p(argument), where(large, lit(LN_2, x), 0)))


def _square_limit(x: Expr) -> float:
    return 2.0**53 if x.dtype == F64 else 2.0**24


@in_f32
def atanh(x: Expr) -> Expr:
    """Inverse hyperbolic tangent; infinite at -1 and 1, NaN beyond."""
    # a = |x|:  log1p(2 a / (1 - a)) / 2
    a = abs(x)
    return copysign(mul(log1p(div(mul(a, 2), sub(1, a))), 0.5), x)


# ---- activations


@in_f32
def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e^-x). 2 operations, one of them DIV, beside EXP2 and its product."""
    # 1 / (1 + 2^(-x log2 e)); e^-x may overflow, which gives 0 as it should
    return reciprocal(add(exp2(mul(float_only(x, "sigmoid"), -LOG2_E)), 1))


@in_f32
def softplus(x: Expr) -> Expr:
    """ln(1 + e^x)."""
    # max(x, 0) + log1p(e^-|x|)
    return add(maximum(x, 0), log1p(exp(neg(abs(x)))))


@in_f32
def mish(x: Expr) -> Expr:
    """x tanh(softplus(x)), by one exponential and one division."""
    # u = e^x:  tanh(ln(1 + u)) = ((1 + u)^2 - 1) / ((1 + u)^2 + 1) = w / (w + 2), w = u (u + 2); 1 for x > 20
    u = exp(minimum(x, 20))
    w = mul(u, add(u, 2))
    return mul(x, div(w, add(w, 2)))


@in_f32
def erf(x: Expr) -> Expr:
    """The error function. f32 needs one DIV and no EXP2, as GELU has it in inner loops."""
    if x.dtype == F64:
        # |x| < 1:  x P(x^2);  else sign(x) (1 - 2^((a + 1) R(a))), a = min(|x|, 6), where (a + 1) R(a) ~ log2 erfc(a)
        near = mul(x, polynomial(mul(x, x), table.ERF_F64))
        a = clip(abs(x), 1, 6)
        exponent = mul(add(a, 1), div(polynomial(a, table.ERFC_F64), polynomial(a, table.ERFC_DENOMINATOR_F64)))
        return where(lt(abs(x), 1), near, copysign(sub(1, exp2(exponent)), x))
    # c P(c^2) / Q(c^2) with c = x limited to where erf rounds to 1
    c = clip(float_only(x, "erf"), -table.ERF_LIMIT_F32, table.ERF_LIMIT_F32)
    square = mul(c, c)
    return clip(div(mul(c, polynomial(square, table.ERF_F32)), polynomial(square, table.ERF_DENOMINATOR_F32)), -1, 1)


@in_f32
def gelu(x: Expr) -> Expr:
    """x Phi(x), Phi the normal distribution, by the error function; the error is relative to max(|x|, 1). 4 operations and erf."""
    # x/2 * (1 + erf(x / sqrt 2))
    half = mul(x, 0.5)
    return add(half, mul(half, erf(mul(x, 0.7071067811865476))))


@in_f32
def gelu_tanh(x: Expr) -> Expr:
    """GELU's usual approximation. It is x * sigmoid(2 y), which needs no tanh and keeps the tail for negative x."""
    # x/2 * (1 + tanh(y)) = x / (1 + e^-2y),  y = sqrt(2 / pi) (x + 0.044715 x^3)
    scale = -2 * LOG2_E * math.sqrt(2 / math.pi)
    exponent = mul(x, add(mul(mul(x, x), scale * 0.044715), scale))
    return div(x, add(exp2(exponent), 1))
