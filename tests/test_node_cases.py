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
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph

Array = npt.NDArray[np.generic]

EXCLUDED: dict[str, str] = {}
"""Cases that tgc answers otherwise on purpose, with the reason."""


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
            results = run_graph(graph, feeds)
            for value, wanted in zip(case.model.graph.output, outputs, strict=True):
                got = results[value.name]
                assert got.dtype == wanted.dtype, value.name
                assert got.shape == wanted.shape, value.name
                if wanted.dtype.kind in "fV":
                    rtol = max(case.rtol, 2 * float(ml_dtypes.finfo(wanted.dtype).eps))  # a rounding or two of the stored type
                    np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=case.atol)
                else:
                    np.testing.assert_array_equal(got, wanted)
