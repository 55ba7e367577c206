"""Checks of passes against the interpreter, for `--check-passes`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir.dtypes import BF16, F8E8M0, F16, U8, DType, from_numpy
from tgc.ir.graph import Graph
from tgc.ir.interface import Interface
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.packing import from_stored, to_stored
from tgc.ir.program import Program
from tgc.ir.ranges import program_accesses
from tgc.ir.small_floats import SMALL_FLOATS

Arrays = dict[str, npt.NDArray[np.generic]]


def check_graph(name: str, before: Graph, after: Graph, rounding: float = 0.0) -> None:
    """Raises InvalidIrError where the pass `name` changed what the graph computes by more than `rounding` and its types allow for."""
    inputs = random_inputs(before)
    stored = {node.name: to_stored(inputs[node.name]) if node.dtype == U8 else inputs[node.name] for node in after.inputs}
    found = run_graph(after, stored)
    for (output, old), (_, new) in zip(before.outputs, after.outputs, strict=True):
        if old.dtype != new.dtype:
            found[output] = from_stored(found[output], old.dtype, old.shape)
    _compare(f"pass {name}", run_graph(before, inputs), found, rounding)


def check_program(graph: Graph, interface: Interface, program: Program, rounding: float = 0.0) -> None:
    """Raises InvalidIrError where an entry point of `program` does not compute, or keep, what `graph` does."""
    inputs = random_inputs(graph)
    expected = run_graph(graph, inputs)
    for entry in program.entry_points:
        states = {state.name: inputs[state.name] for state in program.states}
        found = run_program(program, inputs, entry=entry.name, states=states)
        updated = next((e.outputs for e in interface.entries if e.name == entry.name), tuple(expected))
        kept = {output: states[given] for output, given in interface.states if output in updated}
        _compare("the program", {name: expected[name] for name in updated}, found | kept, rounding)


def check_bounds(program: Program) -> None:
    """Raises InvalidIrError where an index of a kernel is neither shown to be inside its buffer nor stands under a condition on it."""
    for kernel, found in program_accesses(program).items():
        for access in found:
            if access.verdict == "not shown":
                where = f"{access.low} .. {access.high} of {access.size}"
                raise InvalidIrError(f"kernel {kernel}: a {access.kind} of {access.buffer} may be outside it, {where}")


def random_inputs(graph: Graph) -> Arrays:
    """Seeded inputs: floats near one, small non-negative integers."""
    rng = np.random.default_rng(0)
    values: Arrays = {}
    for node in graph.inputs:
        plain = rng.standard_normal(node.shape) if node.dtype.is_float else rng.integers(0, 2, node.shape)
        values[node.name] = np.asarray(np.abs(plain) if node.dtype == F8E8M0 else plain).astype(node.dtype.numpy)
    return values


def _compare(what: str, expected: Arrays, found: Arrays, rounding: float) -> None:
    for name, value in expected.items():
        a, b = np.asarray(value, dtype=np.float64), np.asarray(found[name], dtype=np.float64)
        scale = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
        tolerance = max(rounding, _tolerance(from_numpy(np.asarray(value).dtype))) * max(scale, 1e-30)
        if a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True):
            raise InvalidIrError(f"{what} changed the output {name!r}")


def _tolerance(dtype: DType) -> float:
    """Allowed error, as a part of the output's largest magnitude: several roundings to a half, one to a smaller float."""
    if not dtype.is_float or dtype.bits >= 32:
        return 1e-4
    digits = {F16: 7, BF16: 4, F8E8M0: 0}.get(dtype)  # of a half, all but three
    return 2.0 ** -(SMALL_FLOATS[dtype].mantissa if digits is None else digits)
