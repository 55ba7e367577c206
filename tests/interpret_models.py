"""Whole models through the importer and the interpreter, compared with ONNX Runtime. Run by hand: it takes minutes.

python tests/interpret_models.py MODEL.onnx ... [--dim name=value]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from tgc.frontend_onnx import import_model
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph

Array = npt.NDArray[np.generic]


def random_inputs(graph: Graph) -> dict[str, Array]:
    """Seeded inputs: normal numbers for floats, small ones that are not negative for integers."""
    random = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for value in graph.inputs:
        small = 2 if value.dtype.kind == "bool" else 100
        numbers = random.standard_normal(value.shape) if value.dtype.is_float else random.integers(0, small, value.shape)
        found[value.name] = numbers.astype(value.dtype.numpy)
    return found


def worst_errors(path: Path, dims: Mapping[str, int]) -> dict[str, float]:
    """For each output, the largest difference from ONNX Runtime, relative to the output's largest magnitude.

    dims: sizes of named dimensions; those not listed are 1.
    """
    symbols = [d.dim_param for v in onnx.load(path).graph.input for d in v.type.tensor_type.shape.dim if d.dim_param]
    graph = import_model(path, dims={name: dims.get(name, 1) for name in symbols})
    inputs = random_inputs(graph)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = dict(zip(names, session.run(names, {i.name: inputs[i.name] for i in session.get_inputs()}), strict=True))
    results = run_graph(graph, inputs)
    return {
        name: float(np.max(np.abs(results[name].astype(np.float64) - wanted[name])) / max(1e-30, np.max(np.abs(wanted[name]))))
        for name in names
    }


def main(arguments: list[str]) -> int:
    dims = dict(a.removeprefix("--dim=").split("=") for a in arguments if a.startswith("--dim="))
    failed = 0
    for path in (Path(a) for a in arguments if not a.startswith("--")):
        start = time.perf_counter()
        errors = worst_errors(path, {name: int(value) for name, value in dims.items()})
        worst = max(errors.values())
        failed += not worst <= 1e-4
        print(f"{path.name:32} {worst:.1e} {time.perf_counter() - start:6.1f} s{'' if worst <= 1e-4 else '  ' + str(errors)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
