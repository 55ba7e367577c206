"""Launches that do not depend on each other are done by the work-items of one."""

from __future__ import annotations

import numpy as np
import pytest
from random_models import EVERY, FAMILIES, generate
from small_networks import Net
from test_siblings import dense

from tgc import targets
from tgc.frontend_onnx import import_model
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph, run_kernel, run_program
from tgc.ir.kernel import Kernel
from tgc.ir.text import parse_kernel, print_kernel
from tgc.passes import compile_graph
from tgc.passes.rider_kernels import items_of, joined, turns
from tgc.passes.riders import saved

PAIRS = """kernel pairs(read a: f32[{size}], write out: f32[{size}]) {{
  for g < {groups} grid0 {{
    for l < 2 lane0 {{
      out[g * 2 + l] = a[g * 2 + l] + 1.0
    }}
  }}
}}
"""
FOURS = """kernel fours(read a: f32[12], write out: f32[12]) {
  for i < 3 grid0 {
    for j < 4 lane0 {
      out[i * 4 + j] = a[i * 4 + j] * 2.0
    }
  }
}
"""
WAITING = """kernel waiting(read a: f32[4], write out: f32[4]) {
  for i < 2 grid0 {
    for j < 2 lane0 {
      alloc sums: f32[2] local
      sums[j] = a[i * 2 + j]
      barrier
      out[i * 2 + j] = sums[0] + sums[1]
    }
  }
}
"""


def pairs(groups: int) -> Kernel:
    return parse_kernel(PAIRS.format(groups=groups, size=groups * 2))


def becomes(host: Kernel, rider: Kernel, expected: str, **handed: str) -> None:
    found = joined(host, rider, "both", handed)
    assert found is not None
    assert print_kernel(found) == print_kernel(parse_kernel(expected))


def test_work_item_goes_with_work_item():
    becomes(
        parse_kernel(FOURS),
        pairs(4),
        """kernel both(read a: f32[12], write out: f32[12], read a4: f32[8], write out5: f32[8]) {
  for i < 3 grid0 {
    for j < 4 lane0 {
      out[i * 4 + j] = a[i * 4 + j] * 2.0
      if i * 4 + j < 8 {
        out5[i * 4 + j] = a4[i * 4 + j] + 1.0
      }
    }
  }
}
""",
    )


def test_where_there_are_too_few_each_does_several():
    becomes(
        pairs(2),
        parse_kernel(FOURS),
        """kernel both(read a: f32[4], write out: f32[4], read a4: f32[12], write out5: f32[12]) {
  for g < 2 grid0 {
    for l < 2 lane0 {
      out[g * 2 + l] = a[g * 2 + l] + 1.0
      out5[g * 2 + l] = a4[g * 2 + l] * 2.0
      out5[g * 2 + l + 4] = a4[g * 2 + l + 4] * 2.0
      out5[g * 2 + l + 8] = a4[g * 2 + l + 8] * 2.0
    }
  }
}
""",
    )


def test_those_that_wait_for_each_other_stay_in_their_group():
    becomes(
        pairs(3),
        parse_kernel(WAITING),
        """kernel both(read a: f32[6], write out: f32[6], read a4: f32[4], write out5: f32[4]) {
  for g < 3 grid0 {
    for l < 2 lane0 {
      alloc sums6: f32[2] local
      out[g * 2 + l] = a[g * 2 + l] + 1.0
      if g < 2 {
        sums6[l] = a4[g * 2 + l]
        barrier
        out5[g * 2 + l] = sums6[0] + sums6[1]
      }
    }
  }
}
""",
    )
    waiting = items_of(parse_kernel(WAITING))
    assert turns(items_of(pairs(1)), waiting) is None  # two groups, one after the other
    assert turns(items_of(parse_kernel(FOURS)), waiting) is None  # groups of four


@pytest.mark.parametrize(("host", "rider"), [(FOURS, PAIRS.format(groups=4, size=8)), (PAIRS.format(groups=3, size=6), WAITING)])
def test_both_are_done(host, rider):
    kernels = [parse_kernel(host), parse_kernel(rider)]
    whole = joined(*kernels, "both")
    assert whole is not None
    memory = [np.arange(p.buffer.size, dtype=np.float32) for kernel in kernels for p in kernel.parameters]
    names = [p.buffer.name for p in whole.parameters]
    found = dict(zip(names, [part.copy() for part in memory], strict=True))
    run_kernel(whole, found)
    for kernel, own, new in ((kernels[0], memory[:2], names[:2]), (kernels[1], memory[2:], names[2:])):
        alone = dict(zip(("a", "out"), own, strict=True))
        run_kernel(kernel, alone)
        assert np.array_equal(found[new[1]], alone["out"])


def test_a_copy_of_what_a_work_item_has_stored_is_stored_too():
    copy = "kernel copy(read a: f32[4], write out: f32[4]) {\n for i < 4 lane0 {\n out[i] = a[i]\n }\n}\n"
    becomes(
        pairs(2),
        parse_kernel(copy),
        """kernel both(read a: f32[4], write out: f32[4], write out4: f32[4]) {
  for g < 2 grid0 {
    for l < 2 lane0 {
      out[g * 2 + l] = a[g * 2 + l] + 1.0
      out4[g * 2 + l] = a[g * 2 + l] + 1.0
    }
  }
}
""",
        a="out",
    )
    turned = copy.replace("a[i]", "a[3 + i * -1]")
    assert joined(pairs(2), parse_kernel(turned), "both", {"a": "out"}) is None  # another's


def test_what_is_done_in_vain_costs_no_more_than_a_launch():
    few, many = items_of(pairs(4)), items_of(pairs(1 << 18))
    assert saved(few, few) > 0
    assert saved(few, many) == 0  # each would do too many
    assert saved(many, few) < 0


def test_what_needs_the_other_or_comes_between_stays_where_it_is():
    net = Net()
    first = net.relu(net.image(1, 8))
    second = dense(net, net.image(1, 16), 8)
    graph = net.graph(dense(net, first, 8), net.relu(net.concat((second, net.image(1, 4)), 1)))
    program = compile_graph(graph, targets.with_precision(targets.find("qcom"), "fp32"), check=True)
    assert len(program.calls) == 2  # a sum and what needs its result
    same(graph, program)


@pytest.mark.parametrize("seed", [930000, 930001, 930007, 930010])
def test_what_rides_is_seen_to_stay_inside_its_buffers(seed: int):
    """These networks have launches whose places, counted in another's work-items, cannot be told to be inside."""
    made = generate(seed, EVERY if seed % 2 else FAMILIES)
    program = compile_graph(import_model(made.model), targets.with_precision(targets.find("qcom"), "fp32"), check=True)
    assert program.calls


def same(graph: Graph, program) -> None:
    inputs = {node.name: np.random.default_rng(0).standard_normal(node.shape).astype(np.float32) for node in graph.inputs}
    expected, found = run_graph(graph, inputs), run_program(program, inputs)
    assert all(np.abs(found[name] - value).max() <= 1e-5 for name, value in expected.items())
