"""Which work-items make a group, and which of them share a sum."""

from __future__ import annotations

import pytest
from small_networks import Net
from test_qcom import ERROR, far, inputs_of, target_of

from tgc.ir import expr as ex
from tgc.ir.dtypes import F32
from tgc.ir.expr import Buffer, Lit, Var
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.kernel import LANE_KINDS, Barrier, For, Statement, Store
from tgc.ir.program import Program
from tgc.ir.rewrite import statements
from tgc.passes import compile_graph
from tgc.passes.grid import Group, bind_to_groups
from tgc.passes.schedule.apply import apply_step


def pointwise(channels: int, size: int) -> Graph:
    """A 1x1 convolution of a square image to 32 channels."""
    net = Net()
    return net.graph(net.relu(net.conv(net.relu(net.image(1, channels, size, size)), 32, 1, pad=0)))


def barriers(program: Program) -> int:
    return sum(isinstance(part, Barrier) for kernel in program.kernels for part in statements(kernel.body))


@pytest.mark.parametrize("precision", ERROR)
def test_few_results_of_long_sums_are_shared_among_work_items(precision: str) -> None:
    """Register tiles of many results would leave processors without work, small ones read much."""
    graph = pointwise(512, 4)
    program = compile_graph(graph, target_of(precision))
    assert barriers(program) > 0
    found = run_program(program, inputs_of(graph))["y0"]
    assert far(run_graph(graph, inputs_of(graph))["y0"], found) < ERROR[precision]


def test_many_results_are_not_shared() -> None:
    assert barriers(compile_graph(pointwise(64, 64), target_of("mixed"))) == 0


@pytest.mark.parametrize(
    ("extents", "group", "widths"),
    [
        ((18, 4), Group(128, 8), (4, 4)),
        ((60, 16), Group(128), (15, 8)),
        ((52, 11), Group(128), (11, 11)),
        ((22, 16, 2), Group(128, narrow=1.12), (2, 16, 2)),
        ((80, 7), Group(128, narrow=1.12), (16, 7)),
        ((98304,), Group(128), (128,)),
        ((7,), Group(128), (7,)),
    ],
)
def test_work_groups_are_whole_waves(extents: tuple[int, ...], group: Group, widths: tuple[int, ...]) -> None:
    """Of 18 x 4 with 8 parts each, 9 x 8 work-items would be a wave of 64 and an eighth of another; 4 x 4 x 8 are a wave of 128."""
    body: Statement = Store(Buffer("y", F32, 1, "global"), ex.index(0), Lit(0.0, F32))
    for number, extent in enumerate(extents):
        body = For(Var(f"i{number}"), extent, body)
    for step in bind_to_groups(body, group):
        body = apply_step(body, step)
    lanes = {part.kind: part.extent for part in statements(body) if isinstance(part, For) and part.kind in LANE_KINDS}
    assert tuple(lanes.get(kind, 1) for kind in LANE_KINDS[: len(widths)]) == widths
