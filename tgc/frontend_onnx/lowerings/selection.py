"""Results as many as data says: NonZero, Compress, Unique. Each is a tensor of the largest size and a computed length.

What is chosen is moved to the front by a running count: the element chosen after k others goes to place k.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.cumulative import running
from tgc.frontend_onnx.lowerings.taking import take
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import BOOL, I64
from tgc.ir.expr import Expr, Lit
from tgc.ir.graph import Node
from tgc.ir.lengths import Symbol, of_symbol

MOST_PAIRS = 1 << 26
"""Comparisons of all elements with each other up to which Unique makes them."""


def counted_length(b: LoweringBuilder, count: Node, most: int) -> int:
    """`count`, a scalar i64 from 0 to `most`, as an extent."""
    if most == 0:
        return 0
    symbol = Symbol(f"{b.site.op_type} {b.site.name!r}", 0, most, named=False)
    b.symbols[symbol] = count
    return of_symbol(symbol)


def chosen(b: LoweringBuilder, mask: Node) -> Node:
    """The places where `mask`, a bool vector, holds, in order: i64, as many as there are."""
    size = int(mask.shape[0])
    if size == 0:
        return b.constant(np.zeros(0, np.int64))
    here = live.settled(b, live.masked(b, mask, (0,), scalar.lit(False, BOOL)))
    before = running(b, ops.ADD, 0, b.cast(here, I64), 0, False, False)
    length = counted_length(b, b.reshape(b.narrow(before, 0, size - 1, 1), ()), size)
    target = b.elementwise(lambda m, n: scalar.where(m, scalar.sub(n, 1), size), here, before)  # place `size` takes the others
    room = b.full((size + 1,), 0, I64)
    packed = b.graph.scatter(room, (target,), b.coordinate((size,), 0, I64))
    return live.opened(b, b.narrow(packed, 0, 0, size), (length,))


@lowers("NonZero", since=(9, 13))
def non_zero(b: LoweringBuilder, x: Node) -> Node:
    """The indices of the elements that are not 0, in row-major order: [axes, as many as there are], i64."""
    known = fold(x)
    if known is not None:
        return b.constant(np.array(np.nonzero(np.atleast_1d(known)), np.int64))
    if not x.shape:
        raise b.unsupported("a scalar")
    flat = b.elementwise(scalar.truth, b.reshape(x, (prod(x.shape),)))
    places = chosen(b, flat)
    if places.shape == (0,):
        return b.constant(np.zeros((len(x.shape), 0), np.int64))
    return b.stack(live.unflattened(b, places, x.shape), 0)


@lowers("Compress", since=(9, 11, 28))
def compress(b: LoweringBuilder, x: Node, condition: Node, *, axis: int | None = None) -> Node:
    """The slices along `axis`, or the elements of all of `x`, where the condition holds; it may end early."""
    source = b.reshape(x, (prod(x.shape),)) if axis is None else x
    along = 0 if axis is None else b.axis(axis, len(x.shape))
    known = fold(condition)
    if known is not None and not live.is_open(source.shape):
        return take(b, source, along, np.flatnonzero(known)[: source.shape[along]].tolist())
    count = source.shape[along]
    if condition.shape[0] == count:
        return picked(b, source, along, chosen(b, condition))
    size = min(int(condition.shape[0]), int(count))
    kept = b.narrow(live.settled(b, live.masked(b, condition, (0,), scalar.lit(False, BOOL))), 0, 0, size)
    inside = live.formula(b, (size,), lambda n: scalar.lt(live.place(0), n), count)
    return picked(b, source, along, chosen(b, b.elementwise(scalar.logical_and, kept, inside)))


def picked(b: LoweringBuilder, x: Node, axis: int, places: Node) -> Node:
    """The slices of `x` along `axis` at `places`, a vector that may be open."""
    shape = (*x.shape[:axis], places.shape[0], *x.shape[axis + 1 :])
    index = b.broadcast_to(b.reshape(places, tuple(s if d == axis else 1 for d, s in enumerate(shape))), shape)
    return live.along(b, x, axis, index, shape)


@lowers("Unique", since=(11, 28))
def unique(b: LoweringBuilder, x: Node, *, axis: int | None = None, sorted: int = 1) -> tuple[Node, ...]:
    """The different slices along `axis`, or elements, the first place of each, which one each slice is, and how often each occurs.

    Every slice is compared with every other: right for the short tensors that models ask this of.
    """
    source = b.reshape(x, (prod(x.shape),)) if axis is None else x
    along = 0 if axis is None else b.axis(axis, len(x.shape))
    live_size, others = source.shape[along], [d for d in range(len(source.shape)) if d != along]
    whole = live.settled(b, live.masked(b, source, others, scalar.lit(0, source.dtype)))
    size = whole.shape[along]
    rest = prod(whole.shape) // max(1, size)
    if size == 0 or size * size * rest > MOST_PAIRS:
        raise b.unsupported(f"{size} slices of {rest} elements")
    same, less = _compared(b, b.reshape(b.permute(whole, [along, *others]), (size, rest)))
    row, column = (live.place(d) for d in (0, 1))
    earlier = b.elementwise(lambda e: scalar.logical_and(e, scalar.lt(column, row)), same)
    first = b.elementwise(scalar.logical_not, b.reduce(ops.MAX, earlier, (1,), keepdims=False))
    first = _within(b, first, live_size, scalar.lit(False, BOOL))
    before = less if sorted else b.graph.map(scalar.lt(column, row), shape=(size, size))
    ranks = _count(b, b.elementwise(scalar.logical_and, before, b.unsqueeze(first, (0,))))
    length = counted_length(b, b.reduce(ops.ADD, b.cast(first, I64), (0,), keepdims=False), size)
    chief = b.elementwise(scalar.logical_and, same, b.unsqueeze(first, (0,)))
    inverse = b.reduce(ops.ADD, b.where_(chief, b.unsqueeze(ranks, (0,)), b.scalar(0, I64)), (1,), keepdims=False)
    # Row k: the first slice of rank k, and all of them.
    places = b.elementwise(
        lambda f, r: scalar.where(scalar.logical_and(f, scalar.eq(r, row)), column, 0),
        b.broadcast_to(b.unsqueeze(first, (0,)), (size, size)), b.unsqueeze(ranks, (0,)),
    )  # fmt: skip
    indices = live.opened(b, b.reduce(ops.ADD, places, (1,), keepdims=False), (length,))
    ranked = _within(b, inverse, live_size, scalar.lit(-1, I64))
    members = b.elementwise(lambda r: scalar.eq(r, row), b.broadcast_to(b.unsqueeze(ranked, (0,)), (size, size)))
    counts = live.opened(b, _count(b, members), (length,))
    return picked(b, source, along, indices), indices, live.opened(b, inverse, (live_size,)), counts


def _within(b: LoweringBuilder, x: Node, size: int, value: Lit) -> Node:
    """`x`, a vector, with `value` from place `size` on."""
    return live.settled(b, live.masked(b, live.opened(b, x, (size,)), (0,), value))


def _count(b: LoweringBuilder, mask: Node) -> Node:
    """How many of each row hold, i64."""
    return b.reduce(ops.ADD, b.cast(mask, I64), (1,), keepdims=False)


def _compared(b: LoweringBuilder, rows: Node) -> tuple[Node, Node]:
    """For rows [n, m]: whether row i is row j, and whether row j is before row i, both bool [n, n]."""
    width = rows.shape[1]

    def difference(mine: Expr, theirs: Expr) -> Expr:
        """0 where equal, else a number that is the larger the earlier the column, and odd where the other is less."""
        rank = scalar.mul(scalar.sub(width, live.place(2)), 2)
        differs = scalar.logical_or(scalar.lt(theirs, mine), scalar.lt(mine, theirs))
        return scalar.where(differs, scalar.add(rank, scalar.where(scalar.lt(theirs, mine), scalar.lit(1, I64), 0)), 0)

    found = b.elementwise(difference, b.unsqueeze(rows, (1,)), b.unsqueeze(rows, (0,)))
    most = b.reduce(ops.MAX, found, (2,), keepdims=False)
    return b.elementwise(lambda d: scalar.eq(d, 0), most), b.elementwise(lambda d: scalar.eq(scalar.mod(d, 2), 1), most)
