"""Whole texels: sums over what does not fill texels are made a little longer, by zeros.

    sum over k < 1034 of x[k] * A[i, k]    ->    sum over k < 1040 of pad(x)[k] * pad(A)[i, k]

What is read through images is read in texels of four. A sum of 1034 products is not made of texels, and each of its elements would be read
by itself. Zeros behind `x` are stored once, in front of the first run, for a `Pad` is a place; and work-items share the texels of a sum
more evenly where there are 4 * n of them. It is done for what the program stores itself, where nobody wants it to lie elsewhere.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tgc.ir.dtypes import F32
from tgc.ir.expr import Lit
from tgc.ir.graph import Concat, Graph, Map, Node, Permute, Reduce, Reshape, Slice, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.rebuild import rebuild
from tgc.ir.texels import TEXEL
from tgc.passes.fold import rebuilt
from tgc.passes.products import COPIED, Product, Reads, product_of, reads_of

LEAST = 8 * TEXEL  # elements of a sum
EVEN, MOST_ZEROS = 4 * TEXEL, 1 / 64  # to a multiple of how many elements, where that adds no more than this part of them


def whole_texels(graph: Graph) -> Graph:
    """`graph` with sums of products with constants, of what the program stores itself, filled up to whole texels."""
    reads = reads_of(graph)
    found: dict[Node, tuple[Product, int]] = {}
    for node in () if graph.open else reads.position:
        product = product_of(node, reads) if isinstance(node, Reduce) and node.dtype == F32 else None
        axis = _ragged(product) if product is not None else None
        if product is not None and axis is not None and _able(product.shared, axis, reads):
            found[node.source] = (product, axis)  # type: ignore[union-attr]
    return _filled(graph, found) if found else graph


def _ragged(product: Product) -> int | None:
    """The axis that is summed over, where it is one and is to be filled up."""
    terms, total = list(product.chain)[:2]
    assert isinstance(total, Reduce)
    long = [axis for axis in total.axes if terms.shape[axis] != 1]
    if len(long) != 1 or terms.shape[long[0]] % TEXEL == 0 or terms.shape[long[0]] < LEAST:
        return None
    whole = all(operand.shape[long[0]] == terms.shape[long[0]] for operand in (product.shared, product.constant))
    return long[0] if whole else None


def _able(node: Node, axis: int, reads: Reads) -> bool:
    """Whether `node` is seen through views that keep `axis`, is last along it, and is stored where nobody else wants it."""
    while isinstance(node, (Reshape, Permute)):
        inner = _axis_below(node, axis)
        if inner is None:
            return False
        node, axis = node.source, inner
    return isinstance(node, (Map, Reduce, Concat)) and prod(node.shape[axis + 1 :]) == 1 and not _wanted(node, reads)


def _wanted(node: Node, reads: Reads) -> bool:
    """Whether `node`, or a view of all of it, is a result or a piece of something."""
    copied = any(isinstance(user, COPIED) for user in reads.users[node])
    views = [user for user in reads.users[node] if isinstance(user, (Reshape, Permute, Slice))]
    return node in reads.kept or copied or any(_wanted(view, reads) for view in views)


def _axis_below(view: Reshape | Permute, axis: int) -> int | None:
    """The axis of what `view` is of that is its `axis`."""
    if isinstance(view, Permute):
        return view.order[axis]
    ahead, size = prod(view.shape[:axis]), view.shape[axis]
    below = view.source.shape
    return next((at for at, extent in enumerate(below) if extent == size and prod(below[:at]) == ahead), None)


def _filled(graph: Graph, found: dict[Node, tuple[Product, int]]) -> Graph:
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        if node not in found:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
            continue
        product, axis = found[node]
        assert isinstance(node, Map)
        builder.origin = node.origin
        size = node.shape[axis]
        extra = next(-size % whole for whole in (EVEN, TEXEL) if whole == TEXEL or -size % whole <= size * MOST_ZEROS)
        shape = (*node.shape[:axis], size + extra, *node.shape[axis + 1 :])
        widths = [(0, extra if at == axis else 0) for at in range(len(shape))]
        constant = builder.constant(np.pad(evaluate(product.constant), widths))
        operands = {True: constant, False: _longer(builder, made, product.shared, axis, extra)}
        first = product.constant in (node.sources[0], *sources(node.sources[0]))
        made[node] = builder.map(node.expr, *(builder.expand(operands[own], shape) for own in (first, not first)))
    return rebuilt(graph, made)


def _longer(builder: GraphBuilder, made: dict[Node, Node], node: Node, axis: int, extra: int) -> Node:
    """`node` with zeros behind it along `axis`, put there below the views of it."""
    if isinstance(node, (Reshape, Permute)):
        inner = _axis_below(node, axis)
        assert inner is not None
        below = _longer(builder, made, node.source, inner, extra)
        shape = (*node.shape[:axis], node.shape[axis] + extra, *node.shape[axis + 1 :])
        return builder.reshape(below, shape) if isinstance(node, Reshape) else rebuild(builder, node, (below,))
    high = tuple(extra if at == axis else 0 for at in range(len(node.shape)))
    return builder.pad(made[node], (0,) * len(high), high, Lit(0.0, F32))
