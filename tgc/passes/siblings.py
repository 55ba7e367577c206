"""Siblings: sums of products of one tensor with several constants are computed together, and so is what follows each of them alike.

    a = f(sum(x * A)), b = f(sum(x * B))    ->    c = f(sum(x * concat(A, B)));  a, b = parts of c

Heads on one vector, queries, keys and values, 1x1 convolutions side by side: one launch for all, which reads `x` once. The constants differ
along one axis, the free one, that `x` does not have. What follows is maps with constants, and views that keep the free axis, up to the
last node that everything else goes through. The parts are slices, which cost nothing where they are read, so a sum joins others
only where all that read it read it where it lies, and where a slice begins with a texel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

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
    Shape,
    Slice,
    sources,
)
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import walk
from tgc.ir.texels import TEXEL
from tgc.passes.contractions import product_operands
from tgc.passes.fold import rebuilt

COPIED = (Concat, Pad, Scatter, ScanResult)  # what a slice is copied into: whoever makes all of it would have written it there


@dataclass(frozen=True)
class Branch:
    """A sum of products of `shared` and a constant, and what follows it. chain: the products first, each node with its free axis."""

    shared: Node
    chain: Mapping[Node, int]

    @cached_property
    def end(self) -> Node:
        return list(self.chain)[-1]

    @property
    def axis(self) -> int:
        return self.chain[self.end]

    @property
    def width(self) -> int:
        """The extent of the free axis."""
        return self.end.shape[self.axis]

    @cached_property
    def kind(self) -> tuple[object, ...]:
        """What branches that go together have in common."""
        numbers = {node: number for number, node in enumerate(self.chain)}
        return (id(self.shared), *(_kind(node, axis, numbers) for node, axis in self.chain.items()))


def siblings(graph: Graph) -> Graph:
    """`graph` with sums of one tensor's products with constants computed together."""
    while not graph.open and (group := _find(graph)):
        graph = _together(graph, group)
    return graph


@dataclass(frozen=True, slots=True)
class _Reads:
    """The nodes of a graph by position, who reads each, and which are results."""

    position: Mapping[Node, int]
    users: Mapping[Node, list[Node]]
    kept: frozenset[Node]


def _reads(graph: Graph) -> _Reads:
    order = graph.nodes()
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for source in dict.fromkeys(sources(node)):
            users[source].append(node)
    return _Reads({node: number for number, node in enumerate(order)}, users, frozenset(node for _, node in graph.outputs))


def _find(graph: Graph) -> list[Branch]:
    """The first branches that go together, in the order in which their results are put; none where there are no such."""
    reads = _reads(graph)
    groups: dict[tuple[object, ...], list[Branch]] = defaultdict(list)
    for node in reads.position:
        branch = _branch(node, reads) if isinstance(node, Reduce) else None
        if branch is not None and _readable(branch.end, reads):
            groups[branch.kind].append(branch)
    return next((chosen for group in groups.values() if len(chosen := _aligned(group)) > 1), [])


def _aligned(group: list[Branch]) -> list[Branch]:
    """Those of `group` whose parts begin with a texel, where they follow each other: of those that fill no texels, one, the last."""
    whole = [branch for branch in group if branch.width % TEXEL == 0]
    rest = [branch for branch in group if branch.width % TEXEL != 0]
    return whole + rest[:1]


def _branch(node: Reduce, reads: _Reads) -> Branch | None:
    """The branch that begins with the sum `node`; None where that is not of a tensor and a constant with one free axis."""
    product = node.source
    if node.op is not ops.ADD or not isinstance(product, Map) or product_operands(product.expr) is None or reads.users[product] != [node]:
        return None
    at = [position for position, operand in enumerate(product.sources) if _base(operand) is not None]
    if len(product.sources) != 2 or len(at) != 1:
        return None
    constant, shared = (_unexpanded(product.sources[position]) for position in (at[0], 1 - at[0]))
    free = [axis for axis, (size, wide) in enumerate(zip(shared.shape, product.shape, strict=True)) if size != wide]
    if len(free) != 1 or free[0] in node.axes or constant.shape[free[0]] != product.shape[free[0]]:
        return None
    return Branch(shared, _chain({product: free[0], node: free[0]}, reads))


def _unexpanded(node: Node) -> Node:
    return node.source if isinstance(node, Expand) else node


def _base(node: Node) -> Node | None:
    """What a constant seen through views repeats; None for any other node."""
    base, node = _unexpanded(node), _unexpanded(node)
    while isinstance(node, (Reshape, Permute, Slice)):
        node = node.source
    return base if isinstance(node, Constant) else None


