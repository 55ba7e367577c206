"""Conversions of 16-bit floats with integer operations, for machines that would call a library for them.

Branch-free, on scalars and vectors alike; round to nearest, ties to even. `i16` values hold the bits. f16 after Fabian
Giesen's "half to float done quick".
"""

from __future__ import annotations

from tgc.backends.llvm.function import Put
from tgc.backends.llvm.values import splat, vector


def _integer(value: int, lanes: int) -> str:
    return splat("i32", str(value), lanes)


def bf16_to_float(put: Put, value: str, lanes: int) -> str:
    """bf16 is the upper half of a float."""
    wide, floats = vector("i32", lanes), vector("float", lanes)
    bits = put(f"zext {vector('i16', lanes)} {value} to {wide}")
    shifted = put(f"shl {wide} {bits}, {_integer(16, lanes)}")
    return put(f"bitcast {wide} {shifted} to {floats}")


def float_to_bf16(put: Put, value: str, lanes: int) -> str:
    """bits + 0x7fff + the bit that decides a tie, then the upper half; a NaN stays one."""
    wide, floats, mask = vector("i32", lanes), vector("float", lanes), vector("i1", lanes)
    bits = put(f"bitcast {floats} {value} to {wide}")
    upper = put(f"lshr {wide} {bits}, {_integer(16, lanes)}")
    odd = put(f"and {wide} {upper}, {_integer(1, lanes)}")
    half = put(f"add {wide} {bits}, {_integer(0x7FFF, lanes)}")
    sum_ = put(f"add {wide} {half}, {odd}")
    rounded = put(f"lshr {wide} {sum_}, {_integer(16, lanes)}")
    quiet = put(f"or {wide} {upper}, {_integer(0x40, lanes)}")
    nan = put(f"fcmp uno {floats} {value}, {value}")
    chosen = put(f"select {mask} {nan}, {wide} {quiet}, {wide} {rounded}")
    return put(f"trunc {wide} {chosen} to {vector('i16', lanes)}")


def f16_to_float(put: Put, value: str, lanes: int) -> str:
    """The exponent is moved from bias 15 to 127; infinities and NaNs get the largest, subnormals are normalised by a subtraction."""
    wide, floats, mask = vector("i32", lanes), vector("float", lanes), vector("i1", lanes)
    bits = put(f"zext {vector('i16', lanes)} {value} to {wide}")
    magnitude = put(f"and {wide} {bits}, {_integer(0x7FFF, lanes)}")
    shifted = put(f"shl {wide} {magnitude}, {_integer(13, lanes)}")
    normal = put(f"add {wide} {shifted}, {_integer(112 << 23, lanes)}")
    infinite = put(f"add {wide} {normal}, {_integer(112 << 23, lanes)}")
    one_up = put(f"add {wide} {normal}, {_integer(1 << 23, lanes)}")
    as_float = put(f"bitcast {wide} {one_up} to {floats}")
    moved = put(f"fsub {floats} {as_float}, {splat('float', _POWER_MINUS_14, lanes)}")
    subnormal = put(f"bitcast {floats} {moved} to {wide}")
    is_infinite = put(f"icmp uge {wide} {magnitude}, {_integer(0x7C00, lanes)}")
    is_subnormal = put(f"icmp ult {wide} {magnitude}, {_integer(0x0400, lanes)}")
    upper = put(f"select {mask} {is_infinite}, {wide} {infinite}, {wide} {normal}")
    chosen = put(f"select {mask} {is_subnormal}, {wide} {subnormal}, {wide} {upper}")
    sign = put(f"shl {wide} {put(f'xor {wide} {bits}, {magnitude}')}, {_integer(16, lanes)}")
    return put(f"bitcast {wide} {put(f'or {wide} {chosen}, {sign}')} to {floats}")


def float_to_f16(put: Put, value: str, lanes: int) -> str:
    """The exponent is moved from bias 127 to 15 and the fraction rounded; adding 0.5 rounds what becomes subnormal."""
    wide, floats, mask = vector("i32", lanes), vector("float", lanes), vector("i1", lanes)
    bits = put(f"bitcast {floats} {value} to {wide}")
    magnitude = put(f"and {wide} {bits}, {_integer(0x7FFFFFFF, lanes)}")
    odd = put(f"and {wide} {put(f'lshr {wide} {magnitude}, {_integer(13, lanes)}')}, {_integer(1, lanes)}")
    rebased = put(f"add {wide} {magnitude}, {_integer(0xFFF - (112 << 23), lanes)}")
    normal = put(f"lshr {wide} {put(f'add {wide} {rebased}, {odd}')}, {_integer(13, lanes)}")
    moved = put(f"fadd {floats} {put(f'bitcast {wide} {magnitude} to {floats}')}, {splat('float', '0.5', lanes)}")
    subnormal = put(f"sub {wide} {put(f'bitcast {floats} {moved} to {wide}')}, {_integer(126 << 23, lanes)}")
    is_nan = put(f"icmp ugt {wide} {magnitude}, {_integer(0x7F800000, lanes)}")
    top = put(f"select {mask} {is_nan}, {wide} {_integer(0x7E00, lanes)}, {wide} {_integer(0x7C00, lanes)}")
    is_top = put(f"icmp uge {wide} {magnitude}, {_integer(0x47800000, lanes)}")
    is_subnormal = put(f"icmp ult {wide} {magnitude}, {_integer(0x38800000, lanes)}")
    upper = put(f"select {mask} {is_top}, {wide} {top}, {wide} {normal}")
    chosen = put(f"select {mask} {is_subnormal}, {wide} {subnormal}, {wide} {upper}")
    sign = put(f"lshr {wide} {put(f'xor {wide} {bits}, {magnitude}')}, {_integer(16, lanes)}")
    return put(f"trunc {wide} {put(f'or {wide} {chosen}, {sign}')} to {vector('i16', lanes)}")


def double_to_odd_float(put: Put, value: str, lanes: int) -> str:
    """A double as the float next to it toward zero, its last bit set where that is inexact.

    Rounding that once more to 16 bits gives the same as rounding the double at once (Boldo and Melquiond, "When double
    rounding is odd", 2005).
    """
    wide, floats, doubles, mask = vector("i32", lanes), vector("float", lanes), vector("double", lanes), vector("i1", lanes)
    nearest = put(f"fptrunc {doubles} {value} to {floats}")
    back = put(f"fpext {floats} {nearest} to {doubles}")
    inexact = put(f"fcmp one {doubles} {back}, {value}")
    larger = put(f"fcmp ogt {doubles} {_absolute(put, back, lanes)}, {_absolute(put, value, lanes)}")
    bits = put(f"bitcast {floats} {nearest} to {wide}")
    toward_zero = put(f"sub {wide} {bits}, {put(f'zext {mask} {larger} to {wide}')}")
    odd = put(f"or {wide} {toward_zero}, {put(f'zext {mask} {inexact} to {wide}')}")
    return put(f"bitcast {wide} {odd} to {floats}")


def _absolute(put: Put, value: str, lanes: int) -> str:
    doubles = vector("double", lanes)
    suffix = "f64" if lanes == 1 else f"v{lanes}f64"
    return put(f"call {doubles} @llvm.fabs.{suffix}({doubles} {value})")


_POWER_MINUS_14 = "0x3F10000000000000"
