"""Normalization: means and scales over some axes, then pointwise work. Divisions are done once for each row, not each element."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.lowerings.reductions import largest_index, lp_norm, mean, total
from tgc.frontend_onnx.registry import lowers
from tgc.frontend_onnx.tensors import require_dtype
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32, DType
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node


def per_channel(b: LoweringBuilder, values: Node, rank: int) -> Node:
    """`values` [C] as [1, C, 1..], to broadcast over a tensor of `rank` axes."""
    return b.reshape(values, (1, values.shape[0], *(1,) * (rank - 2))) if rank > 1 else values


def _scale_shift(b: LoweringBuilder, x: Node, stats: Sequence[Node], epsilon: float) -> Node:
    """x * s + t with s = scale / sqrt(var + epsilon) and t = bias - mean * s, both [C] and usually constant."""
    scale, bias, mean_, variance = stats
    factor = b.elementwise(lambda g, v: scalar.mul(g, scalar.rsqrt(scalar.add(v, epsilon))), scale, variance)
    shift = b.elementwise(lambda t, m, s: scalar.sub(t, scalar.mul(m, s)), bias, mean_, factor)
    rank = len(x.shape)
    work = b.cast(x, factor.dtype)
    out = b.elementwise(lambda a, s, t: scalar.add(scalar.mul(a, s), t), work, per_channel(b, factor, rank), per_channel(b, shift, rank))
    return b.cast(out, x.dtype)


@lowers("BatchNormalization", since=7)
def batch_normalization_7(
    b: LoweringBuilder,
    x: Node,
    scale: Node,
    bias: Node,
    mean_: Node,
    var: Node,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
) -> Node:
    """X [N, C, *spatial]; `spatial` 0 means statistics [C, *spatial] of each activation."""
    if spatial:
        return _inference(b, x, (scale, bias, mean_, var), epsilon, momentum)
    lifted = [b.unsqueeze(s, (0,)) for s in (scale, bias, mean_, var)]
    return b.elementwise(
        lambda a, g, t, m, v: scalar.add(scalar.mul(scalar.sub(a, m), scalar.mul(g, scalar.rsqrt(scalar.add(v, epsilon)))), t), x, *lifted
    )


@lowers("BatchNormalization", since=9)
def batch_normalization_9(
    b: LoweringBuilder, x: Node, scale: Node, bias: Node, mean_: Node, var: Node, *, epsilon: float = 1e-5, momentum: float = 0.9
) -> Node:
    """X [N, C, *spatial], the others [C]."""
    return _inference(b, x, (scale, bias, mean_, var), epsilon, momentum)


def _inference(b: LoweringBuilder, x: Node, stats: Sequence[Node], epsilon: float, _momentum: float) -> Node:
    if len([name for name in b.outputs if name]) > 1:
        raise b.unsupported("outputs of training", "export the model for inference")
    return _scale_shift(b, x, stats, epsilon)


@lowers("BatchNormalization", since=(14, 15))
def batch_normalization(
    b: LoweringBuilder,
    x: Node,
    scale: Node,
    bias: Node,
    mean_: Node,
    var: Node,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Node | tuple[Node, ...]:
    """X [N, C, *spatial], the others [C]. In training mode the batch's own statistics, and the running ones updated."""
    if not training_mode:
        return _inference(b, x, (scale, bias, mean_, var), epsilon, momentum)
    axes = [d for d in range(len(x.shape)) if d != 1]
    work = b.cast(x, mean_.dtype)
    batch_mean = mean(b, work, axes)
    batch_var = mean(b, _square_of(b, b.sub(work, batch_mean)), axes)
    now = [b.reshape(s, mean_.shape) for s in (batch_mean, batch_var)]
    running = [
        b.elementwise(lambda old, new: scalar.add(scalar.mul(old, momentum), scalar.mul(new, 1 - momentum)), old, new)
        for old, new in zip((mean_, var), now, strict=True)
    ]
    return (_scale_shift(b, x, (scale, bias, *now), epsilon), *running)


def _square_of(b: LoweringBuilder, x: Node) -> Node:
    return b.mul(x, x)


def standardized(b: LoweringBuilder, x: Node, axes: Sequence[int], epsilon: float) -> tuple[Node, Node, Node]:
    """(x - mean) / sqrt(variance + epsilon) over `axes`, the mean, and the reciprocal square root; the latter two keep their axes.

    Two passes: the variance is the mean of squared deviations, which loses nothing where the mean is large.
    """
    center = mean(b, x, axes)
    deviation = b.sub(x, center)
    inverse = b.elementwise(lambda v: scalar.rsqrt(scalar.add(v, epsilon)), mean(b, _square_of(b, deviation), axes))
    return b.mul(deviation, inverse), center, inverse


