"""The passes that save launches, on random networks of heads: what they make of a graph computes the same.

python tests/test_joined_launches.py FIRST LAST
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from small_networks import PRODUCT, Net

from tgc import targets
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg
from tgc.ir.graph import Graph, Node
from tgc.ir.interpret import run_graph
from tgc.ir.verify import verify_graph
from tgc.passes import compile_graph
from tgc.passes.fold import fold
from tgc.passes.pieces import pieces
from tgc.passes.scales import scales
from tgc.passes.segments import segments
from tgc.passes.siblings import siblings
from tgc.passes.whole_texels import whole_texels

PASSES = {"scales": scales, "pieces": pieces, "siblings": siblings, "segments": segments, "whole-texels": whole_texels}
X = Arg(0, F32)


class Heads:
    """Vectors that grow out of two inputs: products, parts, residuals, functions, and what is put together of them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.net = Net()
        self.net.rng = self.rng
        self.vectors: list[Node] = [self.net.image(1, 16), self.net.relu(self.net.image(1, 24))]

    def pick(self, count: int) -> int:
        return int(self.rng.integers(count))

    def some(self) -> Node:
        return self.vectors[-1 - min(self.pick(6), len(self.vectors) - 1)]

    def function(self, x: Node) -> Node:
        net = self.net
        match self.pick(5):
            case 0:
                return x
            case 1:
                return net.map(s.sigmoid(X), x)
            case 2:
                return net.map(s.mul(X, s.lit(0.5, F32)), x)
            case 3:
                return net.map(PRODUCT, x, net.map(s.sigmoid(X), x))
            case _:
                return net.relu(x)

    def product(self, x: Node) -> Node:
        net, width = self.net, (1, 2, 4, 4, 8, 8, 12)[self.pick(7)]
        made = net.matmul(x, net.constant(self.rng.standard_normal((x.shape[1], width)).astype(np.float32)))
        if self.pick(4):
            made = net.add(made, net.stretched(net.weight(width), (1,), made.shape))
        return made

    def grow(self) -> list[Node]:
        """One or several new vectors."""
        net, x = self.net, self.some()
        match self.pick(7):
            case 0 | 1:
                return [self.function(self.product(x)) for _ in range(1 + self.pick(4))]
            case 2:
                size = max(1, x.shape[1] // 2)
                return [net.slice(x, (0, start), (1, 1), (1, size)) for start in (0, x.shape[1] - size)]
            case 3:
                alike = [y for y in self.vectors if y.shape == x.shape]
                return [self.function(net.add(x, alike[self.pick(len(alike))]))]
            case 4:
                return [net.concat((x, self.some(), self.some()), 1)]
            case 5 if x.shape[1] % 2 == 0:
                pair = net.reshape(x, (1, 2, x.shape[1] // 2))
                return [net.reshape(net.permute(net.concat((pair, pair), 2), (0, 2, 1)), (1, 2 * x.shape[1]))]
            case _:
                return [self.function(x)]

    def graph(self) -> Graph:
        for _ in range(4 + self.pick(14)):
            self.vectors += [x for x in self.grow() if x.shape[1] <= 64]
        ends = tuple(self.some() for _ in range(2 + self.pick(4)))
        return fold(self.net.graph(self.net.concat(ends, 1), *([self.some()] if self.pick(2) else [])))


def agrees(seed: int, *, whole: bool) -> None:
    graph = Heads(seed).graph()
    inputs = {node.name: np.random.default_rng(seed).standard_normal(node.shape).astype(np.float32) for node in graph.inputs}
    expected = run_graph(graph, inputs)
    after = graph
    for name, run in PASSES.items():
        after = run(after)
        verify_graph(after)
        for output, value in run_graph(after, inputs).items():
            assert np.abs(value - expected[output]).max() <= 1e-5 * max(1.0, np.abs(expected[output]).max()), f"{name} of seed {seed}"
    if whole:
        compile_graph(graph, targets.with_precision(targets.find("qcom"), "fp32"), check=True)


@pytest.mark.parametrize("seed", range(60))
def test_heads_compute_the_same(seed):
    agrees(seed, whole=seed % 10 == 0)


if __name__ == "__main__":
    failed = 0
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            agrees(number, whole=number % 10 == 0)
        except Exception as error:
            failed += 1
            print(f"seed {number}: {type(error).__name__}: {str(error).strip().splitlines()[0]}", flush=True)
    print(f"{failed} failed")
