"""Maps of what is put together are done piece by piece."""

from __future__ import annotations

from small_networks import Net
from test_passes_graph import becomes
from test_siblings import agree, dense, launches

from tgc import targets
from tgc.ir.graph import Concat, Map
from tgc.passes.pieces import pieces


def test_a_map_moves_to_the_pieces_with_its_part_of_a_constant():
    becomes(
        pieces,
        """%0: f32[2] = input "x"
        %1: f32[1] = input "y"
        %2: f32[3] = concat(%0, %1) axis=0
        %3: f32[3] = constant [1.0, 2.0, 3.0]
        %4: f32[3] = map(%2, %3) { max(a0 * a1, 0.0) }
        output "z" = %4""",
        """%0: f32[2] = input "x"
        %1: f32[1] = input "y"
        %2: f32[3] = constant [1.0, 2.0, 3.0]
        %3: f32[2] = slice(%2) starts=[0] steps=[1]
        %4: f32[2] = map(%0, %3) { max(a0 * a1, 0.0) }
        %5: f32[1] = slice(%2) starts=[2] steps=[1]
        %6: f32[1] = map(%1, %5) { max(a0 * a1, 0.0) }
        %7: f32[3] = concat(%4, %6) axis=0
        output "z" = %7""",
    )


def test_it_is_done_where_the_pieces_are_made():
    net = Net()
    x = net.image(1, 8)
    joined = net.concat((dense(net, x, 8, plain=True), net.image(1, 4), dense(net, x, 12, plain=True)), 1)
    graph = net.graph(dense(net, net.map(net.relu(joined).expr, joined), 8))  # type: ignore[union-attr]
    after = pieces(graph)
    agree(graph, after)
    assert not any(isinstance(node, Map) and isinstance(node.sources[0], Concat) for node in after.nodes())
    assert launches(graph, targets.find("qcom")) == 4


def test_a_concat_that_others_read_stays():
    net = Net()
    joined = net.concat((net.image(1, 4), net.image(1, 4)), 1)
    graph = net.graph(net.relu(joined), joined)
    assert pieces(graph) is graph


def test_pieces_that_others_read_are_stored_once():
    net = Net()
    parts = [dense(net, net.image(1, 4), 4) for _ in range(2)]
    graph = net.graph(net.relu(net.concat((net.relu(parts[0]), net.relu(parts[1])), 1)), *(dense(net, net.relu(part), 4) for part in parts))
    assert pieces(graph) is graph


def test_views_that_are_copied_go_to_the_pieces():
    becomes(
        pieces,
        """%0: f32[1, 2, 2, 2] = input "x"
        %1: f32[1, 3, 2, 2] = input "y"
        %2: f32[1, 5, 2, 2] = concat(%0, %1) axis=1
        %3: f32[1, 5, 4] = reshape(%2)
        %4: f32[1, 4, 5] = permute(%3) order=[0, 2, 1]
        output "z" = %4""",
        """%0: f32[1, 2, 2, 2] = input "x"
        %1: f32[1, 3, 2, 2] = input "y"
        %2: f32[1, 2, 4] = reshape(%0)
        %3: f32[1, 4, 2] = permute(%2) order=[0, 2, 1]
        %4: f32[1, 3, 4] = reshape(%1)
        %5: f32[1, 4, 3] = permute(%4) order=[0, 2, 1]
        %6: f32[1, 4, 5] = concat(%3, %5) axis=2
        output "z" = %6""",
    )


def test_results_of_several_scales_are_written_where_they_belong():
    net = Net()
    scales = [net.image(1, 4, size, size) for size in (4, 2)]
    boxes = [net.concat((net.conv(x, 4, 1, pad=0), net.conv(x, 8, 1, pad=0)), 1) for x in scales]
    rows = [net.reshape(box, (1, 12, box.shape[2] * box.shape[3])) for box in boxes]
    graph = net.graph(net.permute(net.concat(tuple(rows), 2), (0, 2, 1)))
    after = pieces(graph)
    agree(graph, after)
    assert launches(graph, targets.find("qcom")) <= 6


def test_a_view_that_is_read_stays():
    net = Net()
    joined = net.concat((net.image(1, 4), net.image(1, 4)), 1)
    graph = net.graph(net.matmul(net.permute(joined, (1, 0)), net.weight(1, 4)))
    assert pieces(graph) is graph
