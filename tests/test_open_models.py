"""Trained models of one artifact for every batch (and length), against ONNX Runtime at the largest size, a smaller one, and 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

import tgc

Array = npt.NDArray[np.generic]
MODELS = Path(__file__).parents[2] / "shared" / "models" / "trained"


@dataclass(frozen=True, slots=True)
class Sample:
    """A model, its file, the whole numbers (if any) that its inputs are below, and sizes of dimensions other than the batch."""

    file: str
    below: int = 0
    more: dict[str, tuple[int, int, int]] = field(default_factory=dict)


SAMPLES = {
    "convolutions": Sample("gtsrb_traffic_sign_fast.onnx"),
    "int8": Sample("micro_kws_m_qdq.onnx"),
    "int8 operators": Sample("micro_kws_m_qoperator.onnx"),
    "lstm": Sample("tract_bidi_lstm/model.onnx", 100, {"length": (40, 17, 1)}),
    "recurrent": Sample("silero_vad_op18_ifless.onnx", 0, {"sequence": (576, 576, 576)}),
    "perceptron": Sample("rl_go1_policy.onnx"),
    "speech of any length": Sample("fsmn_vad_offline.onnx", 0, {"feats_length": (60, 37, 1)}),
}
ONE = ("speech of any length",)
"""Those that take one at a time."""
CASES = [
    *((name, "cpu") for name in SAMPLES),
    *(("int8", target) for target in ("c", "opencl")),
    *(("lstm", target) for target in ("c", "opencl")),
    ("convolutions", "opencl"),
]


def with_open_batch(path: Path) -> onnx.ModelProto:
    """The model with the first axis of its inputs called batch, that of states the second."""
    model = onnx.load(path)
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[1 if value.name == "state" else 0].dim_param = "batch"
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def feeds(model: onnx.ModelProto, sizes: dict[str, int], below: int) -> dict[str, Array]:
    rng = np.random.default_rng(sum(sizes.values()))
    made: dict[str, Array] = {}
    for value in model.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if shape:
            made[value.name] = (rng.integers(1, below, shape) if dtype.kind == "i" else rng.random(shape)).astype(dtype)
        else:
            made[value.name] = np.array(16000, dtype)  # a sampling rate
    return made


@pytest.mark.parametrize(("name", "target"), CASES)
def test_one_artifact_for_every_batch(name: str, target: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    path = MODELS / sample.file
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    model = onnx.load(path) if name in ONE else with_open_batch(path)
    ranges = {dim: (sizes[-1], sizes[0]) for dim, sizes in sample.more.items()}
    batch = {} if name in ONE else {"batch": (1, 8)}
    tgc.compile(model, target, tmp_path / "out", dims={**batch, **ranges}, name="model")
    compiled = tgc.load(tmp_path / "out")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    engine = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for number, count in enumerate((8, 3, 1)):
        inputs = feeds(model, {"batch": count, **{dim: sizes[number] for dim, sizes in sample.more.items()}}, sample.below)
        for found, expected in zip(compiled.run(inputs).values(), engine.run(None, inputs), strict=True):
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
