"""ONNX's node tests with every dimension of their inputs open, or one that is refused less, interpreted at their size and at another.

    PYTHONPATH=.:benchmarks python -m tests.open_node_cases [--names] [PART OF A NAME ...]

prints how many are right, partly right (one axis open) and refused, and each that is wrong.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx_symbolic import openings, other_size

from tests.test_node_cases import RANDOM, arrays, cases
from tgc.errors import TgcError
from tgc.frontend_onnx import import_model
from tgc.inputs import Tensor
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live, raw_inputs

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case went: "right", "partly" right (with one axis open, and why not with all), "refused" (and why) or "wrong" (and how)."""

    kind: str
    why: str = ""


def outcome(name: str) -> Outcome:
    """How the case goes with open dimensions."""
    case = cases()[name]
    first, expected = case.data_sets[0]
    names = [value.name for value in case.model.graph.input]
    given, recorded = arrays(first), arrays(expected)
    if given is None or recorded is None or any(array.dtype.kind in "OSU" for array in (*given, *recorded)):
        return Outcome("refused", "no tensors of numbers")
    inputs = dict(zip(names, given, strict=False))
    why, atol = "", 1e300 if name.startswith(RANDOM) else case.atol
    for opening in openings(case.model, inputs):
        mine = {value.name: inputs[value.name] for value in opening.model.graph.input}
        if not opening.ranges:
            continue
        try:
            graph = import_model(opening.model, dims=opening.ranges)
        except TgcError as error:
            why = f"{error.what} ({error.where})" if opening.whole else why
            continue
        wrong = _compared(graph, mine, recorded, case.rtol, atol)
        wrong = wrong or _other(graph, opening.model, mine, case.rtol, atol)
        return Outcome("wrong", wrong) if wrong else Outcome("right" if opening.whole else "partly", why)
    return Outcome("refused", why or "no open dimensions")


def _compared(graph: Graph, inputs: Mapping[str, Array], expected: Sequence[Array], rtol: float, atol: float) -> str:
    """What is wrong; "" where nothing is."""
    tensors: tuple[Tensor, ...] = graph.inputs
    with np.errstate(all="ignore"):
        raw = raw_inputs(graph.open, tensors, inputs)
        results = live(graph.open, run_graph(graph, {name: _spoiled(value, inputs.get(name)) for name, value in raw.items()}))
    for (name, found), wanted in zip(results.items(), expected, strict=True):
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            return f"{name} is {found.dtype} {found.shape}, not {wanted.dtype} {wanted.shape}"
        loose = 0.03 if found.dtype.itemsize < 4 and found.dtype.kind not in "iub" else 0.0
        near, absolute = loose or max(rtol, 1e-3), loose or max(atol, 1e-5)
        if not np.allclose(found.astype(np.complex128), wanted.astype(np.complex128), near, absolute, equal_nan=True):
            return f"{name} of shape {found.shape} differs"
    return ""


def _spoiled(buffer: Array, given: Array | None) -> Array:
    """`buffer` with values that would be noticed after what was given."""
    if given is None or given.size == buffer.size:
        return buffer
    spoiled = buffer.copy()
    spoiled.reshape(-1)[given.size :] = np.array(np.nan).astype(buffer.dtype) if _has_nan(buffer.dtype) else _odd(buffer.dtype)
    return spoiled


def _has_nan(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind in "fc" or (dtype.kind == "V" and "float" in dtype.name and dtype.name != "float4_e2m1fn")


def _odd(dtype: np.dtype[np.generic]) -> Array:
    """A number of a type without NaN that would be noticed."""
    return np.array(77 if dtype.kind in "iub" else 1).astype(dtype)


def _other(graph: Graph, model: onnx.ModelProto, inputs: Mapping[str, Array], rtol: float, atol: float) -> str:
    """The same with every open dimension one smaller (1: one larger), where the reference implementation can do that."""
    other = other_size(model, inputs)
    wrong = _compared(graph, *other, rtol, atol) if other else ""
    return f"of another size: {wrong}" if wrong else ""


def main(arguments: Sequence[str]) -> int:
    counts: Counter[str] = Counter()
    parts = [a for a in arguments if not a.startswith("--")]
    for name in cases():
        if parts and not any(part in name for part in parts):
            continue
        try:
            found = outcome(name)
        except Exception as error:
            found = Outcome("wrong", f"{type(error).__name__}: {error}")
        counts[found.kind] += 1
        if found.kind == "wrong" or "--names" in arguments:
            print(f"{found.kind:8} {name}: {found.why}")
    print(dict(counts))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
