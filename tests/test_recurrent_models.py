"""Real recurrent models, compiled, against ONNX Runtime or what was recorded of them; skipped where they are not at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import tgc

MODELS = Path(__file__).parents[2] / "shared" / "models" / "trained"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="needs ../shared/models/trained")

Array = npt.NDArray[np.generic]


def compiled(path: Path, target: str, folder: Path, feeds: dict[str, Array], **more: object) -> dict[str, Array]:
    """The outputs of the artifact."""
    tgc.compile(path, target, folder, shapes={name: value.shape for name, value in feeds.items()}, name="net", **more)  # type: ignore[arg-type]
    return tgc.load(folder).run(feeds)


def runtime(path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


def agrees(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_bidirectional_lstm_on_text(target: str, tmp_path: Path) -> None:
    folder = MODELS / "tract_bidi_lstm"
    recorded = np.load(folder / "io.npz")
    agrees(compiled(folder / "model.onnx", target, tmp_path, {"input": recorded["input"]}), {"output": recorded["Add_26"]})


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_noise_suppression_frame_by_frame(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = MODELS / "dtln_1.onnx"
    feeds = {"input_2": rng.random((1, 1, 257), np.float32), "input_3": rng.standard_normal((1, 2, 128, 2)).astype(np.float32) * 0.3}
    agrees(compiled(path, target, tmp_path, feeds), runtime(path, feeds))


@pytest.mark.parametrize("rate", [16000, 8000])
def test_voice_activity_selects_a_branch_by_data(rate: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = MODELS / "silero_vad_op18_ifless.onnx"
    feeds = {
        "input": rng.standard_normal((1, 576)).astype(np.float32) * 0.3, "sr": np.array(rate, np.int64),
        "state": rng.standard_normal((2, 1, 128)).astype(np.float32) * 0.3,
    }  # fmt: skip
    agrees(compiled(path, "cpu", tmp_path, feeds), runtime(path, feeds))


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_voice_activity_with_the_branch_compiled_in(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = MODELS / "silero_vad_v5.onnx"
    feeds = {"input": rng.standard_normal((1, 512)).astype(np.float32) * 0.3, "state": np.zeros((2, 1, 128), np.float32)}
    found = compiled(path, target, tmp_path, feeds, constants={"sr": 16000})
    agrees(found, runtime(path, feeds | {"sr": np.array(16000, np.int64)}))


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_speech_enhancement_with_loops_and_scatters(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = MODELS / "gtcrn_simple.onnx"
    shapes = {"mix": (1, 257, 1, 2), "conv_cache": (2, 1, 16, 16, 33), "tra_cache": (2, 3, 1, 1, 16), "inter_cache": (2, 1, 33, 16)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) * 0.3 for name, shape in shapes.items()}
    agrees(compiled(path, target, tmp_path, feeds), runtime(path, feeds))
