"""Convolutions and matrix products of quantised tensors, summed in 32-bit integers.

    sum (x - zx) (w - zw)  =  sum x w  -  zw sum x  -  zx sum w  +  n zx zw

The first sum is a contraction of the stored integers, which is what is scheduled as one. The others are row sums, most of them
over constants; where weights and their zero point are constants, the zero point is taken off the weights while compiling.
Padding a convolution with zx adds nothing to the left-hand side, as padding with zero should. Where zx is only known at run time, padding
is 0, which adds nothing to the first two sums, and the others are over those weights that fall on the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.contraction import checked_windows, convolve
from tgc.frontend_onnx.lowerings.quantise import limits, quantised, saturated, steps_of
from tgc.frontend_onnx.lowerings.spatial import WINDOWS, Windows
from tgc.frontend_onnx.quantisation import Steps, Stored
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I8, I16, I32, U8, DType
from tgc.ir.expr import Expr
from tgc.ir.graph import Node


def without_zero(b: LoweringBuilder, w: Node, zero: Node | None) -> tuple[Node, Node | None]:
    """`w` and a zero point, which is None where there is none, or it is 0, or could be taken off while compiling."""
    at = None if zero is None else fold(zero)
    if at is None or zero is None:
        return w, zero
    if not np.any(at):
        return w, None
    data = fold(w)
    if data is None:
        return w, zero
    shifted = data.astype(np.int32) - at.astype(np.int32)
    return b.constant(shifted.astype(_narrowest(shifted.min(initial=0), shifted.max(initial=0)).numpy)), None


def _narrowest(low: int, high: int) -> DType:
    fits = (kind for kind in (I8, U8, I16) if limits(kind)[0] <= low and high <= limits(kind)[1])
    return next(fits, I32)


def _product(
    b: LoweringBuilder,
    multiply: Callable[[Node, Node], Node],
    x: Node,
    w: Node,
    x_zero: Node | None,
    w_zero: Node | None,
    sums: tuple[Callable[[Node], Node], Callable[[Node], Node]],
    count: Node,
) -> Node:
    """The right-hand side of the equation above, i32. `sums`: of x and of w as the product's shape broadcasts them; `count` is n."""
    out = multiply(x, w)
    if w_zero is not None:
        out = b.sub(out, b.mul(b.cast(w_zero, I32), sums[0](x)))
    if x_zero is not None:
        out = b.sub(out, b.mul(b.cast(x_zero, I32), sums[1](w)))
    if x_zero is not None and w_zero is not None:
        out = b.add(out, b.mul(b.mul(b.cast(x_zero, I32), b.cast(w_zero, I32)), count))
    return out


def _total(b: LoweringBuilder, x: Node, axes: Sequence[int], keepdims: bool = True) -> Node:
    return b.reduce(ops.ADD, b.cast(x, I32), axes, keepdims)


def integer_matmul(b: LoweringBuilder, x: Node, w: Node, x_zero: Node | None, w_zero: Node | None) -> Node:
    """numpy.matmul of (x - x_zero) and (w - w_zero), i32. Zero points: one, or [.., M, 1] for rows of x and [.., 1, N] of w."""
    if len(x.shape) < 2 or len(w.shape) < 2:
        return _vectors(b, x, w, x_zero, w_zero)
    plain, w_left = without_zero(b, w, w_zero)
    x_left = None if x_zero is not None and _is_zero(x_zero) else x_zero
    sums = (lambda n: _total(b, n, (-1,)), lambda n: _total(b, n, (-2,)))

    def multiply(p: Node, q: Node) -> Node:
        if len(p.shape) > 2 and len(q.shape) == 2:  # one large product
            return b.reshape(b.matmul(b.reshape(p, (prod(p.shape[:-1]), p.shape[-1])), q, I32), (*p.shape[:-1], q.shape[1]))
        return b.matmul(p, q, I32)

    return _product(b, multiply, x, plain, x_left, w_left, sums, b.scalar(x.shape[-1], I32))


