"""What a region reads, and where: for whoever decides about a region before it is lowered."""

from __future__ import annotations

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Coordinate, Expr, Var
from tgc.ir.graph import Constant, Expand, Gather, Input, Map, Node, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.index import Index
from tgc.ir.partition import Partition, Region
from tgc.ir.rewrite import walk
from tgc.ir.views import Vector, flatten, source_index, unflatten


def iteration_index(region: Region) -> Vector:
    """The body's index in terms of the loops: the contraction's axes where there is one, else the body's own."""
    heavy = region.contraction
    shape = region.body.shape if heavy is None else heavy.shape
    at = tuple(ix.axis(Var(f"i{axis}"), size) for axis, size in enumerate(shape))
    if heavy is not None:
        for view in reversed(path_to(region.body, heavy)):
            at = forward(view, at)
    return at


def path_to(body: Node, contraction: Reduce) -> list[Reshape | Permute]:
    """The reshapes and permutes between `body` and `contraction`, the body's first."""
    stack: list[tuple[Node, tuple[Reshape | Permute, ...]]] = [(body, ())]
    seen: set[int] = set()
    while stack:
        node, path = stack.pop()
        if node is contraction:
            return list(path)
        if id(node) in seen:
            continue
        seen.add(id(node))
        match node:
            case Map():
                stack.extend((source, path) for source in node.sources)
            case Reshape() | Permute():
                stack.append((node.source, (*path, node)))
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
