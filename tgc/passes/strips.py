"""Strips: a large result that only one contraction reads, and that is much larger than what comes of it, is made strip by strip.

    y = f(q[0..n])    ->    for each strip of q: y[strip] = f(q[strip])

An axis of the result is followed back, through maps, reductions of other axes and views, to the tensors that it comes from; what the
axis does not reach is the same for every strip. The loop is a scan without state, and what lies between has the size of one
strip, which stays in the cache. Of attention the scores are such a result: first each head is a strip, and of a head some rows.
No name is looked for, only sizes; what reads the result one to one still is in the kernels that it would be in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from tgc.ir.expr import Coordinate
from tgc.ir.graph import Bound, Expand, Gather, Graph, Input, Map, Node, Permute, Reduce, Reshape, Scan, Scatter, Shape, Slice, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import walk
from tgc.ir.scan import scan_results
from tgc.passes.contractions import is_contraction
from tgc.passes.fold import rebuilt

LARGE = 2  # second caches that a result fills before it is worth a loop
LEAST_GAIN = 3  # bytes of the result, for each that is cut into strips and put together
MOST_REREAD = 8  # bytes that are read again for every strip, for each of the result
LEAST_ROWS = 16  # of a strip whose products read something whole: register tiles take as many
SMALL = 1 << 8  # elements of a scale or a bias
IN_MEMORY = (Input, Bound, Map, Reduce, Gather, Scatter)  # what is read where it lies, if it is cut along its first axis
MOST_BETWEEN = 200  # nodes


@dataclass(frozen=True, slots=True)
class _Traced:
    """How strips of `result` along `axis`, `rows` each, are made: from strips of `cut` along these axes, and `whole` tensors."""

    result: Reduce
    axis: int
    rows: int
    cut: tuple[tuple[Node, int], ...]
    whole: tuple[Node, ...]


def strips(graph: Graph, l2_bytes: int) -> Graph:
    """`graph` with loops over strips, each of which fills half of a cache of `l2_bytes` at most."""
    while not graph.open and (found := _find(graph, l2_bytes)) is not None:
        graph = _in_strips(graph, found)
    return graph


def _find(graph: Graph, l2_bytes: int) -> _Traced | None:
    order = graph.nodes()
    kept = {node for _, node in graph.outputs}
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for source in sources(node):
            users[source].append(node)
    for number, node in enumerate(order):
        if isinstance(node, Reduce) and _bytes(node) > LARGE * l2_bytes and is_contraction(node):
            between, result = _between(order[number:], node)
            private = all(n not in kept and all(user in between for user in users[n]) for n in between if n is not result)
            if result is not None and private:
                found = (_traced(result, axis, between, _bytes(node), l2_bytes // 2) for axis in range(len(result.shape)))
                traced = sorted((each for each in found if each is not None), key=lambda each: (bool(each.whole), each.axis))
                if traced:
                    return traced[0]
    return None


def _bytes(node: Node) -> int:
    return prod(node.shape) * node.dtype.bytes


def _between(order: list[Node], large: Node) -> tuple[set[Node], Reduce | None]:
    """What depends on `large`, the first of `order`, up to the contraction that makes little of it; None where there is no such."""
    between = {large}
    for node in order:
        if any(source in between for source in sources(node)):
            if not isinstance(node, (Map, Reduce, Reshape, Permute, Expand, Slice)) or len(between) > MOST_BETWEEN:
                return between, None
            between.add(node)
            if isinstance(node, Reduce) and is_contraction(node):
                return between, node
    return between, None


def _traced(result: Reduce, axis: int, between: set[Node], size: int, budget: int) -> _Traced | None:
    """Strips along `axis`, where they are possible and pay for a result of `size` bytes between; a strip has `budget` bytes."""
    extent = result.shape[axis]
    leaves = _leaves(result, axis, between) if extent > 1 else None
    if leaves is None:
        return None
    cut = tuple((node, at) for node, at in leaves if at is not None)
    whole = [(node, operand) for (node, at), operand in leaves.items() if at is None]
    rows = max((r for r in range(1, extent) if extent % r == 0 and r * (size // extent) <= budget), default=1)
    moved = _bytes(result) + sum(_bytes(node) for node, at in cut if leaves[node, at] or at or not isinstance(node, IN_MEMORY))
    reread = (extent // rows - 1) * sum(_bytes(node) for node, _ in whole)
    tiled = rows >= LEAST_ROWS or not any(operand for _, operand in whole)
    pays = moved * LEAST_GAIN <= size and reread <= MOST_REREAD * size and tiled
    return _Traced(result, axis, rows, cut, tuple(node for node, operand in whole if operand)) if pays and cut else None


def _leaves(result: Node, axis: int, between: set[Node]) -> dict[tuple[Node, int | None], bool] | None:
    """The tensors that a strip is made from, each with the axis along which it is cut, and whether it is an operand of products.

    None where `axis` cannot be followed.
    """
    found: dict[tuple[Node, int | None], bool] = {}
    seen: set[tuple[Node, int, bool]] = set()
    stack: list[tuple[Node, int | None, bool]] = [(result, axis, False)]
    while stack:
        node, at, operand = stack.pop()
        if at is None and node in between:
            return None
        if at is None or (node not in between and not _repeats(node) and not _passes(node, at)):
            found[node, at] = found.get((node, at), False) or operand
        elif (node, at, operand) not in seen:
            seen.add((node, at, operand))
            before = _before(node, at)
            if before is None:
                return None
            below = sources(node)
            if isinstance(node, Reduce) and is_contraction(node):
                below, operand = sources(node.source), True  # past the products, which no axis stops
                before = before * len(below)
            elif isinstance(node, (Map, Reduce)):
                operand = False
            stack += [(source, source_at, operand) for source, source_at in zip(below, before, strict=True)][::-1]
    return found


def _passes(node: Node, axis: int) -> bool:
    """Whether `node` is a view whose source can be cut as well: views are not worth a copy."""
    return isinstance(node, (Reshape, Permute, Slice)) and None not in (_before(node, axis) or (None,))


def _repeats(node: Node) -> bool:
    """Whether `node` is larger than what it is made from, so that nobody wants it in memory."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, Expand) and node.shape != node.source.shape:
            return True
        if isinstance(node, (Map, Reshape, Permute, Slice)):
            stack += [source for source in sources(node) if prod(source.shape) > SMALL or isinstance(source, Expand)]
    return False


