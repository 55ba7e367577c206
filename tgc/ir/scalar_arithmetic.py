"""Arithmetic, comparison, logic, selection and rounding out of ADD, MUL, DIV, MAX, LT, EQ, WHERE and CAST.

Every function takes expressions of one type and gives an expression. Where an operand is a plain number it becomes a
constant of the other operand's type. Each function's equation stands above its return; where nothing is said the result is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps

import numpy as np

from tgc.ir import ops
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, I32, I64, DType, unsigned_of_width
from tgc.ir.expr import Expr, Lit, apply, bitcast, cast
from tgc.ir.lengths import Length, UndecidedError
from tgc.ir.ops import Op

Operand = Expr | int | float | bool


def lit(value: int | float | bool, like: Expr | DType) -> Lit:
    """`value` as a constant of a type, or of another expression's type: rounded to it, integers wrapped into its range."""
    if isinstance(value, Length):
        raise UndecidedError(f"{value} as a number")
    dtype = like if isinstance(like, DType) else like.dtype
    if dtype.kind == "bool":
        return Lit(bool(value), dtype)
    if dtype.is_float:
        with np.errstate(over="ignore"):
            return Lit(float(np.asarray(value, dtype=np.float64).astype(dtype.numpy)), dtype)
    wrapped = int(value) & ((1 << dtype.bits) - 1)
    negative = dtype.kind == "int" and wrapped >> (dtype.bits - 1)
    return Lit(wrapped - (1 << dtype.bits) if negative else wrapped, dtype)


def _expr(value: Operand, other: Operand) -> Expr:
    """`value` as an expression, typed like `other` if it is a number."""
    if isinstance(value, bool | int | float):
        if isinstance(other, bool | int | float):
            raise TypeError("at least one operand has to be an expression")
        return lit(value, other)
    return value


def pair(a: Operand, b: Operand) -> tuple[Expr, Expr]:
    """Both as expressions of one type."""
    return _expr(a, b), _expr(b, a)


def binary(op: Op, a: Operand, b: Operand) -> Expr:
    """`op` on two operands."""
    return apply(op, *pair(a, b))


