"""Rows of segments: what is computed together of small products of matrices and parts of vectors, and how it is written as one.

`tgc.passes.segments` finds them, and says what it is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import I32
from tgc.ir.expr import Arg, Coordinate, cast
from tgc.ir.graph import Concat, Graph, Map, Node, Permute, Reduce, Reshape, Shape, Slice, Window, postorder, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.rebuild import rebuild
from tgc.ir.texels import TEXEL
from tgc.passes.fold import rebuilt
from tgc.passes.products import Product, constant_of

Array = npt.NDArray[np.generic]
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Part:
    """A vector that lies in the stored vector `base`, from element `start` on."""

    base: Node
    start: int


@dataclass(frozen=True, slots=True)
class Row:
    """A product with the vector `part` of `depth` elements, and what follows it.

    beside: the vectors that are read by what follows. needs: the small sums, a bit each, that all of these come after; own: its bit.
    target: the vector that the result is put into, if it is only that. kind: what is computed of an element after the sum.
    """

    product: Product
    part: Part
    depth: int
    beside: Mapping[Node, Part]
    needs: int
    own: int
    target: Concat | None
    kind: tuple[object, ...]

    @property
    def width(self) -> int:
        return self.product.width

    @property
    def end(self) -> Node:
        return self.product.end


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that go together. pieces: of the first row's target, those that they make; order: their elements in the order of these."""

    rows: tuple[Row, ...]
    pieces: tuple[Node, ...] = ()
    order: Numbers | None = None


def vector_axis(shape: Shape) -> int | None:
    """The axis of the elements of a vector; None for what is no vector."""
    long = [axis for axis, size in enumerate(shape) if size != 1]
    return long[0] if len(long) == 1 else None


def part_of(node: Node) -> Part | None:
    """Where `node` lies, seen through views; None where it is no part of a stored vector."""
    start = 0
    while isinstance(node, (Reshape, Permute, Slice, Window)):
        if isinstance(node, Slice):
            axis = vector_axis(node.source.shape)
            if axis is None or node.steps[axis] != 1:
                return None
            start += node.starts[axis]
        elif node.shape.count(1) != len(node.shape) - 1 or prod(node.shape) != prod(node.source.shape):
            return None
        node = node.source
    stored = isinstance(node, (Map, Reduce, Concat)) and vector_axis(node.shape) is not None
    return Part(node, start) if stored else None


def bases_of(rows: tuple[Row, ...]) -> list[tuple[Node, ...]]:
    """What the vectors of `rows` are parts of, and of each vector beside them in turn."""
    return [tuple(dict.fromkeys(part.base for part in parts)) for parts in parts_of(rows)]


def parts_of(rows: tuple[Row, ...]) -> list[tuple[Part, ...]]:
    return [tuple(row.part for row in rows), *zip(*(row.beside.values() for row in rows), strict=True)]


def vector_like(shape: Shape, count: int) -> Shape:
    """The shape of a vector of `count` elements, otherwise like `shape`."""
    return tuple(size if size == 1 else count for size in shape)


def together(graph: Graph, group: Group) -> Graph:
    """`graph` with the rows of `group` as one."""
    builder = GraphBuilder()
    target = group.rows[0].target
    starts = np.cumsum([0, *(row.width for row in group.rows)]).tolist()
    parts = {row.end: start for row, start in zip(group.rows, starts, strict=False)} if target is None else {}
    inputs = tuple(base for bases in bases_of(group.rows) for base in bases)
    made: dict[Node, Node] = {}
    whole: Node | None = None
    for node in postorder(tuple(n for _, n in graph.outputs), graph.inputs, lambda n: sources(n) + inputs if n in parts else sources(n)):
        if node in parts:
            whole = whole or _whole(builder, group, made, group.rows[0].end.shape)
            made[node] = _vector(builder, whole, parts[node], node.shape)
        elif node is target:
            axis = vector_axis(node.shape)
            whole = _whole(builder, group, made, node.shape if axis is not None else (0,))
            put = whole if axis is None else builder.concat(_pieces(target, group, made, whole), axis)
            made[node] = builder.reshape(put, node.shape)
        else:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
    return rebuilt(graph, made)


def _pieces(target: Concat, group: Group, made: Mapping[Node, Node], whole: Node) -> tuple[Node, ...]:
    """What `target` is put together from, with `whole` in place of the pieces of `group`."""
    first = next(at for at in range(len(target.sources)) if target.sources[at : at + len(group.pieces)] == group.pieces)
    before, behind = target.sources[:first], target.sources[first + len(group.pieces) :]
    return (*(made[source] for source in before), whole, *(made[source] for source in behind))


def _vector(builder: GraphBuilder, whole: Node, start: int, shape: Shape) -> Node:
    """The part of the vector `whole` that begins at `start`, as a vector of `shape`."""
    axis = vector_axis(whole.shape)
    first = tuple(start if at == axis else 0 for at in range(len(whole.shape)))
    return builder.reshape(builder.slice(whole, first, (1,) * len(first), vector_like(whole.shape, prod(shape))), shape)


def _whole(builder: GraphBuilder, group: Group, made: Mapping[Node, Node], like: Shape) -> Node:
    """What the rows of `group` compute, one after the other, or in the order that is given, as a vector of the shape `like`."""
    shape = vector_like(like, sum(row.width for row in group.rows))
    builder.origin = list(group.rows[0].product.chain)[1].origin
    summed = builder.reshape(builder.reduce(ops.ADD, _terms(builder, group, made), (1, 2)), shape)
    kinds = list(dict.fromkeys(row.kind for row in group.rows))
    results = [_after(builder, group, kind, made, summed) for kind in kinds]
    which = _ordered(group, [np.full(row.width, kinds.index(row.kind), np.int32) for row in group.rows]).reshape(shape)
    found = results[0]
    for number, result in enumerate(results[1:], 1):
        own = s.where(s.eq(Arg(2, I32), s.lit(number, I32)), Arg(1, found.dtype), Arg(0, found.dtype))
        found = builder.map(own, found, result, builder.constant(which))
    return found


