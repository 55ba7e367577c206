"""Models of one operator, for the tests of lowerings: built, imported, interpreted, and compared with ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from tgc.frontend_onnx import import_model
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph

Array = npt.NDArray[np.generic]


def single(
    op_type: str,
    runtime: Mapping[str, Array],
    weights: Sequence[Array] = (),
    *,
    opset: int = 18,
    types: Sequence[npt.DTypeLike] = (np.float32,),
    **attributes: object,
) -> onnx.ModelProto:
    """A model of one node: first the inputs `runtime`, then `weights` as initializers; an empty array is an input left out.

    types: of each output.
    """
    names = [f"w{n}" if w.size else "" for n, w in enumerate(weights)]
    made = [f"y{n}" for n in range(len(types))]
    node = helper.make_node(op_type, [*runtime, *names], made, **attributes)
    inputs = [_declared(n, a.dtype, a.shape) for n, a in runtime.items()]
    results = [_declared(n, t, None) for n, t in zip(made, types, strict=True)]
    initializers = [numpy_helper.from_array(w, n) for n, w in zip(names, weights, strict=True) if n]
    graph = helper.make_graph([node], "single", inputs, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _declared(name: str, dtype: npt.DTypeLike, shape: Sequence[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def counts(graph: Graph) -> Counter[str]:
    """How many nodes of each kind the graph has."""
    return Counter(type(node).__name__ for node in graph.nodes())


def agrees(model: onnx.ModelProto, runtime: Mapping[str, Array], rtol: float = 1e-5) -> Graph:
    """Asserts that tgc's interpreter and ONNX Runtime answer alike, to `rtol` of the largest magnitude; the imported graph."""
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = import_model(model)
    results = run_graph(graph, runtime)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, wanted in zip([o.name for o in session.get_outputs()], session.run(None, dict(runtime)), strict=True):
        got = results[name]
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        if wanted.dtype.kind == "f":
            largest = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=1e-6))
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * largest)
        else:
            np.testing.assert_array_equal(got, wanted)
    return graph


def normal(*shape: int) -> Array:
    """Seeded normal numbers, f32."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> Array:
    """A 1-D i64 tensor."""
    return np.array(values, np.int64)


ABSENT: Array = np.zeros(0, np.float32)
"""An optional input that is left out."""
