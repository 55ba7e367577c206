"""Every node test of the `onnx` package whose operators tgc lowers: imported, interpreted, and compared with what it records."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cache

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx import import_model
from tgc.frontend_onnx.registry import standard_registry
from tgc.ir.dtypes import from_numpy
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live

Array = npt.NDArray[np.generic]

EXCLUDED = {
    "test_identity_sequence": "a sequence is no tensor",
    "test_identity_opt": "an optional is no tensor",
}
"""Cases, by the start of their names, that tgc refuses although it lowers their operators, with the reason."""

RANDOM = ("test_bernoulli", "test_training_dropout")
"""Cases that draw random numbers, by the start of their names: types and shapes are compared, values cannot be."""

EXACT = "test_training_dropout_zero_ratio"
"""Those of them whose random numbers change nothing."""

LOOSE = {"test_dft_inverse": 1e-6}
"""Absolute tolerances of cases whose recorded values are sums in single precision that should be 0, and are not quite."""


@cache
def cases() -> dict[str, Case]:
    """Every node test that is no training, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return {case.name: case for case in collect_testcases(None)}


def arrays(values: Sequence[object]) -> list[Array] | None:
    """The recorded values as arrays; None where one of them is a sequence or an optional."""
    found = [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]
    return [np.asarray(v) for v in found] if all(isinstance(v, np.ndarray | np.generic | float | int) for v in found) else None


def with_weights(model: onnx.ModelProto, values: Sequence[Array], kept: int) -> onnx.ModelProto:
    """The model with all inputs after the first `kept` as initializers: what the operator wants to know while compiling."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for value, array in list(zip(model.graph.input, values, strict=True))[kept:]:
        changed.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return changed


def imports(case: Case, inputs: Sequence[Array]) -> Iterator[tuple[Graph, dict[str, Array]]]:
    """The case with as many of its inputs known at run time only as tgc allows."""
    names = [value.name for value in case.model.graph.input]
    feeds = dict(zip(names, inputs, strict=True))
    shapes = {name: array.shape for name, array in feeds.items()}
    for kept in dict.fromkeys((len(names), min(1, len(names)), 0)):
        try:
            graph = import_model(with_weights(case.model, inputs, kept), shapes={n: shapes[n] for n in names[:kept]})
        except ModelError as error:
            if "must be known while compiling" not in error.what or kept == 0:
                raise
            continue
        yield graph, {name: feeds[name] for name in names[:kept]}
        return


def check(case: Case) -> None:
    """Raises UnsupportedError where tgc does not do the case, AssertionError where it answers wrongly."""
    for recorded_inputs, recorded_outputs in case.data_sets or []:
        inputs, outputs = arrays(recorded_inputs), arrays(recorded_outputs)
        if inputs is None or outputs is None:
            raise UnsupportedError("values that are no tensors")
        for graph, feeds in imports(case, inputs):
            results = live(graph.open, run_graph(graph, feeds))
            for value, wanted in zip(case.model.graph.output, outputs, strict=True):
                got = results[value.name]
                assert got.dtype == wanted.dtype, value.name
                assert got.shape == wanted.shape, value.name
                if case.name.startswith(RANDOM) and not case.name.startswith(EXACT):
                    continue
                if from_numpy(wanted.dtype).is_float:
                    atol = max([case.atol, *(value for name, value in LOOSE.items() if case.name.startswith(name))])
                    rtol = max(case.rtol, 2 * float(ml_dtypes.finfo(wanted.dtype).eps))  # a rounding or two of the stored type
                    np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=atol)
                else:
                    np.testing.assert_array_equal(got, wanted)


def lowered(case: Case) -> bool:
    """Whether every operator of the case has a lowering, in some version."""
    return all(standard_registry().versions(node.domain, node.op_type) for node in case.model.graph.node)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(cases()))
def test_node_case(name: str) -> None:
    """What tgc lowers it answers as recorded; what it does not lower, it says."""
    case = cases()[name]
    try:
        check(case)
    except UnsupportedError as error:
        known = not lowered(case) or "element type" in error.what or any(name.startswith(prefix) for prefix in EXCLUDED)
        if not known:
            raise
        pytest.skip(error.what.splitlines()[0])


def test_most_cases_run() -> None:
    """A mistake that made everything unsupported would pass the test above."""
    assert sum(lowered(case) for case in cases().values()) > 1300
