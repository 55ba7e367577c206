"""Scales: factors of the parts of a tensor are one factor of the tensor, done where that is made.

    q = s * x[0], k = t * x[1], v = x[2]    ->    y = x * [s, t, 1];  q, k, v = y[0], y[1], y[2]

Exporters scale queries and keys, each by the root of what the scores are to be scaled by. A part is a view, which costs nothing, but a
product of one is computed by itself, and stored, where it is read over and over.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.expr import Apply, Arg, Lit
from tgc.ir.graph import Graph, Map, Node, Permute, Reduce, Reshape, Slice, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.rebuild import rebuild
from tgc.passes.fold import rebuilt
from tgc.passes.products import Reads, reads_of

LARGEST = 1 << 22  # elements of a tensor that is looked at one by one
MOST_FACTORS = 1 << 12

Factors = npt.NDArray[np.float64]


def scales(graph: Graph) -> Graph:
    """`graph` with the factors of the parts of a tensor done where the tensor is made."""
    if graph.open:
        return graph
    reads = reads_of(graph)
    found: dict[Node, Factors] = {}
    scaled: set[Node] = set()
    for node in reads.position:
        parts = _scaled_parts(node, reads) if isinstance(node, (Map, Reduce)) and node not in reads.kept and node.dtype.is_float else []
        factors = _factors(node, parts, reads) if parts else None
        if factors is not None:
            found[node] = factors
            scaled.update(parts)
    return _scaled(graph, found, scaled) if found else graph


def _factor(node: Node) -> float | None:
    """By what `node` multiplies its only source, a finite number; None where it does anything else."""
    if not isinstance(node, Map) or not isinstance(node.expr, Apply) or node.expr.op is not ops.MUL:
        return None
    values = [arg.value for arg in node.expr.args if isinstance(arg, Lit)]
    once = len(values) == 1 and any(isinstance(arg, Arg) for arg in node.expr.args)
    return float(values[0]) if once and np.isfinite(float(values[0])) else None


def _views(node: Node, reads: Reads) -> list[Node]:
    """`node` and all views of it that choose and order its elements."""
    found = [node]
    for view in found:
        found += [user for user in reads.users[view] if isinstance(user, (Reshape, Permute, Slice))]
    return found


def _scaled_parts(node: Node, reads: Reads) -> list[Node]:
    """The products of parts of `node` with numbers that are read over and over."""
    if prod(node.shape) > LARGEST:
        return []
    parts = [user for view in _views(node, reads)[1:] for user in reads.users[view] if _factor(user) is not None and user not in reads.kept]
    return [part for part in dict.fromkeys(parts) if not any(isinstance(user, Map) for user in reads.users[part])]


def _factors(node: Node, parts: list[Node], reads: Reads) -> Factors | None:
    """What every element of `node` is multiplied with, of extent 1 along the axes where that is the same; None where readers differ."""
    numbers = np.arange(prod(node.shape)).reshape(node.shape)
    factors = np.full(prod(node.shape), np.nan)
    for view in _views(node, reads):
        at = evaluate(view, {node: numbers}).reshape(-1)
        readers = [user for user in reads.users[view] if not isinstance(user, (Reshape, Permute, Slice))]
        for user in (*readers, *([view] if view in reads.kept else [])):
            factor = _factor(user) if user in parts else 1.0
            if not np.all(np.isnan(factors[at]) | (factors[at] == factor)):
                return None
            factors[at] = factor
    factors = np.where(np.isnan(factors), 1.0, factors).reshape(node.shape)
    for axis in range(factors.ndim):
        first = factors.take([0], axis)
        factors = first if np.array_equal(np.broadcast_to(first, factors.shape), factors) else factors
    return factors if factors.size <= MOST_FACTORS else None


def _scaled(graph: Graph, found: dict[Node, Factors], scaled: set[Node]) -> Graph:
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        below = tuple(made[source] for source in sources(node))
        made[node] = below[0] if node in scaled else rebuild(builder, node, below)
        if node in found:
            factors = builder.expand(builder.constant(found[node].astype(node.dtype.numpy)), node.shape)
            made[node] = builder.map(s.mul(Arg(0, node.dtype), Arg(1, node.dtype)), made[node], factors)
    return rebuilt(graph, made)
