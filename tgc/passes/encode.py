"""Encode: tensors of small types become bytes, and what is computed with them becomes arithmetic that every target has.

Inputs, outputs and constants are what lies in memory: codes of 8 bits, or bytes that elements of 4 or 2 bits share, which are taken
apart where they are read and put together where a result is stored. In between each element has a byte of its own. Backends never
meet a small type.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tgc.ir.dtypes import F32, I32, SMALL, U8, DType
from tgc.ir.expr import Arg, Coordinate, Lit, cast
from tgc.ir.graph import Bound, Constant, Graph, Input, Map, Node, Pad, Reduce, Scatter, Shape, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.packing import stored_shape, to_stored
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import walk
from tgc.passes.encode_expr import carrier, encoded, literal, narrow, packed, unpacked, wide

FEW = 64
"""Elements of the largest constant that is not worth taking apart."""


def encode(graph: Graph) -> Graph:
    """`graph` without small types: what was of one is U8, of `tgc.ir.packing.stored_shape`, as an input and an output."""
    if not any(node.dtype in SMALL for node in graph.nodes()) and not any(map(_inside, graph.nodes())):
        return graph
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        made[node] = _carried(builder, node, tuple(made[source] for source in sources(node)))
    inputs = tuple(builder.input(node.name, *_stored(node)) for node in graph.inputs)
    outputs: list[tuple[str, Node]] = []
    for name, node in graph.outputs:
        builder.origin = node.origin
        outputs.append((name, _put_together(builder, made[node], node.dtype)))
    return Graph(graph.name, inputs, tuple(outputs), graph.open)


def _inside(node: Node) -> bool:
    """Whether `node` computes with a small type that neither it nor a source has."""
    return isinstance(node, Map) and any(expr.dtype in SMALL for expr in walk(node.expr))


def _stored(node: Node) -> tuple[DType, Shape]:
    return (U8, stored_shape(node.dtype, node.shape)) if node.dtype in SMALL else (node.dtype, node.shape)


def _carried(builder: GraphBuilder, node: Node, new: tuple[Node, ...]) -> Node:
    """`node` over `new`, its sources, in the type that carries its own."""
    builder.origin = node.origin
    dtype = node.dtype
    match node:
        case Map(expr, _, shape):
            return builder.map(encoded(expr), *new, shape=shape)
        case _ if dtype not in SMALL:
            return rebuild(builder, node, new)
        case Input(name):
            return _taken_apart(builder, builder.input(name, *_stored(node)), dtype, node.shape)
        case Constant():
            return _constant(builder, node)
        case Bound(number, _, shape):
            return builder.keep_bound(Bound(number, carrier(dtype), shape, node.origin))
        case Pad(_, low, high, value):
            return builder.pad(new[0], low, high, literal(value))
        case Reduce(op, _, axes):
            return _narrow(builder, builder.reduce(op, _wide(builder, new[0], dtype), axes), dtype)
        case Scatter(op=op) if op is not None:
            first, last = _wide(builder, new[0], dtype), _wide(builder, new[-1], dtype)
            return _narrow(builder, builder.scatter(first, new[1:-1], last, op), dtype)
        case _:
            return rebuild(builder, node, new)


def _constant(builder: GraphBuilder, node: Constant) -> Node:
    dtype = node.dtype
    if dtype.bits == 8:
        return builder.constant(to_stored(node.data), node.name)
    if node.data.size <= FEW:
        plain = node.data.astype(np.int8 if dtype.kind == "int" else np.uint8) if dtype.is_integer else node.data.view(np.uint8)
        return builder.constant(plain, node.name)
    return _taken_apart(builder, builder.constant(to_stored(node.data), node.name), dtype, node.shape)


def _taken_apart(builder: GraphBuilder, stored: Node, dtype: DType, shape: Shape) -> Node:
    """The elements of type `dtype` that lie in `stored`, a byte each."""
    if dtype.bits == 8:
        return stored
    each = 8 // dtype.bits
    (size,) = stored.shape
    shared = builder.expand(builder.reshape(stored, (size, 1)), (size, each))
    elements = builder.map(unpacked(Arg(0, U8), cast(Coordinate(1), U8), dtype), shared)
    flat = builder.slice(builder.reshape(elements, (size * each,)), (0,), (1,), (prod(shape),))
    return builder.reshape(flat, shape)


def _put_together(builder: GraphBuilder, node: Node, dtype: DType) -> Node:
    """`node`, which carries a `dtype`, as it lies in memory."""
    if dtype.bits >= 8:
        return node
    each = 8 // dtype.bits
    (size,) = stored_shape(dtype, node.shape)
    flat = builder.reshape(node, (prod(node.shape),))
    whole = builder.pad(flat, (0,), (size * each - prod(node.shape),), Lit(0, node.dtype))
    parts = [builder.slice(whole, (place,), (each,), (size,)) for place in range(each)] if size else [whole] * each
    return builder.map(packed(tuple(Arg(place, node.dtype) for place in range(each)), dtype), *parts)


def _wide(builder: GraphBuilder, node: Node, dtype: DType) -> Node:
    """What `node` carries, in f32 or i32."""
    return builder.map(cast(wide(Arg(0, node.dtype), dtype), I32 if dtype.is_integer else F32), node)


def _narrow(builder: GraphBuilder, node: Node, dtype: DType) -> Node:
    return builder.map(narrow(Arg(0, node.dtype), dtype), node)
