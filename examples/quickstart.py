#!/usr/bin/env python3
"""Compiles, builds, runs and verifies supercombo on each backend, and prints a table. `examples/quickstart` calls it.

python examples/quickstart.py OUT
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import supercombo

from tgc import driver
from tgc.bench import bench
from tgc.errors import TgcError
from tgc.verify import Tolerance, cases, verify

HERE = Path(__file__).resolve().parent
PIXELS = {"input_imgs": (0.0, 255.0)}


def row(model: Path, target: str, out: Path) -> tuple[str, ...]:
    """Compiles for `target` into a folder under `out`, verifies and times. A target that cannot run here says why."""
    try:
        artifact = driver.compile(model, target, out / target)
        runtime = importlib.util.find_spec("onnxruntime") is not None
        found = cases(model, artifact.graph, "onnxruntime" if runtime else "reference", ranges=PIXELS)
        worst = max(verify(artifact, found, Tolerance())[0].outputs, key=lambda output: output.relative)
        report = bench(artifact, model, found[0].inputs, seconds=3.0, against=runtime)
    except TgcError as error:
        return (target, error.what, "", "", "", "", "")
    theirs = f"{1e3 * report.measurements[1].latency.median:.2f}" if runtime else "-"
    memory = f"{report.weights / 1e6:.1f} + {report.arena / 1e6:.1f}"
    ours = f"{1e3 * report.measurements[0].latency.median:.2f}"
    return (target, "ok" if worst.passed else "WRONG", f"{worst.relative:.1e}", ours, theirs, memory, f"{report.compile_seconds:.1f}")


def application(out: Path) -> str | None:
    """Builds the C++ example against the C artifact and runs 100 frames; None where there are no tools for it."""
    if not shutil.which("cmake") or not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        return None
    build = out / "app"
    configure = ["cmake", "-S", HERE / "supercombo_app", "-B", build, f"-DARTIFACT={(out / 'c').resolve()}", "-DCMAKE_BUILD_TYPE=Release"]
    for command in (configure, ["cmake", "--build", build]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    weights = out / "c" / "supercombo.weights"
    return subprocess.run([build / "supercombo_app", weights], check=True, capture_output=True, text=True).stdout.strip()


def main(out: Path) -> int:
    model, macs, parameters = supercombo.build()
    path = out / "supercombo.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path}: {parameters / 1e6:.1f} M parameters, {macs / 1e6:.0f} M multiply-adds in the vision part", flush=True)
    rows = [("target", "numbers", "error", "tgc ms", "ORT ms", "weights + arena MB", "compile s")]
    for target in ("cpu", "c", "opencl"):
        rows.append(row(path, target, out))
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print("error: worst difference from ONNX Runtime over the largest output; ms: median of one frame on one thread")
    if (times := application(out)) is not None:
        print(f"C++ app on the C artifact, state fed back: {times}")
    return 0 if all(line[1] != "WRONG" for line in rows) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
