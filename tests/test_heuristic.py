"""What the heuristic makes of loop nests of certain shapes."""

import numpy as np

from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg, apply
from tgc.ir.graph import Graph
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.text import print_kernel
from tgc.passes import compile_graph
from tgc.targets import OPENCL, X86_V3, C, Target

GROUPS, WIDTH, ROWS = 3, 24, 20


def shuffled_groups() -> Graph:
    """A grouped product whose results are stored with the groups interleaved, as ShuffleNet's channels are."""
    b = GraphBuilder()
    full = (ROWS, GROUPS, WIDTH, WIDTH)
    given = b.input("x", F32, (ROWS, GROUPS * WIDTH))
    x = b.expand(b.reshape(given, (ROWS, GROUPS, 1, WIDTH)), full)
    rng = np.random.default_rng(0)
    weights = b.constant(rng.standard_normal((1, GROUPS, WIDTH, WIDTH)).astype(np.float32))
    product = b.map(apply(ops.MUL, Arg(0, F32), Arg(1, F32)), x, b.expand(weights, full), shape=full)
    sums = b.reshape(b.reduce(ops.ADD, product, (3,)), (ROWS, GROUPS, WIDTH))
    out = b.reshape(b.permute(sums, (0, 2, 1)), (ROWS, GROUPS * WIDTH))
    return Graph("net", (given,), (("y", out),))


def test_long_sums_that_are_stored_apart_are_added_up_in_vectors() -> None:
    graph = shuffled_groups()
    program = compile_graph(graph, X86_V3)
    x = np.random.default_rng(1).standard_normal((ROWS, GROUPS * WIDTH)).astype(np.float32)
    np.testing.assert_allclose(run_program(program, {"x": x})["y"], run_graph(graph, {"x": x})["y"], rtol=1e-5, atol=1e-5)
    (kernel,) = program.kernels
    text = print_kernel(kernel)
    assert "ramp(" in text
    assert "_lanes" not in text, "summed along the reduction"


def test_a_sum_over_all_axes_runs_along_memory() -> None:
    """Reduced axes that the model has in another order than memory become one loop, in vectors."""
    b = GraphBuilder()
    given = b.input("x", F32, (6, 5, 16))
    channels_first = b.permute(given, (2, 0, 1))
    graph = Graph("net", (given,), (("y", b.reduce(ops.MAX, channels_first, (0, 1, 2))),))
    program = compile_graph(graph, X86_V3)
    x = np.random.default_rng(1).standard_normal((6, 5, 16)).astype(np.float32)
    np.testing.assert_array_equal(run_program(program, {"x": x})["y"], run_graph(graph, {"x": x})["y"])
    text = print_kernel(program.kernels[0])
    assert "_lanes" in text
    assert text.count("for ") == 1


def softmax(rows: int, columns: int) -> Graph:
    b = GraphBuilder()
    given = b.input("x", F32, (rows, columns))
    x, y = Arg(0, F32), Arg(1, F32)
    most = b.expand(b.reduce(ops.MAX, given, (1,)), (rows, columns))
    powers = b.map(s.exp(s.sub(x, y)), given, most)
    total = b.expand(b.reduce(ops.ADD, powers, (1,)), (rows, columns))
    return Graph("net", (given,), (("y", b.map(s.div(x, y), powers, total)),))


def scheduled(graph: Graph, target: Target = X86_V3) -> str:
    """The one kernel of `graph` as text; what it computes is compared with the interpreter's answer."""
    program = compile_graph(graph, target)
    x = np.random.default_rng(1).standard_normal(graph.inputs[0].shape).astype(np.float32)
    np.testing.assert_allclose(run_program(program, {"x": x})["y"], run_graph(graph, {"x": x})["y"], rtol=1e-6)
    (kernel,) = program.kernels
    return print_kernel(kernel)


def test_the_exponentials_of_a_softmax_are_computed_once() -> None:
    text = scheduled(softmax(5, 37))
    assert "f32[37] local" in text
    assert text.count("<< ") == 1, "the power of two in an exponential"
    assert "local" not in scheduled(softmax(2, 5000)), "20 kB on a thread's stack"
    assert "local" not in scheduled(softmax(5, 37), OPENCL), "local memory is a work-group's"


def test_an_order_of_axes_changes_in_squares() -> None:
    """What is read along one axis and stored along another: vectors of one, as many as a vector has lanes."""
    b = GraphBuilder()
    given = b.input("x", F32, (70, 66))
    text = scheduled(Graph("net", (given,), (("y", b.map(s.neg(Arg(0, F32)), b.permute(given, (1, 0)))),)))
    assert text.count("ramp(") == 2 * 8
    assert "70, 8)] = " in text


def test_short_axes_that_become_the_last_are_stored_interleaved() -> None:
    b = GraphBuilder()
    given = b.input("x", F32, (3, 100))
    text = scheduled(Graph("net", (given,), (("y", b.map(s.neg(Arg(0, F32)), b.permute(given, (1, 0)))),)))
    assert [f"{first}, 3, 8)] = " in text.replace("* 24", "+ 0") for first in ("+ 1", "+ 2")] == [True, True]


def test_an_axis_of_one_vector_changes_places() -> None:
    for rows in (4, 8, 16):
        b = GraphBuilder()
        given = b.input("x", F32, (3, rows, 2))
        graph = Graph("net", (given,), (("y", b.permute(given, (1, 2, 0))),))
        x = np.arange(6 * rows, dtype=np.float32).reshape(3, rows, 2)
        for target in (X86_V3, C):
            np.testing.assert_array_equal(run_program(compile_graph(graph, target), {"x": x})["y"], x.transpose(1, 2, 0))
