"""Centre: weights of an integer contraction that fill 8 bits beside zero are shifted until they are i8.

    sum a w  =  sum a (w - c) + c sum a

Bytes less a zero point of their own, as quantisers to u8 leave them, need nine bits; the operations that multiply four bytes at once
take them so. The sum over a is one for all outputs that the weights are for.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import I8, I16, I32, U8
from tgc.ir.expr import Arg, Lit, cast
from tgc.ir.graph import Constant, Expand, Graph, Map, Node, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.passes.contractions import is_contraction
from tgc.passes.fold import rebuilt

LEAST_SHARED = 8  # outputs for which one sum over the other operand stands


def centre(graph: Graph) -> Graph:
    """`graph` with the weights of its sums of products of bytes in i8, where they differ by less than 256."""
    found = {node: position for node in graph.nodes() if isinstance(node, Reduce) and (position := _weights(node)) is not None}
    if not found:
        return graph
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        if isinstance(node, Reduce) and node in found:
            made[node] = _centred(builder, node, found[node], made)
        else:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
    return rebuilt(graph, made)


def _weights(node: Reduce) -> int | None:
    """The position of the weights in a sum of their products by bytes, in i32, where they fit i8 when shifted; None for anything else."""
    if not is_contraction(node) or node.dtype != I32 or not isinstance(node.source, Map):
        return None
    types = tuple(source.dtype for source in node.source.sources)
    if len(types) != 2 or node.source.expr != s.mul(cast(Arg(0, types[0]), I32), cast(Arg(1, types[1]), I32)):
        return None
    for position, (weights, bytes_) in enumerate((node.source.sources, node.source.sources[::-1])):
        data = _data(weights)
        if data is None or weights.dtype != I16 or bytes_.dtype not in (U8, I8) or data.size == 0:
            continue
        shared = isinstance(bytes_, Expand) and prod(bytes_.shape) >= LEAST_SHARED * prod(bytes_.source.shape)
        if shared and int(data.max()) - int(data.min()) < 256:
            return position
    return None


def _data(node: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
    """The numbers that `node` shows, some maybe not or more than once; None where they are not constant."""
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)):
        node = node.source
    return node.data if isinstance(node, Constant) else None


def _centred(b: GraphBuilder, node: Reduce, position: int, made: dict[Node, Node]) -> Node:
    """The contraction by shifted weights, and what makes up for the shift."""
    operands = sources(node.source)
    data = _data(operands[position])
    assert data is not None
    shift = int(data.max()) - 127
    weights, other = _shifted(b, operands[position], shift), made[operands[1 - position]]
    pair = (weights, other) if position == 0 else (other, weights)
    b.origin = node.origin
    product = s.mul(*(cast(Arg(at, operand.dtype), I32) for at, operand in enumerate(pair)))
    total = b.reduce(ops.ADD, b.map(product, *pair), node.axes)
    assert isinstance(other, Expand)
    inner = other.source
    repeats = prod(node.source.shape[axis] for axis in node.axes if inner.shape[axis] == 1)
    summed = b.reduce(ops.ADD, b.map(cast(Arg(0, inner.dtype), I32), inner), node.axes)
    off = b.map(s.mul(Arg(0, I32), Lit(shift * repeats, I32)), summed)
    return b.map(s.add(Arg(0, I32), Arg(1, I32)), total, b.expand(off, total.shape))


def _shifted(b: GraphBuilder, node: Node, shift: int) -> Node:
    if isinstance(node, Constant):
        return b.constant((node.data.astype(np.int32) - shift).astype(np.int8), node.name)
    return rebuild(b, node, tuple(_shifted(b, source, shift) for source in sources(node)))
