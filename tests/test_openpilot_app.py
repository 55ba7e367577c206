"""examples/openpilot_app: the warp against a plain implementation, and the whole app on a few frames."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tgc
from tgc.errors import ToolchainError
from tgc.run.opencl import driver_environment, icd_loader

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CAMERA, PLANE = (40, 64), (8, 16)
MATRICES = {
    "identity": np.eye(3), "zoom": np.diag([2.0, 2.0, 1.0]), "beyond the frame": np.array([[3, 0, -20], [0, 3, -10], [0, 0, 1.0]]),
    "turned": np.array([[0.9, -0.4, 12], [0.4, 0.9, 3], [1e-3, 2e-3, 1]]),
}  # fmt: skip


@pytest.fixture(scope="module")
def models() -> ModuleType:
    """examples/openpilot_app/models.py."""
    sys.path.insert(0, str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("openpilot_models", EXAMPLES / "openpilot_app" / "models.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["openpilot_models"] = module
    spec.loader.exec_module(module)
    return module


def sampled(plane: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`plane` at every pixel of a picture of `size`, through `matrix`, with bilinear weights."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    x, y, depth = np.einsum("ij,jhw->ihw", matrix, np.stack([columns, rows, np.ones(size)]).astype(np.float64))
    x, y = np.clip(x / depth, 0, plane.shape[1] - 1), np.clip(y / depth, 0, plane.shape[0] - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, plane.shape[1] - 1), np.minimum(top + 1, plane.shape[0] - 1)
    above = plane[top, left] * (1 - x + left) + plane[top, right] * (x - left)
    below = plane[bottom, left] * (1 - x + left) + plane[bottom, right] * (x - left)
    return above * (1 - y + top) + below * (y - top)


def expected(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The six planes, not rounded: the model's frame sampled in full and then packed."""
    height, width = CAMERA
    luma = sampled(frame[:height].astype(np.float64), matrix, (2 * PLANE[0], 2 * PLANE[1]))
    halves = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])  # pixels of chroma to pixels of luma, in both frames
    pairs = frame[height:].reshape(height // 2, width // 2, 2).astype(np.float64)
    chroma = [sampled(pairs[..., c], np.linalg.inv(halves) @ matrix @ halves, PLANE) for c in range(2)]
    return np.stack([luma[0::2, 0::2], luma[1::2, 0::2], luma[0::2, 1::2], luma[1::2, 1::2], *chroma])


@pytest.mark.parametrize(("target", "matrix"), [*(("cpu", matrix) for matrix in MATRICES), ("opencl", "turned"), ("qcom", "turned")])
def test_warp(models, target, matrix, tmp_path):
    if target != "cpu":
        needs_device()
    tgc.compile(models.warp(CAMERA, PLANE, frames=2), target, tmp_path / "out", states=models.PREVIOUS, name="warp")
    model = tgc.load(tmp_path / "out")
    rng = np.random.default_rng(0)
    before = np.zeros((6, *PLANE))
    for _ in range(2):
        frame = rng.integers(0, 256, (CAMERA[0] * 3 // 2, CAMERA[1])).astype(np.uint8)
        found = model.run({"frame": frame, "transform": MATRICES[matrix].astype(np.float32)})["images"][0]
        now = expected(frame, MATRICES[matrix])
        assert np.abs(found[:6] - before).max() <= 0.51 if before.any() else not found[:6].any()
        assert np.abs(found[6:] - now).max() <= 0.51, "rounded to a whole number, half a step off at most"
        before = now


def needs_device() -> None:
    try:
        icd_loader()
    except ToolchainError as error:
        pytest.skip(error.what)


def test_app(models, tmp_path):
    needs_device()
    if not shutil.which("cmake"):
        pytest.skip("needs cmake")
    models.write(tmp_path, "qcom", None, small=True)
    build = tmp_path / "build"
    strict = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"
    for command in (["cmake", "-S", EXAMPLES / "openpilot_app", "-B", build, f"-DMODELS={tmp_path}", strict], ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True)
        if "OpenCL" in done.stderr and "NOTFOUND" in done.stderr.upper().replace(" ", ""):
            pytest.skip("the OpenCL headers or loader are not installed")
        assert done.returncode == 0, done.stderr
    (tmp_path / "cache").mkdir()
    command = [build / "openpilot_app", tmp_path, "--frames", "10", "--cache", tmp_path / "cache"]
    done = subprocess.run(command, env={**os.environ, **driver_environment()}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    counts = re.findall(r"^(\w+) +(\d+) frames: mean [\d.]+ ms, p99 [\d.]+, worst [\d.]+; \d+ missed", done.stdout, re.M)
    dropped = re.search(r"(\d+) of 10 frames were dropped", done.stdout)
    assert dropped
    assert counts == [(name, str(10 - int(dropped[1]))) for name in ("driving", "monitoring")]
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_app_says_what_is_wrong(tmp_path):
    needs_device()
    if not shutil.which("cmake"):
        pytest.skip("needs cmake")
    done = subprocess.run(["cmake", "-S", EXAMPLES / "openpilot_app", "-B", tmp_path], capture_output=True, text=True)
    assert done.returncode != 0
    assert "say where the compiled models are" in done.stderr
