"""Sums of one tensor's products with several constants are computed together."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import Net
from test_passes_graph import becomes

from tgc import targets
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg, apply
from tgc.ir.graph import Graph, Node, Reduce
from tgc.ir.interpret import run_graph
from tgc.ir.program import Program, calls_of
from tgc.passes import compile_graph
from tgc.passes.halos import kept_halos, without_halos
from tgc.passes.siblings import siblings
from tgc.targets import Target


def test_the_constants_are_put_side_by_side():
    becomes(
        siblings,
        """%0: f32[1, 2] = input "x"
        %1: f32[1, 1, 2] = reshape(%0)
        %2: f32[1, 4, 2] = expand(%1)
        %3: f32[4, 2] = constant [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
        %4: f32[1, 4, 2] = reshape(%3)
        %5: f32[1, 4, 2] = map(%2, %4) { a0 * a1 }
        %6: f32[1, 4, 1] = reduce(%5) op=ADD axes=[2]
        %7: f32[1, 4] = reshape(%6)
        %8: f32[4] = constant [1.0, 2.0, 3.0, 4.0]
        %9: f32[1, 4] = reshape(%8)
        %10: f32[1, 4] = map(%7, %9) { max(a0 + a1, 0.0) }
        %11: f32[1, 2] = slice(%10) starts=[0, 0] steps=[1, 2]
        %12: f32[1, 3, 2] = expand(%1)
        %13: f32[3, 2] = constant [9.0, 10.0, 11.0, 12.0, 13.0, 14.0]
        %14: f32[1, 3, 2] = reshape(%13)
        %15: f32[1, 3, 2] = map(%12, %14) { a0 * a1 }
        %16: f32[1, 3, 1] = reduce(%15) op=ADD axes=[2]
        %17: f32[1, 3] = reshape(%16)
        %18: f32[3] = constant [5.0, 6.0, 7.0]
        %19: f32[1, 3] = reshape(%18)
        %20: f32[1, 3] = map(%17, %19) { max(a0 + a1, 0.0) }
        %21: f32[1, 2] = slice(%20) starts=[0, 0] steps=[1, 2]
        %22: f32[1, 2] = map(%11, %21) { a0 * a1 }
        output "y" = %22""",
        """%0: f32[1, 2] = input "x"
        %1: f32[1, 1, 2] = reshape(%0)
        %2: f32[1, 7, 2] = expand(%1)
        %3: f32[1, 7, 2] = constant [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0]
        %4: f32[1, 7, 2] = map(%2, %3) { a0 * a1 }
        %5: f32[1, 7, 1] = reduce(%4) op=ADD axes=[2]
        %6: f32[1, 7] = reshape(%5)
        %7: f32[1, 7] = constant [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        %8: f32[1, 7] = map(%6, %7) { max(a0 + a1, 0.0) }
        %9: f32[1, 4] = slice(%8) starts=[0, 0] steps=[1, 1]
        %10: f32[1, 2] = slice(%9) starts=[0, 0] steps=[1, 2]
        %11: f32[1, 3] = slice(%8) starts=[0, 4] steps=[1, 1]
        %12: f32[1, 2] = slice(%11) starts=[0, 0] steps=[1, 2]
        %13: f32[1, 2] = map(%10, %12) { a0 * a1 }
        output "y" = %13""",
    )


def dense(net: Net, x: Node, outputs: int, *, plain: bool = False) -> Node:
    made = net.matmul(x, net.weight(x.shape[-1], outputs))
    shifted = net.add(made, net.stretched(net.weight(outputs), (1,), made.shape))
    return shifted if plain else net.relu(shifted)


def heads(*widths: int) -> Graph:
    """Heads of two layers on what a first layer makes."""
    net = Net()
    x = dense(net, net.image(1, 24), 32)
    return net.graph(*(dense(net, dense(net, x, width), 5, plain=True) for width in widths))


def attention() -> Graph:
    """Queries, keys and values of the same rows, the first two scaled alike."""
    net = Net()
    x = net.image(12, 16)
    queries, keys, values = (dense(net, x, 16, plain=True) for _ in range(3))
    scores = net.softmax(net.matmul(queries, net.permute(keys, (1, 0))))
    return net.graph(net.matmul(scores, values))


def swish(net: Net, x: Node) -> Node:
    return net.map(apply(ops.MUL, Arg(0, F32), Arg(1, F32)), x, net.map(s.sigmoid(Arg(0, F32)), x))


def pixels() -> Graph:
    """Two 1x1 convolutions of one image, each read once more by the node behind it, and then padded by a 3x3 one."""
    net = Net()
    x = net.relu(net.conv(net.image(1, 4, 6, 6), 8))
    left, right = (net.conv(swish(net, net.conv(x, width, 1, pad=0)), 4) for width in (8, 12))
    return net.graph(net.add(left, right))


def sums(graph: Graph) -> int:
    return sum(isinstance(node, Reduce) for node in graph.nodes())


def agree(graph: Graph, other: Graph, least: float = 0.0) -> None:
    inputs = {node.name: np.random.default_rng(0).standard_normal(node.shape).astype(np.float32) for node in graph.inputs}
    expected, found = run_graph(graph, inputs), run_graph(other, inputs)
    assert all(np.abs(found[name] - value).max() <= 1e-6 * max(least, np.abs(value).max()) for name, value in expected.items())


def launches(graph: Graph, target: Target) -> int:
    """How many launches `graph` is, before those that do not depend on each other are done together."""
    found: dict[str, Graph | Program] = {}
    compile_graph(graph, target, check=True, observe=lambda name, made: found.update({name: made}))
    program = found["program"]
    assert isinstance(program, Program)
    return len(list(calls_of(without_halos(program.steps, kept_halos(program)) if target.images else program.steps)))


@pytest.mark.parametrize(("make", "fewer"), [(lambda: heads(8, 16, 4, 6), 3), (attention, 2), (pixels, 1)])
def test_siblings_are_one_sum_and_launch(make, fewer):
    graph = make()
    after = siblings(graph)
    agree(graph, after)
    assert sums(after) == sums(graph) - fewer
    assert launches(graph, targets.find("qcom")) <= launches(graph, targets.find("opencl")) - fewer


def test_what_would_be_copied_stays_apart():
    net = Net()
    x = net.relu(net.image(1, 8))
    results = net.graph(*(dense(net, x, 8) for _ in range(2)))
    assert siblings(results) is results

    net = Net()
    x = net.relu(net.image(1, 8))
    joined = net.graph(net.relu(net.concat((dense(net, x, 8), net.image(1, 4), dense(net, x, 8)), 1)))
    assert siblings(joined) is joined


def test_what_would_no_longer_be_added_on_the_spot_stays_apart():
    net = Net()
    x = net.relu(net.image(4, 8))
    ends = [net.add(dense(net, x, 8, plain=True), net.image(4, 8)) for _ in range(2)]
    residuals = net.graph(net.matmul(ends[0], net.permute(ends[1], (1, 0))))
    assert siblings(residuals) is residuals


def test_parts_begin_with_a_texel():
    after = siblings(heads(6, 8, 7))
    assert sums(after) == sums(heads(6, 8, 7)) - 1  # 8 and 6: 7 would begin in the middle of one


def test_other_functions_stay_apart():
    net = Net()
    x = net.relu(net.image(1, 8))
    ends = [dense(net, x, 8), dense(net, x, 8, plain=True)]
    other = net.graph(net.add(*(dense(net, end, 4) for end in ends)))
    assert siblings(other) is other
