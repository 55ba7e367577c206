"""How ONNX rounds to floats of 8 and 4 bits (operators Cast and QuantizeLinear)."""

from __future__ import annotations

from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import BOOL, F4E2M1, F8E8M0, F32, F64, U8, U32, DType
from tgc.ir.expr import Expr, Lit
from tgc.ir.small_floats import SMALL_FLOATS

ROUND_MODES = ("nearest", "up", "down")


def narrowed(x: Expr, dtype: DType, saturate: bool) -> Expr:
    """`x` as the nearest number of a small float type, even ones at ties.

    saturate: what is too large, infinity too, becomes the largest number. Otherwise it becomes infinity, or NaN where the type
    has none; F4E2M1, which has neither, always saturates.
    """
    if dtype == x.dtype:
        return x
    plain = x if x.dtype in (F32, F64) else ex.cast(x, F32)
    largest = SMALL_FLOATS[dtype].maximum
    limited = scalar.clip(plain, -largest, largest) if saturate and dtype != F4E2M1 else plain
    return ex.cast(limited, dtype)


def power_of_two(x: Expr, saturate: bool, round_mode: str) -> Expr:
    """`x`, its sign dropped, as FLOAT8E8M0: "up" or "down" to a power of two, or to the nearest, the larger at ties.

    As onnx.numpy_helper.to_float8e8m0 does it on the bits of an f32, whose exponent the code is. Infinity and NaN become NaN; what
    is rounded beyond 2^127 does too, or stays there with `saturate`.
    """
    bits = scalar.bit_and(scalar.bitcast(ex.cast(x, F32), U32), 0x7FFFFFFF)
    exponent, fraction = scalar.shift_right(bits, 23), scalar.bit_and(bits, 0x7FFFFF)
    match round_mode:
        case "up":
            further = scalar.lt(0, fraction)
        case "nearest":  # only a tie between the codes 0 and 1 goes down
            further = scalar.lt(scalar.where(scalar.eq(exponent, 0), Lit(0x400000, U32), Lit(0x3FFFFF, U32)), fraction)
        case _:
            further = Lit(False, BOOL)
    room = scalar.lt(exponent, 0xFE if saturate else 0xFF)
    code = scalar.add(exponent, ex.cast(scalar.logical_and(further, room), U32))
    return scalar.bitcast(ex.cast(code, U8), F8E8M0)
