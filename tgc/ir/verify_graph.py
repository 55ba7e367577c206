"""The invariants of a graph."""

from __future__ import annotations

import math
from functools import lru_cache

from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Arg, Broadcast, Coordinate, Expr, Lit, Load, Ramp, Var
from tgc.ir.graph import (
    Bound,
    Concat,
    Constant,
    Expand,
    Gather,
    Graph,
    Input,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Scan,
    ScanResult,
    Scatter,
    Slice,
    View,
    Window,
    sources,
)
from tgc.ir.rewrite import walk
from tgc.ir.verify_expression import require, takes, verify_expression


def verify_graph(graph: Graph) -> None:
    """Every node that the outputs depend on (nodes are immutable, so there are no cycles):

    - inputs have different names, outputs have different names, every Input reached is listed;
    - extents are not negative, and no tensor is of type INDEX;
    - Constant: the array is C-contiguous and read-only;
    - Map: the expression is valid and scalar; its leaves are Arg (of a source there is, with that source's type), Coordinate
      (of an axis there is) and Lit; all sources have the map's shape;
    - Reduce: ADD, MUL or MAX, but no ADD on bool; the axes exist, are sorted, different and at least one;
    - Reshape keeps the number of elements; Permute's order is a permutation; Expand keeps the rank and changes only extents of
      1; every index of a Slice is in range and no step is 0; Pad's widths are not negative and its value has the type of the
      tensor; a Window has at least one position, and size, stride and dilation of at least 1;
    - Gather: one integer tensor of the result's shape for each axis; a source without elements gives none;
    - Scatter: one integer tensor of the updates' shape for each axis; updates of the source's type; ADD, MUL, MAX or none, as in Reduce;
    - Concat: at least one source; the axis exists; all have the same type and agree in every other extent;
    - a scan has a length of at least 1, states and slabs of rank at least 1; a state has one type and shape as it is bound, as it
      begins and as it follows; a scanned tensor has `length` slabs of its element's type and shape;
    - a Bound is bound by one scan, and nothing but that scan's body depends on it.

    Raises InvalidIrError, which names the node by its origin.
    """
    _verify_names([node.name for node in graph.inputs], "inputs")
    _verify_names([name for name, _ in graph.outputs], "outputs")
    for node in graph.nodes():
        try:
            verify_node(node)
            require(not isinstance(node, Input) or any(node is listed for listed in graph.inputs), "it is not listed")
        except InvalidIrError as error:
            place = f"{type(node).__name__}{f' of {node.origin}' if node.origin else ''}"
            raise InvalidIrError(f"graph {graph.name}: {place}: {error}") from error
    try:
        _verify_bound(graph)
    except InvalidIrError as error:
        raise InvalidIrError(f"graph {graph.name}: {error}") from error


def _verify_bound(graph: Graph) -> None:
    """Bound tensors are bound once, and read inside of their loops only."""
    if not any(isinstance(node, (Bound, ScanResult)) for node in graph.nodes()):
        return
    owners: dict[Bound, Scan] = {}
    free: dict[Node, frozenset[Bound]] = {}
    for node in graph.nodes():
        below = frozenset[Bound]().union(*(free[source] for source in sources(node)))
        match node:
            case Bound():
                free[node] = frozenset((node,))
            case ScanResult(scan):
                for bound in scan.bound:
                    require(owners.setdefault(bound, scan) == scan, f"bound tensor {bound.number} belongs to two scans")
                for outer in (*scan.initial, *scan.scanned):
                    require(not free[outer] & frozenset(scan.bound), "a scan begins with what its body makes")
                free[node] = below - frozenset(scan.bound)
            case _:
                free[node] = below
    for name, node in graph.outputs:
        require(not free[node], f"output {name!r} depends on a bound tensor")


def _verify_names(names: list[str], what: str) -> None:
    for name in names:
        require(names.count(name) == 1, f"two {what} are called {name!r}")


def verify_node(node: Node) -> None:
    """What `verify_graph` asks of each node, taking its sources to be valid. Raises InvalidIrError."""
    match node:  # before its shape is asked for, which may follow from what is checked here
        case Input():
            pass
        case Constant(data):
            require(data.flags.c_contiguous and not data.flags.writeable, "an array that is not contiguous and read-only")
        case Map():
            _verify_map(node)
        case Reduce(op, source, axes):
            require(op in ops.REDUCE_OPS and takes(op, source.dtype), f"{op} over {source.dtype}")
            require(len(axes) > 0 and sorted(set(axes)) == list(axes), f"axes {axes}")
            require(axes[0] >= 0 and axes[-1] < len(source.shape), f"axes {axes} of shape {source.shape}")
        case Gather(source, coordinates, shape):
            require(len(coordinates) == len(source.shape), f"{len(coordinates)} coordinates for shape {source.shape}")
            require(all(c.shape == shape and c.dtype.is_integer for c in coordinates), "a coordinate of another shape, or not an integer")
            require(0 in shape or 0 not in source.shape, "elements out of a source that has none")
        case Scatter():
            _verify_scatter(node)
        case Concat(_, axis):
            _verify_concat(node, axis)
        case Bound(number):
            require(number >= 0, f"number {number}")
        case ScanResult(scan, position):
            require(0 <= position < len(scan.states) + len(scan.yields), f"result {position}")
            verify_scan(scan)
        case Reshape() | Permute() | Expand() | Slice() | Pad() | Window():
            _verify_view(node)
    require(node.dtype != INDEX, "a tensor of type index")
    require(all(size >= 0 for size in node.shape), f"shape {node.shape}")


