"""TopK without a sort: an element's rank is how many others come before it, and output k is the element of rank k.

n * n comparisons and n * k selections, all of them independent: right for the short axes that models sort.
"""

from __future__ import annotations

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.reductions import flipped
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32, I64
from tgc.ir.expr import Coordinate, Expr, Lit
from tgc.ir.graph import Node


@lowers("TopK", since=1)
def top_k_1(b: LoweringBuilder, x: Node, *, k: int, axis: int = -1) -> tuple[Node, Node]:
    """The `k` largest elements along `axis`, largest first, and their places, i64."""
    return _top(b, x, k, axis, True)


@lowers("TopK", since=10)
def top_k_10(b: LoweringBuilder, x: Node, k: Node, *, axis: int = -1) -> tuple[Node, Node]:
    """The `k` largest elements along `axis`, largest first, and their places, i64."""
    return _top(b, x, _count(b, k), axis, True)


@lowers("TopK", since=(11, 24))
def top_k(b: LoweringBuilder, x: Node, k: Node, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Node, Node]:
    """The `k` largest or smallest elements along `axis`, in order also where that is not asked for; of equal ones the first."""
    return _top(b, x, _count(b, k), axis, bool(largest))


def _count(b: LoweringBuilder, k: Node) -> int:
    counts = b.extents(k, "K")
    if len(counts) != 1:
        raise b.invalid(f"K is {list(counts)}")
    return counts[0]


def _top(b: LoweringBuilder, x: Node, k: int, axis: int, largest: bool) -> tuple[Node, Node]:
    along = b.axis(axis, len(x.shape))
    if not 0 <= k <= x.shape[along]:
        raise b.invalid(f"the first {k} of {x.shape[along]} elements")
    to_end = [d for d in range(len(x.shape)) if d != along] + [along]
    back = [to_end.index(d) for d in range(len(to_end))]
    last = b.permute(x if largest else flipped(b, x), to_end)
    ranks = _ranks(b, last)
    values = _of_rank(b, ranks, last, k)
    places = b.cast(_of_rank(b, ranks, b.coordinate(last.shape, len(last.shape) - 1, I32), k), I64)
    return b.permute(values if largest else flipped(b, values), back), b.permute(places, back)


def _ranks(b: LoweringBuilder, x: Node) -> Node:
    """For each element, how many along the last axis are larger, or equal and before it: i32 of the shape of `x`."""
    rank = len(x.shape)
    own, other = (ex.cast(Coordinate(rank - 1 + d), I32) for d in (0, 1))

    def before(mine: Expr, theirs: Expr) -> Expr:
        tie = scalar.logical_and(scalar.eq(theirs, mine), scalar.lt(other, own))
        return ex.cast(scalar.logical_or(scalar.gt(theirs, mine), tie), I32)

    pairs = b.elementwise(before, b.unsqueeze(x, (-1,)), b.unsqueeze(x, (-2,)))
    return b.reduce(ops.ADD, pairs, (rank,), keepdims=False)


def _of_rank(b: LoweringBuilder, ranks: Node, x: Node, k: int) -> Node:
    """Along the last axis, the elements of `x` of rank 0, 1, .. k - 1."""
    rank = len(x.shape)
    wanted = ex.cast(Coordinate(rank - 1), I32)
    lowest = Lit(x.dtype.lowest, x.dtype)
    rows = [b.expand(b.unsqueeze(n, (-2,)), (*x.shape[:-1], k, x.shape[-1])) for n in (ranks, x)]
    found = b.elementwise(lambda r, value: scalar.where(scalar.eq(r, wanted), value, lowest), *rows)
    return b.reduce(ops.MAX, found, (rank,), keepdims=False)
