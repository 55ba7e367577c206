"""Factors of the parts of a tensor are one factor of the tensor."""

from __future__ import annotations

from small_networks import Net
from test_passes_graph import becomes
from test_siblings import agree

from tgc import targets
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg
from tgc.ir.graph import Graph, Node
from tgc.passes import compile_graph
from tgc.passes.scales import scales


def test_factors_move_to_where_the_parts_come_from():
    becomes(
        scales,
        """%0: f32[2, 2] = input "x"
        %1: f32[2, 2] = map(%0) { max(a0, 0.0) }
        %2: f32[1, 2] = slice(%1) starts=[0, 0] steps=[1, 1]
        %3: f32[1, 2] = map(%2) { a0 * 0.5 }
        %4: f32[3, 2] = expand(%3)
        %5: f32[1, 2] = slice(%1) starts=[1, 0] steps=[1, 1]
        %6: f32[3, 2] = expand(%5)
        %7: f32[3, 2] = map(%4, %6) { a0 + a1 }
        output "y" = %7""",
        """%0: f32[2, 2] = input "x"
        %1: f32[2, 2] = map(%0) { max(a0, 0.0) }
        %2: f32[2, 1] = constant [0.5, 1.0]
        %3: f32[2, 2] = expand(%2)
        %4: f32[2, 2] = map(%1, %3) { a0 * a1 }
        %5: f32[1, 2] = slice(%4) starts=[0, 0] steps=[1, 1]
        %6: f32[3, 2] = expand(%5)
        %7: f32[1, 2] = slice(%4) starts=[1, 0] steps=[1, 1]
        %8: f32[3, 2] = expand(%7)
        %9: f32[3, 2] = map(%6, %8) { a0 + a1 }
        output "y" = %9""",
    )


def scaled(net: Net, x: Node, factor: float) -> Node:
    return net.map(s.mul(Arg(0, F32), s.lit(factor, F32)), x)


def part(net: Net, x: Node, number: int, size: int) -> Node:
    return net.slice(x, (0, number * size), (1, 1), (x.shape[0], size))


def attention(*, whole: bool = False, out: bool = False) -> Graph:
    """Queries, keys and values out of one product, the first two scaled. whole: all is read unscaled, too; out: keys are a result."""
    net = Net()
    x = net.image(12, 16)
    together = net.matmul(x, net.weight(16, 48))
    queries, keys = (scaled(net, part(net, together, number, 16), 0.5) for number in range(2))
    scores = net.softmax(net.matmul(queries, net.permute(keys, (1, 0))))
    results = [net.matmul(scores, part(net, together, 2, 16))]
    results += [net.matmul(together, net.weight(48, 8))] if whole else []
    return net.graph(*results, *([keys] if out else []))


def test_scaling_takes_no_launch():
    graph = attention()
    agree(graph, scales(graph))
    launches = (len(compile_graph(graph, targets.find(name), check=True).calls) for name in ("qcom", "opencl"))
    assert next(launches) <= next(launches) - 2


def test_zero_is_a_factor():
    net = Net()
    x = net.relu(net.image(4, 8))
    graph = net.graph(net.matmul(scaled(net, part(net, x, 0, 4), 0.0), net.permute(part(net, x, 1, 4), (1, 0))))
    agree(graph, scales(graph), least=1.0)


def test_what_is_read_unscaled_too_stays():
    graph = attention(whole=True)
    assert scales(graph) is graph


def test_what_is_a_result_stays_and_the_other_part_is_scaled():
    graph = attention(out=True)
    agree(graph, scales(graph))


def test_a_part_that_is_a_result_is_not_scaled():
    net = Net()
    x = net.relu(net.image(4, 8))
    half = part(net, x, 1, 4)
    graph = net.graph(net.matmul(scaled(net, half, 0.5), net.weight(4, 4)), half)
    assert scales(graph) is graph
