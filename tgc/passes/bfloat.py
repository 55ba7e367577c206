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
from tgc.ir.graph import Concat, Constant, Expand, Graph, Map, Node, Pad, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.passes.choices import selects
from tgc.passes.contractions import is_contraction

LEAST = 4  # products along one axis of a sum that are worth pairing
PRODUCT = s.mul(Arg(0, F32), Arg(1, F32))
PAIRED = s.mul(cast(Arg(0, BF16), F32), cast(Arg(1, BF16), F32))
Through = Reshape | Permute | Expand | Slice | Window | Pad | Concat
"""What moves numbers and leaves them as they are."""


def bfloat(graph: Graph) -> Graph:
    """`graph` with the operands of its contractions that have constant weights in bf16."""
    chosen: set[Node] = {node for node in graph.nodes() if isinstance(node, Reduce) and is_rounded(node)}
    if not chosen:
        return graph
    return _Rounding(graph, chosen).run()


def is_rounded(node: Reduce) -> bool:
    """Whether `node` is a contraction of f32 whose operands are to be bf16."""
    if not is_contraction(node) or not isinstance(node.source, Map) or node.source.expr != PRODUCT or len(node.source.sources) != 2:
        return False
    bases = [_base(source) for source in node.source.sources]
    constants = [isinstance(base, Constant) for base in bases]
    if sum(constants) != 1 or any(isinstance(base, Map) and selects(base.expr) for base in bases):
        return False
    return max(node.source.shape[axis] for axis in node.axes) >= LEAST and prod(node.source.shape[axis] for axis in node.axes) >= 2 * LEAST


def _base(node: Node) -> Node:
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window, Pad)):
        node = node.source
    return node


class _Rounding:
    """The graph being made again: each node as it was meant, as its readers see it, and, where a contraction reads it, in bf16."""

    def __init__(self, graph: Graph, chosen: set[Node]) -> None:
        self.graph = graph
        self.chosen = chosen
        self.stored = {base for node in chosen for operand in sources(sources(node)[0]) for base in _bases(operand)}
        self.b = GraphBuilder()
        self.meant: dict[Node, Node] = {}
        self.seen: dict[Node, Node] = {}
        self.narrow: dict[Node, Node] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes():
            self.meant[node] = self.made(node)
            self.seen[node] = self.meant[node]
            if node in self.stored and not isinstance(node, Constant):
                self.seen[node] = self.b.map(cast(Arg(0, BF16), F32), self.rounded(node))
        inputs = tuple(self.b.input(node.name, node.dtype, node.shape) for node in self.graph.inputs)
        outputs = tuple((name, self.meant[node]) for name, node in self.graph.outputs)
        return Graph(self.graph.name, inputs, outputs, self.graph.open)

    def made(self, node: Node) -> Node:
        if node in self.chosen:
            assert isinstance(node, Reduce)
            assert isinstance(node.source, Map)
            operands = [self.rounded(source) for source in node.source.sources]
            self.b.origin = node.origin
            return self.b.reduce(node.op, self.b.map(PAIRED, *operands), node.axes)
        return rebuild(self.b, node, tuple(self.seen[source] for source in sources(node)))

    def rounded(self, node: Node) -> Node:
        """`node` in bf16: rounded where it is computed, views of that elsewhere."""
        if node not in self.narrow:
            self.narrow[node] = self.narrowed(node)
        return self.narrow[node]

    def narrowed(self, node: Node) -> Node:
        match node:
            case Constant(data, name):
                return self.b.constant(data.astype(BF16.numpy), name)
            case Pad(source, low, high, value):
                within = self.rounded(source)
                self.b.origin = node.origin
                return self.b.pad(within, low, high, Lit(value.value, BF16))
            case Reshape() | Permute() | Expand() | Slice() | Window() | Concat():
                return rebuild(self.b, node, tuple(self.rounded(source) for source in sources(node)))
            case _:
                self.b.origin = node.origin
                return self.b.map(cast(Arg(0, F32), BF16), self.meant[node])


def _bases(node: Node) -> tuple[Node, ...]:
    """The tensors that `node` is made of by moving numbers."""
    if isinstance(node, Through):
        return tuple(base for source in sources(node) for base in _bases(source))
    return (node,)
