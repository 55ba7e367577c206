"""Expressions over small types as expressions over the types that carry them.

A float of 8 or 4 bits is carried as its code, a u8. An integer of 4 or 2 bits is carried as its value, an i8 or u8. Moving and
choosing are done on those; all other operations on small floats in f32, where sums and products of two of them are exact or round
once, and on small integers in the carrier, wrapped afterwards.
"""

from __future__ import annotations

import numpy as np

from tgc.ir import meaning, ops, scalar
from tgc.ir.dtypes import F8E8M0, F32, F64, I8, I32, SMALL, U8, U32, U64, DType, unsigned_of_width
from tgc.ir.expr import Apply, Arg, Expr, Lit, apply, bitcast, cast, children, with_children
from tgc.ir.rewrite import walk
from tgc.ir.small_floats import SMALL_FLOATS, SmallFloat


def carrier(dtype: DType) -> DType:
    """The type that carries elements of `dtype`: itself where it is not a small one."""
    return dtype if dtype not in SMALL else I8 if dtype.kind == "int" else U8


def encoded(root: Expr) -> Expr:
    """`root`, a map's, with every value of a small type carried, its Args too."""
    made: dict[Expr, Expr] = {}
    for expr in walk(root):
        made[expr] = _node(expr, tuple(made[child] for child in children(expr)))
    return made[root]


