"""Quantised tensors: value = (stored - zero point) * scale, with scales for the tensor, for each place on an axis, or for blocks."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.rounding import narrowed
from tgc.frontend_onnx.lowerings.taking import repeated
from tgc.frontend_onnx.quantisation import Steps, Stored
from tgc.frontend_onnx.registry import lowers
from tgc.frontend_onnx.tensors import require_dtype
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import F32, F64, I32, U8, DType
from tgc.ir.expr import Expr, Lit
from tgc.ir.graph import Constant, Input, Node
from tgc.ir.small_floats import SMALL_FLOATS


def limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    low = int(dtype.lowest)
    return low, low + (1 << dtype.bits) - 1


def steps_of(b: LoweringBuilder, x: Node, scale: Node, zero: Node | None, dtype: DType, axis: int = 1, block: int = 0) -> Steps:
    """`scale` and `zero` as they apply to `x`: one each, one for each place on `axis`, or one for every `block` elements of it."""
    if zero is not None and prod(zero.shape) != prod(scale.shape):
        raise b.invalid(f"zero points of shape {list(zero.shape)} for scales of shape {list(scale.shape)}")
    return Steps(_fitted(b, x, scale, axis, block), None if zero is None else _fitted(b, x, zero, axis, block), dtype)


def _fitted(b: LoweringBuilder, x: Node, each: Node, axis: int, block: int) -> Node:
    if prod(each.shape) == 1 and not block:
        return b.reshape(each, ())
    along = b.axis(axis, len(x.shape))
    size = x.shape[along]
    if block:
        wanted = tuple(-(-n // block) if d == along else n for d, n in enumerate(x.shape))
        if block < 0 or each.shape != wanted:
            raise b.invalid(f"scales of shape {list(each.shape)} for blocks of {block} along axis {along} of {list(x.shape)}")
        return b.narrow(repeated(b, each, along, block), along, 0, size)
    if each.shape != (size,):
        raise b.invalid(f"scales of shape {list(each.shape)} along axis {along} of {list(x.shape)}")
    return b.reshape(each, tuple(size if d == along else 1 for d in range(len(x.shape))))


def quantised(b: LoweringBuilder, x: Node, steps: Steps, saturate: bool = True) -> Node:
    """saturate(round_half_even(x / scale) + zero), computed in f32 at least; for small floats, x / scale + zero rounded to them.

    Where x is computed and scale is known, x is multiplied by 1 / scale instead, as engines do that fold the scales of a quantised
    product into one factor: a quotient as close to a tie as f32 can tell may go to the other side.
    """
    known = None if isinstance(x, Input | Constant) or steps.scale.dtype != F32 else fold(steps.scale)
    factor = None if known is None else _reciprocal(b, known.astype(np.float64))

    def rounded(value: Expr, scale: Expr, *zero: Expr) -> Expr:
        kind = _computed_in(scale.dtype)
        divide = scalar.div if factor is None else scalar.mul
        quotient = divide(ex.cast(value, kind), ex.cast(scale, kind))
        if steps.dtype in SMALL_FLOATS:
            return narrowed(scalar.add(quotient, ex.cast(zero[0], kind)) if zero else quotient, steps.dtype, saturate)
        return saturated(quotient, steps.dtype, *zero)

    return b.elementwise(rounded, x, steps.scale if factor is None else factor, *_present(steps.zero))


def _reciprocal(b: LoweringBuilder, scale: npt.NDArray[np.float64]) -> Node | None:
    """1 / scale in f32; None where that would not be an ordinary number."""
    ordinary = bool(np.all((scale > 2.0**-100) & (scale < 2.0**100)))
    return b.constant((1.0 / scale).astype(np.float32)) if ordinary else None


def saturated(value: Expr, dtype: DType, *zero: Expr) -> Expr:
    """The float `value` rounded to an integer, a zero point (none: 0) added, and limited to what `dtype` holds."""
    low, high = limits(dtype)
    if not zero or isinstance(zero[0], Lit):
        at = int(zero[0].value) if zero and isinstance(zero[0], Lit) else 0
        return ex.cast(scalar.add(scalar.round_within(value, low - at, high - at), float(at)), dtype)
    shifted = scalar.add(scalar.round_half_even(value), ex.cast(zero[0], value.dtype))
    return ex.cast(scalar.clip(shifted, low, high), dtype)


def dequantised(b: LoweringBuilder, x: Node, steps: Steps, dtype: DType | None = None) -> Node:
    """(x - zero) * scale, in `dtype`, by default the scale's type. Computed in f32 at least and rounded once."""

    def value(stored: Expr, scale: Expr, *zero: Expr) -> Expr:
        kind = _computed_in(scale.dtype)
        wide = ex.cast(stored, I32) if stored.dtype.is_integer else ex.cast(stored, kind)
        shifted = scalar.sub(wide, ex.cast(zero[0], wide.dtype)) if zero else wide
        return ex.cast(scalar.mul(ex.cast(shifted, kind), ex.cast(scale, kind)), dtype or scale.dtype)

    out = b.elementwise(value, x, steps.scale, *_present(steps.zero))
    if dtype in (None, steps.scale.dtype) and x.dtype.is_integer and x.dtype.bits >= 8:  # narrower ones stay packed until they are read
        b.stored[out] = Stored(x, steps)
    return out


