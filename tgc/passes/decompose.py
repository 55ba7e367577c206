"""Writes EXP2, LOG2 and SIN out in arithmetic and bit operations, for targets that have no (vector) form of them.

Branch-free, so it vectorises as it stands. Every argument reduction takes products that are exact, or sums that have no
rounding left to lose, so that a backend may contract a * b + c to one rounding or not, as it likes. Errors: docs/accuracy.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir import scalar_coefficients as table
from tgc.ir.dtypes import BF16, F16, F32, F64, I32, I64, U64, DType
from tgc.ir.expr import Apply, Expr, Lit, bitcast, cast, children
from tgc.ir.rewrite import rewrite, walk
from tgc.ir.scalar_arithmetic import binary
from tgc.ir.scalar_exponential import LOG2_E, polynomial

LN_2 = Fraction(table.LN_2)


@dataclass(frozen=True, slots=True)
class Format:
    """A float type's layout: bits of the stored mantissa, exponent's bias, and the integer of the same width."""

    dtype: DType
    integer: DType
    mantissa: int
    bias: int

    @property
    def magic(self) -> float:
        """1.5 * 2^mantissa: a number added to it loses its fraction, and the sum's lowest bits are the integer."""
        return 1.5 * 2.0**self.mantissa

    @property
    def quotient_bits(self) -> int:
        """Bits of the largest exponent that EXP2 meets, the sign left out."""
        return 8 if self.dtype == F32 else 11


SINGLE = Format(F32, I32, 23, 127)
DOUBLE = Format(F64, I64, 52, 1023)


def decompose(expr: Expr, native: frozenset[str] = frozenset()) -> Expr:
    """`expr`, of one lane, without those of EXP2, LOG2 and SIN that `native` does not name. Raises ValueError on vectors."""
    if expr.lanes != 1:
        raise ValueError("decompose works on expressions of one lane")

    def rule(node: Expr) -> Expr | None:
        match node:
            case Apply(op, (x,), dtype) if op.name in _REPLACEMENTS and op.name not in native:
                return cast(_REPLACEMENTS[op.name](cast(x, F32) if dtype in (F16, BF16) else x), dtype)
        return None

    memo: dict[Expr, Expr] = {}
    if "EXP2" not in native:
        for node in _absorbed(expr):
            memo[node] = _exp2(rewrite(node.args[0], rule, memo), gradual=False)
    return rewrite(expr, rule, memo)


def _absorbed(root: Expr) -> list[Apply]:
    """The f32 and f64 EXP2 that are only ever added to a constant not near 0, so that results below 2^-125 do not matter."""
    nodes = list(walk(root))
    elsewhere = {child for node in nodes if not _adds_constant(node) for child in children(node)} | {root}
    exponentials = [node for node in nodes if isinstance(node, Apply) and node.op is ops.EXP2 and node.dtype in (F32, F64)]
    return [node for node in exponentials if node not in elsewhere]


def _adds_constant(node: Expr) -> bool:
    return isinstance(node, Apply) and node.op is ops.ADD and any(isinstance(arg, Lit) and abs(arg.value) > 1e-9 for arg in node.args)


# ---- EXP2


def _exp2(x: Expr, gradual: bool = True) -> Expr:
    """2^x, or 2^(c y) where x = c y with a constant c, which is then not rounded to x first.

    gradual: whether results below the smallest normal number are right; else they may come out as that number.
    """
    # n = round(c y), r = c y - n, |r| <= 1/2:  2^(c y) = 2^n 2^r, 2^r = 1 + r P(r)
    # r / c = (y - n h) - n l,  h + l = 1 / c, where h has so few bits that n h is exact: Cody and Waite, 1980
    layout = _layout(x)
    y, factor = _constant_factor(x)
    lowest = -(layout.bias + layout.mantissa + 1) if gradual else 2 - layout.bias
    limits = sorted(float(Fraction(n) / factor) for n in (lowest, layout.bias + 2))
    y = s.clip(y, *limits)
    shifted = s.add(y if factor == 1 else s.mul(y, float(factor)), layout.magic)
    n = s.add(shifted, -layout.magic)
    high = _leading_bits(1 / factor, layout.mantissa - layout.quotient_bits)
    low = float(1 / factor - Fraction(high))
    rest = s.sub(y, n if high == 1 else s.mul(n, high))
    if low:
        rest = s.sub(rest, s.mul(n, low))
    # 2^n 2^r as 2^(n - 1) (2 + r 2 P(r)), as 2^n overflows for n = bias + 1
    series = table.EXP2_F64 if layout is DOUBLE else table.EXP2_F32
    doubled = [2.0] + [float(2 * Fraction(p) * factor ** (k + 1)) for k, p in enumerate(series)]
    return _scaled(polynomial(rest, doubled), shifted, layout, gradual)