def verify_scan(scan: Scan) -> None:
    """What `verify_graph` asks of each scan, taking its parts to be valid. Raises InvalidIrError."""
    require(scan.length >= 1, f"{scan.length} iterations")
    numbers = [bound.number for bound in scan.bound]
    require(len(set(numbers)) == len(numbers), "two bound tensors of one number")
    require(len(scan.states) == len(scan.initial) == len(scan.following), "as many states as beginnings and next values")
    require(len(scan.elements) == len(scan.scanned), "as many elements as scanned tensors")
    require(all(len(node.shape) > 0 for node in (*scan.bound, *scan.yields)), "a state, element or slab of rank 0")
    for state, first, after in zip(scan.states, scan.initial, scan.following, strict=True):
        same = state.dtype == first.dtype == after.dtype and state.shape == first.shape == after.shape
        require(same, f"a state of {state.dtype}{list(state.shape)} follows as {after.dtype}{list(after.shape)}")
    for element, whole in zip(scan.elements, scan.scanned, strict=True):
        fits = whole.dtype == element.dtype and whole.shape == (scan.length * element.shape[0], *element.shape[1:])
        require(fits, f"{scan.length} elements of {list(element.shape)} out of {list(whole.shape)}")


@lru_cache(maxsize=1 << 10)
def _leaves(expr: Expr) -> tuple[Expr, ...]:
    """The leaves of `expr`, and what must not be in a map, having verified it; remembered, for passes keep most maps as they are."""
    verify_expression(expr)
    return tuple(part for part in walk(expr) if not isinstance(part, (Apply, Lit)))


def _verify_map(node: Map) -> None:
    leaves = _leaves(node.expr)
    if any(source.shape != node.shape for source in node.sources):
        raise InvalidIrError(f"sources {[s.shape for s in node.sources]} in shape {node.shape}")
    for leaf in leaves:
        match leaf:
            case Arg(position, dtype):
                require(0 <= position < len(node.sources), f"Arg({position}) of {len(node.sources)} sources")
                require(node.sources[position].dtype == dtype, f"Arg({position}) is {node.sources[position].dtype}, not {dtype}")
            case Coordinate(axis):
                require(0 <= axis < len(node.shape), f"Coordinate({axis}) of shape {node.shape}")
            case Var() | Load() | Ramp() | Broadcast():
                raise InvalidIrError(f"{type(leaf).__name__} in a map")
            case _:
                pass


def _verify_scatter(node: Scatter) -> None:
    source, updates = node.source, node.updates
    require(len(node.coordinates) == len(source.shape), f"{len(node.coordinates)} coordinates for shape {source.shape}")
    fits = all(c.shape == updates.shape and c.dtype.is_integer for c in node.coordinates)
    require(fits, "a coordinate of another shape than the updates, or not an integer")
    require(updates.dtype == source.dtype, f"updates of {updates.dtype} in {source.dtype}")
    require(node.op is None or (node.op in ops.REDUCE_OPS and takes(node.op, node.dtype)), f"{node.op} on {node.dtype}")
    require(0 in updates.shape or 0 not in source.shape, "updates of a tensor without elements")


def _verify_concat(node: Concat, axis: int) -> None:
    require(len(node.sources) > 0, "no sources")
    first = node.sources[0]
    require(0 <= axis < len(first.shape), f"axis {axis} of shape {first.shape}")
    for source in node.sources:
        alike = len(source.shape) == len(first.shape) and _without(source, axis) == _without(first, axis)
        require(alike and source.dtype == first.dtype, f"{source.dtype}{list(source.shape)} beside {first.dtype}{list(first.shape)}")


def _without(node: Node, axis: int) -> tuple[int, ...]:
    return node.shape[:axis] + node.shape[axis + 1 :]


def _verify_view(node: View) -> None:
    before = sources(node)[0].shape
    match node:
        case Reshape(_, shape):
            require(math.prod(shape) == math.prod(before), f"{before} to {shape}")
        case Permute(_, order):
            require(sorted(order) == list(range(len(before))), f"order {order} of shape {before}")
        case Expand(_, shape):
            same_rank = len(shape) == len(before)
            require(same_rank and all(a in (1, b) for a, b in zip(before, shape, strict=True)), f"{before} to {shape}")
        case Slice():
            _verify_slice(node)
        case Pad(source, low, high, value):
            require(len(low) == len(high) == len(before) and min((*low, *high), default=0) >= 0, f"{low} and {high} around {before}")
            require(value.dtype == source.dtype, f"{source.dtype} with {value.dtype}")
            verify_expression(value)
        case Window(_, axis, size, stride, dilation):
            require(0 <= axis < len(before) and min(size, stride, dilation) >= 1, f"size {size}, stride {stride}, dilation {dilation}")
            require((size - 1) * dilation < before[axis], f"{size} elements {dilation} apart in an extent of {before[axis]}")


def _verify_slice(node: Slice) -> None:
    before = node.source.shape
    require(len(node.starts) == len(node.steps) == len(node.shape) == len(before), f"of rank {len(node.shape)} from shape {before}")
    for start, step, extent, size in zip(node.starts, node.steps, node.shape, before, strict=True):
        last = start + step * (extent - 1)
        require(step != 0, "a step of 0")
        if extent != 0 and not (0 <= start < size and 0 <= last < size):
            raise InvalidIrError(f"{start} to {last} in an extent of {size}")
