"""How fast is tgc beside other engines, as its own `tgc bench` tells it, on whole models?

    python benchmarks/peers.py resnet18.onnx mobilenetv2_100.onnx vit_tiny_patch16_224.onnx --python PEERS/bin/python
    python benchmarks/peers.py --table                       # the table again, of the committed results

A long run: a minute or two a model. Engines that refuse a model are written down with their reason. On a machine that others use
at the same time only ratios mean something: the engines run in turns, so a slow moment meets all. Results: benchmarks/results/peers.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from tgc import cli

RESULTS = Path(__file__).with_name("results") / "peers.json"
ENGINES = ("onnxruntime", "openvino", "torch", "tinygrad", "mnn")


def measure(model: str, python: str, seconds: float) -> dict[str, Any]:
    """What `tgc bench --json` prints of one model. Raises RuntimeError where it fails."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = cli.invoke(["bench", model, "--against", ",".join(ENGINES), "--python", python, "--seconds", str(seconds), "--json"])
    if status:
        raise RuntimeError(f"tgc bench {model} ended with status {status}")
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


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
        cells = [_ratios(by_name[engine]["latency"], ours["latency"]) if engine in by_name else "refuses it" for engine in ENGINES]
        rows.append(f"| {name} | {1e3 * ours['latency']['median']:.1f}, {1e3 * ours['latency']['minimum']:.1f} ms | {' | '.join(cells)} |")
    return "\n".join(rows)


def _ratios(theirs: dict[str, float], ours: dict[str, float]) -> str:
    return f"{theirs['median'] / ours['median']:.2f}, {theirs['minimum'] / ours['minimum']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--python", default=os.environ.get("TGC_PEERS_PYTHON", sys.executable), help="the interpreter that has the engines")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--table", action="store_true", help="print the table of the results that are there, and measure nothing")
    given = parser.parse_args()
    if not given.table:
        found = {Path(model).stem: measure(model, given.python, given.seconds) for model in given.models}
        RESULTS.write_text(json.dumps({"processor": processor(), "models": found}, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
