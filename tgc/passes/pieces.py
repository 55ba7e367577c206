"""Pieces: a map of what is put together is put together from maps.

    f(concat(a, b))    ->    concat(f(a), f(b))

A concat is a place, that whoever makes a piece writes it to; so `f` is done where a piece is made, or copied, and not in a launch of its
own. It is done where nobody reads the concat but the map, and where no more than one piece is wanted without it: that one is then
stored twice, as the map was.
"""

from __future__ import annotations

from tgc.ir.expr import Coordinate
from tgc.ir.graph import Concat, Graph, Map, Node, Reduce, Shape, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import walk
from tgc.passes.fold import rebuilt
from tgc.passes.products import Reads, constant_of, reads_of


def pieces(graph: Graph) -> Graph:
    """`graph` with maps of concats done piece by piece."""
    while not graph.open:
        reads = reads_of(graph)
        found = {node: whole for node in reads.position if isinstance(node, Map) and (whole := _whole(node, reads)) is not None}
        if not found:
            break
        graph = _apart(graph, found)
    return graph


def _whole(node: Map, reads: Reads) -> Concat | None:
    """The concat that `node` is a map of, and of constants, where it can be done piece by piece; else None."""
    read = [source for source in node.sources if constant_of(source) is None]
    if len(set(read)) != 1 or not isinstance(whole := read[0], Concat) or whole in reads.kept or reads.users[whole] != [node]:
        return None
    if any(isinstance(e, Coordinate) and e.axis == whole.axis for e in walk(node.expr)):
        return None
    return whole if sum(_wanted(piece, whole, node, reads) for piece in set(whole.sources)) <= 1 else None


def _wanted(piece: Node, whole: Concat, node: Map, reads: Reads) -> bool:
    """Whether `piece` is computed, and read by others than `whole` and maps like `node`."""
    alike = [user for user in reads.users[piece] if isinstance(user, Map) and (user.expr, len(user.sources)) == (node.expr, 1)]
    return isinstance(piece, (Map, Reduce)) and (piece in reads.kept or any(user not in (whole, *alike) for user in reads.users[piece]))


def _apart(graph: Graph, found: dict[Map, Concat]) -> Graph:
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        if not isinstance(node, Map) or node not in found:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
            continue
        builder.origin = node.origin
        whole, start, parts = found[node], 0, list[Node]()
        for piece in whole.sources:
            below = (
                made[piece] if source is whole else _cut(builder, made[source], whole.axis, start, piece.shape) for source in node.sources
            )
            parts.append(builder.map(node.expr, *below, shape=piece.shape))
            start += piece.shape[whole.axis]
        made[node] = builder.concat(tuple(parts), whole.axis)
    return rebuilt(graph, made)


def _cut(builder: GraphBuilder, constant: Node, axis: int, start: int, shape: Shape) -> Node:
    """What of `constant` belongs to the piece of `shape` that begins at `start`."""
    first = tuple(start if at == axis else 0 for at in range(len(shape)))
    return builder.slice(constant, first, (1,) * len(shape), shape)
