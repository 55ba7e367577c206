"""Circular functions and their inverses. Computed in f32 on f16 and bf16; integers are refused."""

from __future__ import annotations

import math

from tgc.ir import ops
from tgc.ir import scalar_coefficients as table
from tgc.ir.dtypes import F64
from tgc.ir.expr import Expr, apply
from tgc.ir.scalar_arithmetic import abs, add, copysign, div, in_f32, lit, lt, mul, neg, sub, where
from tgc.ir.scalar_exponential import float_only, for_type, polynomial, sqrt


@in_f32
def sin(x: Expr) -> Expr:
    """Sine."""
    return apply(ops.SIN, float_only(x, "sin"))


def pi_parts(x: Expr) -> tuple[float, ...]:
    """pi as a sum of parts with so few bits, but for the last, that their products with a quotient are exact, fused or not."""
    return table.PI_F64 if x.dtype == F64 else table.PI_F32


def nearest(x: Expr) -> Expr:
    """x rounded to the nearest integer, |x| below 2^22 (f32) or 2^51 (f64); contraction of x's product may round a half the other way."""
    # (x + 1.5 * 2^23) - 1.5 * 2^23, where the sum has no bits left for a fraction
    magic = 1.5 * 2.0 ** (52 if x.dtype == F64 else 23)
    return add(add(x, magic), -magic)


@in_f32
def cos(x: Expr) -> Expr:
    """Cosine. Reduced by multiples of pi first, as the sum x + pi/2 would cost the accuracy near the zeros."""
    # h = n + 1/2 nearest to x / pi, r = x - h pi:  cos(x) = -(-1)^n sin(r), and (-1)^n = 1 - 2 p^2, p = n - 2 round(n / 2)
    n = nearest(add(mul(float_only(x, "cos"), 1 / math.pi), -0.5))
    h = add(n, 0.5)
    rest = x
    for part in pi_parts(x):
        rest = sub(rest, mul(h, lit(part, x)))
    p = sub(n, mul(nearest(mul(n, 0.5)), 2))
    return sin(mul(rest, add(mul(mul(p, p), 2), -1)))


@in_f32
def tan(x: Expr) -> Expr:
    """Tangent."""
    # sin(x) / cos(x)
    return div(sin(x), cos(x))


def _asin_near(x: Expr) -> Expr:
    """asin for |x| <= 1/2."""
    # x + x^3 P(x^2)
    square = mul(x, x)
    return add(x, mul(mul(x, square), polynomial(square, for_type(x, table.ASIN_F32, table.ASIN_F64))))


@in_f32
def asin(x: Expr) -> Expr:
    """Inverse sine; NaN beyond -1 .. 1."""
    # a = |x| <= 1/2:  asin(a);  else pi/2 - 2 asin(sqrt((1 - a) / 2))
    a = abs(float_only(x, "asin"))
    far = lt(0.5, a)
    angle = _asin_near(where(far, sqrt(mul(sub(1, a), 0.5)), a))
    high, low = _halves(x, math.pi / 2)
    return copysign(where(far, sub(high, sub(mul(angle, 2), low)), angle), x)


def _halves(x: Expr, value: float) -> tuple[float, float]:
    """`value`, pi or pi/2, as a sum of two numbers of x's type."""
    if x.dtype == F64:
        return value, 6.123233995736766e-17 * (value / (math.pi / 2))
    high = lit(value, x).value
    return float(high), value - float(high)


@in_f32
def acos(x: Expr) -> Expr:
    """Inverse cosine; NaN beyond -1 .. 1."""
    # a = |x| <= 1/2:  pi/2 - asin(x);  x > 1/2: 2 asin(sqrt((1 - a) / 2));  x < -1/2: pi - 2 asin(sqrt((1 - a) / 2))
    a = abs(float_only(x, "acos"))
    far = lt(0.5, a)
    angle = _asin_near(where(far, sqrt(mul(sub(1, a), 0.5)), a))
    signed = where(lt(x, 0), neg(angle), angle)
    half_high, half_low = _halves(x, math.pi / 2)
    high, low = _halves(x, math.pi)
    behind = sub(high, sub(mul(angle, 2), low))
    return where(far, where(lt(x, 0), behind, mul(angle, 2)), sub(half_high, sub(signed, half_low)))


@in_f32
def atan(x: Expr) -> Expr:
    """Inverse tangent."""
    # a = |x| <= 1:  a + a^3 P(a^2);  else pi/2 - atan(1 / a)
    a = abs(float_only(x, "atan"))
    far = lt(1, a)
    t = where(far, div(1, a), a)
    square = mul(t, t)
    angle = add(t, mul(mul(t, square), polynomial(square, for_type(x, table.ATAN_F32, table.ATAN_F64))))
    high, low = _halves(x, math.pi / 2)
    return copysign(where(far, sub(high, sub(angle, low)), angle), x)
