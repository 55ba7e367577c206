"""Fold: what depends on constants alone is computed now.

Views of constants stay views, since they cost nothing and take no memory, but for a transpose, and a reshape of another view,
whose index has divisions: their data is rearranged, so that it lies as it is read. A computation is folded unless its result
would be much larger than what it is made from; so weights of 4 and 2 bits, or two of them in a u8, stay as they are. A tensor
without elements becomes a constant, and so does what is reduced or padded from one: later passes never see an extent of 0 but in
the model's inputs and outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tgc.ir.expr import identity
from tgc.ir.graph import Bound, Constant, Expand, Graph, Input, Node, Pad, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.meaning import literal
from tgc.ir.rebuild import rebuild

SMALL = 1 << 16  # elements that are always worth storing


def fold(graph: Graph) -> Graph:
    """`graph` with its constant computations done."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    weight: dict[Node, Weight] = {}
    for node in graph.nodes():
        new = _without_elements(builder, node) or rebuild(builder, node, tuple(made[source] for source in sources(node)))
        found = _weight(new, weight)
        if found is not None:
            weight[new] = found
            if _worthwhile(new, found):
                value = evaluate(new)
                value.flags.writeable = False  # so that it is not copied
                new = builder.constant(value)
                weight[new] = found.least(_own_weight(new))
        made[node] = new
    return rebuilt(graph, made)


def _without_elements(builder: GraphBuilder, node: Node) -> Node | None:
    """What `node` is where it, or what it reduces or pads, has no elements: nothing, or one value everywhere; else None."""
    builder.origin = node.origin
    match node:
        case Input() | Constant() | Bound():
            return None
        case _ if 0 in node.shape:
            return builder.constant(np.zeros(node.shape, node.dtype.numpy))
        case Reduce(op, source) if 0 in source.shape:
            value = identity(op, node.dtype)
        case Pad(source, _, _, value) if 0 in source.shape:
            pass
        case _:
            return None
    one = builder.constant(literal(value).reshape((1,) * len(node.shape)))
    return builder.expand(one, node.shape)


def rebuilt(graph: Graph, made: dict[Node, Node]) -> Graph:
    """`graph` with each node replaced by what `made` has for it."""
    inputs = tuple(node for node in (made[old] for old in graph.inputs) if isinstance(node, Input))
    return Graph(graph.name, inputs, tuple((name, made[node]) for name, node in graph.outputs), graph.open)


@dataclass(frozen=True, slots=True)
class Weight:
    """How large the constants are that a node is made from. elements: those that share a byte count as one."""

    elements: int
    bits: int

    def least(self, other: Weight) -> Weight:
        return Weight(min(self.elements, other.elements), min(self.bits, other.bits))


def _own_weight(node: Node) -> Weight:
    bits = prod(node.shape) * node.dtype.bits
    return Weight(min(prod(node.shape), -(-bits // 8)), bits)


def _weight(node: Node, weight: dict[Node, Weight]) -> Weight | None:
    """The sum over the constants that `node` is made from; None where it depends on an input."""
    if isinstance(node, Constant):
        return weight.get(node, _own_weight(node))
    parents = sources(node)
    if not parents or any(parent not in weight for parent in parents):
        return None
    found = [weight[parent] for parent in dict.fromkeys(parents)]
    return Weight(sum(each.elements for each in found), sum(each.bits for each in found))


def _worthwhile(node: Node, made_from: Weight) -> bool:
    size, elements = prod(node.shape), made_from.elements
    if isinstance(node, Permute):
        return isinstance(node.source, Constant)
    if isinstance(node, Reshape):
        return not isinstance(node.source, (Constant, Expand)) and size <= elements
    if isinstance(node, (Constant, Expand, Slice, Window)):
        return False
    if isinstance(node, Pad):
        return size <= max(SMALL, 4 * elements)
    return size <= SMALL or (2 * size <= 3 * elements and size * node.dtype.bits <= 4 * made_from.bits)