def _chain(begin: Mapping[Node, int], reads: _Reads) -> dict[Node, int]:
    """`begin`, and all that follows it up to the last node, but for views, that whatever reads any of these goes through."""
    found = dict(begin)
    pending = [list(begin)[-1]]
    for node in pending:
        for user in reads.users[node]:
            axis = _following(user, found)
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


def _following(node: Node, chain: Mapping[Node, int]) -> int | None:
    """The free axis of `node`, where it reads the chain and constants alone and keeps the axis; else None."""
    axes = {chain[source] for source in sources(node) if source in chain}
    if len(axes) != 1 or any(source not in chain and _base(source) is None for source in sources(node)):
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


def _readable(end: Node, reads: _Reads) -> bool:
    """Whether `end` is read where it lies: nobody wants a copy of it, and nothing pointwise would have been computed along with it."""
    seen = [end]
    for node in seen:
        if node in reads.kept or any(isinstance(user, COPIED) for user in reads.users[node]):
            return False
        seen += [user for user in reads.users[node] if isinstance(user, (Reshape, Permute))]
    return any(not isinstance(user, Map) for user in reads.users[end])


def _kind(node: Node, axis: int, numbers: Mapping[Node, int]) -> tuple[object, ...]:
    """What `node` has in common with its like in other branches, whose free axes may have other extents."""
    operands = tuple(numbers[source] if source in numbers else _operand_kind(source, axis) for source in sources(node))
    rest = (type(node), axis, _without(node.shape, axis), node.dtype, operands)
    match node:
        case Map(expr):
            return (*rest, expr)
        case Permute(_, order):
            return (*rest, order)
        case Pad(_, low, high, value):
            return (*rest, low, high, value)
        case Reduce(_, _, axes):
            return (*rest, axes)
        case _:
            return rest


def _operand_kind(operand: Node, axis: int) -> tuple[object, ...]:
    base = _base(operand)
    if base is None:
        return ("shared",)
    return (operand.dtype, _without(base.shape, axis), None if base.shape[axis] != 1 else id(base))


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _together(graph: Graph, group: list[Branch]) -> Graph:
    """`graph` with the branches of `group` as one."""
    builder = GraphBuilder()
    starts = np.cumsum([0, *(branch.width for branch in group)]).tolist()
    parts = {branch.end: (branch.axis, start) for branch, start in zip(group, starts, strict=False)}
    made: dict[Node, Node] = {}
    whole: Node | None = None
    for node in graph.nodes():
        if node not in parts:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
            continue
        whole = whole or _whole(builder, group, made[group[0].shared])
        axis, start = parts[node]
        first = tuple(start if at == axis else 0 for at in range(len(node.shape)))
        made[node] = builder.slice(whole, first, (1,) * len(first), node.shape)
    return rebuilt(graph, made)


def _whole(builder: GraphBuilder, group: list[Branch], shared: Node) -> Node:
    """What the branches of `group` compute, side by side along the free axis."""
    width = sum(branch.width for branch in group)
    like = [list(branch.chain) for branch in group]
    made: dict[Node, Node] = {}
    for position, (node, axis) in enumerate(group[0].chain.items()):
        builder.origin = node.origin
        shape = (*node.shape[:axis], width, *node.shape[axis + 1 :])
        below: list[Node] = []
        for number, source in enumerate(sources(node)):
            if source in made:
                below.append(made[source])
            elif _base(source) is None:
                below.append(builder.expand(shared, shape))
            else:
                below.append(_side_by_side(builder, [sources(nodes[position])[number] for nodes in like], axis, shape))
        match node:
            case Map(expr):
                made[node] = builder.map(expr, *below, shape=shape)
            case Reshape():
                made[node] = builder.reshape(below[0], shape)
            case _:
                made[node] = rebuild(builder, node, tuple(below))
    return made[group[0].end]


def _side_by_side(builder: GraphBuilder, operands: list[Node], axis: int, shape: Shape) -> Node:
    """The constants `operands` one after the other along `axis`, repeated to `shape`; one of them where they are the same all along it."""
    bases = [_unexpanded(operand) for operand in operands]
    if bases[0].shape[axis] == 1:
        return builder.expand(builder.constant(evaluate(bases[0])), shape)
    return builder.expand(builder.constant(np.concatenate([evaluate(base) for base in bases], axis)), shape)