def _vectors(b: LoweringBuilder, x: Node, w: Node, x_zero: Node | None, w_zero: Node | None) -> Node:
    left = b.unsqueeze(x, (0,)) if len(x.shape) == 1 else x
    right = b.unsqueeze(w, (1,)) if len(w.shape) == 1 else w
    dropped = [-2] * (len(x.shape) == 1) + [-1] * (len(w.shape) == 1)
    return b.squeeze(integer_matmul(b, left, right, x_zero, w_zero), dropped)


def _is_zero(zero: Node) -> bool:
    known = fold(zero)
    return known is not None and not np.any(known)


def integer_conv(b: LoweringBuilder, x: Node, w: Node, x_zero: Node | None, w_zero: Node | None, windows: Windows) -> Node:
    """Convolution of (x - x_zero) and (w - w_zero), i32 [N, G*O, *out]. x_zero: one; w_zero: one or [G*O]."""
    axes = checked_windows(b, x, w, windows)
    low, high = (0, 0, *(a.low for a in axes)), (0, 0, *(a.high for a in axes))
    at_zero = None if x_zero is None or (known := fold(x_zero)) is None else int(known.reshape(-1)[0])
    padded = b.pad(x, low, high, at_zero or 0)
    channels = (1, w.shape[0], *(1,) * len(axes))
    filters = (w.shape[0], *(1,) * (len(w.shape) - 1))
    plain, left = without_zero(b, w, None if w_zero is None else b.reshape(w_zero, filters if prod(w_zero.shape) > 1 else ()))
    ones = b.full(w.shape, 1, I8)
    shift = None if x_zero is None or at_zero == 0 else b.reshape(b.cast(x_zero, I32), ())
    spread = None if left is None else b.reshape(left, channels if prod(left.shape) > 1 else ())

    def within(n: Node) -> Node:
        """The sum of the weights `n` [G*O, I, *kernel] that fall on the input, where padding does not stand for x_zero."""
        if at_zero is not None or not any((*low, *high)):
            return b.reshape(_total(b, n, range(1, len(w.shape))), channels)
        inside = b.pad(b.full((1, 1, *x.shape[2:]), 1, I32), low, high, 0)
        return convolve(b, inside, _total(b, n, (1,)), axes, 1, I32)

    sums = (lambda n: convolve(b, n, ones, axes, windows.group, I32), within)
    return _product(b, lambda p, q: convolve(b, p, q, axes, windows.group, I32), padded, plain, shift, spread, sums, within(ones))


def requantised(b: LoweringBuilder, total: Node, scales: Sequence[Node], steps: Steps) -> Node:
    """An i32 sum, worth the product of `scales`, as `steps` stores it. The scales become one factor, as ONNX Runtime has it."""
    factor = b.div(b.mul(scales[0], scales[1]), steps.scale)

    def rounded(value: Expr, scale: Expr, *zero: Expr) -> Expr:
        return saturated(scalar.mul(ex.cast(value, F32), ex.cast(scale, F32)), steps.dtype, *zero)

    return b.elementwise(rounded, total, factor, *(() if steps.zero is None else (steps.zero,)))


def _exact(left: Stored | None, right: Stored | None, terms: int) -> bool:
    """Whether a sum of `terms` products of two dequantised tensors can be taken in 32-bit integers: 8 bits each, one scale on the left."""
    if left is None or right is None or left.steps.scale.dtype != F32 or right.steps.scale.dtype != F32:
        return False
    narrow = left.x.dtype in (I8, U8) and right.x.dtype in (I8, U8)
    return narrow and prod(left.steps.scale.shape) == 1 and terms * 255 * 255 < 1 << 31


def quantised_conv(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    bias: Node | None,
    windows: Windows,
) -> Node | None:
    """Conv of two dequantised tensors as integers, scaled once: more exact than in floats. None where it cannot be done so."""
    left, right = b.stored.get(x), b.stored.get(w)
    if left is None or right is None or not _exact(left, right, prod(w.shape[1:])):
        return None
    each = right.steps.scale
    if prod(each.shape[1:]) != 1 or prod(each.shape) not in (1, w.shape[0]):
        return None
    if left.steps.zero is not None and fold(left.steps.zero) is None:
        return None
    w_zero = right.steps.zero if right.steps.zero is None else b.reshape(right.steps.zero, (prod(right.steps.zero.shape),))
    total = integer_conv(b, left.x, right.x, left.steps.zero, w_zero, windows)
    channels = (1, w.shape[0], *(1,) * (len(w.shape) - 2))
    scale = b.mul(left.steps.scale, b.reshape(each, channels if prod(each.shape) > 1 else ()))
    return _scaled_sum(b, total, scale, bias, channels)


