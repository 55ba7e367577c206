"""Graph passes: text in, text out."""

from collections.abc import Callable

import numpy as np
import pytest

from tgc.ir import scalar
from tgc.ir.dtypes import BF16, F16, DType
from tgc.ir.expr import Arg
from tgc.ir.graph import Graph
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import run_graph
from tgc.ir.text import parse_graph, print_graph
from tgc.ir.verify import verify_graph
from tgc.passes import GRAPH_PASSES
from tgc.passes.fold import fold
from tgc.passes.merge_pads import merge_pads
from tgc.passes.widen import widen
from tgc.targets import X86_V3


def becomes(graph_pass: Callable[[Graph], Graph], before: str, after: str) -> None:
    """The pass makes `after` of `before`, up to the numbers of the nodes."""
    made = graph_pass(parse_graph(f'graph "g"\n{before}'))
    verify_graph(made)
    assert print_graph(made) == print_graph(parse_graph(f'graph "g"\n{after}'))


def test_fold_computes_what_depends_on_constants() -> None:
    becomes(
        fold,
        """%0: f32[3] = input "x"
        %1: f32[3] = constant [1.0, 2.0, 3.0] name="w"
        %2: f32[3] = map(%1) { a0 * a0 } from="Mul_1"
        %3: f32[1] = reduce(%2) op=ADD axes=[0]
        %4: f32[3] = expand(%3)
        %5: f32[3] = map(%0, %4) { a0 + a1 }
        output "y" = %5""",
        """%0: f32[3] = input "x"
        %1: f32[1] = constant [14.0]
        %2: f32[3] = expand(%1)
        %3: f32[3] = map(%0, %2) { a0 + a1 }
        output "y" = %3""",
    )


def test_fold_leaves_views_of_constants_but_transposes() -> None:
    becomes(
        fold,
        """%0: f32[2, 2] = constant [1.0, 2.0, 3.0, 4.0]
        %1: f32[2, 2] = permute(%0) order=[1, 0]
        %2: f32[4] = reshape(%1)
        %3: f32[2] = slice(%2) starts=[3] steps=[-2]
        output "y" = %3""",
        """%0: f32[2, 2] = constant [1.0, 3.0, 2.0, 4.0]
        %1: f32[4] = reshape(%0)
        %2: f32[2] = slice(%1) starts=[3] steps=[-2]
        output "y" = %2""",
    )


def test_fold_makes_no_large_constants_of_small_ones() -> None:
    text = """%0: f32[1] = constant [2.0]
        %1: f32[100000] = expand(%0)
        %2: f32[100000] = map(%1) { a0 * f32(c0) }
        output "y" = %2"""
    becomes(fold, text, text)


@pytest.mark.parametrize(
    ("empty", "value"),
    [
        ("%2: f32[3] = pad(%1) low=[1] high=[2] value=7.0", "7.0"),
        ("%3: f32[1] = reduce(%1) op=ADD axes=[0]\n%2: f32[3] = expand(%3)", "0.0"),
        ("%3: f32[1] = reduce(%1) op=MUL axes=[0]\n%2: f32[3] = expand(%3)", "1.0"),
        ("%3: f32[1] = reduce(%1) op=MAX axes=[0]\n%2: f32[3] = expand(%3)", "-inf"),
    ],
)
def test_fold_leaves_no_extent_of_zero(empty: str, value: str) -> None:
    becomes(
        fold,
        f"""%0: f32[0] = input "x"
        %1: f32[0] = map(%0) {{ a0 * a0 }}
        {empty}
        output "y" = %2
        output "z" = %1""",
        f"""%0: f32[0] = input "x"
        %1: f32[1] = constant [{value}]
        %2: f32[3] = expand(%1)
        %3: f32[0] = constant []
        output "y" = %2
        output "z" = %3""",
    )


