"""Widen: on targets without arithmetic in half, f16 and bf16 are what the model's inputs, outputs and weights are stored in,
and f32 is what is computed and kept in between.

A cast that the model itself asks for still rounds.
"""

from __future__ import annotations

from collections.abc import Mapping

from tgc.ir.dtypes import BF16, F16, F32, DType
from tgc.ir.expr import Apply, Arg, Expr, Lit, cast
from tgc.ir.graph import Bound, Constant, Graph, Input, Map, Node, Pad, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.ops import BITCAST, CAST
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import rewrite

NARROW: tuple[DType, ...] = (F16, BF16)


def widen(graph: Graph, kinds: tuple[DType, ...] = NARROW) -> Graph:
    """`graph` with every tensor of the `kinds` but its inputs, outputs and constants in f32."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        made[node] = _wide_node(builder, node, tuple(made[source] for source in sources(node)), kinds)
    inputs = tuple(builder.input(node.name, node.dtype, node.shape) for node in graph.inputs)
    outputs: list[tuple[str, Node]] = []
    for name, node in graph.outputs:
        builder.origin = node.origin
        outputs.append((name, _cast_map(builder, made[node], node.dtype)))
    return Graph(graph.name, inputs, tuple(outputs), graph.open)


def _wide_node(builder: GraphBuilder, node: Node, new: tuple[Node, ...], kinds: tuple[DType, ...]) -> Node:
    """`node` over `new`, its sources, in f32 where it is narrow."""
    builder.origin = node.origin
    match node:
        case Input() | Constant():
            return _cast_map(builder, rebuild(builder, node, new), F32) if node.dtype in kinds else rebuild(builder, node, new)
        case Bound(number, dtype, shape) if dtype in kinds:
            return builder.keep_bound(Bound(number, F32, shape, node.origin))
        case Map(expr, old, shape):
            wide: dict[Expr, Expr] = {Arg(k, source.dtype): Arg(k, F32) for k, source in enumerate(old) if source.dtype in kinds}
            made = widened(expr, wide, kinds)
            return new[made.position] if isinstance(made, Arg) else builder.map(made, *new, shape=shape)
        case Pad(_, low, high, value) if value.dtype in kinds:
            return builder.pad(new[0], low, high, Lit(float(value.value), F32))
        case _:
            return rebuild(builder, node, new)


def _cast_map(builder: GraphBuilder, node: Node, dtype: DType) -> Node:
    return node if node.dtype == dtype else builder.map(cast(Arg(0, node.dtype), dtype), node)


def widened(root: Expr, arguments: Mapping[Expr, Expr], kinds: tuple[DType, ...] = NARROW) -> Expr:
    """`root` computed in f32 where it is computed in one of `kinds`, of type f32 then; `arguments` are read in f32 already."""

    def rule(expr: Expr) -> Expr | None:
        match expr:
            case Arg():
                return arguments.get(expr)
            case Lit(value, dtype) if dtype in kinds:
                return Lit(float(value), F32)
            case Apply(op, args, dtype) if op is CAST:
                return cast(cast(args[0], dtype), F32) if dtype in kinds else cast(args[0], dtype)
            case Apply(op, args, dtype) if op is BITCAST and dtype in kinds:
                return cast(expr, F32)
            case Apply(op, (Apply(_, (narrow,)),), dtype) if op is BITCAST and narrow.dtype in kinds:  # see _rounded_bits
                return Apply(BITCAST, (narrow,), dtype)
            case Apply(op, args, dtype) if dtype in kinds:
                return Apply(op, args, F32)
        return None

    return rewrite(rewrite(root, _rounded_bits), rule)


def _rounded_bits(expr: Expr) -> Expr | None:
    """A cast to its own type under each BITCAST of a narrow value, so that its bits are taken of what it is rounded to."""
    match expr:
        case Apply(op, (value,), dtype) if op is BITCAST and value.dtype in NARROW:
            return Apply(BITCAST, (Apply(CAST, (value,), value.dtype),), dtype)
    return None
