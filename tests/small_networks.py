"""Pieces of networks as graphs: what partition, layout and lower are tested with."""

from __future__ import annotations

import numpy as np

from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg, Expr, Lit, apply
from tgc.ir.graph import Graph, Node, Shape
from tgc.ir.graph_builder import GraphBuilder

A, B = Arg(0, F32), Arg(1, F32)
ADDED: Expr = apply(ops.ADD, A, B)
PRODUCT: Expr = apply(ops.MUL, A, B)


def minus(a: Expr, b: Expr) -> Expr:
    return apply(ops.ADD, a, apply(ops.MUL, b, Lit(-1.0, F32)))


class Net(GraphBuilder):
    """A builder that knows a few layers. Weights are whole numbers, so that every order of summation agrees."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)
        self.inputs: list[Node] = []

    def image(self, *shape: int) -> Node:
        node = self.input(f"x{len(self.inputs)}", F32, shape)
        self.inputs.append(node)
        return node

    def graph(self, *outputs: Node) -> Graph:
        names = ((f"y{number}", node) for number, node in enumerate(outputs))
        return Graph("net", tuple(self.inputs), tuple(names))  # type: ignore[arg-type]

    def weight(self, *shape: int) -> Node:
        return self.constant(self.rng.integers(-3, 4, shape).astype(np.float32))

    def named(self, origin: str) -> Net:
        self.origin = origin
        return self

    def stretched(self, x: Node, axes: tuple[int, ...], shape: Shape) -> Node:
        """`x` whose axes are those of `shape` listed in `axes`, repeated along the others."""
        ones = tuple(size if axis in axes else 1 for axis, size in enumerate(shape))
        return self.expand(self.reshape(x, ones), shape)

    def relu(self, x: Node) -> Node:
        return self.map(apply(ops.MAX, A, Lit(0.0, F32)), x)

    def add(self, x: Node, y: Node) -> Node:
        return self.map(ADDED, x, y)

    def conv(self, x: Node, outputs: int, size: int = 3, *, pad: int = 1, stride: int = 1, groups: int = 1, bias: bool = True) -> Node:
        """NCHW."""
        batch, channels = x.shape[:2]
        dims, inputs, own = len(x.shape) - 2, channels // groups, outputs // groups
        around = (0, 0, *(pad,) * dims)
        windows = self.pad(x, around, around, Lit(0.0, F32))
        for axis in range(dims):
            windows = self.window(windows, 2 + axis, size, stride)
        places = windows.shape[2 : 2 + dims]
        kernel = (size,) * dims
        whole = (batch, groups, own, inputs, *places, *kernel)
        ones = (1,) * dims
        left = self.expand(self.reshape(windows, (batch, groups, 1, inputs, *places, *kernel)), whole)
        right = self.expand(self.reshape(self.weight(groups, own, inputs, *kernel), (1, groups, own, inputs, *ones, *kernel)), whole)
        total = self.reduce(ops.ADD, self.map(PRODUCT, left, right), (3, *range(4 + dims, 4 + 2 * dims)))
        made = self.reshape(total, (batch, outputs, *places))
        return self.add(made, self.stretched(self.weight(outputs), (1,), made.shape)) if bias else made

    def matmul(self, x: Node, y: Node) -> Node:
        """[.., M, K] @ [.., K, N]; a second operand of rank 2 is the same for all."""
        *batch, rows, depth = x.shape
        columns = y.shape[-1]
        whole = (*batch, rows, depth, columns)
        lead = (1,) * (len(x.shape) - len(y.shape))
        left = self.expand(self.reshape(x, (*batch, rows, depth, 1)), whole)
        right = self.expand(self.reshape(y, (*lead, *y.shape[:-2], 1, depth, columns)), whole)
        axis = len(whole) - 2
        return self.reshape(self.reduce(ops.ADD, self.map(PRODUCT, left, right), (axis,)), (*batch, rows, columns))

    def softmax(self, x: Node) -> Node:
        """Along the last axis."""
        axis = len(x.shape) - 1
        top = self.expand(self.reduce(ops.MAX, x, (axis,)), x.shape)
        powers = self.map(apply(ops.EXP2, minus(A, B)), x, top)
        total = self.expand(self.reduce(ops.ADD, powers, (axis,)), x.shape)
        return self.map(apply(ops.DIV, A, B), powers, total)

    def layer_norm(self, x: Node) -> Node:
        """Along the last axis, with a scale."""
        axis, count = len(x.shape) - 1, Lit(float(x.shape[-1]), F32)
        mean = self.map(apply(ops.DIV, A, count), self.reduce(ops.ADD, x, (axis,)))
        centred = self.map(minus(A, B), x, self.expand(mean, x.shape))
        square = self.reduce(ops.ADD, self.map(apply(ops.MUL, A, A), centred), (axis,))
        spread = self.map(apply(ops.SQRT, apply(ops.ADD, apply(ops.DIV, A, count), Lit(1.0, F32))), square)
        normal = self.map(apply(ops.DIV, A, B), centred, self.expand(spread, x.shape))
        return self.map(PRODUCT, normal, self.stretched(self.weight(x.shape[-1]), (axis,), x.shape))
