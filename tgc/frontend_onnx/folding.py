"""Values known while compiling: shape arithmetic, axes, scales and other small tensors that no input reaches.

Folding of whole weight-only subgraphs is a pass of its own; here only what the importer must know to go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir.graph import Bound, Constant, Input, Node, ScanResult, postorder, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate
from tgc.ir.lengths import Length

Array = npt.NDArray[np.generic]
SMALL = 4096
"""Elements of the largest tensor that is folded on sight."""


def inputs_of(node: Node) -> tuple[Input, ...]:
    """The model's inputs that `node` depends on."""
    return tuple(n for n in postorder((node,)) if isinstance(n, Input))


def in_loop(node: Node) -> bool:
    """Whether `node` depends on what a loop around it binds, and so has another value in every iteration."""
    order = tuple(postorder((node,)))
    bound = {n for n in order if isinstance(n, Bound)}
    return bool(bound.difference(*(n.scan.bound for n in order if isinstance(n, ScanResult))))


def fold(node: Node) -> Array | None:
    """The value of `node`; None where it depends on an input."""
    if isinstance(node, Constant):
        return node.data
    return None if inputs_of(node) or in_loop(node) or is_open(node) else evaluate(node)


def is_open(node: Node) -> bool:
    """Whether the extent of some axis is only known at run time."""
    return any(isinstance(size, Length) for size in node.shape)


@dataclass(slots=True)
class Folder:
    """Turns small results into constants as the importer makes them.

    runtime: nodes already known to depend on an input or on something large, so that no walk is repeated.
    """

    graph: GraphBuilder
    runtime: set[int] = field(default_factory=set)

    def small(self, node: Node) -> Node:
        """`node` as a constant where it is made of constants through small tensors only; else itself.

        The importer calls this on each result, so what lies between `node` and its constants is never deep.
        """
        if isinstance(node, Constant):
            return node
        if self._at_run_time(node):
            self.runtime.add(id(node))
            return node
        return self.graph.constant(evaluate(node))

    def _at_run_time(self, node: Node) -> bool:
        pending, seen = [node], {id(node)}
        while pending:
            current = pending.pop()
            if isinstance(current, Constant):
                continue
            if isinstance(current, Input | Bound) or id(current) in self.runtime or is_open(current) or prod(current.shape) > SMALL:
                return True
            fresh = [s for s in sources(current) if id(s) not in seen]
            seen.update(id(s) for s in fresh)
            pending.extend(fresh)
        return False