@lowers("InstanceNormalization", since=(6, 22))
def instance_normalization(b: LoweringBuilder, x: Node, scale: Node, bias: Node, *, epsilon: float = 1e-5) -> Node:
    """X [N, C, *spatial] by the statistics of each channel of each instance; scale, B [C]."""
    rank = len(x.shape)

    def normalize(wide: Node, scale_: Node, bias_: Node) -> Node:
        out = standardized(b, wide, range(2, rank), epsilon)[0]
        return b.add(b.mul(out, per_channel(b, scale_, rank)), per_channel(b, bias_, rank))

    return in_single(b, normalize, x, scale, bias)


@lowers("LayerNormalization", since=17)
def layer_normalization(
    b: LoweringBuilder, x: Node, scale: Node, bias: Node | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Node | tuple[Node, ...]:
    """Over the axes from `axis` on; statistics in `stash_type`. Outputs Y, and the mean and 1 / deviation where asked for."""
    axes = range(b.axis(axis, len(x.shape)), len(x.shape))
    work = _stash(b, stash_type)
    out, center, inverse = standardized(b, b.cast(x, work), axes, epsilon)
    y = b.mul(b.cast(out, x.dtype), scale)
    y = y if bias is None else b.add(y, bias)
    return (y, center, inverse)[: max(1, len(b.outputs))] if len(b.outputs) > 1 else y


def _stash(b: LoweringBuilder, stash_type: int) -> DType:
    return require_dtype(stash_type, b.where)


@lowers("RMSNormalization", since=23)
def rms_normalization(b: LoweringBuilder, x: Node, scale: Node, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Node:
    """x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on."""
    axes = range(b.axis(axis, len(x.shape)), len(x.shape))
    wide = b.cast(x, _stash(b, stash_type))
    inverse = b.elementwise(lambda v: scalar.rsqrt(scalar.add(v, epsilon)), mean(b, _square_of(b, wide), axes))
    return b.mul(b.cast(b.mul(wide, inverse), scale.dtype), scale)


@lowers("GroupNormalization", since=18)
def group_normalization_18(b: LoweringBuilder, x: Node, scale: Node, bias: Node, *, num_groups: int, epsilon: float = 1e-5) -> Node:
    """X [N, C, *spatial] by the statistics of each of `num_groups` groups of channels; scale and bias [num_groups]."""
    per = x.shape[1] // num_groups
    wide = [b.reshape(b.expand(b.unsqueeze(v, (1,)), (num_groups, per)), (x.shape[1],)) for v in (scale, bias)]
    return _grouped(b, x, wide[0], wide[1], num_groups, epsilon, None)


@lowers("GroupNormalization", since=21)
def group_normalization(
    b: LoweringBuilder, x: Node, scale: Node, bias: Node, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Node:
    """The same with scale and bias [C]; statistics in `stash_type`."""
    return _grouped(b, x, scale, bias, num_groups, epsilon, _stash(b, stash_type))


def _grouped(b: LoweringBuilder, x: Node, scale: Node, bias: Node, groups: int, epsilon: float, work: DType | None) -> Node:
    if groups < 1 or x.shape[1] % groups:
        raise b.invalid(f"{x.shape[1]} channels in {groups} groups")
    rank = len(x.shape)
    wide = b.reshape(b.cast(x, work or x.dtype), (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    out = b.cast(b.reshape(standardized(b, wide, range(2, rank + 1), epsilon)[0], x.shape), x.dtype)
    return b.add(b.mul(out, per_channel(b, scale, rank)), per_channel(b, bias, rank))


@lowers("LRN", since=(1, 13))
def lrn(b: LoweringBuilder, x: Node, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Node:
    """X [N, C, *spatial] / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta."""
    before, rank = (size - 1) // 2, len(x.shape)

    def normalize(wide: Node) -> Node:
        edge = [0] * rank
        low, high = edge.copy(), edge.copy()
        low[1], high[1] = before, size - 1 - before
        squares = b.window(b.pad(_square_of(b, wide), low, high), 1, size)
        near = b.reduce(ops.ADD, squares, (rank,), keepdims=False)
        return b.elementwise(lambda a, t: scalar.div(a, power(scalar.add(scalar.mul(t, alpha / size), bias), beta)), wide, near)

    return in_single(b, normalize, x)


def power(base: Expr, exponent: float) -> Expr:
    """A positive base to a constant exponent; for quarters up to 1 by square roots, which are exact and cheap."""
    root = scalar.sqrt(base)
    match exponent:
        case 0.5:
            return root
        case 0.25:
            return scalar.sqrt(root)
        case 0.75:
            return scalar.mul(root, scalar.sqrt(root))
        case 1.0:
            return base
    return scalar.pow(base, exponent)


@lowers("LpNormalization", since=(1, 22))
def lp_normalization(b: LoweringBuilder, x: Node, *, axis: int = -1, p: int = 2) -> Node:
    """x divided by its p-norm along `axis`; 0 where the norm is 0."""

    def normalize(wide: Node) -> Node:
        norm = lp_norm(b, wide, (b.axis(axis, len(x.shape)),), p)
        inverse = b.elementwise(lambda n: scalar.where(scalar.eq(n, 0.0), 0.0, scalar.reciprocal(n)), norm)
        return b.mul(wide, inverse)

    return in_single(b, normalize, x)


def _softmax(b: LoweringBuilder, x: Node, axes: Sequence[int]) -> Node:
    def rows(wide: Node) -> Node:
        top = b.reduce(ops.MAX, wide, axes)
        powers = b.elementwise(lambda a, m: scalar.exp(scalar.sub(a, m)), wide, top)
        return b.mul(powers, b.elementwise(scalar.reciprocal, total(b, powers, axes)))

    return in_single(b, rows, x)


def _log_softmax(b: LoweringBuilder, x: Node, axes: Sequence[int]) -> Node:
    def rows(wide: Node) -> Node:
        shifted = b.sub(wide, b.reduce(ops.MAX, wide, axes))
        sums = total(b, b.elementwise(scalar.exp, shifted), axes)
        return b.sub(shifted, b.elementwise(scalar.log, sums))

    return in_single(b, rows, x)


def _trailing(b: LoweringBuilder, x: Node, axis: int) -> range:
    """Until opset 12 a row is everything from `axis` on."""
    rank = len(x.shape)
    return range(rank if axis == rank else b.axis(axis, rank), rank)


@lowers("Softmax", since=(1, 11))
def softmax_1(b: LoweringBuilder, x: Node, *, axis: int = 1) -> Node:
    """exp(x) / sum(exp(x)) over all axes from `axis` on."""
    return _softmax(b, x, _trailing(b, x, axis))


@lowers("Softmax", since=13)
def softmax(b: LoweringBuilder, x: Node, *, axis: int = -1) -> Node:
    """exp(x) / sum(exp(x)) along `axis`."""
    return _softmax(b, x, (b.axis(axis, len(x.shape)),))


@lowers("LogSoftmax", since=(1, 11))
def log_softmax_1(b: LoweringBuilder, x: Node, *, axis: int = 1) -> Node:
    """log(softmax(x)) over all axes from `axis` on."""
    return _log_softmax(b, x, _trailing(b, x, axis))


@lowers("LogSoftmax", since=13)
def log_softmax(b: LoweringBuilder, x: Node, *, axis: int = -1) -> Node:
    """log(softmax(x)) along `axis`."""
    return _log_softmax(b, x, (b.axis(axis, len(x.shape)),))


@lowers("Hardmax", since=(1, 11))
def hardmax_1(b: LoweringBuilder, x: Node, *, axis: int = 1) -> Node:
    """1 at the first largest of all elements from `axis` on, 0 elsewhere."""
    inner = prod(x.shape[d] for d in _trailing(b, x, axis))
    rows = b.reshape(x, (prod(x.shape) // max(1, inner), inner))
    return b.reshape(hardmax(b, rows, axis=1), x.shape)


@lowers("Hardmax", since=13)
def hardmax(b: LoweringBuilder, x: Node, *, axis: int = -1) -> Node:
    """1 at the first largest element along `axis`, 0 elsewhere."""
    along = b.axis(axis, len(x.shape))
    place = ex.cast(Coordinate(along), I32)
    best = b.broadcast_to(largest_index(b, x, along), x.shape)
    return b.elementwise(lambda i: ex.cast(scalar.eq(place, i), x.dtype), best)


@lowers("MeanVarianceNormalization", since=(9, 13))
def mean_variance_normalization(b: LoweringBuilder, x: Node, *, axes: tuple[int, ...] = (0, 2, 3)) -> Node:
    """(x - mean) / sqrt(variance) over `axes`; the specification adds 1e-9 to the deviation."""

    def normalize(wide: Node) -> Node:
        over = b.axes(axes, len(x.shape))
        deviation = b.sub(wide, mean(b, wide, over))
        variance = mean(b, _square_of(b, deviation), over)
        return b.mul(deviation, b.elementwise(lambda v: scalar.reciprocal(scalar.add(scalar.sqrt(v), 1e-9)), variance))

    return in_single(b, normalize, x)
