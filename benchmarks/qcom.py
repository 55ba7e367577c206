#!/usr/bin/env python3
"""Modelled time on the Adreno 630 of compiled models, beside tinygrad's for the same models; no device is needed.

    python benchmarks/qcom.py MODEL.onnx ... [--cost ../shared/adreno/ir3cost] [--tinygrad PYTHON] [--precision mixed]

Each model is compiled for qcom; the tool `ir3cost` compiles each kernel of its launches with Mesa's compiler for the Adreno and models
the time of each. --tinygrad names the interpreter of an environment with tinygrad 0.14 and numpy: its launches go the same way.
Prints a table and writes benchmarks/results/qcom.json. Modelled, not measured: it ranks kernels on one footing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "qcom.json"
COST = HERE.parent.parent / "shared" / "adreno" / "ir3cost"
TINYGRAD = {
    "DEV": "NULL:OpenCL:a630,IMAGE_PITCH_ALIGNMENT=64,cl_khr_fp16", "IMAGE": "1", "FLOAT16": "1", "NOLOCALS": "1", "JIT": "2",
    "NULL_ALLOW_COPYOUT": "1",
}  # fmt: skip
WIDE_RATE, HALF_RATE = 234e9, 345e9  # lane instructions a second in waves of 128, and of halves, as in the tool
Launches = list[dict[str, Any]]


def ours(model: Path, precision: str) -> Launches:
    """The launches of `model` as tgc compiles it."""
    import tgc
    from tgc.run.launches import frame

    with tempfile.TemporaryDirectory() as folder:
        tgc.compile(model, "qcom", folder, precision=precision)
        return frame(Path(folder))


def tinygrads(model: Path, python: str) -> Launches:
    """The launches of `model` as tinygrad makes them, with float inputs."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        loaded = onnx.load(model)
        for value in loaded.graph.input:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        path = Path(folder) / model.name
        onnx.save(loaded, path)
        command = [python, str(HERE / "qcom_tinygrad.py"), str(path)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, env={**environment, **TINYGRAD}, capture_output=True, text=True, check=True)
    launches: Launches = json.loads(done.stdout)
    return launches


def modelled(launches: Launches, tool: Path) -> dict[str, float]:
    """Launches, image reads in millions, spills and milliseconds of a frame, as `tool` models them."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(launches, file)
        file.flush()
        done = subprocess.run([str(tool), file.name, "--json"], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    failed = [row["name"] for row in rows if "error" in row]
    if failed:
        raise SystemExit(f"kernels that do not build: {', '.join(failed)}")
    faster = [_seconds(row, launch) for row, launch in zip(rows, launches, strict=True)]
    return {
        "half_ms": math.fsum(faster) * 1e3, "launches": len(rows), "reads": sum(row["reads"] * row["items"] for row in rows) / 1e6,
        "spills": sum(row["spills"] for row in rows), "ms": math.fsum(row["seconds"] for row in rows) * 1e3,
    }  # fmt: skip


def _seconds(row: dict[str, Any], launch: dict[str, Any]) -> float:
    """The modelled time of a launch with multiply-adds of halves at their own rate in waves of 128, which the tool means to count.

    It tells them by the half registers in use, and the Adreno 6xx shows none: its half registers are parts of the full ones.
    """
    own = str(launch["src"])
    halves = row["width"] == 128 and "tgc_mad_half" in own[max(own.find(f"void {row['name']}("), 0) :]
    issue = row["issue"] * (WIDE_RATE / HALF_RATE if halves else 1.0)
    return float(max(issue, row["texture"], row["memory"]) + row["seconds"] - max(row["issue"], row["texture"], row["memory"]))


def row(model: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One model's numbers."""
    found: dict[str, Any] = {"model": model.stem, "tgc": modelled(ours(model, arguments.precision), arguments.cost)}
    if arguments.tinygrad:
        found["tinygrad"] = modelled(tinygrads(model, arguments.tinygrad), arguments.cost)
    return found


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--cost", type=Path, default=COST)
    parser.add_argument("--tinygrad", metavar="PYTHON")
    parser.add_argument("--precision", default="mixed")
    arguments = parser.parse_args()
    if not arguments.cost.exists():
        print(f"{arguments.cost} is not there: name the tool with --cost", file=sys.stderr)
        return 1
    rows = []
    print("| model | by | launches | image reads, M | spills | modelled ms | halves at their rate |\n|---|---|--:|--:|--:|--:|--:|")
    for model in arguments.models:
        rows.append(row(model, arguments))
        for by in ("tgc", "tinygrad"):
            if by in rows[-1]:
                n = rows[-1][by]
                ms = f"{n['ms']:.2f} | {n['half_ms']:.2f}"
                print(f"| {model.stem} | {by} | {n['launches']} | {n['reads']:.1f} | {n['spills']} | {ms} |", flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
