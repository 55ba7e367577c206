"""What a region reads, and where: for whoever decides about a region before it is lowered."""

from __future__ import annotations

from collections import deque

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Coordinate, Expr, Var
from tgc.ir.graph import Constant, Expand, Gather, Input, Map, Node, Permute, Reduce, Reshape, Scatter, Shape, Slice, Window, sources
from tgc.ir.index import Index
from tgc.ir.partition import Partition, Region
from tgc.ir.rewrite import walk
from tgc.ir.views import Vector, flatten, source_index, unflatten

Loops = tuple[tuple[Var, int], ...]


def axis_loops(region: Region) -> tuple[Loops, ...]:
    """The loops of each axis that the region iterates over, outermost first: the contraction's axes, else the body's own.

    An axis that a reshape after the contraction divides (groups, heads, phases) has a loop for each part.
    """
    heavy = region.contraction
    shape = region.body.shape if heavy is None else heavy.shape
    parts = {} if heavy is None else _divided_axes(heavy.shape, list(reversed(path_to(region.body, heavy))))
    return tuple(_loops(axis, size, parts.get(axis)) for axis, size in enumerate(shape))


def _loops(axis: int, size: int, parts: tuple[int, ...] | None) -> Loops:
    if parts is None:
        return ((Var(f"i{axis}"), size),)
    return tuple((Var(f"i{axis}_{number}"), extent) for number, extent in enumerate(parts))


def _divided_axes(shape: Shape, views: list[Reshape | Permute]) -> dict[int, tuple[int, ...]]:
    """The axes of `shape` that the first reshape among `views` divides, with the extents of the parts."""
    axes = list(range(len(shape)))
    for view in views:
        if isinstance(view, Permute):
            axes = [axes[axis] for axis in view.order]
            continue
        found: dict[int, tuple[int, ...]] = {}
        for before, after in _matching_axes(view.source.shape, view.shape):
            wide = [axis for axis in before if view.source.shape[axis] != 1]
            extents = tuple(view.shape[axis] for axis in after if view.shape[axis] != 1)
            if len(wide) == 1 and len(extents) > 1:
                found[axes[wide[0]]] = extents
        return found
    return {}


def _matching_axes(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of two shapes of as many elements that hold the same elements, as short as can be."""
    runs: list[tuple[list[int], list[int]]] = []
    a = b = 0
    while a < len(before) or b < len(after):
        left: list[int] = []
        right: list[int] = []
        x = y = 1
        while not left or x != y:
            if (x <= y and a < len(before)) or b == len(after):
                left.append(a)
                x *= before[a]
                a += 1
            else:
                right.append(b)
                y *= after[b]
                b += 1
        runs.append((left, right))
        while a == len(before) and b < len(after):
            right.append(b)
            b += 1
    return runs


def axis_index(loops: Loops) -> ix.Index:
    """The index along an axis from the variables of its loops."""
    total = ix.ZERO
    for var, extent in loops:
        total = total * extent + ix.axis(var, extent)
    return total


def iteration_index(region: Region) -> Vector:
    """The body's index in terms of the loops."""
    at = tuple(axis_index(loops) for loops in axis_loops(region))
    if region.contraction is not None:
        for view in reversed(path_to(region.body, region.contraction)):
            at = forward(view, at)
    return at


def reduction_index(region: Region, heavy: Reduce) -> Vector:
    """The index of the contraction's source: the region's loops, and k* along the axes that are summed."""
    own = axis_loops(region)
    return tuple(
        ix.axis(Var(f"k{axis}"), size) if axis in heavy.axes else axis_index(own[axis]) for axis, size in enumerate(heavy.source.shape)
    )


def path_to(body: Node, contraction: Reduce) -> list[Reshape | Permute]:
    """The reshapes and permutes between `body` and `contraction`, the body's first."""
    # breadth first: the contraction is near, and what the region reads leads back to the model's inputs
    queue: deque[tuple[Node, tuple[Reshape | Permute, ...]]] = deque([(body, ())])
    seen: set[int] = set()
    while queue:
        node, path = queue.popleft()
        if node is contraction:
            return list(path)
        if id(node) in seen:
            continue
        seen.add(id(node))
        match node:
            case Map():
                queue.extend((source, path) for source in node.sources)
            case Gather():
                queue.extend((coordinate, path) for coordinate in node.coordinates)
            case Reshape() | Permute():
                queue.append((node.source, (*path, node)))
    raise AssertionError("the region's contraction is not in its body")


def forward(view: Reshape | Permute, at: Vector) -> Vector:
    """The view's own index where its source's is `at`."""
    if isinstance(view, Permute):
        return tuple(at[axis] for axis in view.order)
    return unflatten(flatten(at, view.source.shape), view.shape)


def reads(region: Region, partition: Partition, at: Vector) -> list[tuple[Node, Vector]]:
    """Every reduction, constant and placed node that `region` reads, with its index, from the body at `at` inward."""
    found: dict[tuple[Node, Vector], None] = {}
    computed = region.body if partition.places.get(region.body) in (None, region.place) else None
    seen: set[tuple[int, Vector]] = set()
    stack: list[tuple[Node, Vector]] = [(region.body, at)]
    while stack:
        node, index = stack.pop()
        if (id(node), index) in seen:
            continue
        seen.add((id(node), index))
        if isinstance(node, (Input, Constant)) or (node in partition.places and node is not computed):
            found[node, index] = None
            continue
        match node:
            case Reshape() | Permute() | Expand() | Slice() | Window():
                stack.append((node.source, source_index(node, index)))
            case Reduce():
                found[node, index] = None
                inner = list(index)
                for axis in node.axes:
                    inner[axis] = ix.axis(Var(f"k{len(found)}_{axis}"), node.source.shape[axis])
                stack.append((node.source, tuple(inner)))
            case Gather():
                stack.extend((coordinate, index) for coordinate in node.coordinates)
                stack.append((node.source, _gathered_index(node, index, partition)))
            case Scatter():
                each = tuple(ix.axis(Var(f"u{axis}"), size) for axis, size in enumerate(node.updates.shape))
                stack.append((node.source, index))
                stack.extend((source, each) for source in (*node.coordinates, node.updates))
            case _:
                stack.extend((source, index) for source in sources(node))
    return list(found)


def _gathered_index(node: Gather, index: Vector, partition: Partition) -> Vector:
    """Where `node` reads its source, each component an unknown function of the variables that its coordinate varies with."""
    found: list[Index] = []
    for coordinate, size in zip(node.coordinates, node.source.shape, strict=True):
        used = sorted(_varies_with(coordinate, index, partition), key=lambda var: var.name)
        unknown: Expr = Var("gathered")
        for var in used:
            unknown = ex.apply(ops.ADD, unknown, var)
        found.append(ix.opaque(unknown, 0, size - 1))
    return tuple(found)


def _varies_with(node: Node, index: Vector, partition: Partition) -> frozenset[Var]:
    """The variables on which the element of `node` at `index` depends."""
    if node not in partition.places:
        match node:
            case Reshape() | Permute() | Expand() | Slice() | Window():
                return _varies_with(node.source, source_index(node, index), partition)
            case Map():
                own = [ix.variables(index[e.axis]) for e in walk(node.expr) if isinstance(e, Coordinate)]
                return frozenset().union(*own, *(_varies_with(source, index, partition) for source in node.sources))
    return frozenset().union(*(ix.variables(component) for component in index))