def test_merge_pads_stores_one_halo() -> None:
    becomes(
        merge_pads,
        """%0: f32[4, 4] = input "x"
        %1: f32[6, 4] = pad(%0) low=[1, 0] high=[1, 0] value=0.0
        %2: f32[4, 7] = pad(%0) low=[0, 2] high=[0, 1] value=0.0
        %3: f32[5, 4] = pad(%0) low=[0, 0] high=[1, 0] value=1.0
        output "a" = %1
        output "b" = %2
        output "c" = %3""",
        """%0: f32[4, 4] = input "x"
        %1: f32[6, 7] = pad(%0) low=[1, 2] high=[1, 1] value=0.0
        %2: f32[6, 4] = slice(%1) starts=[0, 2] steps=[1, 1]
        %3: f32[4, 7] = slice(%1) starts=[1, 0] steps=[1, 1]
        %4: f32[5, 4] = pad(%0) low=[0, 0] high=[1, 0] value=1.0
        output "a" = %2
        output "b" = %3
        output "c" = %4""",
    )


def test_widen_keeps_half_in_inputs_outputs_and_constants() -> None:
    becomes(
        widen,
        """%0: f16[2] = input "x"
        %1: f16[2] = constant [1.0, 2.0]
        %2: f16[2] = map(%0, %1) { a0 * a1 + 0.5:f16 }
        %3: f16[4] = pad(%2) low=[1] high=[1] value=3.0:f16
        %4: f16[1] = reduce(%3) op=ADD axes=[0]
        %5: bool[1] = map(%4) { a0 < 1.0:f16 }
        output "y" = %4
        output "z" = %5""",
        """%0: f16[2] = input "x"
        %1: f32[2] = map(%0) { f32(a0) }
        %2: f16[2] = constant [1.0, 2.0]
        %3: f32[2] = map(%2) { f32(a0) }
        %4: f32[2] = map(%1, %3) { a0 * a1 + 0.5 }
        %5: f32[4] = pad(%4) low=[1] high=[1] value=3.0
        %6: f32[1] = reduce(%5) op=ADD axes=[0]
        %7: f16[1] = map(%6) { f16(a0) }
        %8: bool[1] = map(%6) { a0 < 1.0 }
        output "y" = %7
        output "z" = %8""",
    )


def test_widen_rounds_where_the_model_casts() -> None:
    becomes(
        widen,
        """%0: f32[2] = input "x"
        %1: bf16[2] = map(%0) { bf16(a0) }
        %2: f32[2] = map(%1) { f32(a0) * 2.0 }
        output "y" = %2""",
        """%0: f32[2] = input "x"
        %1: f32[2] = map(%0) { f32(bf16(a0)) }
        %2: f32[2] = map(%1) { a0 * 2.0 }
        output "y" = %2""",
    )


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_widen_takes_bits_of_what_is_rounded(dtype: DType) -> None:
    """copysign works on the bits of a narrow value, and makes a narrow value of bits."""
    b = GraphBuilder()
    x, y = b.input("x", dtype, (4,)), b.input("y", dtype, (4,))
    graph = Graph("g", (x, y), (("z", b.map(scalar.copysign(Arg(0, dtype), Arg(1, dtype)), x, y)),))
    wide = widen(graph)
    verify_graph(wide)
    inputs = {"x": np.array([1, 2, 3, 0], dtype.numpy), "y": np.array([-1, 1, 1, -0.0], dtype.numpy)}
    np.testing.assert_array_equal(run_graph(wide, inputs)["z"], run_graph(graph, inputs)["z"])
    np.testing.assert_array_equal(run_graph(wide, inputs)["z"].astype(np.float32), [-1, 2, 3, 0])


def test_every_pass_has_a_name_and_a_sentence() -> None:
    assert len({entry.name for entry in GRAPH_PASSES}) == len(GRAPH_PASSES)
    assert all(entry.run.__doc__ for entry in GRAPH_PASSES)


def test_inputs_that_nothing_reads_stay() -> None:
    graph = parse_graph('graph "g"\n%0: f16[2] = input "x"\n%1: f32[0] = input "y"\n%2: f32[1] = constant [1.0]\noutput "z" = %2')
    for entry in GRAPH_PASSES:
        graph = entry.run(graph, X86_V3)
    assert [node.name for node in graph.inputs] == ["x", "y"]
