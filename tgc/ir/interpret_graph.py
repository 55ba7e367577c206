"""The meaning of the graph, in numpy.

Sums and products of floats are accumulated in a wider type than they are stored in, f16 and bf16 in f32, f32 in f64, and
rounded once at the end. `reduce(ADD, map(p * q))` is a contraction: its products are formed and summed in that wider type
as a matrix product, and never all held at once, so a whole network runs in seconds. A compiled kernel sums in another order
and rounds oftener; it is compared with a tolerance. Integers wrap, so there the order means nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tgc.ir import meaning, ops
from tgc.ir.contract import contract
from tgc.ir.dtypes import F32, F64, INDEX, DType
from tgc.ir.expr import Apply, Arg, Coordinate, Expr, Lit, children
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
    Shape,
    Slice,
    View,
    Window,
    free_sources,
    postorder,
)
from tgc.ir.rewrite import walk

Array = npt.NDArray[np.generic]


def run_graph(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The graph's outputs for its `inputs`, both by name. Raises ValueError where an input is missing or of another type or shape."""
    known: dict[Node, Array] = {node: _checked(node, inputs) for node in graph.inputs}
    results = _run(tuple(node for _, node in graph.outputs), known)
    return {name: np.array(value, order="C") for (name, _), value in zip(graph.outputs, results, strict=True)}


def evaluate(node: Node, values: Mapping[Node, Array] | None = None) -> Array:
    """The value of `node`, given those of some nodes that it depends on. Raises ValueError where it needs an input that is not given."""
    return _contiguous(_run((node,), {} if values is None else values)[0])


def _contiguous(value: Array) -> Array:
    """A copy in C order. Some columns at a time: a large transpose by whole rows of its result misses the cache with every element."""
    if value.size < 1 << 16 or value.strides[-1] == value.itemsize:
        return np.array(value, order="C")
    result = np.empty(value.shape, value.dtype)
    for start in range(0, value.shape[-1], 64):
        result[..., start : start + 64] = value[..., start : start + 64]
    return result


def accumulator(dtype: DType) -> DType:
    """The type in which the interpreter sums or multiplies up elements of `dtype`."""
    return dtype if not dtype.is_float else F32 if dtype.bits < 32 else F64


def _checked(node: Input, inputs: Mapping[str, Array]) -> Array:
    if node.name not in inputs:
        raise ValueError(f"input {node.name!r} is missing")
    value = np.asarray(inputs[node.name])
    if value.shape != node.shape or value.dtype != np.dtype(node.dtype.numpy):
        raise ValueError(f"input {node.name!r} is {value.dtype}{list(value.shape)}, not {node.dtype}{list(node.shape)}")
    return value


def _run(roots: tuple[Node, ...], known: Mapping[Node, Array]) -> list[Array]:
    """The values of `roots`; what no later node reads is let go at once."""
    order = list(postorder(roots, reads=lambda node: () if node in known else _reads(node)))
    uses = Counter(source for node in order if node not in known for source in _reads(node))
    uses.update(roots)
    values: dict[Node, Array] = {}
    loops: dict[Scan, list[Array]] = {}
    for node in order:
        if node in known:
            values[node] = known[node]
            continue
        read = [values[source] for source in _reads(node)]
        if isinstance(node, ScanResult):
            if node.scan not in loops:
                loops[node.scan] = _loop(node.scan, read)
            values[node] = loops[node.scan][node.position]
        else:
            values[node] = _value(node, read)
        for source in _reads(node):
            uses[source] -= 1
            if not uses[source]:
                del values[source]
    return [values[root] for root in roots]


def _loop(scan: Scan, values: list[Array]) -> list[Array]:
    """Every result of `scan`, given the values that it reads."""
    carried, scanned = values[: len(scan.states)], values[len(scan.states) :]
    captured = dict(zip(scan.captured, scanned[len(scan.elements) :], strict=True))
    slabs: list[list[Array]] = [[] for _ in scan.yields]
    for step in range(scan.length):
        at = scan.length - 1 - step if scan.reverse else step
        elements = [whole[at * e.shape[0] : (at + 1) * e.shape[0]] for whole, e in zip(scanned, scan.elements, strict=False)]
        known = captured | dict(zip(scan.bound, [*carried, *elements], strict=True))
        results = _run((*scan.following, *scan.yields), known)
        carried = results[: len(scan.states)]
        for made, slab in zip(slabs, results[len(scan.states) :], strict=True):
            made.append(slab)
    return [*carried, *(np.concatenate(made[::-1] if scan.reverse else made) for made in slabs)]


def _reads(node: Node) -> tuple[Node, ...]:
    """The nodes whose values `_value` needs: a contraction reads through its map."""
    product = _product(node)
    return product.sources if product is not None else free_sources(node)


def _product(node: Node) -> Map | None:
    """The map of a contraction, `reduce(ADD, map(p * q))`."""
    if isinstance(node, Reduce) and node.op == ops.ADD and isinstance(node.source, Map):
        expr = node.source.expr
        if isinstance(expr, Apply) and expr.op == ops.MUL and node.dtype.kind != "bool":
            return node.source
    return None


def _value(node: Node, values: list[Array]) -> Array:
    match node:
        case Input(name):
            raise ValueError(f"input {name!r} is missing")
        case Bound(number):
            raise ValueError(f"bound tensor {number} has no value outside of its loop")
        case ScanResult():
            raise AssertionError("loops are run with all of their results")
        case Constant(data):
            return data
        case Map(expr, _, shape):
            return np.broadcast_to(_map([expr], values, shape)[0], shape)
        case Reduce():
            return _reduce(node, values)
        case Gather(_, _, shape):
            return _gather(values[0], values[1:], shape)
        case Scatter(op=op):
            return _scatter(values[0], values[1:-1], values[-1], op)
        case Concat(_, axis):
            return np.concatenate(values, axis=axis)
        case Reshape() | Permute() | Expand() | Slice() | Pad() | Window():
            return _view(node, values[0])


