#!/usr/bin/env python3
"""How far qcom's answers are from ONNX Runtime's in single precision, on OpenCL drivers that need no GPU.

    python benchmarks/qcom_agreement.py [--only REGEX] [--drivers LIST] [--icd FOLDER] [--precisions LIST]

For each model of benchmarks/qcom_models.py that REGEX matches in full, each driver and each precision: what `tgc verify --target qcom`
compares, the largest difference over the outputs as a part of each output's largest magnitude. rusticl is Mesa's OpenCL on llvmpipe (Debian
`mesa-opencl-icd`); FOLDER holds its .icd file. "Half storage alone" is ONNX Runtime itself with each node's result rounded to half.
Numbers of what is left out stay from earlier runs.

ONNX Runtime computes models of half in half. Of those, what is compared with is its answer for the same model in single precision, with
every weight the same number (benchmarks/widened.py); and as outputs of half are 5e-4 off by themselves, for `--precision fp32` and "half
storage alone" it is that model which is compiled, or rounded.

Writes benchmarks/results/qcom_agreement.json and the table of docs/qcom.md. Exit status 1 where an error is above its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
import numpy as np
import numpy.typing as npt
import onnx
import qcom_models
from widened import widened

if TYPE_CHECKING:
    from tgc.verify import Case

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "qcom_agreement.json"
TABLE = HERE.parent / "docs" / "qcom.md"
MARK = "<!-- benchmarks/qcom_agreement.py -->"
LIMITS = {"half storage alone": float("inf"), "mixed": 1e-2, "fp32": 1e-4, "fp16": 3e-2, qcom_models.LARGE: 1e-2}
HALVES = {"squeezenet_fp16"}
IN_SINGLE = ("half storage alone", "fp32")
STORAGE = ("half storage alone", "ONNX Runtime")
COLUMNS = [
    STORAGE,
    ("mixed", "PoCL"),
    ("mixed", "rusticl"),
    ("fp32", "PoCL"),
    ("fp32", "rusticl"),
    ("fp16", "PoCL"),
    (qcom_models.LARGE, "PoCL"),
]
Array = npt.NDArray[Any]
Results = dict[str, dict[str, float | str]]


def environment(driver: str, icd: str) -> dict[str, str]:
    """What selects `driver`; PoCL is the wheel's, which tgc finds by itself."""
    return {"OCL_ICD_VENDORS": icd, "RUSTICL_ENABLE": "llvmpipe"} if driver == "rusticl" else {}


def error(entry: models.Entry, model: Path, precision: str) -> float:
    """The largest error over the outputs, relative to each one's largest magnitude; infinite where one has NaN alone."""
    from tgc import driver
    from tgc.verify import Tolerance, cases, verify

    name = re.sub(r"\W", "_", entry.name)
    artifact = driver.compile(model, "qcom", shapes=entry.shapes, name=name, **qcom_models.options_for(entry.name, precision))
    found = cases(model, artifact.graph, "onnxruntime", ranges=entry.ranges)
    if entry.name in HALVES:
        found = [replace(case, expected=single(model, case)) for case in found]
    return max(float(output.relative) for report in verify(artifact, found, Tolerance()) for output in report.outputs)


def single(model: Path, case: Case) -> dict[str, Array]:
    """What ONNX Runtime makes of `case` for the model of half in the file `model` in single precision, rounded to what its outputs are."""
    from tgc.verify.oracle import run_onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save(widened(onnx.load(model)), path)
        wide = {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in case.inputs.items()}
        return {name: value.astype(case.expected[name].dtype) for name, value in run_onnxruntime(path, wide).items()}


def file_for(entry: models.Entry, model: Path, column: tuple[str, str], scratch: Path) -> Path:
    """`model`, or of a model of half the same in single precision where that is what `column` is about."""
    if entry.name not in HALVES or column[0] not in IN_SINGLE:
        return model
    onnx.save(widened(onnx.load(model)), scratch / model.name)
    return scratch / model.name


def storage_error(entry: models.Entry, model: Path) -> float:
    """What rounding every value to half does to ONNX Runtime's answer, relative to each output's largest magnitude."""
    import half_storage

    from tgc.driver import import_graph
    from tgc.verify import Tolerance, cases
    from tgc.verify.compare import compare

    (case,) = cases(model, import_graph(model, {}, entry.shapes), "onnxruntime", ranges=entry.ranges)
    found = half_storage.run(model, dict(case.inputs))
    return max(float(compare(name, found[name], expected, Tolerance()).relative) for name, expected in case.expected.items())


def attempt(entry: models.Entry, model: Path, column: tuple[str, str], options: argparse.Namespace) -> float | str:
    """`error` in a process of its own with the driver's environment; what went wrong otherwise."""
    variables = {**os.environ, **environment(column[1], options.icd)}
    with tempfile.TemporaryDirectory() as scratch:
        file = file_for(entry, model, column, Path(scratch))
        command = [sys.executable, __file__, "--one", entry.name, "--file", str(file), "--precisions", column[0]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=options.limit, check=False)
        except subprocess.TimeoutExpired:
            return f"took more than {options.limit} s"
    if done.returncode == 0:
        return float(done.stdout.splitlines()[-1])
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]


def table(results: Results) -> str:
    """The generated part of docs/qcom.md."""
    lines = [f"| model | {' | '.join(f'{precision}, {driver}' for precision, driver in COLUMNS)} |", f"|---|{'--:|' * len(COLUMNS)}"]
    for model, row in results.items():
        cells = [row.get(f"{precision}, {driver}", "") for precision, driver in COLUMNS]
        lines.append(f"| {model} | {' | '.join(f'{cell:.1e}' if isinstance(cell, float) else cell for cell in cells)} |")
    return "\n".join(lines)


def write(results: Results) -> None:
    """Both files, models in the order of the list."""
    earlier: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {name: earlier.get(name, {}) | results.get(name, {}) for name in (earlier | results)}
    ordered = {entry.name: results[entry.name] for entry in qcom_models.ENTRIES if entry.name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    before, _, after = TABLE.read_text().split(MARK)
    TABLE.write_text(f"{before}{MARK}\n{table(ordered)}\n{MARK}{after}")


def sweep(options: argparse.Namespace) -> int:
    """Asks for every number, keeps what comes; how many are no good."""
    results: Results = {}
    drivers, precisions, bad = options.drivers.split(","), options.precisions.split(","), 0
    for entry, path in qcom_models.files(options.only):
        row = results[entry.name] = {}
        asked = qcom_models.precisions_of(entry.name, precisions)
        for precision, driver in (column for column in COLUMNS if column[0] in asked and column[1] in drivers):
            found = row[f"{precision}, {driver}"] = attempt(entry, path, (precision, driver), options)
            bad += isinstance(found, str) or not found <= LIMITS[precision]
            print(f"{entry.name} {precision} {driver}: {found}", file=sys.stderr, flush=True)
        write(results)
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--drivers", default="ONNX Runtime,PoCL,rusticl")
    parser.add_argument("--icd", default="/etc/OpenCL/vendors", metavar="FOLDER")
    parser.add_argument("--precisions", default=",".join(LIMITS))
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is None:
        return min(1, sweep(options))
    entry = next(entry for entry in qcom_models.ENTRIES if entry.name == options.one)
    print(storage_error(entry, options.file) if options.precisions == STORAGE[0] else error(entry, options.file, options.precisions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