def _scaled_sum(b: LoweringBuilder, total: Node, scale: Node, bias: Node | None, channels: tuple[int, ...]) -> Node:
    """total * scale + bias; a bias that is stored in those very steps is added to the integers."""
    stored = None if bias is None else b.stored.get(bias)
    if stored is not None and stored.x.dtype == I32 and _same(stored.steps, scale):
        return b.mul(b.cast(b.add(total, b.reshape(stored.x, channels)), F32), scale)
    out = b.mul(b.cast(total, F32), scale)
    return out if bias is None else b.add(out, b.reshape(bias, channels))


def _same(steps: Steps, scale: Node) -> bool:
    """Whether `steps` are known to be of `scale`, but for rounding, with no zero point."""
    ours, theirs = fold(steps.scale), fold(scale)
    if ours is None or theirs is None or not (steps.zero is None or _is_zero(steps.zero)):
        return False
    return ours.size in (1, theirs.size) and bool(np.allclose(ours.reshape(-1), theirs.reshape(-1), rtol=1e-6, atol=0))


def quantised_matmul(b: LoweringBuilder, x: Node, w: Node, bias: Node | None = None) -> Node | None:
    """x [.., M, K] times w [K, N], both dequantised, plus a bias [N], as integers, scaled once. None where it cannot be done so."""
    left, right = b.stored.get(x), b.stored.get(w)
    if left is None or right is None or len(x.shape) < 2 or len(w.shape) != 2 or not _exact(left, right, w.shape[0]):
        return None
    each = right.steps.scale
    if prod(each.shape) not in (1, w.shape[1]) or (prod(each.shape) > 1 and each.shape[-1] != w.shape[1]):
        return None
    if x.shape[-1] != w.shape[0] or (bias is not None and bias.shape not in ((w.shape[1],), (1, w.shape[1]))):
        return None
    total = integer_matmul(b, left.x, right.x, left.steps.zero, right.steps.zero)
    return _scaled_sum(b, total, b.mul(left.steps.scale, each), bias, (w.shape[1],))


def transposed(b: LoweringBuilder, x: Node) -> Node:
    """A matrix transposed, still known as what it is stored as."""
    out = b.swap(x, 0, 1)
    stored = b.stored.get(x)
    if stored is not None:
        scale, zero = (n if n is None or len(n.shape) < 2 else b.swap(n, 0, 1) for n in (stored.steps.scale, stored.steps.zero))
        assert scale is not None
        b.stored[out] = Stored(b.swap(stored.x, 0, 1), Steps(scale, zero, stored.steps.dtype))
    return out


@lowers("QLinearConv", since=10)
def qlinear_conv(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    w: Node,
    w_scale: Node,
    w_zero_point: Node,
    y_scale: Node,
    y_zero_point: Node,
    bias: Node | None = None,
    *,
    windows: Windows = WINDOWS,
) -> Node:
    """Conv of the numbers that x and w stand for; the bias [G*O], i32, is in steps of x_scale * w_scale."""
    total = integer_conv(b, x, w, x_zero_point, w_zero_point, windows)
    channels = (1, w.shape[0], *(1,) * (len(w.shape) - 2))
    summed = total if bias is None else b.add(total, b.reshape(b.cast(bias, I32), channels))
    steps = Steps(b.reshape(y_scale, ()), b.reshape(y_zero_point, ()), y_zero_point.dtype)
    spread = b.reshape(w_scale, channels if prod(w_scale.shape) > 1 else ())
    return requantised(b, summed, (b.reshape(x_scale, ()), spread), steps)


@lowers("ConvInteger", since=10)
def conv_integer(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    x_zero_point: Node | None = None,
    w_zero_point: Node | None = None,
    *,
    windows: Windows = WINDOWS,
) -> Node:
    """Convolution of integers, zero points taken off, i32."""
    return integer_conv(b, x, w, x_zero_point, w_zero_point, windows)


