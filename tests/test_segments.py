"""Small products of matrices and parts of vectors are computed together."""

from __future__ import annotations

import pytest
from small_networks import Net
from test_passes_graph import becomes
from test_siblings import agree, dense, sums
from test_siblings import launches as launched

from tgc import targets
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg
from tgc.ir.graph import Gather, Graph, Node
from tgc.passes.segments import LAUNCH, SMALL, segments


def test_rows_read_from_where_their_vectors_begin():
    zeros = ["0.0"] * 4
    matrix = f"[{', '.join([*'1234', *zeros, *'5678', *zeros, *'1234', *zeros, *'5678', *zeros, *'87654321', *'87654321'])}]"
    becomes(
        segments,
        """%0: f32[1, 12] = input "x"
        %1: f32[1, 12] = map(%0) { max(a0, 0.0) }
        %2: f32[1, 4] = slice(%1) starts=[0, 0] steps=[1, 1]
        %3: f32[1, 1, 4] = reshape(%2)
        %4: f32[1, 4, 4] = expand(%3)
        %5: f32[4, 4] = constant [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
        %6: f32[1, 4, 4] = reshape(%5)
        %7: f32[1, 4, 4] = map(%4, %6) { a0 * a1 }
        %8: f32[1, 4, 1] = reduce(%7) op=ADD axes=[2]
        %9: f32[1, 4] = reshape(%8)
        %10: f32[1, 4] = map(%9) { max(a0, 0.0) }
        %11: f32[1, 1] = reduce(%10) op=MAX axes=[1]
        %12: f32[1, 8] = slice(%1) starts=[0, 4] steps=[1, 1]
        %13: f32[1, 1, 8] = reshape(%12)
        %14: f32[1, 2, 8] = expand(%13)
        %15: f32[2, 8] = constant [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
        %16: f32[1, 2, 8] = reshape(%15)
        %17: f32[1, 2, 8] = map(%14, %16) { a0 * a1 }
        %18: f32[1, 2, 1] = reduce(%17) op=ADD axes=[2]
        %19: f32[1, 2] = reshape(%18)
        %20: f32[1, 2] = map(%19) { max(a0, 0.0) }
        %21: f32[1, 1] = reduce(%20) op=MAX axes=[1]
        %22: f32[1, 1] = map(%11, %21) { a0 + a1 }
        output "y" = %22""",
        """%0: f32[1, 12] = input "x"
        %1: f32[1, 12] = map(%0) { max(a0, 0.0) }
        %2: f32[3, 4] = reshape(%1)
        %3: i32[6, 1, 1] = constant [0, 0, 0, 0, 1, 1]
        %4: i32[6, 2, 4] = expand(%3)
        %5: i32[6, 2, 4] = map(%4) { a0 + i32(c1) }
        %6: i32[6, 2, 4] = map() { i32(c2) }
        %7: f32[6, 2, 4] = gather(%2, %5, %6)
        %8: f32[6, 2, 4] = constant %MATRIX%
        %9: i32[6, 1, 1] = constant [1, 1, 1, 1, 2, 2]
        %10: i32[6, 2, 4] = expand(%9)
        %11: f32[6, 2, 4] = map(%7, %8, %10) { where(i32(c1) < a2, a0 * a1, 0.0) }
        %12: f32[6, 1, 1] = reduce(%11) op=ADD axes=[1, 2]
        %13: f32[1, 6] = reshape(%12)
        %14: f32[1, 6] = map(%13) { max(a0, 0.0) }
        %15: f32[1, 4] = slice(%14) starts=[0, 0] steps=[1, 1]
        %16: f32[1, 1] = reduce(%15) op=MAX axes=[1]
        %17: f32[1, 2] = slice(%14) starts=[0, 4] steps=[1, 1]
        %18: f32[1, 1] = reduce(%17) op=MAX axes=[1]
        %19: f32[1, 1] = map(%16, %18) { a0 + a1 }
        output "y" = %19""".replace("%MATRIX%", matrix),
    )


def heads(net: Net, x: Node, widths: list[int], extra: int = 0) -> list[Node]:
    """The results of heads of hidden `widths` on parts of the vector x: two layers around a sum with what goes in, and one behind."""
    found: list[Node] = []
    start = 0
    for width in widths:
        part = net.slice(x, (0, start), (1, 1), (1, width))
        inner = net.add(part, dense(net, dense(net, part, width), width, plain=True))
        found.append(dense(net, net.relu(inner), 4 + extra * width // 8, plain=True))
        start += width
    return found


def one_vector(*widths: int) -> Graph:
    net = Net()
    x = dense(net, net.image(1, 24), sum(widths))
    return net.graph(net.concat((net.relu(net.image(1, 3)), *heads(net, x, list(widths), 1)), 1))


def two_vectors() -> Graph:
    """Heads on what two layers make, the results in turns: first halves, then second halves."""
    net = Net()
    first, second = (dense(net, net.image(1, 24), 24) for _ in range(2))
    ends = [net.reshape(dense(net, part, 6, plain=True), (1, 2, 3)) for part in heads(net, first, [8, 16]) + heads(net, second, [16, 8])]
    return net.graph(net.reshape(net.concat(tuple(ends), 2), (1, 24)))


@pytest.mark.parametrize(("make", "sums_left", "launches"), [(lambda: one_vector(8, 16, 8), 4, 5), (two_vectors, 6, 6)])
def test_a_layer_of_all_heads_is_one_sum_and_launch(make, sums_left, launches):
    graph = make()
    after = segments(graph)
    agree(graph, after)
    assert sums(after) == sums_left
    assert launched(graph, targets.find("qcom")) == launches
    assert segments(after) is after


def test_numbers_beyond_a_row_are_not_read_into_it():
    graph = one_vector(8, 16, 8)
    assert any(isinstance(node, Gather) for node in segments(graph).nodes())


def of_widths(first: int, second: int, rows: int = 8) -> Graph:
    """Two layers on parts of one vector."""
    net = Net()
    x = dense(net, net.image(1, 4), first + second)
    parts = (net.slice(x, (0, start), (1, 1), (1, size)) for start, size in ((0, first), (first, second)))
    return net.graph(net.concat(tuple(dense(net, part, rows) for part in parts), 1))


def test_large_products_and_many_zeros_stay_apart():
    assert sums(segments(of_widths(8, 24))) == 2
    assert sums(segments(of_widths(8, 2 * SMALL // 8))) == 3
    longest = LAUNCH // 16  # 8 rows of zeros, and tiles would have been faster on the rest
    assert sums(segments(of_widths(4, longest))) == 2
    assert sums(segments(of_widths(4, 2 * longest))) == 3


def test_results_of_one_element_and_other_functions_are_put_together_too():
    net = Net()
    x = dense(net, net.image(1, 24), 24)
    parts = [net.slice(x, (0, start), (1, 1), (1, 8)) for start in (0, 8, 16)]
    ends = [dense(net, part, 3, plain=True) for part in parts] + [net.map(s.sigmoid(Arg(0, F32)), dense(net, part, 1)) for part in parts]
    graph = net.graph(net.concat(tuple(ends), 1))
    after = segments(graph)
    agree(graph, after)
    assert sums(after) == 2
    assert launched(graph, targets.find("qcom")) == 2


def test_vectors_begin_with_a_texel():
    assert sums(segments(of_widths(6, 10))) == 3


def test_results_of_their_own_stay_apart():
    net = Net()
    graph = net.graph(*heads(net, dense(net, net.image(1, 24), 16), [8, 8]))
    assert sums(segments(graph)) == 1 + 1 + 1 + 2
