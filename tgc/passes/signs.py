"""Signs: sums of products of bytes by weights in i8 become those of bytes with the sign that the target multiplies.

    a = a' - 128, where a' is a with its highest bit turned over, read as unsigned        sum a w  =  sum a' w - 128 sum w
    a = a' + 128, the other way round                                                     sum a w  =  sum a' w + 128 sum w

The last sum is over constants and computed here. A tensor that is read so is stored so; paddings are turned over with it.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import I8, I32, U8, DType
from tgc.ir.expr import Arg, Expr, Lit, cast
from tgc.ir.graph import Constant, Expand, Graph, Map, Node, Reduce, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.passes.contractions import is_contraction
from tgc.passes.restored import Form, bases, restored

HALF = 128
Sums = np.ndarray[tuple[int, ...], np.dtype[np.int32]]


def signs(graph: Graph, wanted: DType) -> Graph:
    """`graph` with the computed operands of products by constant i8 of type `wanted`, u8 or i8."""
    other = I8 if wanted == U8 else U8
    chosen = {node: (at,) for node in graph.nodes() if isinstance(node, Reduce) and (at := _computed(node, other)) is not None}
    form = Form(
        store=lambda x: _turned(x, wanted), load=lambda x: _turned(x, other),
        literal=lambda x: Lit(int(x.value) + (HALF if wanted == U8 else -HALF), wanted),
        constant=lambda data: (data.view(np.uint8) ^ np.uint8(HALF)).view(wanted.numpy),
    )  # fmt: skip
    return restored(graph, chosen, form, lambda b, node, operands: _corrected(b, node, operands, wanted))


def _turned(x: Expr, dtype: DType) -> Expr:
    """The byte `x` with its highest bit turned over, as `dtype`."""
    return ex.bitcast(ex.apply(ops.XOR, ex.bitcast(x, U8), Lit(HALF, U8)), dtype)


def _computed(node: Reduce, dtype: DType) -> int | None:
    """The position of the operand of type `dtype` in a sum of its products by constant i8, in i32; None where it is anything else."""
    if not is_contraction(node) or node.dtype != I32 or not isinstance(node.source, Map):
        return None
    types = tuple(source.dtype for source in node.source.sources)
    if len(types) != 2 or node.source.expr != s.mul(cast(Arg(0, types[0]), I32), cast(Arg(1, types[1]), I32)):
        return None
    fixed = [all(isinstance(base, Constant) for base in bases(source)) for source in node.source.sources]
    if fixed.count(True) != 1 or types[fixed.index(True)] != I8 or types[fixed.index(False)] != dtype:
        return None
    return fixed.index(False)


def _corrected(b: GraphBuilder, node: Reduce, operands: tuple[Node, ...], wanted: DType) -> Node:
    """The contraction over `operands`, and the constant that it is off by."""
    weights = next(source for source in sources(node.source) if all(isinstance(base, Constant) for base in bases(source)))
    product = s.mul(*(cast(Arg(at, operand.dtype), I32) for at, operand in enumerate(operands)))
    total = b.reduce(node.op, b.map(product, *operands), node.axes)
    off = b.expand(b.constant(_sum_of(weights, node) * np.int32(-HALF if wanted == U8 else HALF)), total.shape)
    return b.map(s.add(Arg(0, I32), Arg(1, I32)), total, off)


def _sum_of(weights: Node, node: Reduce) -> Sums:
    """The sum of `weights` over the axes of `node`, with extent 1 where all are equal."""
    whole = node.source.shape
    inner = weights.source if isinstance(weights, Expand) else weights
    repeats = prod(whole[axis] for axis in node.axes if inner.shape[axis] == 1)
    total: Sums = np.asarray(evaluate(inner)).astype(np.int32).sum(axis=node.axes, keepdims=True, dtype=np.int32) * np.int32(repeats)
    return total
