"""Making a node again over other sources: how a pass carries over what it does not change."""

from __future__ import annotations

from tgc.ir.graph import (
    Bound,
    Concat,
    Constant,
    Expand,
    Gather,
    Input,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    ScanResult,
    Scatter,
    Slice,
    View,
    Window,
    make_scan,
)
from tgc.ir.graph_builder import GraphBuilder


def rebuild(builder: GraphBuilder, node: Node, srcs: tuple[Node, ...]) -> Node:
    """`node` over other sources of the same types, its origin kept."""
    builder.origin = node.origin
    match node:
        case Input(name, dtype, shape):
            return builder.input(name, dtype, shape)
        case Constant():
            return builder.keep(node)
        case Bound():
            return builder.keep_bound(node)
        case ScanResult(scan, position):
            return builder.scan_result(make_scan(srcs, scan.counts, scan.length, scan.reverse), position)
        case Map(expr, _, shape):
            return builder.map(expr, *srcs, shape=shape)
        case Reduce(op, _, axes):
            return builder.reduce(op, srcs[0], axes)
        case Gather(_, _, shape):
            return builder.gather(srcs[0], srcs[1:], shape)
        case Concat(_, axis):
            return builder.concat(srcs, axis)
        case Scatter(op=how):
            return builder.scatter(srcs[0], srcs[1:-1], srcs[-1], how)
        case Reshape() | Permute() | Expand() | Slice() | Pad() | Window():
            return _rebuild_view(builder, node, srcs[0])


def _rebuild_view(builder: GraphBuilder, node: View, source: Node) -> Node:
    match node:
        case Reshape(_, shape):
            return builder.reshape(source, shape)
        case Permute(_, order):
            return builder.permute(source, order)
        case Expand(_, shape):
            return builder.expand(source, shape)
        case Slice(_, starts, steps, shape):
            return builder.slice(source, starts, steps, shape)
        case Pad(_, low, high, value):
            return builder.pad(source, low, high, value)
        case Window(_, axis, size, stride, dilation):
            return builder.window(source, axis, size, stride, dilation)
