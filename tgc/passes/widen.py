"""Widen: half precision is stored, single precision computed, on targets without arithmetic in half.

Every map and reduction on f16 or bf16 becomes one on f32 between two casts. Inside one kernel the pairs of casts that meet
disappear, so a chain of operations rounds once, where its result is stored.
"""

from __future__ import annotations

from tgc.ir.dtypes import BF16, F16, F32, DType
from tgc.ir.expr import Apply, Arg, Expr, Lit, cast
from tgc.ir.graph import Graph, GraphBuilder, Map, Node, Reduce, sources
from tgc.ir.ops import BITCAST, CAST
from tgc.ir.rewrite import rewrite
from tgc.passes.fold import rebuilt

NARROW: tuple[DType, ...] = (F16, BF16)


def widen(graph: Graph) -> Graph:
    """`graph` without arithmetic on f16 and bf16."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        new_sources = tuple(made[source] for source in sources(node))
        builder.origin = node.origin
        match node:
            case Map(expr, _, shape):
                made[node] = builder.map(widened(expr), *new_sources, shape=shape)
            case Reduce(op, source, axes) if source.dtype in NARROW:
                wide = builder.map(cast(Arg(0, source.dtype), F32), new_sources[0])
                total = builder.reduce(op, wide, axes)
                made[node] = builder.map(cast(Arg(0, F32), source.dtype), total)
            case _:
                made[node] = builder.rebuild(node, new_sources)
    return rebuilt(graph, made)


def widened(root: Expr) -> Expr:
    """`root` computed in f32 where it is computed in f16 or bf16; of the same type."""

    def rule(expr: Expr) -> Expr | None:
        match expr:
            case Arg(_, dtype) if dtype in NARROW:
                return cast(expr, F32)
            case Lit(value, dtype) if dtype in NARROW:
                return Lit(float(value), F32)
            case Apply(op, args, dtype) if op is CAST:
                return cast(cast(args[0], dtype), F32) if dtype in NARROW else cast(args[0], dtype)
            case Apply(op, args, dtype) if op is BITCAST and dtype in NARROW:
                return cast(expr, F32)
            case Apply(op, args, dtype) if dtype in NARROW:
                return Apply(op, args, F32)
        return None

    return cast(rewrite(root, rule), root.dtype)


def without_round_trips(root: Expr) -> Expr:
    """`root` with f32 -> f16 -> f32 (or by way of bf16) left out: kept in f32, which is more exact."""

    def rule(expr: Expr) -> Expr | None:
        match expr:
            case Apply(outer, (Apply(inner, (value,), narrow),), dtype) if outer is CAST and inner is CAST:
                return value if narrow in NARROW and dtype == F32 and value.dtype == F32 else None
        return None

    return rewrite(root, rule)
