"""The scalar functions as the LLVM backend compiles them for this processor: within the errors of docs/accuracy.md."""

from __future__ import annotations

import accuracy_table
import llvm_programs
import numpy as np
import pytest
from scalar_evaluation import Array, ulp_error
from test_accuracy import TABLE

from tgc.backends.llvm import host_target
from tgc.ir.dtypes import F32, F64, DType
from tgc.ir.graph import Graph
from tgc.ir.graph_builder import GraphBuilder
from tgc.passes import compile_graph
from tgc.targets import CPU

NAMES = ("exp2", "exp", "log2", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "atan")


def compiled(rows: list[accuracy_table.Row], dtype: DType, x: Array) -> dict[str, Array]:
    """Each row's function of x, in one program."""
    builder = GraphBuilder()
    source = builder.input("x", dtype, x.shape)
    outputs = tuple((row.name, builder.map(accuracy_table.build(row, dtype), source)) for row in rows)
    program = compile_graph(Graph("net", (source,), outputs), host_target(CPU))
    return llvm_programs.run_native(program, {"x": x})


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_compiled_functions_are_as_exact_as_the_document_says(dtype: DType) -> None:
    rows = [row for row in accuracy_table.ROWS if row.name in NAMES]
    points = np.concatenate([accuracy_table.points(row, dtype)[:: 1 if row.name != "erf" else 3] for row in rows])
    results = compiled(rows, dtype, points)
    for row in rows:
        inside = np.flatnonzero((points >= row.low) & (points <= row.high))[: 3000 if row.name == "erf" else None]
        with np.errstate(all="ignore"):
            exact = row.reference(points[inside].astype(np.longdouble))
        worst = float(np.max(ulp_error(results[row.name][inside], exact)))
        assert worst <= float(TABLE[row.name][4 if dtype == F32 else 5]) + 0.5, row.name
