#!/usr/bin/env python3
"""Models in bfloat16 and in int8: time and error of tgc beside OpenVINO (bf16) and ONNX Runtime (int8), and beside tgc in f32.

    python benchmarks/precision.py --peers PYTHON [--only REGEX] [--models ../shared/models] [--rounds 15] [--json FILE]

PYTHON is an interpreter that has openvino and onnxruntime; it runs a worker, and both processes compute in turns on one thread. Times are
processor time of the whole process, medians, so that a busy machine changes them little. A bf16 model's error is of tgc's outputs
against its own in f32, as a part of the largest; an int8 model's is against ONNX Runtime's.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from models import CATALOG, ROOT, Entry, locate

import tgc
from tgc.run.model import Model

BF16 = ("light_resnet50", "resnet18", "mobilenetv2_100", "vit_tiny_patch16_224", "driving_policy_like", "driving_vision_like")
INT8 = (
    Entry("mobilenetv2_qdq_int8", "trained", {"image": (1, 3, 244, 244)}),
    Entry("shufflenet_v2_int8", "trained"),
    Entry("micro_kws_m_qdq", "trained", {"serving_default_input:0": (1, 1960)}),
    Entry("micro_kws_m_qoperator", "trained"),
    Entry("libtashkeel_ort_small", "trained", {"char_inputs": (1, 64), "input_lengths": (1,)}),
)
Arrays = dict[str, npt.NDArray[Any]]

WORKER = """
import json, sys, time
import numpy as np
job = json.loads(sys.stdin.readline())
given = dict(np.load(job["inputs"]))
if job["engine"] == "openvino":
    import openvino as ov
    core = ov.Core()
    model = core.read_model(job["model"])
    model.reshape({port.any_name: list(given[port.any_name].shape) for port in model.inputs})
    options = {"INFERENCE_PRECISION_HINT": job["precision"], "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    run = lambda: list(request.infer(given).values())
else:
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
    run = lambda: session.run(None, given)
np.savez(job["outputs"], *run())
print("ready", flush=True)
for _ in sys.stdin:
    start = time.process_time()
    run()
    print(time.process_time() - start, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One model: milliseconds of processor time a run, and the worst error as a part of the largest magnitude."""

    model: str
    precision: str
    tgc: float
    tgc_f32: float | None
    peer: str
    peer_ms: float
    error: float

    @property
    def ratio(self) -> float:
        return self.tgc / self.peer_ms


class Peer:
    """Another engine in a process of its own, which computes when told to."""

    def __init__(self, python: str, engine: str, model: Path, inputs: Arrays, scratch: Path) -> None:
        np.savez(scratch / "inputs.npz", **inputs)  # type: ignore[arg-type]
        job = {"engine": engine, "precision": "bf16", "model": str(model)}
        job |= {"inputs": str(scratch / "inputs.npz"), "outputs": str(scratch / "outputs.npz")}
        self.process = subprocess.Popen([python, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(json.dumps(job))
        self.outputs = list(np.load(scratch / "outputs.npz").values())

    def ask(self, line: str) -> str:
        to, back = self.process.stdin, self.process.stdout
        assert to is not None
        assert back is not None
        to.write(line + "\n")
        to.flush()
        return back.readline()

    def seconds(self) -> float:
        return float(self.ask("run"))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def timed(model: Model, inputs: Arrays) -> float:
    start = time.process_time()
    model.run(inputs)
    return time.process_time() - start


def inputs_of(model: Model) -> Arrays:
    rng = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...], is_float: bool) -> npt.NDArray[Any]:
        return rng.standard_normal(shape) if is_float else rng.integers(1, 50, shape)

    return {tensor.name: drawn(tensor.shape, tensor.dtype.is_float).astype(tensor.dtype.numpy) for tensor in model.inputs}


def error(found: list[npt.NDArray[Any]], meant: list[npt.NDArray[Any]]) -> float:
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(found, meant, strict=True)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def measured(name: str, path: Path, shapes: dict[str, tuple[int, ...]], options: argparse.Namespace, scratch: Path) -> Row:
    """One model, all that compute it in turns."""
    half = name in BF16
    built = {"f32": None, **({"bf16": "bf16"} if half else {})}
    for label, precision in built.items():
        tgc.compile(path, output=scratch / label, shapes=shapes, precision=precision, name="net")
    models = {label: tgc.load(scratch / label) for label in built}
    inputs = inputs_of(models["f32"])
    peer = Peer(options.peers, "openvino" if half else "onnxruntime", path, inputs, scratch)
    taken: dict[str, list[float]] = {label: [] for label in (*models, "peer")}
    for _ in range(options.rounds):
        for label, model in models.items():
            taken[label].append(timed(model, inputs))
        taken["peer"].append(peer.seconds())
    peer.close()
    results = {label: list(model.run(inputs).values()) for label, model in models.items()}
    worst = error(results["bf16"], results["f32"]) if half else error(results["f32"], peer.outputs)
    ms = {label: 1e3 * statistics.median(times) for label, times in taken.items()}
    own = ms["bf16"] if half else ms["f32"]
    return Row(
        name, "bf16" if half else "int8", own, ms["f32"] if half else None, "OpenVINO" if half else "ONNX Runtime", ms["peer"], worst
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peers", required=True, help="a Python that has openvino and onnxruntime")
    parser.add_argument("--only", default="", help="regular expression on the model's name")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models", help="folder with trained/ and skeletons/")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    options = parser.parse_args()
    entries = {entry.name: entry for entry in CATALOG} | {entry.name: entry for entry in INT8}
    rows: list[Row] = []
    print(f"{'model':24} {'':5} {'tgc ms':>8} {'in f32':>8} {'peer ms':>8}  {'peer':12} {'ratio':>6} {'error':>8}")
    for name in (*BF16, *(entry.name for entry in INT8)):
        with tempfile.TemporaryDirectory(prefix="tgc-precision-") as folder:
            path = locate(entries[name], options.models, Path(folder)) if re.search(options.only, name) else None
            if path is None:
                continue
            row = measured(name, path, dict(entries[name].shapes), options, Path(folder))
        rows.append(row)
        plain = f"{row.tgc_f32:8.2f}" if row.tgc_f32 is not None else " " * 8
        print(
            f"{name:24} {row.precision:5} {row.tgc:8.2f} {plain} {row.peer_ms:8.2f}  {row.peer:12} {row.ratio:6.2f} {row.error:8.1e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
