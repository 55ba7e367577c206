"""Large results that are only summed up again are made strip by strip, where strips can be followed and pay."""

import numpy as np
import pytest
from small_networks import Net

from tgc.artifact import Artifact
from tgc.backends.options import EmitOptions
from tgc.driver import emit as emit_for
from tgc.driver import resolve
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32, INDEX
from tgc.ir.expr import Arg, Coordinate, Lit, apply, cast
from tgc.ir.graph import Graph, Node, ScanResult
from tgc.ir.interpret import run_graph
from tgc.ir.verify import verify_graph
from tgc.passes import compile_graph
from tgc.passes.strips import strips
from tgc.run import load
from tgc.targets import with_threads

L2 = 16 << 10


def product(net: Net, a: Node, b: Node) -> Node:
    """[h, m, k] by [h, n, k]: [h, m, n]."""
    (h, m, k), n = a.shape, b.shape[1]
    wide = (h, m, n, k)
    left = net.expand(net.reshape(a, (h, m, 1, k)), wide)
    right = net.expand(net.reshape(b, (h, 1, n, k)), wide)
    return net.reshape(net.reduce(ops.ADD, net.map(apply(ops.MUL, Arg(0, F32), Arg(1, F32)), left, right), (3,)), (h, m, n))


def softmax(net: Net, x: Node) -> Node:
    a, b = Arg(0, F32), Arg(1, F32)
    top = net.expand(net.reduce(ops.MAX, x, (2,)), x.shape)
    powers = net.map(s.exp(apply(ops.ADD, a, apply(ops.MUL, b, Lit(-1.0, F32)))), x, top)
    return net.map(s.div(a, b), powers, net.expand(net.reduce(ops.ADD, powers, (2,)), x.shape))


def attention(heads: int, rows: int, columns: int, *, causal: bool = False, masked: bool = False, seen: bool = False) -> Graph:
    net = Net()
    q, k, v = net.image(heads, rows, 4), net.image(heads, columns, 4), net.image(heads, 4, columns)
    scores = product(net, q, k)
    if causal:
        later = s.lt(cast(Coordinate(1), INDEX), cast(Coordinate(2), INDEX))
        scores = net.map(apply(ops.WHERE, later, Lit(-1e9, F32), Arg(0, F32)), scores)
    if masked:
        mask = net.image(rows, columns)
        scores = net.add(scores, net.expand(net.reshape(mask, (1, rows, columns)), scores.shape))
    y = product(net, softmax(net, scores), v)
    return net.graph(y, scores) if seen else net.graph(y)


def loops(graph: Graph) -> list[int]:
    """The lengths of the loops of `graph`, each once."""
    return list({node.scan: node.scan.length for node in graph.nodes() if isinstance(node, ScanResult)}.values())


def values(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {node.name: rng.standard_normal(node.shape).astype(np.float32) for node in graph.inputs}


@pytest.mark.parametrize(
    ("graph", "lengths"),
    [
        (attention(8, 96, 128), [8, 6]),  # a head at a time, and of a head the rows whose scores fill half of the cache
        (attention(1, 96, 128), [6]),
        (attention(16, 64, 64), [16]),  # a head fits
        (attention(1, 97, 128), []),  # a prime number of rows
        (attention(8, 48, 64, seen=True), []),  # the scores are a result
        (attention(8, 96, 128, causal=True), [8]),  # rows are counted, heads are not
        (attention(8, 96, 128, masked=True), [8, 6]),  # every head reads the mask, and rows of it are cut
        (attention(2, 32, 32), []),  # small
    ],
)
def test_scores_are_made_strip_by_strip(graph: Graph, lengths: list[int]) -> None:
    found = strips(graph, L2)
    verify_graph(found)
    assert sorted(loops(found)) == sorted(lengths)
    given = values(graph)
    for name, wanted in run_graph(graph, given).items():
        np.testing.assert_allclose(run_graph(found, given)[name], wanted, rtol=1e-5, atol=1e-6)


def test_a_result_not_much_larger_than_what_comes_of_it_is_made_at_once() -> None:
    net = Net()
    x = net.image(1, 64, 16)
    hidden = product(net, x, net.weight(1, 64, 16))
    assert loops(strips(net.graph(product(net, hidden, net.weight(1, 32, 64))), 4 << 10)) == []


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_strips_take_less_memory_and_give_the_same(target: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    graph, chosen = attention(4, 512, 512), with_threads(resolve(target), 2)
    program = compile_graph(graph, chosen)
    assert program.arena_bytes < 3 << 20  # scores and their softmax are 4 MB each
    folder = Artifact(program.name, chosen, emit_for(program, chosen, EmitOptions()), program, graph).write(tmp_path / "a")
    given = values(graph)
    expected = run_graph(graph, given)
    for threads in (1, 2):
        for name, found in load(folder, threads=threads).run(given).items():
            np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)
