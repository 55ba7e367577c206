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
from dataclasses import replace

import numpy as np

from tgc.ir.graph import Graph, Map, Node, Pad, Permute, Reduce, Reshape, Shape, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.rebuild import rebuild
from tgc.ir.texels import TEXEL
from tgc.passes.fold import rebuilt
from tgc.passes.products import Product, constant_of, followed, product_of, readable, reads_of, unexpanded


def siblings(graph: Graph) -> Graph:
    """`graph` with sums of one tensor's products with constants computed together."""
    while not graph.open and (group := _find(graph)):
        graph = _together(graph, group)
    return graph


def _find(graph: Graph) -> list[Product]:
    """The first products that go together, in the order in which their results are put; none where there are no such."""
    reads = reads_of(graph)
    groups: dict[tuple[object, ...], list[Product]] = defaultdict(list)
    for node in reads.position:
        begin = product_of(node, reads) if isinstance(node, Reduce) else None
        if begin is None:
            continue
        product = replace(begin, chain=followed(begin.chain, reads, _is_constant))
        if readable(product.end, reads):
            groups[_kind(product)].append(product)
    return next((chosen for group in groups.values() if len(chosen := _aligned(group)) > 1), [])


def _aligned(group: list[Product]) -> list[Product]:
    """Those of `group` whose parts begin with a texel, where they follow each other: of those that fill no texels, one, the last."""
    whole = [product for product in group if product.width % TEXEL == 0]
    rest = [product for product in group if product.width % TEXEL != 0]
    return whole + rest[:1]


def _is_constant(node: Node) -> bool:
    return constant_of(node) is not None


def _kind(product: Product) -> tuple[object, ...]:
    """What products that go together have in common."""
    numbers = {node: number for number, node in enumerate(product.chain)}
    return (id(product.shared), *(_step_kind(node, axis, numbers) for node, axis in product.chain.items()))


def _step_kind(node: Node, axis: int, numbers: Mapping[Node, int]) -> tuple[object, ...]:
    """What `node` has in common with its like in other products, whose free axes may have other extents."""
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
    base = constant_of(operand)
    if base is None:
        return ("shared",)
    return (operand.dtype, _without(base.shape, axis), None if base.shape[axis] != 1 else id(base))


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _together(graph: Graph, group: list[Product]) -> Graph:
    """`graph` with the products of `group` as one."""
    builder = GraphBuilder()
    starts = np.cumsum([0, *(product.width for product in group)]).tolist()
    parts = {product.end: (product.axis, start) for product, start in zip(group, starts, strict=False)}
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


def _whole(builder: GraphBuilder, group: list[Product], shared: Node) -> Node:
    """What the products of `group` compute, side by side along the free axis."""
    width = sum(product.width for product in group)
    like = [list(product.chain) for product in group]
    made: dict[Node, Node] = {}
    for position, (node, axis) in enumerate(group[0].chain.items()):
        builder.origin = node.origin
        shape = (*node.shape[:axis], width, *node.shape[axis + 1 :])
        below: list[Node] = []
        for number, source in enumerate(sources(node)):
            if source in made:
                below.append(made[source])
            elif constant_of(source) is None:
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
    bases = [unexpanded(operand) for operand in operands]
    if bases[0].shape[axis] == 1:
        return builder.expand(builder.constant(evaluate(bases[0])), shape)
    return builder.expand(builder.constant(np.concatenate([evaluate(base) for base in bases], axis)), shape)
