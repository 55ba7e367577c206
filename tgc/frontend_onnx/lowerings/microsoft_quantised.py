"""com.microsoft: operators on quantised tensors, which ONNX Runtime's quantiser writes. Each is the plain operator between steps."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.activations import leaky_relu
from tgc.frontend_onnx.lowerings.integer_products import integer_matmul, requantised
from tgc.frontend_onnx.lowerings.normalization import softmax, softmax_1
from tgc.frontend_onnx.lowerings.pooling import average_pool
from tgc.frontend_onnx.lowerings.quantise import dequantised, quantised
from tgc.frontend_onnx.lowerings.reductions import mean
from tgc.frontend_onnx.lowerings.spatial import POOL_WINDOWS, PoolWindows
from tgc.frontend_onnx.lowerings.taking import repeated
from tgc.frontend_onnx.quantisation import Steps
from tgc.frontend_onnx.registry import Function, lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32, U8, DType
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node
from tgc.ir.ops import Op

MICROSOFT = "com.microsoft"


def _steps(b: LoweringBuilder, scale: Node, zero: Node | None, dtype: DType) -> Steps:
    return Steps(b.reshape(scale, ()), None if zero is None else b.reshape(zero, ()), dtype if zero is None else zero.dtype)


def _numbers(b: LoweringBuilder, x: Node, scale: Node, zero: Node | None) -> Node:
    return dequantised(b, x, _steps(b, scale, zero, x.dtype))


def _binary(op_type: str, op: Op) -> Function:
    @lowers(op_type, since=1, domain=MICROSOFT)
    def lower(
        b: LoweringBuilder,
        x: Node,
        x_scale: Node,
        x_zero_point: Node | None,
        y: Node,
        y_scale: Node,
        y_zero_point: Node | None,
        out_scale: Node,
        out_zero_point: Node | None = None,
    ) -> Node:
        out = b.apply(op, _numbers(b, x, x_scale, x_zero_point), _numbers(b, y, y_scale, y_zero_point))
        return quantised(b, out, _steps(b, out_scale, out_zero_point, x.dtype))

    return lower


BINARY = (_binary("QLinearAdd", ops.ADD), _binary("QLinearMul", ops.MUL))


def _between(
    b: LoweringBuilder, function: Callable[[Node], Node], x: Node, x_scale: Node, x_zero: Node | None, y_scale: Node, y_zero: Node | None
) -> Node:
    """`function` of the numbers that x stands for, stored in the steps of y."""
    return quantised(b, function(_numbers(b, x, x_scale, x_zero)), _steps(b, y_scale, y_zero, x.dtype))


@lowers("QLinearSigmoid", since=1, domain=MICROSOFT)
def qlinear_sigmoid(
    b: LoweringBuilder, x: Node, x_scale: Node, x_zero_point: Node | None, y_scale: Node, y_zero_point: Node | None = None
) -> Node:
    """1 / (1 + exp(-x))."""
    return _between(b, lambda v: b.elementwise(scalar.sigmoid, v), x, x_scale, x_zero_point, y_scale, y_zero_point)


@lowers("QLinearLeakyRelu", since=1, domain=MICROSOFT)
def qlinear_leaky_relu(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node | None,
    y_scale: Node,
    y_zero_point: Node | None = None,
    *,
    alpha: float = 0.01,
) -> Node:
    """x where x >= 0, else alpha * x."""
    return _between(b, lambda v: leaky_relu(b, v, alpha=alpha), x, x_scale, x_zero_point, y_scale, y_zero_point)


@lowers("QLinearSoftmax", since=1, domain=MICROSOFT)
def qlinear_softmax(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node | None,
    y_scale: Node,
    y_zero_point: Node | None = None,
    *,
    axis: int = -1,
    opset: int,
) -> Node:
    """Softmax along `axis`; in opsets before 13 over that axis and all after it together."""

    def function(v: Node) -> Node:
        return softmax(b, v, axis=axis) if opset >= 13 else softmax_1(b, v, axis=axis)

    return _between(b, function, x, x_scale, x_zero_point, y_scale, y_zero_point)


@lowers("QLinearAveragePool", since=1, domain=MICROSOFT)
def qlinear_average_pool(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node | None,
    y_scale: Node,
    y_zero_point: Node | None = None,
    *,
    channels_last: int = 0,
    count_include_pad: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node:
    """The mean of each window of X [N, C, *spatial], or [N, *spatial, C] where `channels_last` is set."""

    def function(v: Node) -> Node:
        return average_pool(b, v, count_include_pad=count_include_pad, windows=windows)

    def pooled(v: Node) -> Node:
        return channels_to_end(b, function(channels_to_front(b, v))) if channels_last else function(v)

    return _between(b, pooled, x, x_scale, x_zero_point, y_scale, y_zero_point)


def channels_to_front(b: LoweringBuilder, x: Node) -> Node:
    """[N, *spatial, C] -> [N, C, *spatial]."""
    rank = len(x.shape)
    return b.permute(x, [0, rank - 1, *range(1, rank - 1)])


def channels_to_end(b: LoweringBuilder, x: Node) -> Node:
    """[N, C, *spatial] -> [N, *spatial, C]."""
    return b.permute(x, [0, *range(2, len(x.shape)), 1])


@lowers("QLinearGlobalAveragePool", since=1, domain=MICROSOFT)
def qlinear_global_average_pool(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    y_scale: Node,
    y_zero_point: Node,
    *,
    channels_last: int = 0,
) -> Node:
    """The mean over the spatial axes of X [N, C, *spatial], or [N, *spatial, C]."""
    axes = range(1, len(x.shape) - 1) if channels_last else range(2, len(x.shape))
    return _between(b, lambda v: mean(b, v, axes), x, x_scale, x_zero_point, y_scale, y_zero_point)


@lowers("QLinearReduceMean", since=1, domain=MICROSOFT)
def qlinear_reduce_mean(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node | None,
    y_scale: Node,
    y_zero_point: Node | None = None,
    *,
    axes: tuple[int, ...],
    keepdims: int = 1,
) -> Node:
    """The mean over `axes`."""

    def function(v: Node) -> Node:
        out = mean(b, v, axes)
        return out if keepdims else b.squeeze(out, axes)

    return _between(b, function, x, x_scale, x_zero_point, y_scale, y_zero_point)


@lowers("QLinearConcat", since=1, domain=MICROSOFT)
def qlinear_concat(b: LoweringBuilder, y_scale: Node, y_zero_point: Node, *xs: Node, axis: int) -> Node:
    """Tensors, each followed by its scale and zero point, one after the other in the steps of y."""
    if not xs or len(xs) % 3:
        raise b.invalid(f"{len(xs)} inputs after the scale and the zero point, which should come in threes")
    steps = _steps(b, y_scale, y_zero_point, y_zero_point.dtype)
    groups = [(xs[n], _steps(b, xs[n + 1], xs[n + 2], xs[n].dtype)) for n in range(0, len(xs), 3)]
    return b.concat([x if own == steps else quantised(b, dequantised(b, x, own), steps) for x, own in groups], axis)


@lowers("QLinearWhere", since=1, domain=MICROSOFT)
def qlinear_where(
    b: LoweringBuilder,
    condition: Node,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    y: Node,
    y_scale: Node,
    y_zero_point: Node,
    out_scale: Node,
    out_zero_point: Node,
) -> Node:
    """x where the condition holds, else y."""
    chosen = b.where_(condition, _numbers(b, x, x_scale, x_zero_point), _numbers(b, y, y_scale, y_zero_point))
    return quantised(b, chosen, _steps(b, out_scale, out_zero_point, x.dtype))


@lowers("QGemm", since=1, domain=MICROSOFT)
def qgemm(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    w: Node,
    w_scale: Node,
    w_zero_point: Node,
    bias: Node | None = None,
    y_scale: Node | None = None,
    y_zero_point: Node | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Node:
    """alpha * X W plus a bias in steps of alpha * x_scale * w_scale; f32 where y has no scale."""
    left, right = b.swap(x, 0, 1) if transA else x, b.swap(w, 0, 1) if transB else w
    total = integer_matmul(b, left, right, b.reshape(x_zero_point, ()), _each_column(b, w_zero_point))
    summed = total if bias is None else b.add(total, bias)
    first, second = b.mul(b.reshape(x_scale, ()), b.scalar(alpha, x_scale.dtype)), _each_column(b, w_scale)
    if y_scale is None:
        return b.mul(b.cast(summed, x_scale.dtype), b.mul(first, second))
    return requantised(b, summed, (first, second), _steps(b, y_scale, y_zero_point, x.dtype))


def _each_column(b: LoweringBuilder, each: Node) -> Node:
    return b.reshape(each, ()) if each.shape == (1,) else each


@lowers("MatMulNBits", since=1, domain=MICROSOFT)
def mat_mul_n_bits(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    scales: Node,
    zero_points: Node | None = None,
    g_idx: Node | None = None,
    bias: Node | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
) -> Node:
    """X [.., K] times the transpose of weights [N, K] of 2, 4 or 8 bits, with one scale and zero point for each block of K.

    w: [N, blocks, block_size * bits / 8] u8, the low bits first. zero_points: packed so for each row, or in the scales' type.
    """
    if bits not in (2, 4, 8):
        raise b.unsupported(f"weights of {bits} bits")
    if g_idx is not None:
        raise b.unsupported("g_idx: blocks in an order of their own")
    blocks = -(-K // block_size)
    stored = b.reshape(unpacked(b, b.reshape(w, (N, blocks * block_size * bits // 8)), bits), (N, blocks, block_size))
    step = b.reshape(scales, (N, blocks, 1))
    zero = _zero_points(b, zero_points, N, blocks, bits, step.dtype)
    values = b.mul(b.sub(b.cast(stored, step.dtype), zero), step)
    whole = b.narrow(b.reshape(values, (N, blocks * block_size)), 1, 0, K)
    out = b.reshape(b.matmul(b.reshape(x, (prod(x.shape[:-1]), K)), b.swap(whole, 0, 1)), (*x.shape[:-1], N))
    return out if bias is None else b.add(out, bias)


def _zero_points(b: LoweringBuilder, zero_points: Node | None, rows: int, blocks: int, bits: int, dtype: DType) -> Node:
    if zero_points is None:
        return b.scalar(1 << (bits - 1), dtype)
    if zero_points.dtype != U8:
        return b.reshape(zero_points, (rows, blocks, 1))
    packed = b.reshape(zero_points, (rows, -(-blocks * bits // 8)))
    return b.cast(b.reshape(b.narrow(unpacked(b, packed, bits), 1, 0, blocks), (rows, blocks, 1)), dtype)


def unpacked(b: LoweringBuilder, x: Node, bits: int) -> Node:
    """[.., n] u8 -> [.., n * 8 / bits] u8: the fields of each byte, the low one first."""
    if bits == 8:
        return x
    axis, each = len(x.shape) - 1, 8 // bits

    def field(byte: Expr) -> Expr:
        shift = scalar.mul(scalar.mod(ex.cast(Coordinate(axis), I32), each), bits)
        return ex.cast(scalar.bit_and(ex.apply(ops.SHR, ex.cast(byte, I32), shift), (1 << bits) - 1), U8)

    return b.elementwise(field, repeated(b, x, axis, each))
