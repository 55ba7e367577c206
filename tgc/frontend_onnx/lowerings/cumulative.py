"""Running sums and products: log2(n) maps, each adding the tensor to itself shifted by a power of two.

W. D. Hillis and G. L. Steele, Data parallel algorithms, 1986.
"""

from __future__ import annotations

from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder, literal
from tgc.frontend_onnx.lowerings.values import known_axis
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops
from tgc.ir.graph import Node
from tgc.ir.ops import Op


@lowers("CumSum", since=(11, 14))
def cum_sum(b: LoweringBuilder, x: Node, axis: Node, *, exclusive: int = 0, reverse: int = 0) -> Node:
    """Sums of the elements up to each one along `axis`, itself left out where `exclusive`; from the end where `reverse`."""
    return running(b, ops.ADD, 0, x, known_axis(b, axis, len(x.shape)), bool(exclusive), bool(reverse))


@lowers("CumProd", since=26)
def cum_prod(b: LoweringBuilder, x: Node, axis: Node, *, exclusive: int = 0, reverse: int = 0) -> Node:
    """Products of the elements up to each one along `axis`, itself left out where `exclusive`; from the end where `reverse`."""
    return running(b, ops.MUL, 1, x, known_axis(b, axis, len(x.shape)), bool(exclusive), bool(reverse))


def running(b: LoweringBuilder, op: Op, identity: int, x: Node, axis: int, exclusive: bool, reverse: bool) -> Node:
    size = x.shape[axis]
    if live.is_open(x.shape):
        known = live.settled(b, live.masked(b, x, (axis,), literal(identity, x.dtype)))
        return live.opened(b, running(b, op, identity, known, axis, exclusive, reverse), x.shape)
    out = _shifted(b, x, axis, min(1, size), identity, reverse) if exclusive else x
    shift = 1
    while shift < size:
        out = b.apply(op, out, _shifted(b, out, axis, shift, identity, reverse))
        shift *= 2
    return out


def _shifted(b: LoweringBuilder, x: Node, axis: int, by: int, fill: int, reverse: bool) -> Node:
    """`x` moved along `axis` by `by` elements, toward the start where `reverse`, `fill` where nothing moves to."""
    low = [0] * len(x.shape)
    high = low.copy()
    low[axis], high[axis] = (-by, by) if reverse else (by, -by)
    return b.pad(x, low, high, fill)
