"""Reductions over axes. The axes are an attribute until opset 17 (ReduceSum: 12), an optional input from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.registry import Function, lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32, I64
from tgc.ir.expr import Coordinate
from tgc.ir.graph import Node
from tgc.ir.lengths import Length

Axes = Sequence[int]
Reduction = Callable[[LoweringBuilder, Node, Axes], Node]


def total(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    """The sum over `axes`, which stay with extent 1."""
    return b.reduce(ops.ADD, x, axes)


def mean(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    """The mean over `axes`, which stay with extent 1; integers round toward zero."""
    count = prod(x.shape[a] for a in axes)
    if not x.dtype.is_float:
        divisor = b.maximum(b.extent(count), b.scalar(1, I64))
        return b.elementwise(scalar.int_div, total(b, x, axes), b.cast(divisor, x.dtype))
    if isinstance(count, Length):
        return in_single(b, lambda wide: b.div(total(b, wide, axes), b.cast(b.extent(count), wide.dtype)), x)
    share = 1 / count if count else float("nan")
    return in_single(b, lambda wide: b.elementwise(lambda a: scalar.mul(a, share), total(b, wide, axes)), x)


def sum_of_squares(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    """The sum of x * x over `axes`."""
    return total(b, b.mul(x, x), axes)


def lp_norm(b: LoweringBuilder, x: Node, axes: Axes, p: int) -> Node:
    """The p-norm over `axes`, which stay with extent 1: (sum |x|^p)^(1/p)."""
    if p == 1:
        return total(b, b.elementwise(scalar.abs, x), axes)
    if p == 2:
        return in_single(b, lambda wide: b.apply(ops.SQRT, sum_of_squares(b, wide, axes)), x)

    def norm(wide: Node) -> Node:
        powers = b.elementwise(lambda a: scalar.pow(scalar.abs(a), p), wide)
        return b.elementwise(lambda a: scalar.pow(a, 1 / p), total(b, powers, axes))

    return in_single(b, norm, x)


def _largest(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    return b.reduce(ops.MAX, x, axes)


def smallest(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    """The least element over `axes`: the largest of what a decreasing one-to-one map gives, mapped back."""
    return flipped(b, b.reduce(ops.MAX, flipped(b, x), axes))


def flipped(b: LoweringBuilder, x: Node) -> Node:
    """`x` through a one-to-one, decreasing function that is its own inverse: -x, and on integers -1 - x, which no value overflows."""
    return b.elementwise(scalar.neg if x.dtype.is_float else scalar.bit_not, x)


def _product(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    return b.reduce(ops.MUL, x, axes)


def _l1(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    return lp_norm(b, x, axes, 1)


def _l2(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    return lp_norm(b, x, axes, 2)


def _log_sum(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    return in_single(b, lambda wide: b.elementwise(scalar.log, total(b, wide, axes)), x)


def log_sum_exp(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    """log(sum(exp(x))) over `axes`, the largest element taken out first so that nothing overflows."""

    def stable(wide: Node) -> Node:
        # An infinite maximum is not taken out: inf - inf has no value.
        top = b.elementwise(lambda m: scalar.where(scalar.is_finite(m), m, 0.0), b.reduce(ops.MAX, wide, axes))
        powers = b.elementwise(lambda a, m: scalar.exp(scalar.sub(a, m)), wide, top)
        return b.elementwise(lambda a, m: scalar.add(scalar.log(a), m), total(b, powers, axes), top)

    return in_single(b, stable, x)


def _sum_square(b: LoweringBuilder, x: Node, axes: Axes) -> Node:
    return in_single(b, lambda wide: sum_of_squares(b, wide, axes), x)


def _over(b: LoweringBuilder, x: Node, axes: Axes | None, keepdims: int, noop: int, reduction: Reduction) -> Node:
    """`reduction` over `axes`; with none named over all, or over no axis where `noop` is set: then only its pointwise part."""
    rank = len(x.shape)
    chosen = b.axes(axes, rank) if axes else () if noop else tuple(range(rank))
    out = reduction(b, x, chosen)
    return out if keepdims else b.squeeze(out, chosen)


def _by_attribute(op_type: str, since: tuple[int, ...], reduction: Reduction) -> Function:
    @lowers(op_type, since=since)
    def reduce(b: LoweringBuilder, x: Node, *, axes: tuple[int, ...] | None = None, keepdims: int = 1) -> Node:
        return _over(b, x, axes, keepdims, 0, reduction)

    return reduce


def _by_input(op_type: str, since: tuple[int, ...], reduction: Reduction) -> Function:
    @lowers(op_type, since=since)
    def reduce(b: LoweringBuilder, x: Node, axes: Node | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Node:
        named = None if axes is None else b.known_ints(axes, "axes")
        return _over(b, x, named, keepdims, noop_with_empty_axes, reduction)

    return reduce


_MANY: tuple[tuple[str, tuple[int, ...], tuple[int, ...], Reduction], ...] = (
    ("ReduceSum", (1, 11), (13,), total),
    ("ReduceMean", (1, 11, 13), (18,), mean),
    ("ReduceMax", (1, 11, 12, 13), (18, 20), _largest),
    ("ReduceMin", (1, 11, 12, 13), (18, 20), smallest),
    ("ReduceProd", (1, 11, 13), (18,), _product),
    ("ReduceL1", (1, 11, 13), (18,), _l1),
    ("ReduceL2", (1, 11, 13), (18,), _l2),
    ("ReduceLogSum", (1, 11, 13), (18, 28), _log_sum),
    ("ReduceLogSumExp", (1, 11, 13), (18, 28), log_sum_exp),
    ("ReduceSumSquare", (1, 11, 13), (18,), _sum_square),
)
REDUCTIONS = tuple(
    lowering
    for op_type, by_attribute, by_input, reduction in _MANY
    for lowering in (_by_attribute(op_type, by_attribute, reduction), _by_input(op_type, by_input, reduction))
)


def largest_index(b: LoweringBuilder, x: Node, axis: int, last: bool = False) -> Node:
    """The index along `axis` of the first (or last) largest element, i32; the axis stays with extent 1."""
    size = int(x.shape[axis])
    best = b.reduce(ops.MAX, x, (axis,))
    # In 32 bits, which vectors do well. The first hit is the one with the largest size - 1 - place.
    place = ex.cast(Coordinate(axis), I32)
    score = place if last else scalar.sub(size - 1, place)
    hits = b.elementwise(lambda a, m: scalar.where(scalar.eq(a, m), score, 0), x, best)
    found = b.reduce(ops.MAX, hits, (axis,))
    return found if last else b.elementwise(lambda i: scalar.sub(size - 1, i), found)


def _extreme_index(b: LoweringBuilder, x: Node, axis: int, keepdims: int, last: int) -> Node:
    along = b.axis(axis, len(x.shape))
    index = b.cast(largest_index(b, x, along, bool(last)), I64)
    return index if keepdims else b.squeeze(index, (along,))


@lowers("ArgMax", since=(1, 11))
def arg_max_1(b: LoweringBuilder, x: Node, *, axis: int = 0, keepdims: int = 1) -> Node:
    """Index of the first largest element along `axis`, i64."""
    return _extreme_index(b, x, axis, keepdims, 0)


@lowers("ArgMin", since=(1, 11))
def arg_min_1(b: LoweringBuilder, x: Node, *, axis: int = 0, keepdims: int = 1) -> Node:
    """Index of the first smallest element along `axis`, i64."""
    return _extreme_index(b, flipped(b, x), axis, keepdims, 0)


@lowers("ArgMax", since=(12, 13))
def arg_max(b: LoweringBuilder, x: Node, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Node:
    """Index of the first, or last, largest element along `axis`, i64."""
    return _extreme_index(b, x, axis, keepdims, select_last_index)


@lowers("ArgMin", since=(12, 13))
def arg_min(b: LoweringBuilder, x: Node, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Node:
    """Index of the first, or last, smallest element along `axis`, i64."""
    return _extreme_index(b, flipped(b, x), axis, keepdims, select_last_index)
