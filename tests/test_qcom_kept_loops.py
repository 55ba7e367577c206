"""Loops that Mesa's compiler would write out, and then run out of registers, are printed so that it cannot."""

from dataclasses import replace

import numpy as np
import pytest
from small_networks import Net
from test_backend_opencl import device

from tgc import targets
from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.ir.interpret import run_graph
from tgc.ir.kernel import Block, For, Kernel, Statement
from tgc.ir.rewrite import statements
from tgc.ir.text import parse_kernel
from tgc.passes import compile_graph
from tgc.passes.kept_loops import keep_loops
from tgc.run import load

SUM = """kernel k(read a: f16[4096] image, read w: f16[65536] image, write out: f32[4]) {{
  alloc acc: f32[4] register
  for j < {around} {{
    for k < {trips} {{
{updates}
    }}
  }}
  out[ramp(0, 1, 4)] = acc[ramp(0, 1, 4)]
}}
"""
UPDATE = "      acc[ramp(0, 1, 4)] = acc[ramp(0, 1, 4)] + broadcast(f32(a[k * 4 + {n}]), 4) * f32(w[ramp(k * 16 + {n} * 4, 1, 4)])"


def summing(trips: int, updates: int = 4) -> Kernel:
    """Four texels of weights and one of what they are multiplied with in each iteration."""
    return parse_kernel(SUM.format(around=2, trips=trips, updates="\n".join(UPDATE.format(n=n) for n in range(updates))))


def kinds(kernel: Kernel) -> dict[str, str]:
    return {part.var.name: part.kind for part in statements(kernel.body) if isinstance(part, For)}


@pytest.mark.parametrize(("trips", "kept"), [(16, False), (30, True), (32, True), (33, False)])
def test_what_fits_and_what_is_never_written_out_is_left_alone(trips, kept):
    assert kinds(keep_loops(summing(trips))) == {"j": "serial", "k": "kept" if kept else "serial"}


def test_a_loop_of_many_operations_is_never_written_out():
    assert kinds(keep_loops(summing(24, 12)))["k"] == "serial"


def all_kept(statement: Statement) -> Statement:
    match statement:
        case For(var, extent, body, kind):
            return For(var, extent, all_kept(body), "kept" if kind == "serial" else kind)
        case Block(body):
            return Block(tuple(map(all_kept, body)))
        case _:
            return statement


def test_such_a_loop_counts_all_the_same(tmp_path):
    device()
    net, target = Net(), targets.find("qcom")
    graph = net.graph(net.matmul(net.relu(net.image(1, 128)), net.weight(128, 64)))
    program = compile_graph(graph, target)
    program = replace(program, kernels=tuple(replace(kernel, body=all_kept(kernel.body)) for kernel in program.kernels))
    for name, content in emit(program, target, EmitOptions()).items():
        (tmp_path / name).write_bytes(content)
    assert "= min(start0, 0); " in (tmp_path / f"{graph.name}.cl").read_text()
    inputs = {node.name: np.random.default_rng(1).normal(size=node.shape).astype(np.float32) for node in graph.inputs}
    expected = run_graph(graph, inputs)["y0"]
    assert np.abs(load(tmp_path).run(inputs)["y0"] - expected).max() < 1e-2 * np.abs(expected).max()
