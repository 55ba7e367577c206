"""How fast is tgc beside other engines, as its own `tgc bench` tells it, on whole models?

    python benchmarks/peers.py --python PEERS/bin/python                             # three models that it makes itself
    python benchmarks/peers.py resnet18.onnx mobilenetv2_100.onnx --python PEERS/bin/python
    python benchmarks/peers.py --table                       # the table again, of the committed results

A long run: one to three minutes a model. Engines that refuse a model are written down with their reason; where a REQUIRED one does
not run, or ONNX Runtime does not agree, the exit status is 1. On a machine that others use at the same time only ratios mean
something: the engines run in turns, so a slow moment meets all. Results: benchmarks/results/peers.json, where models that are not
measured again keep theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tgc import cli

RESULTS = Path(__file__).with_name("results") / "peers.json"
ENGINES = ("onnxruntime", "openvino", "torch", "torch-compiled", "tinygrad", "mnn", "iree", "tvm")
REQUIRED = ("onnxruntime", "openvino", "torch", "tinygrad", "mnn")
WORST = 1e-3
"""The largest difference of an engine's outputs from tgc's, relative to the largest magnitude."""


def measure(model: str, python: str, seconds: float) -> dict[str, Any]:
    """What `tgc bench --json` prints of one model. Raises RuntimeError where it fails."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = cli.invoke(["bench", model, "--against", ",".join(ENGINES), "--python", python, "--seconds", str(seconds), "--json"])
    if status:
        raise RuntimeError(f"tgc bench {model} ended with status {status}")
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


def made(folder: Path) -> list[Path]:
    """Models that anyone can make: supercombo, and two of the `onnx` package's, all with drawn weights of their real size."""
    import onnx
    from light_weights import fill

    script = Path(__file__).parent.parent / "examples" / "supercombo.py"
    subprocess.run([sys.executable, str(script), "-o", str(folder / "supercombo.onnx")], check=True, stdout=subprocess.DEVNULL)
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    names = ("resnet50", "shufflenet")
    return [folder / "supercombo.onnx", *(fill(light / f"light_{name}.onnx", folder / f"{name}.onnx") for name in names)]


def faults(name: str, report: dict[str, Any]) -> list[str]:
    """What should not be: engines that did not run, and results that ONNX Runtime does not agree with, or several engines."""
    why = dict(report["failures"])
    off = [row["engine"] for row in report["measurements"][1:] if _is_off(row)]
    wrong = [f"{name}: tgc differs from {', '.join(off)}"] if "onnxruntime" in off or len(off) > 1 else []
    return [f"{name}: {engine} did not run: {why[engine]}" for engine in REQUIRED if engine in why] + wrong


def _is_off(row: dict[str, Any]) -> bool:
    return row["error"] is None or not float(row["error"]) <= WORST


def processor() -> str:
    """What Linux calls the processor, and how many of it there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name}, {os.cpu_count()} of its threads"


def table(results: dict[str, Any]) -> str:
    """A row a model, in Markdown: tgc's median and minimum and, of every engine, its median over tgc's, and its minimum over tgc's."""
    rows = [f"| model | tgc | {' | '.join(ENGINES)} |", "|---|---:|" + "---:|" * len(ENGINES)]
    for name, report in results["models"].items():
        ours, *others = report["measurements"]
        by_name = {row["engine"]: row for row in others}
        refused = dict(report["failures"])
        cells = ["refuses it" if engine in refused else _cell(by_name.get(engine), ours["latency"]) for engine in ENGINES]
        rows.append(f"| {name} | {1e3 * ours['latency']['median']:.1f}, {1e3 * ours['latency']['minimum']:.1f} ms | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(row: dict[str, Any] | None, ours: dict[str, float]) -> str:
    if row is None:
        return ""
    return _ratios(row["latency"], ours) + (", wrong" if _is_off(row) else "")


def _ratios(theirs: dict[str, float], ours: dict[str, float]) -> str:
    return f"{theirs['median'] / ours['median']:.2f}, {theirs['minimum'] / ours['minimum']:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--python", default=os.environ.get("TGC_PEERS_PYTHON", sys.executable), help="the interpreter that has the engines")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write")
    parser.add_argument("--table", action="store_true", help="print the table of the results that are there, and measure nothing")
    given = parser.parse_args()
    found = {}
    if not given.table:
        with tempfile.TemporaryDirectory() as folder:
            for model in given.models or made(Path(folder)):
                found[model.stem] = measure(str(model), given.python, given.seconds)
        earlier = json.loads(given.results.read_text())["models"] if given.results.exists() else {}
        given.results.write_text(json.dumps({"processor": processor(), "models": {**earlier, **found}}, indent=1) + "\n")
    print(table(json.loads(given.results.read_text())))
    wrong = [line for name, report in found.items() for line in faults(name, report)]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
