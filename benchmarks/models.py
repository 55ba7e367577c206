#!/usr/bin/env python3
"""Compiles real models for several targets, compares them with ONNX Runtime, and times both in turns on one thread.

    python benchmarks/models.py [--models ../shared/models] [--targets cpu,c,opencl] [--only REGEX] [--seconds 3]

Writes benchmarks/results/models.json and docs/models.md. Models whose files are not there are left out, and named. Every
model and target runs in a process of its own with a time limit, so that one that fails is a row of the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from light_weights import fill

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "models.json"
TABLE = ROOT / "docs" / "models.md"
PIXELS = (0.0, 255.0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model: its name, the group that says where its file is, and what its dynamic inputs and odd value ranges need."""

    name: str
    group: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


TRAINED = (
    Entry("basic_pitch_nmp", "trained", {"serving_default_input_2:0": (1, 43844, 1)}, {"serving_default_input_2:0": (-1.0, 1.0)}),
    Entry("blazeface_front", "trained", ranges={"input:0": (-1.0, 1.0)}),
    Entry("dtln_2", "trained"),
    Entry("fastestdet", "trained", ranges={"input.1": (0.0, 1.0)}),
    Entry("fsmn_vad_offline", "trained", {"speech": (1, 100, 400)}),
    Entry("gtsrb_traffic_sign_fast", "trained", {"conv2d_28_input": (1, 32, 32, 3)}, {"conv2d_28_input": (0.0, 1.0)}),
    Entry("magika_v3_3", "trained", {"bytes": (1, 2048)}, {"bytes": (0.0, 257.0)}),
    Entry("micro_kws_m_fp32", "trained"),
    Entry("mnist_8", "trained", ranges={"Input3": PIXELS}),
    Entry("mp_hand_landmark", "trained", ranges={"input_1": (0.0, 1.0)}),
    Entry("nanodet_m_320", "trained"),
    Entry("openpilot_dmon_0.7.5", "trained", {"input_1": (1, 76800)}),
    Entry("openpilot_dmon_0.8.5", "trained", ranges={"input_img": PIXELS}),
    Entry("openpilot_dmon_0.8.9", "trained", ranges={"input_img": PIXELS}),
    Entry("rl_go1_policy", "trained"),
    Entry("squeezenet_fp16", "trained"),
    Entry("superres_10", "trained", {"input": (1, 1, 224, 224)}, {"input": (0.0, 1.0)}),
    Entry("ultraface_rfb320", "trained", ranges={"input": (-1.0, 1.0)}),
    Entry("vittrack", "trained"),
    Entry("yolox_nano", "trained", ranges={"images": PIXELS}),
    Entry("yunet_n_320", "trained", ranges={"input": PIXELS}),
    Entry("yunet_n_dynamic", "trained", {"input": (1, 3, 320, 320)}, {"input": PIXELS}),
)
SKELETONS = tuple(
    Entry(name, "skeleton")
    for name in ("driving_policy_like", "driving_vision_like", "mobilenetv2_100", "resnet18", "vit_tiny_patch16_224")
)
LIGHT = tuple(
    Entry(f"light_{name}", "light")
    for name in ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19", "zfnet512")
)
SUPERCOMBO = (Entry("supercombo", "example", ranges={"input_imgs": PIXELS}),)
TWO_TOWERS = Entry("supercombo_two_towers", "example", ranges={"input_imgs": PIXELS, "big_input_imgs": PIXELS})
"""For benchmarks/qcom*.py; in no other table."""
CATALOG = (*SUPERCOMBO, *SKELETONS, *TRAINED, *LIGHT)


def locate(entry: Entry, models: Path, scratch: Path) -> Path | None:
    """The entry's ONNX file, made first where it has to be; None where there is none."""
    match entry.group:
        case "trained":
            candidates = [models / "trained" / f"{entry.name}.onnx", models / "trained" / entry.name / "model.onnx"]
            return next((path for path in candidates if path.exists()), None)
        case "skeleton":
            return _filled(entry.name, models, scratch)
        case "light":
            import onnx

            light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
            return fill(light / f"{entry.name}.onnx", scratch / f"{entry.name}.onnx")
        case _:
            path = scratch / f"{entry.name}.onnx"
            command = [sys.executable, ROOT / "examples" / "supercombo.py", "-o", path, *["--two-towers"] * (entry is TWO_TOWERS)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return path


def _filled(name: str, models: Path, scratch: Path) -> Path | None:
    """The skeleton called `name` with its weights drawn again."""
    skeleton = models / "skeletons" / f"{name}.onnx"
    if not skeleton.exists():
        return None
    subprocess.run([sys.executable, models / "fill", scratch, skeleton], check=True, stdout=subprocess.DEVNULL)
    return scratch / f"{name}.onnx"


def measure(entry: Entry, model: Path, target: str, seconds: float) -> dict[str, object]:
    """One row: compiles, compares and times."""
    from tgc import driver
    from tgc.bench import bench
    from tgc.verify import Tolerance, cases, verify

    artifact = driver.compile(model, target, shapes=entry.shapes, name=re.sub(r"\W", "_", entry.name))
    found = cases(model, artifact.graph, "onnxruntime", ranges=entry.ranges)
    outputs = [output for report in verify(artifact, found, Tolerance()) for output in report.outputs]
    report = bench(artifact, model, found[0].inputs, seconds=seconds)
    ours, theirs = report.measurements
    return {
        "agrees": all(output.passed for output in outputs), "error": max(output.relative for output in outputs),
        "compile_seconds": report.compile_seconds, "kernels": report.kernels, "arena_bytes": report.arena, "weights_bytes": report.weights,
        "artifact_bytes": report.artifact, "milliseconds": 1e3 * ours.latency.median,
        "onnxruntime_milliseconds": 1e3 * theirs.latency.median, "ratio": report.ratio,
        "startup_seconds": ours.startup, "onnxruntime_startup_seconds": theirs.startup,
    }  # fmt: skip


def guarded(entry: Entry, model: Path, target: str, seconds: float) -> dict[str, object]:
    """`measure`, with what went wrong as a row."""
    try:
        return measure(entry, model, target, seconds)
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]}


