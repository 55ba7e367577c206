#!/usr/bin/env python3
"""Modelled time on the Adreno 630 of compiled models, beside tinygrad's for the same models; no device is needed.

    python benchmarks/qcom.py [--tinygrad PYTHON] [--only REGEX] [--cost ../shared/adreno/ir3cost]

The models of benchmarks/qcom_models.py that have a number of tinygrad's to beat, or those that REGEX matches in full, are compiled for qcom
in both precisions of half storage, and with sums in half in large kernels alone where that is all that an error within 1e-2 allows.
Mesa's compiler for the Adreno compiles the kernels of their launches, and the time of each is modelled as `ir3cost` does and with two
corrections (benchmarks/adreno_model.py). PYTHON is the interpreter of an environment with tinygrad 0.14: its launches for the same file,
with float inputs, go the same way. Without it, and for models that REGEX leaves out, earlier numbers stay.

Writes benchmarks/results/qcom.json and the table of docs/qcom.md. Modelled, not measured: it ranks kernels on one footing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import adreno_model
import qcom_models
from adreno_code import Launch

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "qcom.json"
TABLE = HERE.parent / "docs" / "qcom.md"
MARK, SECOND = "<!-- benchmarks/qcom.py -->", "<!-- benchmarks/qcom.py, published -->"
COMPARED = "light_resnet50|supercombo|supercombo_two_towers|driving_vision_like|driving_policy_like|mobilenetv2_100|resnet18"
PUBLISHED = {
    "mobilenetv2_100": ("MobileNetV2", "7.96 (Paddle-Lite), 10.0 (MACE)"),
    "light_resnet50": ("ResNet-50", "39.1 (Paddle-Lite)"),
    "driving_vision_like": ("openpilot's driving_vision 0.11; here a model of its kind", "17 (tinygrad)"),
    "supercombo_two_towers": ("openpilot's supercombo of 2022", "22.5 (SNPE)"),
}
PRECISIONS = ("mixed", "fp16")
TINYGRAD = {
    "DEV": "NULL:OpenCL:a630,IMAGE_PITCH_ALIGNMENT=64,cl_khr_fp16", "IMAGE": "1", "FLOAT16": "1", "NOLOCALS": "1", "JIT": "2",
    "NULL_ALLOW_COPYOUT": "1",
}  # fmt: skip
Numbers = dict[str, float]
Results = dict[str, dict[str, Numbers]]


def ours(model: Path, options: dict[str, str | int]) -> list[Launch]:
    """The launches of `model` as tgc compiles it with `options`."""
    import tgc
    from tgc.run.launches import frame

    with tempfile.TemporaryDirectory() as folder:
        tgc.compile(model, "qcom", folder, **options)
        return frame(Path(folder))


def tinygrads(model: Path, python: str) -> list[Launch]:
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
        done = subprocess.run(command, env={**environment, **TINYGRAD}, stdout=subprocess.PIPE, text=True, check=True)
    launches: list[Launch] = json.loads(done.stdout)
    return launches


def measured(model: Path, arguments: argparse.Namespace) -> dict[str, Numbers]:
    """One model's numbers, by compiler."""
    chosen = qcom_models.precisions_of(model.stem, (*PRECISIONS, qcom_models.LARGE))
    launches = {f"tgc, {precision}": ours(model, qcom_models.options_for(model.stem, precision)) for precision in chosen}
    if arguments.tinygrad and model.stem != "light_resnet50":  # which is for PUBLISHED alone
        launches = {"tinygrad": tinygrads(model, arguments.tinygrad), **launches}
    return {by: adreno_model.summary(adreno_model.modelled(arguments.cost, found)) for by, found in launches.items()}


def table(results: Results) -> str:
    """The generated part of docs/qcom.md: numbers, and parts of tinygrad's."""
    lines = [
        "| model | by | launches | image reads, M | spills | modelled ms | halves at their rate, ms | and buffers, ms |",
        f"|---|---|{'--:|' * 6}",
    ]
    for model, rows in results.items():
        theirs = rows.get("tinygrad")
        for by, row in rows.items():
            cells = [_cell(row, theirs if by != "tinygrad" else None, *column) for column in COLUMNS]
            lines.append(f"| {model} | {by} | {' | '.join(cells)} |")
    return "\n".join(lines)


def published(results: Results) -> str:
    """The second generated part of docs/qcom.md: what others measured on the chip."""
    lines = ["| model | measured by others, ms | tgc, modelled, ms: mixed | fp16 |", "|---|--:|--:|--:|"]
    for name, (shown, times) in PUBLISHED.items():
        if name in results:
            lines.append(f"| {shown} | {times} | " + " | ".join(f"{results[name][f'tgc, {p}']['half_ms']:.2f}" for p in PRECISIONS) + " |")
    return "\n".join(lines)


COLUMNS = (("launches", 0), ("reads", 1), ("spills", 0), ("ms", 2), ("half_ms", 2), ("buffer_ms", 2))


def _cell(row: Numbers, theirs: Numbers | None, name: str, digits: int) -> str:
    share = f" ({row[name] / theirs[name]:.2f})" if theirs and theirs[name] else ""
    return f"{row[name]:.{digits}f}{share}"


def main() -> int:
    """Models what is asked for and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=COMPARED, metavar="REGEX")
    parser.add_argument("--cost", type=Path, default=qcom_models.SHARED / "adreno" / "ir3cost")
    parser.add_argument("--tinygrad", metavar="PYTHON")
    arguments = parser.parse_args()
    if not arguments.cost.exists():
        print(f"{arguments.cost} is not there: name the tool with --cost", file=sys.stderr)
        return 1
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for entry, path in qcom_models.files(arguments.only, entries=qcom_models.WITH_PUBLISHED):
        results[entry.name] = {**results.get(entry.name, {}), **measured(path, arguments)}
        print(table({entry.name: results[entry.name]}), file=sys.stderr, flush=True)
        write(results)
    return 0


def write(results: Results) -> None:
    """Both files, models in the order of the list."""
    ordered = {entry.name: results[entry.name] for entry in qcom_models.WITH_PUBLISHED if entry.name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    text = TABLE.read_text()
    for mark, part in ((MARK, table(ordered)), (SECOND, published(ordered))):
        before, _, after = text.split(mark)
        text = f"{before}{mark}\n{part}\n{mark}{after}"
    TABLE.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
