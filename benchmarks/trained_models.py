#!/usr/bin/env python3
"""Every trained model compiled for every target and compared with ONNX Runtime, which does not optimise it.

    python benchmarks/trained_models.py [--models ../shared/models/trained] [--target cpu,c,opencl] [--only REGEX] [--jobs 2]

A float output agrees where its worst error is at most 1e-4 of its largest magnitude (3e-3 in half precision); a quantised one where no
element is more than one step of its scale away; whole numbers where they are equal. Writes benchmarks/results/trained_models.json, from
which benchmarks/onnx_support.py makes a table. Exit status 1 where a model does not compile or does not agree. Nothing is timed: that
is benchmarks/models.py.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from models import ROOT, TRAINED, Entry
from onnx import numpy_helper

Array = npt.NDArray[np.generic]
RESULTS = ROOT / "benchmarks" / "results" / "trained_models.json"
TARGETS = ("cpu", "c", "opencl")
LIMITS = {"float16": 3e-3, "float32": 1e-4}
"""Worst error that passes, as a share of the output's largest magnitude, by its type."""

MORE = (
    Entry("dtln_1", "trained", ranges={"input_2": (0.0, 1.0)}),
    Entry("gtcrn_simple", "trained"),
    Entry("libtashkeel_ort_small", "trained", {"char_inputs": (1, 24), "input_lengths": (1,)},
          {"char_inputs": (1.0, 40.0), "input_lengths": (24.0, 24.0)}),
    Entry("micro_kws_m_qdq", "trained", {"serving_default_input:0": (1, 1960)}),
    Entry("micro_kws_m_qoperator", "trained"),
    Entry("mobilenetv2_qdq_int8", "trained", {"image": (1, 3, 244, 244)}),
    Entry("shufflenet_v2_int8", "trained"),
    Entry("silero_vad_op18_ifless", "trained", {"input": (1, 576), "state": (2, 1, 128)}, {"sr": (16000.0, 16000.0)}),
    Entry("silero_vad_v5", "trained", {"input": (1, 512), "state": (2, 1, 128)}, {"sr": (16000.0, 16000.0)}),
    Entry("tract_bidi_lstm", "trained", {"input": (1, 60)}, {"input": (0.0, 127.0)}),
)  # fmt: skip
COMPILED_IN: dict[str, tuple[str, ...]] = {"silero_vad_v5": ("sr",)}
"""Inputs whose values a model needs while it is compiled."""
ENTRIES = tuple(sorted((*TRAINED, *MORE), key=lambda entry: entry.name))


def file_of(entry: Entry, models: Path) -> Path | None:
    """The entry's ONNX file, if it is there."""
    candidates = [models / f"{entry.name}.onnx", models / entry.name / "model.onnx"]
    return next((path for path in candidates if path.exists()), None)


def reference(path: Path, entry: Entry) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs, drawn, and what ONNX Runtime makes of them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {value.name: drawn(rng, value.type, entry.shapes.get(value.name, tuple(value.shape)), entry.ranges.get(value.name))
             for value in session.get_inputs()}  # fmt: skip
    names = [value.name for value in session.get_outputs()]
    return feeds, dict(zip(names, session.run(names, feeds), strict=True))


