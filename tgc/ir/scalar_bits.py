"""Classification of floats, and bitwise functions of integers."""

from __future__ import annotations

import math

from tgc.ir import ops
from tgc.ir.dtypes import BOOL, BY_NAME, F32, I32, I64
from tgc.ir.expr import Apply, Expr, Lit, apply, bitcast, cast
from tgc.ir.ops import Op
from tgc.ir.scalar_arithmetic import Operand, abs, binary, eq, lit, logical_not, lt, ne, pair, where


def is_nan(a: Expr) -> Expr:
    """Whether a is NaN; false on integers."""
    # a != a
    return ne(a, a) if a.dtype.is_float else Lit(False, BOOL)


def is_inf(a: Expr, negative: bool = True, positive: bool = True) -> Expr:
    """Whether a is one of the chosen infinities."""
    if not a.dtype.is_float or not (negative or positive):
        return Lit(False, BOOL)
    if negative and positive:
        return eq(abs(a), math.inf)
    return eq(a, math.inf if positive else -math.inf)


def is_finite(a: Expr) -> Expr:
    """Whether a is neither infinite nor NaN."""
    # |a| < inf
    return lt(abs(a), math.inf) if a.dtype.is_float else Lit(True, BOOL)


def sign_bit(a: Expr) -> Expr:
    """Whether a's sign bit is set, so that -0.0 counts as negative."""
    if not a.dtype.is_float:
        return lt(a, 0)
    # the bits read as a signed integer are negative
    signed = I64 if a.dtype.bits == 64 else I32
    wide = cast(a, F32) if a.dtype.bits < 32 else a
    return lt(bitcast(wide, signed), 0)


def bit_and(a: Operand, b: Operand) -> Expr:
    """a & b on integers."""
    return binary(ops.AND, a, b)


def bit_or(a: Operand, b: Operand) -> Expr:
    """a | b on integers."""
    return binary(ops.OR, a, b)


def bit_xor(a: Operand, b: Operand) -> Expr:
    """a ^ b on integers."""
    return binary(ops.XOR, a, b)


def bit_not(a: Expr) -> Expr:
    """Every bit of an integer inverted; on bool the opposite."""
    # ~a = a xor -1
    return logical_not(a) if a.dtype == BOOL else bit_xor(a, -1)


def shift_left(a: Operand, b: Operand) -> Expr:
    """a << b; 0 where b is at least the width, or negative."""
    return _shift(ops.SHL, a, b)


def shift_right(a: Operand, b: Operand) -> Expr:
    """a >> b, keeping the sign; where b is at least the width, or negative, 0, or -1 for negative a."""
    return _shift(ops.SHR, a, b)


def _shift(op: Op, a: Operand, b: Operand) -> Expr:
    left, right = pair(a, b)
    bits = left.dtype.bits
    if isinstance(right, Lit) and 0 <= right.value < bits:
        return apply(op, left, right)
    # 0 <= b < bits ? a op b : filler, and the hardware sees a count that it can do; a negative b is a large one without its sign
    small = lt(cast(right, BY_NAME[right.dtype.name.replace("i", "u", 1)]) if right.dtype.kind == "int" else right, bits)
    filler = apply(op, left, lit(bits - 1, left)) if op is ops.SHR and left.dtype.kind == "int" else lit(0, left)
    return where(small, Apply(op, (left, where(small, right, 0)), left.dtype), filler)
