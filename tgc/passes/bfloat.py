"""Bfloat: weights, and what is multiplied with them, rounded to bfloat16; products are added up in f32.

    sum of x[..] * w[..]     ->     sum of f32(bf16(x)[..]) * f32(bf16(w)[..])

What a contraction with constant weights reads is stored in bf16, and whoever else reads it reads the same numbers, so that it is in memory
once. Two sums stay as they are: those of two computed operands (attention), since no instruction takes pairs of what is not packed; and
Winograd's, whose transforms would multiply the error. The model's outputs are not rounded.
"""

from __future__ import annotations

from math import prod

from tgc.ir import scalar as s
from tgc.ir.dtypes import BF16, F32
from tgc.ir.expr import Arg, Lit, cast
from tgc.ir.graph import Constant, Graph, Map, Node, Reduce
from tgc.ir.graph_builder import GraphBuilder
from tgc.passes.choices import selects
from tgc.passes.contractions import is_contraction
from tgc.passes.restored import Form, bases, restored

LEAST = 4  # products along one axis of a sum that are worth pairing
PRODUCT = s.mul(Arg(0, F32), Arg(1, F32))
PAIRED = s.mul(cast(Arg(0, BF16), F32), cast(Arg(1, BF16), F32))
ROUNDED = Form(
    store=lambda x: cast(x, BF16), load=lambda x: cast(x, F32), literal=lambda x: Lit(x.value, BF16),
    constant=lambda data: data.astype(BF16.numpy),
)  # fmt: skip


def bfloat(graph: Graph) -> Graph:
    """`graph` with the operands of its contractions that have constant weights in bf16."""
    chosen = {node: (0, 1) for node in graph.nodes() if isinstance(node, Reduce) and is_rounded(node)}
    return restored(graph, chosen, ROUNDED, _paired)


def _paired(b: GraphBuilder, node: Reduce, operands: tuple[Node, ...]) -> Node:
    return b.reduce(node.op, b.map(PAIRED, *operands), node.axes)


def is_rounded(node: Reduce) -> bool:
    """Whether `node` is a contraction of f32 whose operands are to be bf16."""
    if not is_contraction(node) or not isinstance(node.source, Map) or node.source.expr != PRODUCT or len(node.source.sources) != 2:
        return False
    below = [bases(source) for source in node.source.sources]
    constants = sum(all(isinstance(base, Constant) for base in each) for each in below)
    if constants != 1 or any(isinstance(base, Map) and selects(base.expr) for each in below for base in each):
        return False
    return max(node.source.shape[axis] for axis in node.axes) >= LEAST and prod(node.source.shape[axis] for axis in node.axes) >= 2 * LEAST