def attempt(entry: Entry, model: Path, target: str, options: argparse.Namespace) -> dict[str, object]:
    """`measure` in a process of its own; what went wrong is in the row's "failure"."""
    command = [sys.executable, __file__, "--one", entry.name, "--file", str(model), "--targets", target, "--seconds", str(options.seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POCL_MAX_PTHREAD_COUNT": "1", "POCL_CPU_MAX_CU_COUNT": "1"}
    row: dict[str, object] = {"model": entry.name, "target": target}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return {**row, "failure": f"took more than {options.limit:.0f} s"}
    if done.returncode == 0:
        return {**row, **json.loads(done.stdout.splitlines()[-1])}
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return {**row, "failure": lines[-1][:300]}


def sweep(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every row, a model at a time."""
    for entry in (e for e in CATALOG if re.search(options.only, e.name)):
        with tempfile.TemporaryDirectory(prefix="tgc-models-") as scratch:
            model = locate(entry, options.models, Path(scratch))
            for target in options.targets.split(","):
                missing = {"model": entry.name, "target": target, "failure": "file not found"}
                row = attempt(entry, model, target, options) if model else missing
                print(_line(row), file=sys.stderr, flush=True)
                yield row


def _line(row: dict[str, object]) -> str:
    head = f"{row['model']:26} {row['target']:7}"
    if "failure" in row:
        return f"{head} {row['failure']}"
    times = f"{row['milliseconds']:.3g} ms, {row['ratio']:.2f} of ONNX Runtime's {row['onnxruntime_milliseconds']:.3g}"
    return f"{head} error {row['error']:.1e}  {times}"


def merged(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """`rows`, and those of earlier runs for what was not measured now, in the catalogue's order."""
    earlier = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    latest = {(row["model"], row["target"]): row for row in (*earlier, *rows)}
    order = {entry.name: number for number, entry in enumerate(CATALOG)}
    return sorted(latest.values(), key=lambda row: (order.get(str(row["model"]), len(order)), str(row["target"])))


def machine() -> dict[str, object]:
    """What the numbers were measured on, and with."""
    import numpy
    import onnxruntime

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        processor = found[1]
    versions = {"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__, "python": platform.python_version()}
    return {"processor": processor, "cores": os.cpu_count(), "system": platform.system(), **versions, "threads": 1}


def markdown(results: dict[str, object]) -> str:
    """The table for people."""
    about, rows = results["machine"], results["rows"]
    assert isinstance(about, dict)
    assert isinstance(rows, list)
    lines = [
        "# Models", "",
        "Made by `python benchmarks/models.py`; do not edit. Error: worst absolute difference from ONNX Runtime over the output's "
        "largest magnitude. Times: median of one run on one thread, the two engines in turns. Ratio: tgc's time over ONNX Runtime's; "
        "below 1 tgc is faster. Weights and arena are all the memory that a model needs. The `light` models are those of the `onnx` "
        "package, with weights drawn instead of all alike; the first six have drawn weights too, the others their own.", "",
        f"Machine: {about['processor']}, {about['cores']} cores; ONNX Runtime {about['onnxruntime']}.", "",
        "| model | target | error | compile s | kernels | weights MB | arena MB | tgc ms | ONNX Runtime ms | ratio |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *map(_cells, rows), "", *_totals(rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, object]) -> str:
    head = f"| {row['model']} | {row['target']} |"
    if "failure" in row:
        return f"{head} {str(row['failure']).replace('|', '/')} | | | | | | | |"
    mark = "" if row["agrees"] else " (too far off)"
    return (
        f"{head} {row['error']:.1e}{mark} | {row['compile_seconds']:.1f} | {row['kernels']} | {row['weights_bytes'] / 1e6:.1f} | "
        f"{row['arena_bytes'] / 1e6:.2f} | {row['milliseconds']:.3g} | {row['onnxruntime_milliseconds']:.3g} | {row['ratio']:.2f} |"
    )


def _totals(rows: list[dict[str, object]]) -> Iterator[str]:
    for target in dict.fromkeys(row["target"] for row in rows):
        of_target = [row for row in rows if row["target"] == target]
        done = [row for row in of_target if "failure" not in row]
        if done:
            ratios = [float(str(row["ratio"])) for row in done]
            yield (f"{target}: {sum(bool(row['agrees']) for row in done)} of {len(of_target)} models agree with ONNX Runtime; "
                   f"ratio {statistics.geometric_mean(ratios):.2f} in the geometric mean, {max(ratios):.2f} at worst.\n")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models", help="folder with trained/ and skeletons/")
    parser.add_argument("--targets", default="cpu,c,opencl")
    parser.add_argument("--only", default="", help="regular expression on the model's name")
    parser.add_argument("--seconds", type=float, default=3.0, help="time to measure one row")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a row is given up")
    parser.add_argument("--no-write", action="store_true", help="only print")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        entry = next(entry for entry in CATALOG if entry.name == options.one)
        print(json.dumps(guarded(entry, options.file, options.targets, options.seconds)))
        return 0
    if not find_spec("onnxruntime"):
        parser.error("needs onnxruntime")
    results: dict[str, object] = {"machine": machine(), "rows": merged(list(sweep(options)))}
    if not options.no_write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        TABLE.write_text(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
