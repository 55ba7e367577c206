"""com.microsoft operators with open dimensions, against ONNX Runtime at three sizes; beyond the live part everything is NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live, raw_inputs

Array = npt.NDArray[np.generic]
RANGES = {"batch": (1, 4), "length": (1, 6), "keys": (1, 5)}
SIZES = ({"batch": 4, "length": 6, "keys": 5}, {"batch": 2, "length": 3, "keys": 2}, {"batch": 1, "length": 1, "keys": 1})
F32, U8, I32, I64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64
Dims = Sequence[int | str]


@dataclass(frozen=True, slots=True)
class Case:
    """One operator: its operands in order ("" for one left out), those of them that are inputs, and those that are weights."""

    op: str
    operands: str
    inputs: dict[str, tuple[int, Dims]]
    weights: dict[str, Array]
    attributes: dict[str, int | float | str | list[int]] = field(default_factory=dict)
    outputs: int = 1


def floats(*shape: int) -> Array:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * 0.3).astype(np.float32)


def bytes_(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(0, 255, shape).astype(np.uint8)


def steps(names: str) -> dict[str, Array]:
    """A scale and a zero point for each name: a0, a1, ..."""
    pairs = [(f"{name}0", np.float32(0.1 + 0.1 * n)) for n, name in enumerate(names)]
    return {**{k: np.array(v, np.float32) for k, v in pairs}, **{f"{name}1": np.array(3 + 2 * n, np.uint8) for n, name in enumerate(names)}}


BLH: Dims = ("batch", "length", 8)
BKH: Dims = ("batch", "keys", 8)
NORM = {"g": floats(8), "o": floats(8)}
CASES = (
    Case("SkipLayerNormalization", "x y g o", {"x": (F32, BLH), "y": (F32, BLH)}, NORM, {"epsilon": 1e-5}),
    Case(
        "EmbedLayerNormalization", "i t w p s g o", {"i": (I32, ("batch", "length")), "t": (I32, ("batch", "length"))},
        {"w": floats(10, 8), "p": floats(9, 8), "s": floats(4, 8), **NORM}, outputs=2,
    ),
    Case("Attention", "x w o", {"x": (F32, BLH)}, {"w": floats(8, 24), "o": floats(24)}, {"num_heads": 2, "unidirectional": 1}),
    Case("MultiHeadAttention", "q k v", {"q": (F32, BLH), "k": (F32, BKH), "v": (F32, BKH)}, {}, {"num_heads": 2}),
    Case(
        "MultiHeadAttention", "q k v    a b",
        {**{n: (F32, BLH) for n in "qkv"}, **{n: (F32, ("batch", 2, "keys", 4)) for n in "ab"}}, {}, {"num_heads": 2}, 3,
    ),
    Case("RotaryEmbedding", "x p c s", {"x": (F32, BLH), "p": (I64, ("batch", "length"))}, {"c": floats(9, 2), "s": floats(9, 2)},
         {"num_heads": 2}),
    Case("FusedMatMul", "x y", {"x": (F32, BLH), "y": (F32, BKH)}, {}, {"transB": 1, "alpha": 0.5}),
    Case("FusedConv", "x w g", {"x": (F32, ("batch", 3, 8, 8))}, {"w": floats(8, 3, 3, 3), "g": floats(8)}, {"activation": "Relu"}),
    Case("MatMulNBits", "x w s", {"x": (F32, ("batch", "length", 32))}, {"w": bytes_(6, 1, 16), "s": floats(6)},
         {"K": 32, "N": 6, "bits": 4, "block_size": 32}),
    Case("QLinearAdd", "x a0 a1 y b0 b1 c0 c1", {"x": (U8, ("batch", 4)), "y": (U8, ("batch", 4))}, steps("abc")),
    Case("QLinearGlobalAveragePool", "x a0 a1 b0 b1", {"x": (U8, ("batch", 3, 4, 4))}, steps("ab")),
    Case("QLinearConcat", "c0 c1 x a0 a1 y b0 b1", {"x": (U8, ("batch", 4)), "y": (U8, ("batch", 3))}, steps("abc"), {"axis": 1}),
    Case("DynamicQuantizeMatMul", "x w b0 b1", {"x": (F32, BLH)}, {"w": bytes_(8, 6), **steps("ab")}),
    Case("MatMulIntegerToFloat", "x w a0 b0 a1 b1", {"x": (U8, BLH)}, {"w": bytes_(8, 6), **steps("ab")}),
    Case("GridSample", "x y", {"x": (F32, ("batch", 2, 4, 4)), "y": (F32, ("batch", "length", "keys", 2))}, {}),
)  # fmt: skip


def model_of(case: Case) -> onnx.ModelProto:
    outputs = [f"out{n}" for n in range(case.outputs)]
    node = helper.make_node(case.op, case.operands.split(" "), outputs, domain="com.microsoft", **case.attributes)
    given = [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in case.inputs.items()]
    used = [numpy_helper.from_array(array, name) for name, array in case.weights.items() if name in case.operands.split(" ")]
    kinds = [I32 if n and case.op.startswith("Embed") else U8 if case.op.startswith("QLinear") else F32 for n in range(case.outputs)]
    made = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(outputs, kinds, strict=True)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph([node], "g", given, made, used), opset_imports=opsets, ir_version=9)


def feeds(case: Case, sizes: dict[str, int]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for name, (kind, shape) in case.inputs.items():
        extents = [sizes[dim] if isinstance(dim, str) else dim for dim in shape]
        array = rng.standard_normal(extents) if kind == F32 else rng.integers(0, 4, extents)
        found[name] = array.astype(helper.tensor_dtype_to_np_dtype(kind))
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number].op}-{number}")
def test_open_dimensions_of_one_operator(number: int) -> None:
    case = CASES[number]
    model = model_of(case)
    named = {dim for _, shape in case.inputs.values() for dim in shape}
    graph = import_model(model, dims={name: ends for name, ends in RANGES.items() if name in named})
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in SIZES:
        inputs = feeds(case, sizes)
        raw = raw_inputs(graph.open, graph.inputs, inputs)
        for name, array in inputs.items():
            raw[name] = raw[name].copy()
            raw[name].reshape(-1)[array.size :] = np.nan if array.dtype.kind == "f" else 3
        with np.errstate(all="ignore"):
            found = live(graph.open, run_graph(graph, raw))
        for result, expected in zip(found.values(), engine.run(None, inputs), strict=True):
            assert result.shape == expected.shape
            step = 1.0 if expected.dtype == np.uint8 else 0.0
            np.testing.assert_allclose(result.astype(np.float64), expected, rtol=1e-3, atol=max(step, 2e-4))
