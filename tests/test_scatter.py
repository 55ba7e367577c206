"""Scatter through every layer: meaning, text, and compiled code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from single_operator import integers, normal, single

import tgc
from tgc.ir import ops
from tgc.ir.graph import Graph, Node
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.ops import Op
from tgc.ir.text import parse_graph, print_graph
from tgc.passes import compile_graph
from tgc.targets import find


def example(op: Op | None, dtype: type = np.float32) -> Graph:
    """Four updates of a [3, 4], two of them for one element, one out of range, into one half of a concatenation."""
    b = GraphBuilder()
    x, u = b.input("x", b.constant(np.zeros(1, dtype)).dtype, (3, 4)), b.input("u", b.constant(np.zeros(1, dtype)).dtype, (4,))
    rows, columns = (b.constant(np.array(v, np.int64)) for v in ([0, 2, 0, 9], [1, 3, 1, 2]))
    made: Node = b.scatter(x, (rows, columns), u, op)
    return Graph("example", (x, u), (("y", b.concat((made, x), 0)),))  # type: ignore[arg-type]


INPUTS = {"x": normal(3, 4), "u": normal(4)}


def expected(op: Op | None) -> np.ndarray:
    out = INPUTS["x"].copy()
    for at, new in zip([(0, 1), (2, 3), (0, 1), (2, 2)], INPUTS["u"], strict=True):
        out[at] = {None: new, "ADD": out[at] + new, "MUL": out[at] * new, "MAX": max(out[at], new)}[op.name if op else None]
    return np.concatenate([out, INPUTS["x"]])


@pytest.mark.parametrize("op", [None, ops.ADD, ops.MUL, ops.MAX], ids=str)
def test_updates_happen_in_order(op: Op | None) -> None:
    graph = example(op)
    np.testing.assert_allclose(run_graph(graph, INPUTS)["y"], expected(op), rtol=1e-6)
    assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)
    program = compile_graph(graph, find("opencl"), check=True)
    np.testing.assert_allclose(run_program(program, INPUTS)["y"], expected(op), rtol=1e-6)


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_compiled(target: str, tmp_path: Path) -> None:
    model = single("ScatterElements", {"x": normal(4, 9)}, [integers(3, 0, 3, -1).reshape(2, 2), normal(2, 2)], reduction="add")
    tgc.compile(model, target=target, output=tmp_path / "out")
    x, wanted = normal(4, 9), normal(4, 9)
    for at, new in zip([(3, 0), (0, 1), (3, 0), (3, 1)], normal(2, 2).reshape(-1), strict=True):
        wanted[at] += new
    np.testing.assert_allclose(tgc.load(tmp_path / "out").run({"x": x})["y0"], wanted, rtol=1e-6)