def _node(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """`expr`, whose children are carried as `parts`."""
    match expr:
        case Arg(position, dtype):
            return Arg(position, carrier(dtype))
        case Lit():
            return literal(expr)
        case Apply(_, args, dtype) if dtype in SMALL or any(arg.dtype in SMALL for arg in args):
            return _apply(expr, parts)
        case _:
            return with_children(expr, parts) if parts else expr


def literal(lit: Lit) -> Lit:
    """A constant as it is carried."""
    if lit.dtype not in SMALL or lit.dtype.is_integer:
        return Lit(lit.value, carrier(lit.dtype))
    return Lit(int(np.ravel(meaning.literal(lit)).view(np.uint8)[0]), U8)


def _apply(expr: Apply, parts: tuple[Expr, ...]) -> Expr:
    op, dtype, source = expr.op, expr.dtype, expr.args[0].dtype
    if op is ops.CAST:
        return parts[0] if source == dtype else narrow(wide(parts[0], source), dtype)
    if op is ops.BITCAST:
        return _from_code(_to_code(parts[0], source), dtype)
    if op is ops.WHERE:
        return apply(op, *parts)
    operand = expr.args[-1].dtype
    result = apply(op, *(wide(part, operand) for part in parts))
    return narrow(result, dtype) if dtype in SMALL else result


def wide(x: Expr, dtype: DType) -> Expr:
    """The value of `x`, which carries a `dtype`: an f32 for a small float, else `x`."""
    if dtype == F8E8M0:
        return _power(x)
    return _decoded(x, SMALL_FLOATS[dtype]) if dtype in SMALL_FLOATS else x


def narrow(x: Expr, dtype: DType) -> Expr:
    """`x`, of a type that is not small, cast to `dtype`, carried."""
    if dtype == F8E8M0:
        return _nearest_power(cast(x, F32))
    if dtype in SMALL_FLOATS:
        return _code(x if x.dtype in (F32, F64) else cast(x, F32), SMALL_FLOATS[dtype])
    if dtype not in SMALL:
        return cast(x, dtype)
    whole = cast(cast(x, I32) if x.dtype.is_float else x, carrier(dtype))
    return wrapped(whole, dtype)


def wrapped(x: Expr, dtype: DType) -> Expr:
    """The lowest bits of `x`, of the carrier's type, as a small integer of type `dtype`; other types as they are."""
    if dtype not in SMALL or not dtype.is_integer:
        return x
    if dtype.kind == "uint":
        return scalar.bit_and(x, (1 << dtype.bits) - 1)
    spare = 8 - dtype.bits
    return scalar.shift_right(scalar.shift_left(x, spare), spare)


def _to_code(x: Expr, dtype: DType) -> Expr:
    """The bits of an element, in a u8 with the rest 0."""
    if dtype.kind == "int" and dtype in SMALL:
        return scalar.bit_and(bitcast(x, U8), (1 << dtype.bits) - 1)
    return x if x.dtype == U8 else bitcast(x, U8)


def _from_code(code: Expr, dtype: DType) -> Expr:
    return wrapped(bitcast(code, carrier(dtype)), dtype) if carrier(dtype) != U8 else code


def unpacked(byte: Expr, place: Expr, dtype: DType) -> Expr:
    """Element number `place`, a u8, of those that share `byte`."""
    shifted = scalar.shift_right(byte, scalar.mul(place, dtype.bits))
    return _from_code(scalar.bit_and(shifted, (1 << dtype.bits) - 1), dtype)


def packed(elements: tuple[Expr, ...], dtype: DType) -> Expr:
    """The byte that elements share."""
    total = _to_code(elements[0], dtype)
    for place, element in enumerate(elements[1:], 1):
        total = scalar.bit_or(total, scalar.shift_left(_to_code(element, dtype), place * dtype.bits))
    return total


# ---- small floats


def _decoded(code: Expr, form: SmallFloat) -> Expr:
    """The f32 of a code. A subnormal is its mantissa times a power of two; another is moved into the fields of an f32."""
    bits = cast(code, U32)
    size = scalar.bit_and(bits, form.sign - 1)
    normal = scalar.add(scalar.shift_left(size, 23 - form.mantissa), (127 - form.bias) << 23)
    subnormal = scalar.mul(cast(size, F32), 2.0 ** (1 - form.bias - form.mantissa))
    number = scalar.where(scalar.lt(size, 1 << form.mantissa), bitcast(subnormal, U32), normal)
    if form.dtype.bits == 8 and not form.unsigned_zero:
        special = scalar.where(scalar.eq(size, form.above), _u32(_bits(_number(form.above, form), F32)), _u32(0x7FC00000))
        number = scalar.where(scalar.lt(form.largest, size), special, number)
    signed = scalar.bit_or(number, scalar.shift_left(scalar.bit_and(bits, form.sign), 32 - form.dtype.bits))
    if form.unsigned_zero:
        signed = scalar.where(scalar.eq(bits, form.nan), _u32(0x7FC00000), signed)
    return bitcast(signed, F32)


def _number(code: int, form: SmallFloat) -> float:
    return float(np.array([code], np.uint8).view(form.dtype.numpy)[0])


def _bits(value: float, dtype: DType) -> int:
    return int(np.array([value], dtype.numpy).view(unsigned_of_width(dtype.bits).numpy)[0])


def _code(x: Expr, form: SmallFloat) -> Expr:
    """The code nearest to a float of 32 or 64 bits.

    Normal: half a last place, and one more bit where the code is odd, is added to the bits before those that are lost go. Subnormal:
    added to a number whose last place is the smallest subnormal, the sum has the code in its lowest bits.
    """
    mantissa, bias, integer = (23, 127, U32) if x.dtype == F32 else (52, 1023, U64)
    width = x.dtype.bits
    bits = bitcast(x, integer)
    size = scalar.bit_and(bits, (1 << (width - 1)) - 1)
    lost = mantissa - form.mantissa
    odd = scalar.bit_and(scalar.shift_right(size, lost), 1)
    rounded = scalar.shift_right(scalar.add(scalar.add(size, (1 << (lost - 1)) - 1), odd), lost)
    normal = scalar.add(rounded, -((bias - form.bias) << form.mantissa))
    magic = 2.0 ** (mantissa + 1 - form.bias - form.mantissa)
    subnormal = scalar.add(bitcast(scalar.add(bitcast(size, x.dtype), magic), integer), -_bits(magic, x.dtype))
    code = scalar.where(scalar.lt(size, _bits(2.0 ** (1 - form.bias), x.dtype)), subnormal, normal)
    code = scalar.where(scalar.lt(form.largest, code), form.above, code)
    nan = scalar.lt(_bits(float("inf"), x.dtype), size)
    return _signed(cast(code, U8), cast(scalar.shift_right(bits, width - 1), U8), nan, form)


def _signed(code: Expr, negative: Expr, nan: Expr, form: SmallFloat) -> Expr:
    """`code` with its sign, or NaN."""
    places = form.dtype.bits - 1
    if form.unsigned_zero:
        signed = scalar.bit_or(code, scalar.shift_left(negative, places))
        return scalar.where(nan, form.nan, scalar.where(scalar.eq(code, 0), code, signed))
    if form.dtype.bits < 8:
        return scalar.where(nan, form.nan, scalar.bit_or(code, scalar.shift_left(negative, places)))
    return scalar.bit_or(scalar.where(nan, form.nan, code), scalar.shift_left(negative, places))


def _power(code: Expr) -> Expr:
    """The f32 of a FLOAT8E8M0: its exponent; 2^-127 is subnormal, and 255 is NaN."""
    bits = cast(code, U32)
    rest = scalar.where(scalar.eq(bits, 255), _u32(0x7FC00000), scalar.shift_left(bits, 23))
    return bitcast(scalar.where(scalar.eq(bits, 0), _u32(0x00400000), rest), F32)


def _nearest_power(x: Expr) -> Expr:
    """The code of F8E8M0 nearest to an f32, the larger at ties; `tgc.ir.small_floats.encode_exponent` says the rest."""
    bits = bitcast(x, U32)
    normal = scalar.shift_right(scalar.add(bits, 1 << 22), 23)
    subnormal = cast(scalar.lt(0x5FFFFF, bits), U32)
    code = scalar.where(scalar.lt(bits, 1 << 23), subnormal, normal)
    bad = scalar.logical_or(scalar.eq(bits, 0), scalar.lt(0x7F7FFFFF, bits))
    return cast(scalar.where(bad, _u32(255), code), U8)


def _u32(value: int) -> Lit:
    return Lit(value, U32)
