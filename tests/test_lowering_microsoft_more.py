"""com.microsoft operators that quantisers, decoders and older exporters write, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from single_operator import Array, agrees, integers, normal, single

from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph

MICROSOFT = "com.microsoft"
Inputs = Mapping[str, "Array | None"]


def model(
    op_type: str, inputs: Inputs, types: tuple[type, ...] = (np.float32,), runtime: tuple[str, ...] = ("x",), **attributes: object
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """One node with `inputs` in order, None for one left out; those named in `runtime` are inputs of the model."""
    feeds = {name: a for name, a in inputs.items() if a is not None and name in runtime}
    made = single(op_type, feeds, types=types, opset=17, domain=MICROSOFT)
    made.graph.node[0].attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    made.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    del made.graph.node[0].input[:]
    made.graph.node[0].input.extend(name if a is not None else "" for name, a in inputs.items())
    made.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in inputs.items() if a is not None and n not in feeds)
    return made, feeds


def check(op_type: str, inputs: Inputs, types: tuple[type, ...] = (np.float32,), rtol: float = 1e-4, **attributes: object) -> None:
    agrees(*model(op_type, inputs, types, **attributes), rtol=rtol)  # type: ignore[arg-type]


def within_a_step(op_type: str, inputs: Inputs, dtype: type, **attributes: object) -> None:
    """Asserts that quantised results are at most one step apart: ONNX Runtime rounds in another place in some operators."""
    onnxruntime = pytest.importorskip("onnxruntime")
    made, feeds = model(op_type, inputs, (dtype,), **attributes)  # type: ignore[arg-type]
    got = run_graph(import_model(made), feeds)["y0"]
    (wanted,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, feeds)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    assert np.max(np.abs(got.astype(int) - wanted.astype(int)), initial=0) <= 1
    assert np.sum(got != wanted) <= max(2, 0.1 * got.size)


KINDS = st.sampled_from([np.uint8, np.int8])


def stored(rng: np.random.Generator, kind: type, *shape: int) -> Array:
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max + 1, shape).astype(kind)


def steps(rng: np.random.Generator, kind: type) -> tuple[Array, Array]:
    """A scale and a zero point."""
    return np.float32(rng.uniform(0.01, 0.1)), np.array(rng.integers(0, 100), kind)


def fused(name: str, **numbers: float) -> dict[str, object]:
    return {"activation": name, **{f"activation_{key}": value for key, value in numbers.items()}}


ACTIVATIONS = [fused("Relu"), fused("LeakyRelu", alpha=0.2), fused("Sigmoid"), fused("HardSigmoid", alpha=0.3, beta=0.4)]


@pytest.mark.parametrize("attributes", ACTIVATIONS)
def test_fused_gemm(attributes: dict[str, object]) -> None:
    check("FusedGemm", {"x": normal(3, 4), "w": normal(5, 4), "c": normal(5)}, alpha=0.5, beta=2.0, transB=1, **attributes)


def test_simplified_layer_normalization() -> None:
    x = {"x": normal(2, 3, 8)}
    agrees(single("SimplifiedLayerNormalization", x, [normal(8)], opset=17, axis=-1, epsilon=1e-5), x)
    agrees(single("LayerNormalization", x, [normal(8), normal(8)], opset=14, axis=-1, epsilon=1e-5), x)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), kind=KINDS, last=st.booleans())
def test_quantised_pools_and_convolutions(seed: int, kind: type, last: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (1, 7, 6, 3) if last else (1, 3, 7, 6)
    x, (scale, zero) = stored(rng, kind, *shape), steps(rng, kind)
    within_a_step("QLinearAveragePool", {"x": x, "s": scale, "z": zero, "t": scale * np.float32(2.3), "y": zero}, kind,
                  kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], channels_last=int(last))  # fmt: skip
    within_a_step("QLinearGlobalAveragePool", {"x": x, "s": scale, "z": zero, "t": scale, "y": zero}, kind, channels_last=int(last))
    weights = stored(rng, np.int8, 4, 3, 3, 3)
    bias = rng.integers(-500, 500, 4).astype(np.int32)
    inputs = {"x": x, "s": scale, "z": zero, "w": weights, "ws": np.float32(0.02), "wz": np.int8(0), "t": scale * 20, "y": zero, "b": bias}
    within_a_step("QLinearConv", inputs, kind, pads=[1, 1, 1, 1], channels_last=int(last))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), kind=KINDS, axis=st.integers(0, 2))
def test_quantised_rows(seed: int, kind: type, axis: int) -> None:
    rng = np.random.default_rng(seed)
    (scale, zero), (other, base), (out, point) = (steps(rng, kind) for _ in range(3))
    x, y = stored(rng, kind, 2, 3, 4), stored(rng, kind, 2, 3, 4)
    within_a_step("QLinearConcat", {"t": out, "p": point, "x": x, "s": scale, "z": zero, "y": y, "u": other, "v": base}, kind, axis=axis)
    condition = rng.random((2, 1, 4)) < 0.5
    within_a_step(
        "QLinearWhere", {"c": condition, "x": x, "s": scale, "z": zero, "y": y, "u": other, "v": base, "t": out, "p": point}, kind
    )
    chance = np.array(0 if kind == np.uint8 else -128, kind)
    within_a_step("QLinearSoftmax", {"x": x, "s": scale, "z": zero, "t": np.float32(1 / 256), "p": chance}, kind, axis=axis, opset=13)
    within_a_step("QLinearSigmoid", {"x": x, "s": scale, "z": zero, "t": np.float32(1 / 256), "p": chance}, kind)
    within_a_step("QLinearLeakyRelu", {"x": x, "s": scale, "z": zero, "t": out, "p": point}, kind, alpha=0.2)
    for op in ("QLinearAdd", "QLinearMul"):
        within_a_step(op, {"x": x, "s": scale, "z": zero, "y": y, "u": other, "v": base, "t": out * 4, "p": point}, kind)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), kind=KINDS, turned=st.booleans(), each=st.booleans())
def test_quantised_products(seed: int, kind: type, turned: bool, each: bool) -> None:
    rng = np.random.default_rng(seed)
    scale, zero = steps(rng, kind)
    x, w = stored(rng, kind, 4, 6), stored(rng, np.int8, 5, 6)
    w_scale = rng.uniform(0.01, 0.1, 5 if each else 1).astype(np.float32)
    w_zero = np.zeros(5, np.int8) if each else np.array(3, np.int8)
    weights = w if turned else np.ascontiguousarray(w.T)
    bias = rng.integers(-900, 900, 5).astype(np.int32)
    given_ = {"x": x, "s": scale, "z": zero, "w": weights, "ws": w_scale if each else w_scale[0], "wz": w_zero, "b": bias}
    within_a_step("QGemm", {**given_, "t": scale * 20, "y": zero}, kind, transB=int(turned), alpha=1.0)
    check("QGemm", given_, transB=int(turned), alpha=1.0)
    columns, point = np.ascontiguousarray(w.T), w_zero if each else w_zero.reshape(1)
    check("MatMulIntegerToFloat", {"x": x, "w": columns, "s": scale, "ws": w_scale, "z": zero, "wz": point, "b": normal(5)})
    check("DynamicQuantizeMatMul", {"x": normal(4, 6), "w": columns, "ws": w_scale, "wz": point, "b": normal(5)})


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), kind=KINDS, ceil=st.integers(0, 1))
def test_largest_with_channels_last(seed: int, kind: type, ceil: int) -> None:
    x = stored(np.random.default_rng(seed), kind, 1, 7, 6, 3)
    check("NhwcMaxPool", {"x": x}, (kind,), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], ceil_mode=ceil)


@pytest.mark.parametrize("causal", [0, 1])
def test_quantised_attention(causal: int) -> None:
    rng = np.random.default_rng(causal)
    inputs = {
        "x": stored(rng, np.uint8, 2, 5, 8), "w": stored(rng, np.int8, 8, 24), "b": normal(24), "s": np.float32(0.02),
        "ws": np.float32(0.01), "m": np.array([3, 5], np.int32), "z": np.uint8(120), "wz": np.int8(2),
    }  # fmt: skip
    check("QAttention", inputs, num_heads=2, unidirectional=causal)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_lstm_with_quantised_weights(direction: str, each: bool, kind: type) -> None:
    rng, count = np.random.default_rng(5), 2 if direction == "bidirectional" else 1
    scales = (count, 16) if each else (count,)
    inputs = {
        "x": normal(6, 1, 3), "w": stored(rng, kind, count, 3, 16), "r": stored(rng, kind, count, 4, 16), "b": normal(count, 32), "l": None,
        "h": normal(count, 1, 4), "c": normal(count, 1, 4), "p": None,
        "ws": rng.uniform(0.005, 0.01, scales).astype(np.float32), "wz": np.full(scales, 0 if kind == np.int8 else 128, kind),
        "rs": rng.uniform(0.005, 0.01, scales).astype(np.float32), "rz": np.full(scales, 0 if kind == np.int8 else 128, kind),
    }  # fmt: skip
    check("DynamicQuantizeLSTM", inputs, (np.float32,) * 3, rtol=2e-2, direction=direction, hidden_size=4)


ANGLES = np.linspace(0, 3, 24 * 8, dtype=np.float32).reshape(24, 8)


FORMS = [{}, {"do_rotary": 1}, {"do_rotary": 1, "rotary_interleaved": 1}, {"softcap": 2.0}, {"local_window_size": 3}]


@pytest.mark.parametrize("attributes", FORMS)
@pytest.mark.parametrize(("length", "past"), [(6, 0), (1, 5), (3, 5)])
@pytest.mark.parametrize("packed", [False, True])
def test_group_query_attention(length: int, past: int, packed: bool, attributes: dict[str, object]) -> None:
    heads, groups, size, batch = 4, 2, 16, 1 if past and length > 1 else 2
    total = length + past
    query, key, value = (normal(batch, length, n * size) * k for n, k in ((heads, 1), (groups, 1.5), (groups, 2)))
    before = normal(batch, groups, past, size)
    rotary = "do_rotary" in attributes
    inputs = {
        "x": np.concatenate([query, key, value], axis=2) if packed else query, "k": None if packed else key, "v": None if packed else value,
        "pk": before, "pv": before * 2, "n": np.array([total - 1] * batch, np.int32), "t": np.array(total, np.int32),
        "cos": np.cos(ANGLES) if rotary else None, "sin": np.sin(ANGLES) if rotary else None,
    }  # fmt: skip
    runtime = ("x", "k", "v", "pk", "pv", "n") if past else ("x", "k", "v", "n")
    check("GroupQueryAttention", inputs, (np.float32,) * 3, runtime=runtime, num_heads=heads, kv_num_heads=groups, **attributes)


CROPS = np.array([[0.1, 0, 0.8, 1.2], [0, 0.2, 1, 0.5]], np.float32)


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), [
    ("Trilu", {"x": normal(3, 4), "k": np.array(1)}, {"upper": 0}),
    ("GatherND", {"x": normal(3, 4), "i": np.array([[0, 1], [2, 3]])}, {}),
    ("Pad", {"x": normal(3, 4), "p": integers(1, 0, 0, 2), "v": np.array([2.5], np.float32)}, {}),
    ("ExpandDims", {"x": normal(3, 4), "a": np.array(-1, np.int32)}, {}),
    ("CDist", {"x": normal(3, 4), "y": normal(5, 4)}, {"metric": "euclidean"}),
    ("UnfoldTensor", {"x": normal(3, 9)}, {"size": 4, "step": 2}),
    ("TransposeMatMul", {"x": normal(4, 3), "y": normal(5, 4)}, {"transA": 1, "transB": 1, "alpha": 0.5}),
    ("ConvTransposeWithDynamicPads", {"x": normal(1, 2, 5, 4), "w": normal(2, 3, 3, 3), "p": integers(1, 1, 1, 1)}, {"strides": [2, 2]}),
    ("GridSample", {"x": normal(1, 2, 5, 4), "g": normal(1, 3, 3, 2) / 2}, {"padding_mode": "border"}),
    ("CropAndResize", {"x": normal(2, 2, 5, 4), "r": CROPS, "i": np.array([1, 0], np.int32), "s": np.array([3, 4], np.int32)},
     {"extrapolation_value": 7.0}),
])  # fmt: skip
def test_other_forms_of_standard_operators(op_type: str, inputs: Inputs, attributes: dict[str, object]) -> None:
    check(op_type, inputs, **attributes)  # type: ignore[arg-type]
