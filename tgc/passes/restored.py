"""Restored: tensors that contractions read, stored in another form, once for all readers.

    x  ->  store(x)                        what is in memory, and what the chosen contractions read through their views
           load(store(x))                  what everyone else reads

Views, paddings and concatenations of x become those of store(x). The graph's outputs stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.ir.expr import Arg, Expr, Lit
from tgc.ir.graph import Concat, Constant, Expand, Graph, Node, Pad, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild

Through = Reshape | Permute | Expand | Slice | Window | Pad | Concat
"""What moves numbers and leaves them as they are."""
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Form:
    """How a tensor is stored: what is computed to store and to load an element, and the same for literals and constants."""

    store: Callable[[Expr], Expr]
    load: Callable[[Expr], Expr]
    literal: Callable[[Lit], Lit]
    constant: Callable[[Array], Array]


Contract = Callable[[GraphBuilder, Reduce, tuple[Node, ...]], Node]
"""Makes a chosen contraction again, over its operands: those that are stored in the form in that, the others as they were."""


def restored(graph: Graph, operands: Mapping[Reduce, tuple[int, ...]], form: Form, contract: Contract) -> Graph:
    """`graph` whose contractions in `operands` read those of their operands, by position, in `form`."""
    return _Restoring(graph, operands, form, contract).run() if operands else graph


class _Restoring:
    """The graph being made again: each node as it was meant, as its readers see it, and, where a contraction reads it, in the form."""

    def __init__(self, graph: Graph, operands: Mapping[Reduce, tuple[int, ...]], form: Form, contract: Contract) -> None:
        self.graph, self.operands, self.form, self.contract = graph, operands, form, contract
        read = [sources(sources(node)[0])[position] for node, positions in operands.items() for position in positions]
        self.changed = {base for operand in read for base in bases(operand)}
        self.b = GraphBuilder()
        self.meant: dict[Node, Node] = {}
        self.seen: dict[Node, Node] = {}
        self.stored: dict[Node, Node] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes():
            self.meant[node] = self.seen[node] = self.made(node)
            if node in self.changed and not isinstance(node, Constant):
                kept = self.in_form(node)
                self.seen[node] = self.b.map(self.form.load(Arg(0, kept.dtype)), kept)
        inputs = tuple(self.b.input(node.name, node.dtype, node.shape) for node in self.graph.inputs)
        outputs = tuple((name, self.meant[node]) for name, node in self.graph.outputs)
        return Graph(self.graph.name, inputs, outputs, self.graph.open)

    def made(self, node: Node) -> Node:
        if not isinstance(node, Reduce) or node not in self.operands:
            return rebuild(self.b, node, tuple(self.seen[source] for source in sources(node)))
        parts = enumerate(sources(node.source))
        read = tuple(self.in_form(part) if at in self.operands[node] else self.seen[part] for at, part in parts)
        self.b.origin = node.origin
        return self.contract(self.b, node, read)

    def in_form(self, node: Node) -> Node:
        """`node` in the form: stored so where it is computed, views of that elsewhere."""
        if node not in self.stored:
            self.stored[node] = self.formed(node)
        return self.stored[node]

    def formed(self, node: Node) -> Node:
        match node:
            case Constant(data, name):
                return self.b.constant(self.form.constant(data), name)
            case Pad(source, low, high, value):
                within = self.in_form(source)
                self.b.origin = node.origin
                return self.b.pad(within, low, high, self.form.literal(value))
            case Reshape() | Permute() | Expand() | Slice() | Window() | Concat():
                return rebuild(self.b, node, tuple(self.in_form(source) for source in sources(node)))
            case _:
                self.b.origin = node.origin
                return self.b.map(self.form.store(Arg(0, node.dtype)), self.meant[node])


def bases(node: Node) -> tuple[Node, ...]:
    """The tensors that `node` is made of by moving numbers."""
    if isinstance(node, Through):
        return tuple(base for source in sources(node) for base in bases(source))
    return (node,)