def drawn(rng: np.random.Generator, kind: str, shape: tuple[int, ...], bounds: tuple[float, float] | None) -> Array:
    """Values between `bounds`, else a normal distribution's. kind: as ONNX Runtime names it, such as tensor(float16)."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32"}.get(name, name))
    if dtype.kind in "iu":
        low, high = bounds or (0.0, 9.0)
        return rng.integers(int(low), int(high), shape, dtype=dtype, endpoint=True)
    return np.asarray(rng.uniform(*bounds, shape) if bounds else 0.5 * rng.standard_normal(shape)).astype(dtype)


def steps(path: Path) -> dict[str, float]:
    """The scale of each output that a DequantizeLinear makes."""
    graph = onnx.load(path).graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    outputs = {value.name for value in graph.output}
    return {node.output[0]: float(numpy_helper.to_array(known[node.input[1]]))
            for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] in outputs}  # fmt: skip


def measure(entry: Entry, path: Path, target: str) -> dict[str, object]:
    """One row: the worst error over all outputs, in steps for quantised ones, and whether all agree."""
    import tgc

    feeds, wanted = reference(path, entry)
    frozen = {name: feeds.pop(name) for name in COMPILED_IN.get(entry.name, ())}
    shapes = {name: value.shape for name, value in feeds.items()}
    with tempfile.TemporaryDirectory(prefix="tgc-") as folder:
        tgc.compile(path, target, folder, shapes=shapes, constants=frozen, name="model")
        found = tgc.load(folder).run(feeds)
    return {"agrees": True, "error": 0.0, "steps": 0.0} | compared(found, wanted, steps(path))


def compared(found: Mapping[str, Array], wanted: Mapping[str, Array], scales: Mapping[str, float]) -> dict[str, object]:
    """agrees; error: relative to the largest magnitude of a float output; steps: of quantised outputs, if there are any."""
    agrees, error, worst = True, 0.0, 0.0
    for name, right in wanted.items():
        got = found[name]
        apart = float(np.abs(got.astype(np.float64) - right.astype(np.float64)).max(initial=0.0))
        if name in scales:
            worst = max(worst, apart / scales[name])
            agrees &= worst <= 1.001  # a step, but for the rounding of products with the scale
        else:
            relative = apart / (float(np.abs(right).max(initial=0)) or 1.0)
            error = max(error, relative)
            agrees &= relative <= LIMITS.get(str(right.dtype), 0.0)
        agrees &= got.dtype == right.dtype and got.shape == right.shape
    return {"agrees": bool(agrees), "error": error, "steps": worst if scales else None}


Row = dict[str, object]


def attempt(script: Path, entry: Entry, path: Path | None, target: str, limit: float) -> Row:
    """The row that `script` measures in a process of its own; what went wrong is in its "failure"."""
    row: Row = {"model": entry.name, "target": target}
    if path is None:
        return {**row, "failure": "file not found"}
    command = [sys.executable, str(script), "--one", entry.name, "--file", str(path), "--target", target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {**row, "failure": f"took more than {limit:.0f} s"}
    if done.returncode == 0:
        return {**row, **json.loads(done.stdout.splitlines()[-1])}
    said = [line for line in done.stderr.strip().splitlines() if not line.startswith(" ")]
    return {**row, "failure": (said or [f"exit status {done.returncode}"])[-1][:300]}


def kept(results: Path, rows: Sequence[Row]) -> list[Row]:
    """Writes the rows, and those of earlier runs for what did not run now; answers all of them."""
    earlier = json.loads(results.read_text()) if results.exists() else []
    latest = {(row["model"], row["target"]): row for row in (*earlier, *rows)}
    order = sorted(latest.values(), key=lambda row: (str(row["model"]), TARGETS.index(str(row["target"]))))
    results.write_text("[\n" + ",\n".join(json.dumps(row) for row in order) + "\n]\n")
    return order


def swept(script: Path, doc: str | None, results: Path, measure: Callable[[Entry, Path, str], Row]) -> list[Row]:
    """The command line of a sweep over models and targets: the rows of this run, also kept in `results`; none in a row's own process."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models" / "trained")
    parser.add_argument("--target", default=",".join(TARGETS))
    parser.add_argument("--only", default="", help="regular expression on the model's name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a row is given up")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(next(entry for entry in ENTRIES if entry.name == options.one), options.file, options.target)))
        return []
    jobs = [(script, entry, file_of(entry, options.models), target, options.limit)
            for entry in ENTRIES if re.search(options.only, entry.name) for target in options.target.split(",")]  # fmt: skip
    rows: list[Row] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda job: attempt(*job), jobs):
            rows.append(row)
            print(json.dumps(row), flush=True)
            kept(results, rows)
    return rows


def main() -> int:
    return 0 if all(row.get("agrees") for row in swept(Path(__file__), __doc__, RESULTS, measure)) else 1


if __name__ == "__main__":
    sys.exit(main())
