"""com.microsoft operators against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import helper
from single_operator import ABSENT, Array, agrees, normal, single

from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph

MICROSOFT = "com.microsoft"


def model(
    op_type: str, x: dict[str, Array], weights: Sequence[Array], types: Sequence[type], attributes: dict[str, object]
) -> onnx.ModelProto:
    made = single(op_type, x, weights, types=types, opset=17, domain=MICROSOFT, **attributes)
    made.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return made


F32 = (np.float32,)
ONES = np.ones((2, 5), np.int32)
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
IDS = np.array([[1, 3, 0, 2, 4], [2, 2, 1, 0, 3]], np.int32)
ANGLES = np.linspace(0, 3, 6 * 4, dtype=np.float32).reshape(6, 4)

CASES: list[tuple[str, Array, Sequence[Array], dict[str, object]]] = [
    ("FusedConv", normal(1, 3, 6, 5), [normal(4, 3, 3, 3), normal(4)], {"activation": "Relu", "pads": [1, 1, 1, 1]}),
    ("FusedConv", normal(1, 2, 6, 5), [normal(4, 2, 1, 1)], {"activation": "LeakyRelu", "activation_params": [0.2]}),
    ("FusedMatMul", normal(2, 3, 4), [normal(2, 5, 4)], {"alpha": 0.5, "transB": 1}),
    ("FusedMatMul", normal(2, 4, 3), [normal(2, 4, 5)], {"transA": 1}),
    ("Gelu", normal(3, 7), [], {}),
    ("BiasGelu", normal(3, 8), [normal(8)], {}),
    ("FastGelu", normal(3, 8), [normal(8)], {}),
    ("QuickGelu", normal(3, 8), [], {"alpha": 1.5}),
    ("SkipLayerNormalization", normal(2, 3, 8), [normal(2, 3, 8) * 2, normal(8), normal(8) - 1, normal(8) / 2], {"epsilon": 1e-5}),
    ("SkipSimplifiedLayerNormalization", normal(2, 3, 8), [normal(2, 3, 8) * 2, normal(8)], {"epsilon": 1e-5}),
    ("Attention", normal(2, 5, 8), [normal(8, 24), normal(24)], {"num_heads": 2}),
    ("Attention", normal(2, 5, 8), [normal(8, 24), normal(24)], {"num_heads": 4, "unidirectional": 1}),
    ("Attention", normal(2, 5, 8), [normal(8, 24), normal(24), MASK], {"num_heads": 2}),
    ("Attention", normal(2, 5, 8), [normal(8, 24), normal(24), np.array([3, 5], np.int32)], {"num_heads": 2}),
    ("MultiHeadAttention", normal(2, 5, 8), [normal(2, 6, 8), normal(2, 6, 8) * 2], {"num_heads": 2}),
    ("MultiHeadAttention", normal(2, 5, 8), [normal(2, 5, 8) * 2, normal(2, 5, 8) / 2, normal(24), MASK], {"num_heads": 2}),
    ("RotaryEmbedding", normal(2, 5, 16), [np.tile(np.arange(5), (2, 1)), np.cos(ANGLES), np.sin(ANGLES)], {}),
    ("RotaryEmbedding", normal(2, 3, 5, 8), [np.array([1]), np.cos(ANGLES), np.sin(ANGLES)], {"interleaved": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "x", "weights", "attributes"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)])
def test_agrees_with_onnx_runtime(op_type: str, x: Array, weights: Sequence[Array], attributes: dict[str, object]) -> None:
    agrees(model(op_type, {"x": x}, weights, F32, attributes), {"x": x}, rtol=1e-4)


def test_packed_queries_keys_and_values() -> None:
    """ONNX Runtime has these on GPUs only."""
    packed = normal(2, 5, 2, 3, 4)
    apart = [np.ascontiguousarray(packed[:, :, :, n].reshape(2, 5, 8)) for n in range(3)]
    got = run_graph(import_model(model("MultiHeadAttention", {"x": packed}, [], F32, {"num_heads": 2})), {"x": packed})
    plain = model("MultiHeadAttention", {"x": apart[0]}, apart[1:], F32, {"num_heads": 2})
    np.testing.assert_allclose(got["y0"], run_graph(import_model(plain), {"x": apart[0]})["y0"], rtol=1e-5, atol=1e-6)


def test_embeddings() -> None:
    weights = [normal(7, 8), normal(5, 8) * 2, ABSENT, normal(8), normal(8) - 1]
    made = model("EmbedLayerNormalization", {"x": IDS, "s": ABSENT}, weights, (np.float32, np.int32), {"epsilon": 1e-5})
    made.graph.node[0].input[1] = ""
    del made.graph.input[1]
    agrees(made, {"x": IDS}, rtol=1e-4)


U8, I8 = np.uint8, np.int8
POINT = np.array(131, U8)


def stored(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(U8)


def scale(value: float) -> Array:
    return np.array(value, np.float32)


QUANTISED: list[tuple[str, Array, Sequence[Array], dict[str, object]]] = [
    ("QLinearAdd", stored(2, 9), [scale(0.02), POINT, stored(1, 9), scale(0.03), np.array(7, U8), scale(0.05), POINT], {}),
    ("QLinearMul", stored(2, 9), [scale(0.02), POINT, stored(1, 9), scale(0.03), np.array(7, U8), scale(0.1), POINT], {}),
    ("QLinearSigmoid", stored(4, 9), [scale(0.05), POINT, scale(1 / 256), np.array(0, U8)], {}),
    ("QLinearLeakyRelu", stored(4, 9), [scale(0.05), POINT, scale(0.04), POINT], {"alpha": 0.1}),
    ("QLinearGlobalAveragePool", stored(1, 8, 5, 5), [scale(0.05), POINT, scale(0.04), POINT], {"channels_last": 0}),
    ("QLinearAveragePool", stored(1, 8, 5, 5), [scale(0.05), POINT, scale(0.05), POINT], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "x", "weights", "attributes"), QUANTISED, ids=[c[0] for c in QUANTISED])
def test_quantised_within_one_step(op_type: str, x: Array, weights: Sequence[Array], attributes: dict[str, object]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = model(op_type, {"x": x}, weights, (U8,), attributes)
    wanted = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    got = run_graph(import_model(made), {"x": x})["y0"]
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted.astype(int)).max() <= 1


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("points", [False, True])
def test_weights_of_few_bits(bits: int, points: bool) -> None:
    rng = np.random.default_rng(bits)
    x = {"x": normal(3, 40)}
    packed = rng.integers(0, 256, (6, 3, 16 * bits // 8)).astype(U8)
    weights = [packed, rng.random(18).astype(np.float32)]
    if points:
        weights.append(rng.integers(0, 256, 6 * -(-3 * bits // 8)).astype(U8))
    agrees(model("MatMulNBits", x, weights, F32, {"K": 40, "N": 6, "bits": bits, "block_size": 16}), x, rtol=1e-4)