def _before(node: Node, axis: int) -> tuple[int | None, ...] | None:
    """The axes of a node's sources that its `axis` comes from, None for a source that is the same all along it; None where it has none."""
    match node:
        case Map(expr, parents):
            counted = any(isinstance(e, Coordinate) and e.axis == axis for e in walk(expr))
            return None if counted else (axis,) * len(parents)
        case Reduce(axes=axes):
            return None if axis in axes else (axis,)
        case Permute(order=order):
            return (order[axis],)
        case Expand(source):
            return (axis if source.shape[axis] == node.shape[axis] else None,)
        case Slice(source, starts, steps, shape):
            return (axis,) if (starts[axis], steps[axis], shape[axis]) == (0, 1, source.shape[axis]) else None
        case Reshape(source, shape):
            ahead = prod(shape[:axis])
            same = [at for at, size in enumerate(source.shape) if size == shape[axis] and prod(source.shape[:at]) == ahead]
            return (same[0],) if same else None
        case _:
            return None


def _in_strips(graph: Graph, traced: _Traced) -> Graph:
    """`graph` with the result of `traced` made by a loop."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
        if node is traced.result:
            made[node] = _loop(builder, traced, made)
    return rebuilt(graph, made)


def _loop(builder: GraphBuilder, traced: _Traced, made: Mapping[Node, Node]) -> Node:
    """The scan that puts the result together."""
    rows, result = traced.rows, traced.result
    scanned = tuple(_to_front(builder, made[node], axis) for node, axis in traced.cut)
    elements = tuple(builder.bound(node.dtype, (rows, *node.shape[1:])) for node in scanned)
    strip: dict[tuple[Node, int], Node] = {
        leaf: _from_front(builder, element, leaf[1]) for leaf, element in zip(traced.cut, elements, strict=True)
    }
    pending: list[tuple[Node, int]] = [(result, traced.axis)]
    while pending:
        node, axis = pending[-1]
        before = list(zip(sources(node), _before(node, axis) or (), strict=True))
        missing = [(source, at) for source, at in before if at is not None and (source, at) not in strip]
        if missing:
            pending += missing
            continue
        pending.pop()
        strip[node, axis] = _cut(builder, node, axis, rows, tuple(made[s] if at is None else strip[s, at] for s, at in before))
    builder.origin = result.origin
    slab = _to_front(builder, strip[result, traced.axis], traced.axis)
    scan = Scan((), elements, (), scanned, (), (slab,), result.shape[traced.axis] // rows)
    return _from_front(builder, scan_results(builder, scan)[0], traced.axis)


def _to_front(builder: GraphBuilder, node: Node, axis: int) -> Node:
    return builder.permute(node, (axis, *(at for at in range(len(node.shape)) if at != axis)))


def _from_front(builder: GraphBuilder, node: Node, axis: int) -> Node:
    return builder.permute(node, (*range(1, axis + 1), 0, *range(axis + 1, len(node.shape))))


def _cut(builder: GraphBuilder, node: Node, axis: int, rows: int, srcs: tuple[Node, ...]) -> Node:
    """`node` with `rows` elements along `axis`, over sources that have as many."""
    builder.origin = node.origin
    shape: Shape = (*node.shape[:axis], rows, *node.shape[axis + 1 :])
    match node:
        case Map(expr):
            return builder.map(expr, *srcs, shape=shape)
        case Reshape():
            return builder.reshape(srcs[0], shape)
        case Expand():
            return builder.expand(srcs[0], shape)
        case Slice(_, starts, steps):
            return builder.slice(srcs[0], starts, steps, shape)
        case _:
            return rebuild(builder, node, srcs)