def _after(builder: GraphBuilder, group: Group, kind: tuple[object, ...], made: Mapping[Node, Node], summed: Node) -> Node:
    """What the rows of `kind` compute of the sums, and something for the others."""
    shape = summed.shape
    products = [list(row.product.chain) if row.kind == kind else [] for row in group.rows]
    first = next(row for row in group.rows if row.kind == kind)
    _, total, *after = first.product.chain
    known: dict[Node, Node] = {total: summed}
    for position, node in enumerate(after, 2):
        builder.origin = node.origin
        if not isinstance(node, Map):
            known[node] = known[sources(node)[0]]
            continue
        below: list[Node] = []
        for number, source in enumerate(node.sources):
            alike = [sources(product[position])[number] if product else None for product in products]
            if source in known:
                below.append(known[source])
            elif source in first.beside:
                parts = [row.beside[other] for row, other in zip(group.rows, alike, strict=True) if other is not None]
                below.append(_beside(builder, group, parts, made, shape))
            else:
                none = [np.zeros(row.width, source.dtype.numpy) for row in group.rows]
                values = [zero if other is None else evaluate(other).reshape(-1) for zero, other in zip(none, alike, strict=True)]
                below.append(builder.constant(_ordered(group, values).reshape(shape)))
        known[node] = builder.map(node.expr, *below, shape=shape)
    return known[first.end]


def _ordered(group: Group, values: list[Array]) -> Array:
    """`values`, some for each row, in the order of the result."""
    everything = np.concatenate(values)
    return everything if group.order is None else everything[group.order]


def _terms(builder: GraphBuilder, group: Group, made: Mapping[Node, Node]) -> Node:
    """The products that are summed, in texels: [rows, depth / TEXEL, TEXEL]."""
    rows = group.rows
    depth, count = max(row.depth for row in rows), sum(row.width for row in rows)
    shape = (count, depth // TEXEL, TEXEL)
    vectors, starts = _joined(builder, [row.part for row in rows], made)
    first = _table(builder, group, [start // TEXEL for start in starts], shape)
    texel = builder.map(s.add(Arg(0, I32), cast(Coordinate(1), I32)), first, shape=shape)
    element = builder.map(cast(Coordinate(2), I32), shape=shape)
    texels = builder.reshape(vectors, (prod(vectors.shape) // TEXEL, TEXEL))
    gathered = builder.gather(texels, (texel, element), shape)
    matrix = builder.constant(_ordered(group, [_matrix(row, depth) for row in rows]).reshape(shape))
    terms = next(iter(rows[0].product.chain))
    assert isinstance(terms, Map)
    operands = (gathered, matrix) if constant_of(terms.sources[0]) is None else (matrix, gathered)
    if all(row.depth == depth for row in rows):
        return builder.map(terms.expr, *operands)
    inside = s.lt(cast(Coordinate(1), I32), Arg(2, I32))
    ends = _table(builder, group, [row.depth // TEXEL for row in rows], shape)
    return builder.map(s.where(inside, terms.expr, s.lit(0.0, terms.dtype)), *operands, ends)


def _table(builder: GraphBuilder, group: Group, values: list[int], shape: Shape) -> Node:
    """A number for each row, the same for all of its products, of `shape`."""
    numbers = [np.full(row.width, value, np.int32) for row, value in zip(group.rows, values, strict=True)]
    return builder.expand(builder.constant(_ordered(group, list(numbers)).reshape(shape[0], 1, 1)), shape)


def _matrix(row: Row, depth: int) -> Array:
    """The constant of `row`, [width, depth], filled up by zeros."""
    axis = next(iter(row.product.chain.values()))
    constant = np.moveaxis(evaluate(row.product.constant), axis, 0).reshape(row.width, row.depth)
    return np.pad(constant, ((0, 0), (0, depth - row.depth)))


def _joined(builder: GraphBuilder, parts: list[Part], made: Mapping[Node, Node]) -> tuple[Node, list[int]]:
    """The vector that all of `parts` lie in, and where each begins there."""
    bases = list(dict.fromkeys(part.base for part in parts))
    starts = dict(zip(bases, np.cumsum([0, *(prod(base.shape) for base in bases)]).tolist(), strict=False))
    axis = vector_axis(bases[0].shape)
    whole = made[bases[0]] if len(bases) == 1 else builder.concat(tuple(made[base] for base in bases), axis or 0)
    return whole, [starts[part.base] + part.start for part in parts]


def _beside(builder: GraphBuilder, group: Group, parts: list[Part], made: Mapping[Node, Node], shape: Shape) -> Node:
    """The vectors `parts`, one after the other, of `shape`: where they lie so, or gathered."""
    whole, starts = _joined(builder, parts, made)
    at = np.concatenate([np.arange(row.width) + start for row, start in zip(group.rows, starts, strict=True)]).astype(np.int32)
    at = at if group.order is None else at[group.order]
    if np.array_equal(at, np.arange(at[0], at[0] + len(at))):
        return _vector(builder, whole, int(at[0]), shape)
    flat = builder.reshape(whole, (prod(whole.shape),))
    return builder.gather(flat, (builder.constant(at.reshape(shape)),), shape)