def in_f32(function: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    """`function` computed in f32 on the narrow float types, whose range and precision the formulas do not fit."""

    @wraps(function)
    def wide(x: Expr) -> Expr:
        return cast(function(cast(x, F32)), x.dtype) if x.dtype in (F16, BF16) else function(x)

    return wide


def in_f32_pair(function: Callable[[Expr, Operand], Expr]) -> Callable[[Expr, Operand], Expr]:
    """The same for functions of two operands."""

    @wraps(function)
    def wide(a: Expr, b: Operand) -> Expr:
        if a.dtype not in (F16, BF16):
            return function(a, b)
        return cast(function(cast(a, F32), cast(_expr(b, a), F32)), a.dtype)

    return wide


# ---- arithmetic


def add(a: Operand, b: Operand) -> Expr:
    """a + b; integers wrap."""
    return binary(ops.ADD, a, b)


def mul(a: Operand, b: Operand) -> Expr:
    """a * b; integers wrap."""
    return binary(ops.MUL, a, b)


def div(a: Operand, b: Operand) -> Expr:
    """a / b on floats."""
    return binary(ops.DIV, a, b)


def neg(a: Expr) -> Expr:
    """-a, with the sign of zero. One MUL by -1, which every backend prints as a change of sign."""
    # -a = (-1) * a
    return lit(-a.value, a) if isinstance(a, Lit) else mul(a, -1)


def sub(a: Operand, b: Operand) -> Expr:
    """a - b; integers wrap. Costs one ADD where b is constant or a product that a backend fuses, else ADD and MUL by -1."""
    # a - b = a + (-1) * b
    left, right = pair(a, b)
    return add(left, neg(right))


def reciprocal(a: Expr) -> Expr:
    """1 / a, correctly rounded."""
    return div(1, a)


def int_div(a: Operand, b: Operand) -> Expr:
    """Integer quotient rounded toward zero; b != 0 is the caller's duty."""
    return binary(ops.DIV, a, b)


def floor_div(a: Operand, b: Operand) -> Expr:
    """Integer quotient rounded down; b != 0 is the caller's duty."""
    # floor(a / b) = trunc(a / b) - (a % b != 0 and the signs of a and b differ)
    left, right = pair(a, b)
    quotient = int_div(left, right)
    if left.dtype.kind == "uint":
        return quotient
    inexact = ne(mul(quotient, right), left)
    opposite = ne(lt(left, 0), lt(right, 0))
    return add(quotient, where(logical_and(inexact, opposite), -1, lit(0, left)))


def fmod(a: Expr, b: Operand) -> Expr:
    """C's remainder, with the sign of a. On floats exact for |a / b| below 2^24 (f32) or 2^53 (f64); b = 0 gives NaN."""
    if not a.dtype.is_float:
        # a fmod b = a - trunc(a / b) * b
        right = _expr(b, a)
        return sub(a, mul(int_div(a, right), right))
    return _float_fmod(a, b)


def mod(a: Expr, b: Operand) -> Expr:
    """Python's remainder, with the sign of b. On floats as exact as `fmod`."""
    # r = a fmod b;  a mod b = r + b if r != 0 and the signs of r and b differ, else r
    right = _expr(b, a)
    remainder = fmod(a, right)
    if a.dtype.kind == "uint":
        return remainder
    wrong_side = logical_and(ne(remainder, 0), ne(lt(remainder, 0), lt(right, 0)))
    return where(wrong_side, add(remainder, right), remainder)


@in_f32_pair
def _float_fmod(a: Expr, b: Operand) -> Expr:
    """a fmod b on f32 or f64, by an exact product q * b in four parts, so that contraction to FMA changes nothing."""
    # q = trunc(a / b), q = q1 + q2, b = b1 + b2, each half of the mantissa:  r = a - q1*b1 - q1*b2 - q2*b1 - q2*b2
    # a / b may have been rounded up to the next integer; then r has the wrong sign, and r + b (r - b for a < 0) is right.
    divisor = abs(_expr(b, a))
    size = abs(a)
    quotient = trunc(div(size, divisor))
    q1, b1 = _upper_half(quotient), _upper_half(divisor)
    q2, b2 = sub(quotient, q1), sub(divisor, b1)
    rest = size
    for left, right in ((q1, b1), (q1, b2), (q2, b1), (q2, b2)):
        rest = sub(rest, mul(left, right))
    rest = where(lt(rest, 0), add(rest, divisor), rest)
    rest = where(logical_and(eq(divisor, math.inf), lt(size, math.inf)), size, rest)
    return where(lt(a, 0), neg(rest), rest)


def _upper_half(a: Expr) -> Expr:
    """a with the lower half of its mantissa cleared, so that the product of two such numbers is exact."""
    bits = unsigned_of_width(a.dtype.bits)
    cleared = 12 if a.dtype == F32 else 27
    mask = ((1 << a.dtype.bits) - 1) ^ ((1 << cleared) - 1)
    return bitcast(binary(ops.AND, bitcast(a, bits), mask), a.dtype)


# ---- order


def maximum(a: Operand, b: Operand) -> Expr:
    """The larger; NaN where either is NaN."""
    return binary(ops.MAX, a, b)


def minimum(a: Operand, b: Operand) -> Expr:
    """The smaller; NaN where either is NaN."""
    left, right = pair(a, b)
    if isinstance(left, Lit):
        left, right = right, left
    if isinstance(right, Lit) and right.value == right.value:
        # min(a, c) = c < a ? c : a, which keeps a NaN in a
        return where(lt(right, left), right, left)
    if not left.dtype.is_float:
        return where(lt(left, right), left, right)
    # min(a, b) = -max(-a, -b)
    return neg(maximum(neg(left), neg(right)))


def clip(a: Expr, low: Operand, high: Operand) -> Expr:
    """a limited to low .. high; high where low > high; NaN stays."""
    # clip(a) = min(max(a, low), high); max(a, c) = a < c ? c : a for a constant, one instruction where MAX has to mind NaN
    bound = low.value if isinstance(low, Lit) else low
    if isinstance(bound, bool | int | float) and bound == bound and a.dtype.is_float:
        return minimum(where(lt(a, bound), bound, a), high)
    return minimum(maximum(a, low), high)


def lt(a: Operand, b: Operand) -> Expr:
    """a < b."""
    return binary(ops.LT, a, b)


def gt(a: Operand, b: Operand) -> Expr:
    """a > b."""
    return lt(b, a)


def le(a: Operand, b: Operand) -> Expr:
    """a <= b; false where either is NaN."""
    left, right = pair(a, b)
    # a <= b = a < b or a == b on floats, where not (b < a) would hold for NaN; not (b < a) elsewhere
    return logical_or(lt(left, right), eq(left, right)) if left.dtype.is_float else logical_not(lt(right, left))


def ge(a: Operand, b: Operand) -> Expr:
    """a >= b; false where either is NaN."""
    return le(b, a)


def eq(a: Operand, b: Operand) -> Expr:
    """a == b; false where either is NaN."""
    return binary(ops.EQ, a, b)


def ne(a: Operand, b: Operand) -> Expr:
    """a != b; true where either is NaN."""
    return logical_not(eq(a, b))


# ---- logic on bool


def logical_and(a: Expr, b: Expr) -> Expr:
    """Both. MUL on bool."""
    return mul(_bool(a), _bool(b))


def logical_or(a: Expr, b: Expr) -> Expr:
    """Either or both. MAX on bool."""
    return maximum(_bool(a), _bool(b))


def logical_not(a: Expr) -> Expr:
    """The opposite."""
    # not a = (a == false)
    return eq(_bool(a), False)


def logical_xor(a: Expr, b: Expr) -> Expr:
    """Exactly one."""
    # a xor b = not (a == b)
    return logical_not(eq(_bool(a), _bool(b)))


def _bool(a: Expr) -> Expr:
    if a.dtype != BOOL:
        raise TypeError(f"logic on {a.dtype}")
    return a


def truth(a: Expr) -> Expr:
    """a as bool: whether it is not 0; NaN is true."""
    return a if a.dtype == BOOL else ne(a, 0)


def where(condition: Expr, a: Operand, b: Operand) -> Expr:
    """condition ? a : b; both are computed."""
    return apply(ops.WHERE, condition, *pair(a, b))


# ---- sign and rounding


def abs(a: Expr) -> Expr:
    """The magnitude; NaN stays. Backends print MAX(a, -1 * a) as their absolute value."""
    # |a| = max(a, -a)
    return a if a.dtype.kind in ("uint", "bool") else maximum(a, neg(a))


def sign(a: Expr) -> Expr:
    """-1, 0 or 1; NaN stays."""
    # sign(a) = 0 < a ? 1 : (a < 0 ? -1 : a), where the last a is 0 or NaN
    below = a if a.dtype.kind == "uint" else where(lt(a, 0), -1, a)
    return where(lt(0, a), 1, below)


def copysign(magnitude: Expr, a: Expr) -> Expr:
    """`magnitude`, which is not negative, with the sign of a, floats only; the sign of zero counts."""
    # bits(magnitude) | bits(a) & sign bit
    bits = unsigned_of_width(a.dtype.bits)
    sign_bit = binary(ops.AND, bitcast(a, bits), 1 << (a.dtype.bits - 1))
    return bitcast(binary(ops.OR, bitcast(magnitude, bits), sign_bit), a.dtype)


def _integer_type(a: Expr) -> tuple[DType, float]:
    """An integer type for the part of `a` that can have a fraction, and the limit of that part: 2^23 or 2^52."""
    if a.dtype == F64:
        return I64, 2.0**52
    return I32, 2.0**23


@in_f32
def trunc(a: Expr) -> Expr:
    """The integer part, as a float; infinities and NaN stay; -0.3 gives 0, not -0. 7 operations."""
    if not a.dtype.is_float:
        return a
    # |a| < 2^23:  a as integer and back;  else a has no fraction. The cast sees 0 where a is too large for it.
    integer, limit = _integer_type(a)
    small = lt(abs(a), limit)
    return where(small, cast(cast(where(small, a, 0), integer), a.dtype), a)


@in_f32
def floor(a: Expr) -> Expr:
    """The largest integer not above a, as a float; infinities and NaN stay. 10 operations."""
    if not a.dtype.is_float:
        return a
    # floor(a) = trunc(a) - (a < trunc(a))
    whole = trunc(a)
    return where(lt(a, whole), add(whole, -1), whole)


@in_f32
def ceil(a: Expr) -> Expr:
    """The smallest integer not below a, as a float; infinities and NaN stay. 10 operations."""
    if not a.dtype.is_float:
        return a
    # ceil(a) = trunc(a) + (trunc(a) < a)
    whole = trunc(a)
    return where(lt(whole, a), add(whole, 1), whole)


def round_within(a: Expr, low: int, high: int) -> Expr:
    """The nearest integer of low .. high, as a float, halves to the even one; NaN stays. 4 operations where the limits are small."""
    _, limit = _integer_type(a)
    if max(-low, high) > limit // 2:
        return clip(round_half_even(a), low, high)
    # -2^22 <= a <= 2^22:  a + s with s = 1.5 * 2^23 is between 2^23 and 2^24, where floats are integers
    shift = lit(1.5 * limit, a)
    return sub(add(clip(a, low, high), shift), shift)


@in_f32
def round_half_even(a: Expr) -> Expr:
    """The nearest integer, as a float, halves to the even one; infinities and NaN stay. 9 operations."""
    if not a.dtype.is_float:
        return a
    # |a| < M = 2^23:  (a + s) - s with s = M or -M as a's sign, because a + s has no bits for a fraction;  else a has none
    _, limit = _integer_type(a)
    shift = where(lt(a, 0), -limit, lit(limit, a))
    return where(lt(abs(a), limit), sub(add(a, shift), shift), a)