def _computed_in(dtype: DType) -> DType:
    return F64 if dtype == F64 else F32


def _present(x: Node | None) -> tuple[Node, ...]:
    return () if x is None else (x,)


def _quantise(b: LoweringBuilder, x: Node, scale: Node, zero: Node | None, axis: int, block: int, output_dtype: int, saturate: int) -> Node:
    named = require_dtype(output_dtype, b.where) if output_dtype else None
    kind = zero.dtype if zero is not None else named or U8
    if not kind.is_integer and kind not in SMALL_FLOATS:
        raise b.invalid(f"quantisation to {kind}")
    if named not in (None, kind):
        raise b.invalid(f"output_dtype is {named}, but the zero point is {kind}")
    return quantised(b, x, steps_of(b, x, scale, zero, kind, axis, block), bool(saturate))


@lowers("QuantizeLinear", since=10)
def quantize_linear_10(b: LoweringBuilder, x: Node, y_scale: Node, y_zero_point: Node | None = None) -> Node:
    """x in steps of one scale."""
    return _quantise(b, x, y_scale, y_zero_point, 0, 0, 0, 1)


@lowers("QuantizeLinear", since=1, domain="com.microsoft")
@lowers("QuantizeLinear", since=13)
def quantize_linear_13(b: LoweringBuilder, x: Node, y_scale: Node, y_zero_point: Node | None = None, *, axis: int = 1) -> Node:
    """x in steps of one scale, or of one for each place on `axis`."""
    return _quantise(b, x, y_scale, y_zero_point, axis, 0, 0, 1)


@lowers("QuantizeLinear", since=19)
def quantize_linear_19(
    b: LoweringBuilder, x: Node, y_scale: Node, y_zero_point: Node | None = None, *, axis: int = 1, saturate: int = 1
) -> Node:
    """x in steps of one scale, or of one for each place on `axis`. saturate: for 8-bit floats."""
    return _quantise(b, x, y_scale, y_zero_point, axis, 0, 0, saturate)


@lowers("QuantizeLinear", since=21)
def quantize_linear_21(
    b: LoweringBuilder,
    x: Node,
    y_scale: Node,
    y_zero_point: Node | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
) -> Node:
    """x in steps of one scale, of one for each place on `axis`, or for blocks along it. saturate: for 8-bit floats."""
    return _quantise(b, x, y_scale, y_zero_point, axis, block_size, output_dtype, saturate)


@lowers("QuantizeLinear", since=(23, 24, 25, 28))
def quantize_linear(
    b: LoweringBuilder,
    x: Node,
    y_scale: Node,
    y_zero_point: Node | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Node:
    """x in steps of one scale, of one for each place on `axis`, or for blocks along it.

    precision: the type to divide in, here never less than f32. saturate: for 8-bit floats.
    """
    wide = b.cast(y_scale, require_dtype(precision, b.where)) if precision else y_scale
    return _quantise(b, x, wide, y_zero_point, axis, block_size, output_dtype, saturate)


@lowers("DequantizeLinear", since=10)
def dequantize_linear_10(b: LoweringBuilder, x: Node, x_scale: Node, x_zero_point: Node | None = None) -> Node:
    """The numbers that x stands for, with one scale."""
    return dequantised(b, x, steps_of(b, x, x_scale, x_zero_point, x.dtype))


@lowers("DequantizeLinear", since=1, domain="com.microsoft")
@lowers("DequantizeLinear", since=(13, 19))
def dequantize_linear_13(b: LoweringBuilder, x: Node, x_scale: Node, x_zero_point: Node | None = None, *, axis: int = 1) -> Node:
    """The numbers that x stands for, with one scale, or one for each place on `axis`."""
    return dequantised(b, x, steps_of(b, x, x_scale, x_zero_point, x.dtype, axis))


@lowers("DequantizeLinear", since=21)
def dequantize_linear_21(
    b: LoweringBuilder, x: Node, x_scale: Node, x_zero_point: Node | None = None, *, axis: int = 1, block_size: int = 0
) -> Node:
    """The numbers that x stands for, with one scale, one for each place on `axis`, or for blocks along it."""
    return dequantised(b, x, steps_of(b, x, x_scale, x_zero_point, x.dtype, axis, block_size))


@lowers("DequantizeLinear", since=(23, 24, 25, 28))
def dequantize_linear(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Node:
    """The numbers that x stands for, with one scale, one for each place on `axis`, or for blocks along it."""
    kind = require_dtype(output_dtype, b.where) if output_dtype else None
    return dequantised(b, x, steps_of(b, x, x_scale, x_zero_point, x.dtype, axis, block_size), kind)
