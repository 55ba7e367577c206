"""Products: a sum of products of a tensor and a constant, and what follows it that depends on nothing else but constants.

Passes that compute several of them together, where launches are dear, look for these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from tgc.ir import ops
from tgc.ir.expr import Coordinate
from tgc.ir.graph import (
    Concat,
    Constant,
    Expand,
    Graph,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    ScanResult,
    Scatter,
    Slice,
    sources,
)
from tgc.ir.rewrite import walk
from tgc.passes.contractions import product_operands

COPIED = (Concat, Pad, Scatter, ScanResult)  # what a slice is copied into: whoever makes all of it would have written it there


@dataclass(frozen=True, slots=True)
class Reads:
    """The nodes of a graph by position, who reads each, and which are results."""

    position: Mapping[Node, int]
    users: Mapping[Node, list[Node]]
    kept: frozenset[Node]


def reads_of(graph: Graph) -> Reads:
    order = graph.nodes()
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for source in dict.fromkeys(sources(node)):
            users[source].append(node)
    return Reads({node: number for number, node in enumerate(order)}, users, frozenset(node for _, node in graph.outputs))


@dataclass(frozen=True, slots=True)
class Product:
    """A sum of products of `shared` and `constant`, neither repeated along the axis that it lacks.

    shared lacks the free axis, along which the constant varies. chain: the products, the sum, and what follows, each with its free axis.
    """

    shared: Node
    constant: Node
    chain: Mapping[Node, int]

    @property
    def end(self) -> Node:
        return list(self.chain)[-1]

    @property
    def axis(self) -> int:
        return self.chain[self.end]

    @property
    def width(self) -> int:
        """The extent of the free axis."""
        return self.end.shape[self.axis]


def product_of(node: Reduce, reads: Reads, *, single: bool = False) -> Product | None:
    """The product with the sum `node`, no longer than that; None where it is not one of a tensor and a constant with one free axis.

    single: where none is longer than 1, one of these is the free axis.
    """
    terms = node.source
    if node.op is not ops.ADD or not isinstance(terms, Map) or product_operands(terms.expr) is None or reads.users[terms] != [node]:
        return None
    at = [position for position, operand in enumerate(terms.sources) if constant_of(operand) is not None]
    if len(terms.sources) != 2 or len(at) != 1:
        return None
    constant, shared = (unexpanded(terms.sources[position]) for position in (at[0], 1 - at[0]))
    free = [axis for axis, (size, wide) in enumerate(zip(shared.shape, terms.shape, strict=True)) if size != wide]
    if single and not free:
        free = [axis for axis, size in enumerate(terms.shape) if size == 1][:1]
    if len(free) != 1 or free[0] in node.axes or constant.shape[free[0]] != terms.shape[free[0]]:
        return None
    return Product(shared, constant, {terms: free[0], node: free[0]})


def unexpanded(node: Node) -> Node:
    return node.source if isinstance(node, Expand) else node


def constant_of(node: Node) -> Node | None:
    """What a constant seen through views repeats; None for any other node."""
    base, node = unexpanded(node), unexpanded(node)
    while isinstance(node, (Reshape, Permute, Slice)):
        node = node.source
    return base if isinstance(node, Constant) else None


def followed(begin: Mapping[Node, int], reads: Reads, beside: Callable[[Node], bool]) -> dict[Node, int]:
    """`begin`, and all that follows it up to the last node, but for views, that whatever reads any of these goes through.

    beside: what else, next to the chain, a node of it may read.
    """
    found = dict(begin)
    pending = [list(begin)[-1]]
    for node in pending:
        for user in reads.users[node]:
            axis = _following(user, found, beside)
            if axis is not None and user not in found:
                found[user] = axis
                pending.append(user)
    order = sorted(found, key=lambda node: reads.position[node])
    last = len(begin)
    for count in range(1, len(order) + 1):
        inside = set(order[:count])
        private = all(inner not in reads.kept and inside.issuperset(reads.users[inner]) for inner in order[: count - 1])
        last = count if private and not isinstance(order[count - 1], (Reshape, Permute)) else last
    return {node: found[node] for node in order[:last]}


def _following(node: Node, chain: Mapping[Node, int], beside: Callable[[Node], bool]) -> int | None:
    """The free axis of `node`, where it reads the chain and what may be beside it, and keeps the axis; else None."""
    axes = {chain[source] for source in sources(node) if source in chain}
    if len(axes) != 1 or any(source not in chain and not beside(source) for source in sources(node)):
        return None
    axis = axes.pop()
    match node:
        case Map(expr):
            return None if any(isinstance(e, Coordinate) and e.axis == axis for e in walk(expr)) else axis
        case Permute(_, order):
            return order.index(axis)
        case Pad(_, low, high):
            return axis if low[axis] == high[axis] == 0 else None
        case Reshape(source, shape):
            ahead, size = prod(source.shape[:axis]), source.shape[axis]
            return next((at for at, extent in enumerate(shape) if extent == size and prod(shape[:at]) == ahead), None)
        case _:
            return None


def readable(end: Node, reads: Reads) -> bool:
    """Whether `end` is read where it lies: nobody wants a copy of it, and nothing pointwise would have been computed along with it."""
    seen = [end]
    for node in seen:
        if node in reads.kept or any(isinstance(user, COPIED) for user in reads.users[node]):
            return False
        seen += [user for user in reads.users[node] if isinstance(user, (Reshape, Permute))]
    return any(not isinstance(user, Map) for user in reads.users[end])
