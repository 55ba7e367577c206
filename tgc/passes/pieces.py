"""Pieces: what follows something that is put together is done piece by piece.

    f(concat(a, b))    ->    concat(f(a), f(b))

A concat is a place, that whoever makes a piece writes it to; so a map is done where a piece is made, or copied, and not in a launch of
its own. That is where nobody reads the concat but the map, and where no more than one piece is wanted without it: that one is then stored
twice, as the map was. A view costs nothing where it is read; but one that is put into a place, as boxes of several scales are into
one result, would be a copy of the concat, and goes to the pieces too.
"""

from __future__ import annotations

from math import prod

from tgc.ir.expr import Coordinate
from tgc.ir.graph import Concat, Graph, Map, Node, Permute, Reduce, Reshape, Shape, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import walk
from tgc.passes.fold import rebuilt
from tgc.passes.products import COPIED, Reads, constant_of, reads_of


def pieces(graph: Graph) -> Graph:
    """`graph` with maps, and copied views, of concats done piece by piece."""
    while not graph.open:
        reads = reads_of(graph)
        found = {node: whole for node in reads.position if (whole := _whole(node, reads)) is not None}
        if not found:
            break
        graph = _apart(graph, found)
    return graph


def _whole(node: Node, reads: Reads) -> Concat | None:
    """The concat that `node` follows, and constants, where it can be done piece by piece; else None."""
    read = list(dict.fromkeys(source for source in sources(node) if constant_of(source) is None))
    if len(read) != 1 or not isinstance(whole := read[0], Concat) or whole in reads.kept or reads.users[whole] != [node]:
        return None
    match node:
        case Map(expr):
            counted = any(isinstance(e, Coordinate) and e.axis == whole.axis for e in walk(expr))
            few = sum(_wanted(piece, whole, node, reads) for piece in set(whole.sources)) <= 1
            return whole if few and not counted else None
        case Reshape() | Permute():
            return whole if _axis(node, whole) is not None and _put(node, reads) else None
        case _:
            return None


def _wanted(piece: Node, whole: Concat, node: Map, reads: Reads) -> bool:
    """Whether `piece` is computed, and read by others than `whole` and maps like `node`."""
    alike = [user for user in reads.users[piece] if isinstance(user, Map) and (user.expr, len(user.sources)) == (node.expr, 1)]
    return isinstance(piece, (Map, Reduce)) and (piece in reads.kept or any(user not in (whole, *alike) for user in reads.users[piece]))


def _put(view: Node, reads: Reads) -> bool:
    """Whether `view` is a result, or copied somewhere, itself or as a view, and not read otherwise."""
    if view in reads.kept:
        return True
    users = reads.users[view]
    return bool(users) and all(isinstance(user, COPIED) or (isinstance(user, (Reshape, Permute)) and _put(user, reads)) for user in users)


def _axis(node: Node, whole: Concat) -> int | None:
    """The axis of `node` that the pieces of `whole` lie along; None where that is no axis any more."""
    if isinstance(node, Permute):
        return node.order.index(whole.axis)
    if isinstance(node, Reshape):
        ahead, size = prod(whole.shape[: whole.axis]), whole.shape[whole.axis]
        return next((at for at, extent in enumerate(node.shape) if extent == size and prod(node.shape[:at]) == ahead), None)
    return whole.axis


def _apart(graph: Graph, found: dict[Node, Concat]) -> Graph:
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        if node not in found:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
            continue
        builder.origin = node.origin
        whole, start, parts = found[node], 0, list[Node]()
        axis = _axis(node, whole) or 0
        for piece in whole.sources:
            below = [made[piece] if s is whole else _cut(builder, made[s], whole.axis, start, piece.shape) for s in sources(node)]
            parts.append(_piece(builder, node, tuple(below), (*node.shape[:axis], piece.shape[whole.axis], *node.shape[axis + 1 :])))
            start += piece.shape[whole.axis]
        made[node] = builder.concat(tuple(parts), axis)
    return rebuilt(graph, made)


def _piece(builder: GraphBuilder, node: Node, below: tuple[Node, ...], shape: Shape) -> Node:
    """`node` of a piece."""
    match node:
        case Map(expr):
            return builder.map(expr, *below, shape=shape)
        case Reshape():
            return builder.reshape(below[0], shape)
        case _:
            return rebuild(builder, node, below)


def _cut(builder: GraphBuilder, constant: Node, axis: int, start: int, shape: Shape) -> Node:
    """What of `constant` belongs to the piece of `shape` that begins at `start`."""
    first = tuple(start if at == axis else 0 for at in range(len(shape)))
    return builder.slice(constant, first, (1,) * len(shape), shape)
