"""Segments: small products of matrices and parts of vectors are computed together, whatever their sizes.

    a = f(A * x[0:32]), b = f(B * x[32:96]), ..    ->    c[i] = f(sum over k of W[i, k] * x[start[i] + k]);  a, b, .. parts of c

The layers of several heads, each on a vector of its own, are a launch each, though each is done before its launch is. Rows of matrices
of several lengths go in one, filled up to the longest: what is beyond a row's own length counts as zero. Where a row's vector begins is a
table. Texels are read whole, so vectors begin with one and are some of them long.

What follows the sums may differ: all of it is computed of each sum, and a table says which is meant.

Vectors that several computations make are put side by side, where these then write them. Results that are only put into one tensor, in
whatever order, are computed in that order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from math import prod

import numpy as np

from tgc.ir.expr import Coordinate
from tgc.ir.graph import Bound, Concat, Graph, Map, Node, Pad, Permute, Reduce, Reshape, sources
from tgc.ir.interpret import evaluate
from tgc.ir.rewrite import walk
from tgc.ir.texels import TEXEL
from tgc.passes.products import COPIED, Product, Reads, constant_of, followed, product_of, readable, reads_of
from tgc.passes.segment_rows import Array, Group, Numbers, Part, Row, bases_of, part_of, together, vector_axis, vector_like

SMALL = 1 << 16  # elements of a matrix that may go with others
LAUNCH = 1 << 16  # elements that rows of segments multiply in the time of a launch
TILED = 4  # how much faster those of one matrix are multiplied
MOST_KINDS = 4  # of what follows a sum


def segments(graph: Graph) -> Graph:
    """`graph` with small products of matrices and vectors computed together."""
    while not graph.open and (group := _find(graph)) is not None:
        graph = together(graph, group)
    return graph


def _find(graph: Graph) -> Group | None:
    """The first rows that go together and are worth it."""
    reads = reads_of(graph)
    begins: dict[Node, Product] = {
        node: product for node in reads.position if isinstance(node, Reduce) and (product := _small(node, reads)) is not None
    }
    needs, levels = _needs(reads, begins)
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for number, (node, begin) in enumerate(begins.items()):
        row = _row(begin, reads, needs, 2 << number)
        if row is not None:
            terms = next(iter(begin.chain))
            assert isinstance(terms, Map)
            where: tuple[object, ...] = (levels[node],) if row.target is None else ("put", id(row.target))
            groups[(*where, terms.expr, constant_of(terms.sources[0]) is None, row.kind if row.beside else None)].append(row)
    for rows in sorted(groups.values(), key=lambda rows: rows[0].target is not None):
        bits = sum(row.own for row in rows)
        kinds = list(dict.fromkeys(row.kind for row in rows))[:MOST_KINDS]
        group = _chosen([row for row in rows if not row.needs & bits and row.kind in kinds], reads)
        if group is not None:
            return group
    return None


def _small(node: Reduce, reads: Reads) -> Product | None:
    """The product with the sum `node` where it is one of a small constant matrix and a vector of whole texels."""
    found = product_of(node, reads, single=True)
    if found is None or vector_axis(found.shared.shape) not in node.axes or prod(node.source.shape) > SMALL:
        return None
    matrix = prod(node.source.shape) == prod(found.shared.shape) * found.width
    part = part_of(found.shared)
    whole = part is not None and all(count % TEXEL == 0 for count in (part.start, prod(found.shared.shape), prod(part.base.shape)))
    return found if matrix and whole else None


def _needs(reads: Reads, begins: Mapping[Node, Product]) -> tuple[dict[Node, int], dict[Node, int]]:
    """Of each node the sums of `begins` that it comes after, a bit each, with bit 0 for what a loop binds; and the most in a row."""
    own = {node: 2 << number for number, node in enumerate(begins)}
    needs: dict[Node, int] = {}
    levels: dict[Node, int] = {}
    for node in reads.position:
        needs[node] = own.get(node, int(isinstance(node, Bound)))
        levels[node] = int(node in own) + max((levels[source] for source in sources(node)), default=0)
        for source in sources(node):
            needs[node] |= needs[source]
    return needs, levels


def _row(begin: Product, reads: Reads, needs: Mapping[Node, int], own: int) -> Row | None:
    """The row that begins with a sum whose bit is `own`; None where it is in a loop, or something in it is no vector."""

    def beside(node: Node) -> bool:
        return constant_of(node) is not None or (not needs[node] & own and part_of(node) is not None)

    product = replace(begin, chain=followed(begin.chain, reads, beside))
    after = list(product.chain)[2:]
    counted = any(isinstance(node, Map) and any(isinstance(e, Coordinate) for e in walk(node.expr)) for node in product.chain)
    if counted or any(isinstance(node, Pad) for node in after):
        return None
    outside = dict.fromkeys(source for node in after for source in sources(node) if source not in product.chain)
    parts = {source: part for source in outside if constant_of(source) is None and (part := part_of(source)) is not None}
    part, bits = part_of(begin.shared), needs[begin.shared]
    for source in parts:
        bits |= needs[source]
    target = None if readable(product.end, reads) else _target(product.end, reads)
    if part is None or bits & 1 or (target is None and not readable(product.end, reads)):
        return None
    return Row(product, part, prod(begin.shared.shape), parts, bits, own, target, _kind(product, parts))


def _target(end: Node, reads: Reads) -> Concat | None:
    """What `end` is put into, where nobody else reads it on the way: the last vector, else the last of all."""
    found: list[Concat] = []
    node = end
    while node not in reads.kept and len(reads.users[node]) == 1 and isinstance(reads.users[node][0], (Reshape, Permute, Concat)):
        node = reads.users[node][0]
        found += [node] if isinstance(node, Concat) else []
    vectors = [node for node in found if vector_axis(node.shape) == node.axis]
    best = vectors or found
    return best[-1] if best else None


def _kind(product: Product, beside: Mapping[Node, Part]) -> tuple[object, ...]:
    """What is computed of an element after the sum."""
    _, total, *after = product.chain
    kinds: dict[Node, object] = {total: 0}
    steps: list[object] = [total.dtype]
    for node in after:
        if isinstance(node, Map):
            steps.append((node.expr, *(kinds.get(source, "beside" if source in beside else "constant") for source in node.sources)))
            kinds[node] = len(kinds)
        else:
            kinds[node] = kinds[sources(node)[0]]
    return tuple(steps)


def _chosen(rows: list[Row], reads: Reads) -> Group | None:
    """Those of `rows`, up to some depth, that save most when they go together; None where none do."""
    found: list[Group] = []
    for most in sorted({row.depth for row in rows}, reverse=True):
        short = [row for row in rows if row.depth <= most]
        found += _put(short) if short[0].target is not None else _read(short)
    able = (group for group in found if all(_beside_each_other(bases, reads) for bases in bases_of(group.rows)))
    best = max(able, key=_saved, default=None)
    return best if best is not None and _saved(best) > 0 else None


def _saved(group: Group) -> float:
    """What computing `group` together saves, as the elements that could be multiplied in that time."""
    alone = sum(LAUNCH + row.width * row.depth / TILED for row in group.rows)
    return alone - LAUNCH - sum(row.width for row in group.rows) * max(row.depth for row in group.rows)


def _read(rows: list[Row]) -> list[Group]:
    """`rows` in the order of their vectors. Results begin with texels, so of those that do not fill any there is one, the last."""
    whole = [row for row in rows if row.width % TEXEL == 0]
    rest = [row for row in rows if row.width % TEXEL != 0]
    number = {base: number for number, base in enumerate(bases_of(tuple(whole + rest[:1]))[0])}
    return [Group((*sorted(whole, key=lambda row: (number[row.part.base], row.part.start)), *rest[:1]))]


def _put(rows: list[Row]) -> list[Group]:
    """Runs of pieces of a target that nobody but some of `rows` makes, the longest first; of what is no vector, all pieces or none."""
    target = rows[0].target
    assert target is not None
    ends = {row.end: row for row in rows}
    found: list[Group] = []
    for pure, run in groupby(target.sources, key=lambda piece: all(leaf in ends for leaf in _leaves(piece))):
        pieces = tuple(run)
        parts = pieces if vector_axis(target.shape) is not None else (target,)
        made = tuple(ends[leaf] for leaf in dict.fromkeys(leaf for part in parts for leaf in _leaves(part)) if leaf in ends)
        if pure and (order := _order(made, parts)) is not None:
            found.append(Group(made, pieces, order))
    return sorted(found, key=lambda group: -len(group.rows))


def _leaves(piece: Node) -> list[Node]:
    """What `piece` is put together from."""
    if isinstance(piece, (Reshape, Permute, Concat)):
        return [leaf for source in sources(piece) for leaf in _leaves(source)]
    return [piece]


def _order(rows: tuple[Row, ...], pieces: tuple[Node, ...]) -> Numbers | None:
    """Which element of `rows`, one after the other, each of `pieces` has; None where they do not have each once, or have others."""
    numbers: dict[Node, Array] = {}
    count = 0
    for row in rows:
        numbers[row.end] = np.arange(count, count + row.width).reshape(row.end.shape)
        count += row.width
    if any(leaf not in numbers for piece in pieces for leaf in _leaves(piece)):
        return None
    order = np.concatenate([evaluate(piece, numbers).reshape(-1) for piece in pieces]).astype(np.intp)
    return order if np.array_equal(np.sort(order), np.arange(count)) else None


def _beside_each_other(bases: tuple[Node, ...], reads: Reads) -> bool:
    """Whether `bases` are one, or can be written side by side by those who make them."""
    if len(bases) == 1:
        return True
    axis = vector_axis(bases[0].shape)
    alike = {(vector_like(base.shape, 1), base.dtype.name, vector_axis(base.shape)) for base in bases}
    return len(alike) == 1 and all(isinstance(base, (Map, Reduce)) and _free(base, bases, axis, reads) for base in bases)


def _free(base: Node, bases: tuple[Node, ...], axis: int | None, reads: Reads) -> bool:
    """Whether no one wants `base` elsewhere than among `bases`."""
    wanted = [user for user in reads.users[base] if isinstance(user, COPIED)]
    return base not in reads.kept and all(isinstance(user, Concat) and (user.sources, user.axis) == (bases, axis) for user in wanted)
