"""Twins: what is computed alike from two inputs is computed once, with one more axis.

    a = f(x), b = f(y)    ->    c = f over axis 1.. of concat(x, y);  a = c[0], b = c[1]

Two cameras through one network are half the launches, twice the work in each, and weights that are read once. A node's twin is the
node over the twins of its sources; what both share is repeated along the new axis by a view. Pointwise work on the inputs
themselves stays apart, and is written where the network reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Concat, Expand, Graph, Input, Map, Node, Pad, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import substitute, walk

LEAST = 4  # reductions that have to have twins
_PAIRED = (Map, Reduce, Reshape, Permute, Expand, Slice, Pad, Window, Concat)


def twins(graph: Graph) -> Graph:
    """`graph` with the largest computation that two of its inputs go through alike done once."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
    inputs = tuple(node for node in (made[node] for node in graph.inputs) if isinstance(node, Input))
    clean = Graph(graph.name, inputs, tuple((name, made[node]) for name, node in graph.outputs), graph.open)
    alike = [(a, b) for a, b in combinations(clean.inputs, 2) if a.dtype == b.dtype and a.shape == b.shape]
    pairs = max((_pairs(builder, clean, a, b) for a, b in alike), key=_reductions, default={})
    return graph if _reductions(pairs) < LEAST else _joined(builder, clean, pairs)


def _reductions(pairs: Mapping[Node, Node]) -> int:
    return sum(1 for node in pairs if isinstance(node, Reduce))


def _pairs(builder: GraphBuilder, graph: Graph, first: Node, second: Node) -> dict[Node, Node]:
    """Every node that has a twin, and the twin, where the twin of `first` is `second`."""
    order = graph.nodes()
    there = set(order)
    pairs: dict[Node, Node] = {first: second}
    for node in order:
        below = sources(node)
        if isinstance(node, _PAIRED) and any(source in pairs for source in below):
            twin = rebuild(builder, node, tuple(pairs.get(source, source) for source in below))
            if twin in there and twin is not node:
                pairs[node] = twin
    return pairs


def _joined(builder: GraphBuilder, graph: Graph, pairs: Mapping[Node, Node]) -> Graph:
    """`graph` with each pair of nodes as one."""
    places = {node: (first, number) for first, second in pairs.items() for number, node in enumerate((first, second))}
    joined: dict[Node, Node] = {}
    light: set[Node] = set()
    made: dict[Node, Node] = {}
    for node in _by_pairs(graph, pairs):
        below = sources(node)
        if node not in places:
            made[node] = rebuild(builder, node, tuple(made[source] for source in below))
            continue
        first, number = places[node]
        plain = isinstance(node, (Input, Map, Reshape, Permute, Slice))
        if plain and all(source in light or source not in places for source in below):
            light.add(node)
            made[node] = rebuild(builder, node, tuple(made[source] for source in below))
            continue
        if first not in joined:
            builder.origin = node.origin
            joined[first] = _wider(builder, first, tuple(_both(builder, source, pairs, joined, made) for source in sources(first)))
        made[node] = _part(builder, joined[first], number, node.shape)
    return Graph(graph.name, graph.inputs, tuple((name, made[node]) for name, node in graph.outputs), graph.open)


def _by_pairs(graph: Graph, pairs: Mapping[Node, Node]) -> list[Node]:
    """The nodes of `graph`, each after its sources and after those of its twin."""
    twin = {**pairs, **{second: first for first, second in pairs.items()}}
    done: dict[Node, None] = {}
    stack = [node for _, node in reversed(graph.outputs)] + list(reversed(graph.inputs))
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        missing = [s for s in (*sources(node), *(sources(twin[node]) if node in twin else ())) if s not in done]
        if missing:
            stack.extend(reversed(missing))
        else:
            done[stack.pop()] = None
    return list(done)


def _both(builder: GraphBuilder, node: Node, pairs: Mapping[Node, Node], joined: Mapping[Node, Node], made: Mapping[Node, Node]) -> Node:
    """`node` and its twin along a new first axis; what has no twin is its own."""
    if node in joined:
        return joined[node]
    wide = (2, *node.shape)
    first = builder.reshape(made[node], (1, *node.shape))
    if node not in pairs:
        return builder.expand(first, wide)
    return builder.concat((first, builder.reshape(made[pairs[node]], (1, *node.shape))), 0)


def _part(builder: GraphBuilder, node: Node, number: int, shape: tuple[int, ...]) -> Node:
    cut = builder.slice(node, (number, *(0 for _ in shape)), (1,) * (len(shape) + 1), (1, *shape))
    return builder.reshape(cut, shape)


def _wider(builder: GraphBuilder, node: Node, below: tuple[Node, ...]) -> Node:
    """`node` over sources that have one more axis, the first."""
    match node:
        case Map(expr, _, shape):
            moved: dict[Expr, Expr] = {e: Coordinate(e.axis + 1) for e in walk(expr) if isinstance(e, Coordinate)}
            return builder.map(substitute(expr, moved), *below, shape=(2, *shape))
        case Reduce(op, _, axes):
            return builder.reduce(op, below[0], tuple(axis + 1 for axis in axes))
        case Concat(_, axis):
            return builder.concat(below, axis + 1)
        case Reshape(_, shape):
            return builder.reshape(below[0], (2, *shape))
        case Permute(_, order):
            return builder.permute(below[0], (0, *(axis + 1 for axis in order)))
        case Expand(_, shape):
            return builder.expand(below[0], (2, *shape))
        case Slice(_, starts, steps, shape):
            return builder.slice(below[0], (0, *starts), (1, *steps), (2, *shape))
        case Pad(_, low, high, value):
            return builder.pad(below[0], (0, *low), (0, *high), value)
        case Window(_, axis, size, stride, dilation):
            return builder.window(below[0], axis + 1, size, stride, dilation)
        case _:
            raise AssertionError(f"{type(node).__name__} has no twin")
