#!/usr/bin/env python3
"""What the modelled time of a model on the Adreno 630 consists of, by kinds of instructions; no device is needed.

    python benchmarks/qcom_breakdown.py [--only REGEX] [--cost ../shared/adreno/ir3cost]

Compiles the models of benchmarks/qcom_models.py that REGEX matches in full for qcom, in both precisions of half storage and, where not all
sums may be in half, with those of large kernels in half. Prints milliseconds for each, as `ir3cost` models them: instructions of each kind
over the rate of their kernel's waves; where a launch takes longer than its instructions, for texture reads, the difference; launches.
docs/qcom.md shows some.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections import Counter
from pathlib import Path

import adreno_code
import adreno_model
import qcom_models
from adreno_code import ROOT, Launch
from qcom import PRECISIONS, ours

KINDS = {
    "multiply-adds": r"mad\.f",
    "texture reads": r"isam",
    "moves": r"mova?\b|mov\.|swz|gat",
    "conversions": r"cov",
    "memory": r"(st|ld)[glpi]",
    "addresses": r"(add|sub|mull|mad|madsh|shl|shr|ashr|and|or|xor|not|min|max|mul)\.?(u|s|b|m16)",
    "other arithmetic": r"(add|mul|max|min|cmps|sel|exp|log|rcp|rsq|sqrt|absneg|floor|trunc|rndne|sign)",
}


def kind_of(line: str) -> str:
    """The kind of a line of machine code: the first whose pattern its operation begins with."""
    operation = re.sub(r"^(\(\w+\))*\s*", "", line)
    return next((kind for kind, pattern in KINDS.items() if re.match(pattern, operation)), "rest")


def breakdown(path: Path, launches: list[Launch]) -> Counter[str]:
    """Modelled milliseconds by kind, of all `launches`."""
    tool = adreno_code.load(path)
    texts = adreno_code.compiled(tool.ir3stats, launches)
    total: Counter[str] = Counter()
    for launch in launches:
        text = texts[adreno_code.key(launch)]
        tool.ir3stats.compile_kernels = functools.partial(lambda text, *_: (0, "", text), text)
        row, code = tool.cost(launch, ROOT), tool.assembly(text)
        loops, _ = tool.source_loops(tool.body_of(launch["src"], launch["name"]))
        count = functools.partial(tool.dynamic_instructions, loops=loops)
        scale = 1e3 * row["issue"] / count(code)
        found = {kind: count(code) - count([adreno_model.idle(line) if kind_of(line) == kind else line for line in code]) for kind in KINDS}
        found["waiting"] = count(code) - count([_busy(line) for line in code])
        for kind, instructions in (*found.items(), ("rest", count(code) - sum(found.values()))):
            total[kind] += scale * instructions
        total["waiting for texture reads"] += 1e3 * (row["seconds"] - tool.LAUNCH - row["issue"])
        total["launches"] += 1e3 * tool.LAUNCH
    return total


def _busy(line: str) -> str:
    """A line of machine code without the cycles that it waits."""
    return "" if re.match(r"(\(\w+\))*\s*nop", line) else re.sub(r"\(nop\d\)\s*", "", line)


def main() -> int:
    """Prints the rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="driving_vision_like", metavar="REGEX")
    parser.add_argument("--cost", type=Path, default=qcom_models.SHARED / "adreno" / "ir3cost")
    arguments = parser.parse_args()
    columns = [*KINDS, "waiting", "rest", "waiting for texture reads", "launches"]
    print(f"| | {' | '.join(columns)} | all |\n|---|{'--:|' * (len(columns) + 1)}")
    for entry, path in qcom_models.files(arguments.only, entries=qcom_models.WITH_PUBLISHED):
        for precision in qcom_models.precisions_of(entry.name, (*PRECISIONS, qcom_models.LARGE)):
            found = breakdown(arguments.cost, ours(path, qcom_models.options_for(entry.name, precision)))
            cells = " | ".join(f"{found[column]:.2f}" for column in columns)
            print(f"| {entry.name}, {precision} | {cells} | {sum(found.values()):.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