def _scaled(value: Expr, shifted: Expr, layout: Format, gradual: bool) -> Expr:
    """value * 2^(n - 1), n the integer in the lowest bits of `shifted`."""
    # the float 2^k has the bits (k + bias) << mantissa, and `shifted` << mantissa leaves n << mantissa alone
    exponent = binary(ops.SHL, bitcast(shifted, layout.integer), layout.mantissa)
    one = layout.bias - 1 << layout.mantissa
    if not gradual:
        return s.mul(value, bitcast(s.add(exponent, one), value.dtype))
    # below the normal numbers: 2^(n - 1) = 2^(n - 1 + 64) 2^-64, so that the last product rounds into the subnormals
    small = s.lt(shifted, layout.magic - layout.bias + 3)
    scale = bitcast(s.add(exponent, s.where(small, s.lit(one + (64 << layout.mantissa), exponent), one)), value.dtype)
    return s.mul(s.mul(value, scale), s.where(small, s.lit(2.0**-64, value), 1))


def _constant_factor(x: Expr) -> tuple[Expr, Fraction]:
    """y, c with x = c * y; a constant that is log2(e) rounded, times a power of two, stands for the exact one."""
    match x:
        case Apply(op, (y, Lit() as c)) | Apply(op, (Lit() as c, y)) if op is ops.MUL and 1e-4 < abs(c.value) < 1e4:
            rounded = s.lit(c.value, x).value
            ratio = Fraction(rounded) / Fraction(s.lit(LOG2_E, x).value)
            power = abs(ratio)
            exact = power.numerator & (power.numerator - 1) == 0 and power.denominator & (power.denominator - 1) == 0
            return y, ratio / LN_2 if exact else Fraction(rounded)
    return x, Fraction(1)


def _leading_bits(value: Fraction, bits: int) -> float:
    """`value` rounded to `bits` bits of mantissa."""
    mantissa, exponent = math.frexp(float(value))
    return math.ldexp(round(mantissa * 2**bits), exponent - bits)


# ---- LOG2


def _log2(x: Expr) -> Expr:
    """log2(x); subnormals as exact as others; -inf at 0, NaN below 0."""
    # x = 2^e m, sqrt(1/2) <= m < sqrt(2):  log2(x) = e + log2(m)
    # f = m - 1, t = f / (2 + f), z = t^2:  log2(m) = 2/ln 2 t + t z R(z), and 2 t = f - f t, so that
    # log2(m) = f + (f (1/ln 2 - 1) + t (z R(z) - f / ln 2)), where the first term has no error
    layout = _layout(x)
    small = s.lt(x, 2.0 ** (1 - layout.bias))
    scaled = s.where(small, s.mul(x, 2.0 ** (layout.mantissa + 2)), x)
    bits = bitcast(scaled, layout.integer)
    root_half = _bits(math.sqrt(0.5), layout)
    exponent = binary(ops.SHR, s.add(bits, -root_half), layout.mantissa)
    m = bitcast(s.sub(bits, binary(ops.SHL, exponent, layout.mantissa)), x.dtype)
    e = s.add(cast(exponent, x.dtype), s.where(small, s.lit(-(layout.mantissa + 2), x), 0))
    f = s.add(m, -1)
    t = s.div(f, s.add(f, 2))
    z = s.mul(t, t)
    inner = s.add(s.mul(f, -LOG2_E), s.mul(z, polynomial(z, table.LOG2_F64 if layout is DOUBLE else table.LOG2_F32)))
    mantissa = s.add(f, s.add(s.mul(f, LOG2_E - 1), s.mul(t, inner)))
    regular = s.where(s.lt(x, math.inf), s.add(e, mantissa), x)
    return s.where(s.lt(0, x), regular, s.where(s.eq(x, 0), s.lit(-math.inf, x), math.nan))


def _bits(value: float, layout: Format) -> int:
    """The bits of `value` as an integer."""
    form = ("<f", "<i") if layout is SINGLE else ("<d", "<q")
    return int(struct.unpack(form[1], struct.pack(form[0], value))[0])


# ---- SIN


def _sin(x: Expr) -> Expr:
    """sin(x). f32 reduces in f64. Exact to the stated ULP for |x| < 10^8 (f32) or 10^7 (f64).

    Beyond, the answer is the sine of a number within an ULP or two of x, and for f32 from 2^27 on, where one ULP is 16 and
    more, any number between -1 and 1.
    """
    # n = round(x / pi), r = x - n pi:  sin(x) = (-1)^n sin(r), sin(r) = r + r^3 P(r^2)
    wide = cast(x, F64)
    shifted = s.add(s.mul(wide, 1 / math.pi), DOUBLE.magic)
    n = s.add(shifted, -DOUBLE.magic)
    rest = wide
    for part in table.PI_F64 if x.dtype == F64 else table.PI_FOR_F32:
        rest = s.sub(rest, s.mul(n, part))
    # n's lowest bit becomes the sign of r
    flip = binary(ops.SHL, bitcast(shifted, U64), 63)
    signed = bitcast(s.bit_xor(bitcast(rest, U64), flip), F64)
    r = s.clip(cast(signed, x.dtype), -1.6, 1.6)
    square = s.mul(r, r)
    return s.add(r, s.mul(s.mul(r, square), polynomial(square, table.SIN_F64 if x.dtype == F64 else table.SIN_F32)))


def _layout(x: Expr) -> Format:
    return DOUBLE if x.dtype == F64 else SINGLE


_REPLACEMENTS: dict[str, Callable[[Expr], Expr]] = {"EXP2": _exp2, "LOG2": _log2, "SIN": _sin}