def _for_rows(b: LoweringBuilder, x: Node, each: Node) -> Node:
    """One for all, or one for each row of x [.., M, K], as [.., M, 1]."""
    if prod(each.shape) == 1:
        return b.reshape(each, ())
    return b.unsqueeze(each, (-1,)) if len(each.shape) == 1 else each


def _for_columns(b: LoweringBuilder, w: Node, each: Node) -> Node:
    """One for all, or one for each column of w [.., K, N], as [.., 1, N]."""
    if prod(each.shape) == 1:
        return b.reshape(each, ())
    return b.unsqueeze(each, (-2,)) if len(each.shape) == 1 else each


@lowers("QLinearMatMul", since=(10, 21))
def qlinear_mat_mul(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    w: Node,
    w_scale: Node,
    w_zero_point: Node,
    y_scale: Node,
    y_zero_point: Node,
) -> Node:
    """MatMul of the numbers that x and w stand for. Scales: one, or one for each row of x, column of w, row of the result."""
    total = integer_matmul(b, x, w, _for_rows(b, x, x_zero_point), _for_columns(b, w, w_zero_point))
    steps = Steps(_for_rows(b, x, y_scale), _for_rows(b, x, y_zero_point), y_zero_point.dtype)
    return requantised(b, total, (_for_rows(b, x, x_scale), _for_columns(b, w, w_scale)), steps)


@lowers("MatMulInteger", since=10)
def mat_mul_integer(b: LoweringBuilder, x: Node, w: Node, x_zero_point: Node | None = None, w_zero_point: Node | None = None) -> Node:
    """MatMul of integers, zero points taken off, i32."""
    x_zero = None if x_zero_point is None else _for_rows(b, x, x_zero_point)
    return integer_matmul(b, x, w, x_zero, None if w_zero_point is None else _for_columns(b, w, w_zero_point))


@lowers("MatMulIntegerToFloat", since=1, domain="com.microsoft")
def mat_mul_integer_to_float(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    x_scale: Node,
    w_scale: Node,
    x_zero_point: Node | None = None,
    w_zero_point: Node | None = None,
    bias: Node | None = None,
) -> Node:
    """MatMul of the numbers that x and w stand for, plus a bias, in floats."""
    total = mat_mul_integer(b, x, w, x_zero_point, w_zero_point)
    out = b.mul(b.cast(total, x_scale.dtype), b.mul(_for_rows(b, x, x_scale), _for_columns(b, w, w_scale)))
    return out if bias is None else b.add(out, bias)


@lowers("DynamicQuantizeMatMul", since=1, domain="com.microsoft")
def dynamic_quantize_mat_mul(
    b: LoweringBuilder, x: Node, w: Node, w_scale: Node, w_zero_point: Node | None = None, bias: Node | None = None
) -> Node:
    """MatMul of x, quantised to u8 by its own range, and of the numbers that w stands for, plus a bias."""
    stored, scale, zero = dynamically_quantised(b, x)
    return mat_mul_integer_to_float(b, stored, w, scale, w_scale, zero, w_zero_point, bias)


@lowers("DynamicQuantizeLinear", since=11)
def dynamically_quantised(b: LoweringBuilder, x: Node) -> tuple[Node, Node, Node]:
    """x as u8 by its own range, which is made to hold 0; the scale, and the zero point."""
    axes = range(len(x.shape))
    zero = b.scalar(0.0, x.dtype)
    high = b.maximum(b.reduce(ops.MAX, x, axes, keepdims=False), zero)
    low = b.minimum(b.elementwise(scalar.neg, b.reduce(ops.MAX, b.elementwise(scalar.neg, x), axes, keepdims=False)), zero)
    scale = b.elementwise(lambda h, n: scalar.where(scalar.eq(h, n), 1.0, scalar.div(scalar.sub(h, n), 255.0)), high, low)
    least = b.elementwise(lambda n, s: scalar.div(scalar.sub(0.0, n), s), low, scale)
    point = b.elementwise(lambda p: ex.cast(scalar.clip(scalar.round_half_even(p), 0, 255), U8), least)
    return quantised(b, x, steps_of(b, x, scale, point, U8)), scale, point
