"""Scalar mathematics out of the twelve operations: every function that a map of a model may need.

`scalar_arithmetic` has arithmetic, order, logic and rounding; `scalar_bits` classification and bitwise functions;
`scalar_exponential` powers, exponentials and their relatives; `scalar_trigonometric` circular functions.
`docs/accuracy.md` has the measured errors and the number of operations.
"""

from __future__ import annotations

from tgc.ir.expr import bitcast, cast
from tgc.ir.scalar_arithmetic import (
    Operand,
    abs,
    add,
    ceil,
    clip,
    copysign,
    div,
    eq,
    floor,
    floor_div,
    fmod,
    ge,
    gt,
    int_div,
    le,
    lit,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mod,
    mul,
    ne,
    neg,
    reciprocal,
    round_half_even,
    round_within,
    sign,
    sub,
    trunc,
    truth,
    where,
)  # fmt: skip
from tgc.ir.scalar_bits import bit_and, bit_not, bit_or, bit_xor, is_finite, is_inf, is_nan, shift_left, shift_right, sign_bit
from tgc.ir.scalar_exponential import (
    acosh,
    asinh,
    atanh,
    cosh,
    erf,
    exp,
    exp2,
    expm1,
    gelu,
    gelu_tanh,
    log,
    log1p,
    log2,
    mish,
    pow,
    rsqrt,
    sigmoid,
    sinh,
    softplus,
    sqrt,
    tanh,
)  # fmt: skip
from tgc.ir.scalar_trigonometric import acos, asin, atan, cos, sin, tan

__all__ = [
    "Operand", "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "bit_and", "bit_not", "bit_or", "bit_xor", "bitcast",
    "cast", "ceil", "clip", "copysign", "cos", "cosh", "div", "eq", "erf", "exp", "exp2", "expm1", "floor", "floor_div", "fmod", "ge",
    "gelu", "gelu_tanh", "gt", "int_div", "is_finite", "is_inf", "is_nan", "le", "lit", "log", "log1p", "log2", "logical_and",
    "logical_not", "logical_or", "logical_xor", "lt", "maximum", "minimum", "mish", "mod", "mul", "ne", "neg", "pow", "reciprocal",
    "round_half_even", "round_within", "rsqrt", "shift_left", "shift_right", "sigmoid", "sign", "sign_bit", "sin", "sinh", "softplus",
    "sqrt", "sub", "tan", "tanh", "trunc", "truth", "where",
]  # fmt: skip
