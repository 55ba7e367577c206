"""Sums over what does not fill texels are made a little longer, by zeros."""

from __future__ import annotations

import pytest
from small_networks import Net
from test_siblings import agree, dense, launches

from tgc import targets
from tgc.ir.graph import Graph, Pad, Reduce
from tgc.passes import compile_graph
from tgc.passes.whole_texels import whole_texels


def lengths(graph: Graph) -> list[int]:
    """Over how many elements each sum of `graph` goes."""
    return [node.source.shape[axis] for node in graph.nodes() if isinstance(node, Reduce) for axis in node.axes]


def joined(*sizes: int, rows: int = 1) -> tuple[Net, Graph]:
    """A product with vectors of `sizes` put together."""
    net = Net()
    whole = net.concat(tuple(dense(net, net.image(rows, 8), size) for size in sizes), 1)
    return net, net.graph(dense(net, whole, 12))


@pytest.mark.parametrize(("sizes", "rows", "length"), [((32, 8, 2), 1, 44), ((37,), 1, 40), ((33, 5), 6, 40), ((1000, 34), 1, 1040)])
def test_a_sum_is_filled_up_where_what_it_reads_is_made(sizes, rows, length):
    _, graph = joined(*sizes, rows=rows)
    after = whole_texels(graph)
    agree(graph, after)
    assert lengths(graph)[-1] == sum(sizes)
    assert lengths(after)[-1] == length
    assert [node.high for node in after.nodes() if isinstance(node, Pad)] == [(0, length - sum(sizes))]


def test_it_is_read_in_texels_and_takes_no_launch():
    _, graph = joined(32, 8, 2)
    qcom = targets.find("qcom")
    assert launches(graph, qcom) == launches(graph, targets.find("opencl"))
    reads = [p for kernel in compile_graph(graph, qcom, check=True).kernels for p in kernel.parameters if p.buffer.space == "image"]
    assert 44 in {parameter.buffer.size for parameter in reads}


def test_what_texels_fill_or_lies_elsewhere_stays():
    assert whole_texels(graph := joined(32, 8)[1]) is graph
    assert whole_texels(graph := joined(18)[1]) is graph  # short
    net = Net()
    given, shown, put = net.image(1, 38), dense(net, net.image(1, 8), 38), dense(net, net.image(1, 8), 38)
    graph = net.graph(*(dense(net, x, 12) for x in (given, shown, put)), shown, net.concat((put, put), 1))
    assert whole_texels(graph) is graph