def _thin(value: Array, keep: tuple[int, ...] = ()) -> Array:
    """`value` with axes along which it repeats itself cut to extent 1, so that work on it is done once; not those in `keep`."""
    axes = enumerate(zip(value.shape, value.strides, strict=True))
    return value[tuple(slice(0, 1) if size > 1 and stride == 0 and axis not in keep else slice(None) for axis, (size, stride) in axes)]


def _map(roots: list[Expr], values: list[Array], shape: Shape) -> list[Array]:
    """The expressions over the sources' values, each broadcastable to `shape` and of its rank."""
    thin = [_thin(value) for value in values]
    order = list(walk(*roots))
    uses = Counter(child for expr in order for child in children(expr))
    uses.update(roots)
    done: dict[Expr, Array] = {}
    for expr in order:
        done[expr] = _expression(expr, [done[child] for child in children(expr)], thin, shape)
        for child in children(expr):
            uses[child] -= 1
            if not uses[child]:
                del done[child]
    return [done[root] for root in roots]


def _expression(expr: Expr, args: list[Array], values: list[Array], shape: Shape) -> Array:
    match expr:
        case Arg(position):
            return values[position]
        case Coordinate(axis):
            along = [1] * len(shape)
            along[axis] = shape[axis]
            return np.arange(shape[axis], dtype=INDEX.numpy).reshape(along)
        case Lit():
            return meaning.literal(expr).reshape((1,) * len(shape))
        case Apply(op, _, dtype):
            return meaning.apply(op, dtype, args)
        case _:
            raise ValueError(f"a map holds no {type(expr).__name__}")


def _reduce(node: Reduce, values: list[Array]) -> Array:
    wide = accumulator(node.dtype)
    product = _product(node)
    if product is not None and isinstance(product.expr, Apply):
        left, right = _map(list(product.expr.args), values, product.shape)
        summed = contract(left, right, product.shape, node.axes, wide)
        return np.broadcast_to(meaning.cast(summed, node.dtype), node.shape)
    with np.errstate(all="ignore"):
        match node.op.name:
            case "ADD":
                total = np.add.reduce(values[0], axis=node.axes, keepdims=True, dtype=wide.numpy)
            case "MUL":
                total = np.multiply.reduce(values[0], axis=node.axes, keepdims=True, dtype=wide.numpy)
            case _:
                lowest = meaning.literal(Lit(node.dtype.lowest, node.dtype))[()]
                total = np.maximum.reduce(values[0], axis=node.axes, keepdims=True, initial=lowest)
    return meaning.cast(np.asarray(total), node.dtype)


def _view(node: View, value: Array) -> Array:
    match node:
        case Reshape(_, shape):
            return np.reshape(value, shape)
        case Permute(_, order):
            return np.transpose(value, order)
        case Expand(_, shape):
            return np.broadcast_to(value, shape)
        case Slice(_, starts, steps, shape):
            return value[tuple(map(_range, starts, steps, shape))]
        case Pad(_, low, high, fill):
            return _pad(value, low, high, fill, node.shape)
        case Window(_, axis, size, stride, dilation):
            whole = np.lib.stride_tricks.sliding_window_view(value, (size - 1) * dilation + 1, axis)
            strided = whole[tuple(slice(None, None, stride if at == axis else None) for at in range(value.ndim))]
            return strided[..., ::dilation]


def _range(start: int, step: int, extent: int) -> slice:
    stop = start + step * extent
    return slice(0, 0) if extent == 0 else slice(start, None if stop < 0 else stop, step)


def _pad(value: Array, low: Shape, high: Shape, fill: Lit, shape: Shape) -> Array:
    padded = tuple(axis for axis in range(len(shape)) if low[axis] or high[axis])
    thin = _thin(value, keep=padded)
    outer = tuple(a + size + b for a, size, b in zip(low, thin.shape, high, strict=True))
    out = np.full(outer, meaning.literal(fill), dtype=value.dtype)
    out[tuple(slice(a, a + size) for a, size in zip(low, thin.shape, strict=True))] = thin
    return np.broadcast_to(out, shape)


def _scatter(source: Array, coordinates: list[Array], updates: Array, op: ops.Op | None) -> Array:
    where = tuple(np.clip(c, 0, max(size - 1, 0)).astype(np.intp).reshape(-1) for c, size in zip(coordinates, source.shape, strict=True))
    out = np.array(source, order="C")
    new = updates.reshape(-1)
    if not where:
        where = (np.zeros(new.size, np.intp),)
        return _scatter(out.reshape(1), list(where), new, op).reshape(())
    with np.errstate(all="ignore"):
        match None if op is None else op.name:
            case None:
                out[where] = new  # of several for one element, numpy keeps the last
            case "ADD":
                np.add.at(out, where, new)
            case "MUL":
                np.multiply.at(out, where, new)
            case _:
                np.maximum.at(out, where, new)
    return out


def _gather(source: Array, coordinates: list[Array], shape: Shape) -> Array:
    where = [np.clip(_thin(c), 0, max(size - 1, 0)).astype(np.intp) for c, size in zip(coordinates, source.shape, strict=True)]
    picked: Array = source[tuple(where)]
    return np.broadcast_to(picked, shape)
