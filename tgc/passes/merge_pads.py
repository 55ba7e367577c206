"""Merge pads: paddings of one tensor by the same value become slices of the largest, so that it is stored once, with one halo."""

from __future__ import annotations

from collections import defaultdict

from tgc.ir.expr import Lit
from tgc.ir.graph import Graph, Node, Pad, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.passes.fold import rebuilt

Amounts = tuple[int, ...]


def merge_pads(graph: Graph) -> Graph:
    """`graph` with at most one pad for each tensor and value."""
    wanted: dict[tuple[Node, Lit], list[Pad]] = defaultdict(list)
    for node in graph.nodes():
        if isinstance(node, Pad):
            wanted[node.source, node.value].append(node)
    if all(len(pads) == 1 for pads in wanted.values()):
        return graph
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        if isinstance(node, Pad):
            low, high = _largest(wanted[node.source, node.value])
            builder.origin = node.origin
            whole = builder.pad(made[node.source], low, high, node.value)
            starts = tuple(a - b for a, b in zip(low, node.low, strict=True))
            made[node] = builder.slice(whole, starts, (1,) * len(starts), node.shape)
        else:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
    return rebuilt(graph, made)


def _largest(pads: list[Pad]) -> tuple[Amounts, Amounts]:
    low = tuple(max(amounts) for amounts in zip(*(pad.low for pad in pads), strict=True))
    high = tuple(max(amounts) for amounts in zip(*(pad.high for pad in pads), strict=True))
    return low, high
