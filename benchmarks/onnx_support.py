"""Writes docs/onnx-support.md: what tgc does of ONNX, from its registry and from the results of benchmarks/onnx_suite.py.

python benchmarks/onnx_suite.py && python benchmarks/onnx_support.py > docs/onnx-support.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import open_models
from onnx import TensorProto, helper
from onnx_cases import FAMILIES, data_sets, tests

from tgc.frontend_onnx.control import CONTROL
from tgc.frontend_onnx.functions import has_schema_body
from tgc.frontend_onnx.registry import normal_domain, standard_registry
from tgc.frontend_onnx.structured import STRUCTURED, TEXTUAL

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "onnx_suite.json"
TRAINED = HERE / "results" / "trained_models.json"
TARGETS = ("cpu", "c", "opencl")
FIRST, NEWEST = 7, onnx.defs.onnx_opset_version()
HEAD = """# What tgc does of ONNX

This file is generated: `python benchmarks/onnx_suite.py && python benchmarks/onnx_support.py > docs/onnx-support.md`.

**versions** are those of the operator, by the opset that began them, from opset {first} to {newest}; a version in brackets is refused.
**by** says how: `lowering` is tgc's own, `function` the body that the ONNX schema carries, `control` the importer's.
**cpu**, **c** and **opencl** count the tests of the `onnx` package {version} that use the operator and pass when compiled for the
target, of all that use it; **types** are the element types of the operator's operands and results in those that pass on all three.
Tests that are left out, each with its reason, are in [tests/onnx_excluded.txt](../tests/onnx_excluded.txt).
**symbolic**: with the dimensions of the inputs open, all of them or, where that is refused, one; one artifact is run at the recorded
sizes and at others. **constants**: every input compiled in, so that the folder computes the results.

"""
TRAINED_HEAD = """The worst error of an output as a share of its largest magnitude, or in steps of its scale where it is quantised, against
ONNX Runtime, which does not optimise the model: `python benchmarks/trained_models.py`.
"""
OPEN_HEAD = """One artifact a model, run at three sizes: the worst error of all, `python benchmarks/open_models.py`.
*one size only*: the model says 1 within, and ONNX Runtime does not run it with another batch either.
Where an error is beyond the limits of the table above, the program for that one size answers the same as the one for all.
"""
COLUMNS = ("| operator | versions | by | cpu | c | opencl | types |", "|---|---|---|--:|--:|--:|---|")


@dataclass(slots=True)
class Found:
    """What the tests say of one operator: how many ran and passed by target, and element types."""

    ran: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0))
    passed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0))
    types: set[str] = field(default_factory=set)


Key = tuple[str, str]


def main() -> None:
    print(document(), end="")


def document() -> str:
    """The text of docs/onnx-support.md."""
    results = json.loads(RESULTS.read_text())["tests"]
    found = by_operator(results)
    parts = [HEAD.format(first=FIRST, newest=NEWEST, version=onnx.__version__) + summary(results)]
    for domain in ("", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training", "ai.onnx.preview"):
        rows = list(rows_of(domain, found))
        if rows:
            parts += [f"\n## {domain or 'ai.onnx'}\n", *COLUMNS]
            parts.extend(f"| {' | '.join(row)} |" for row in rows)
    parts.append(trained(json.loads(TRAINED.read_text())))
    parts += ["\n### With open axes\n", OPEN_HEAD, open_models.table(json.loads(open_models.RESULTS.read_text()))]
    return "\n".join(parts) + "\n"


def trained(rows: Sequence[Mapping[str, Any]]) -> str:
    """How far trained models are from ONNX Runtime on each target."""
    models = sorted({str(row["model"]) for row in rows})
    by_place = {(row["model"], row["target"]): row for row in rows}
    lines = ["\n## Trained models\n", TRAINED_HEAD, f"| model | {' | '.join(TARGETS)} |", f"|---|{'--:|' * len(TARGETS)}"]
    for model in models:
        lines.append(f"| {model} | {' | '.join(_distance(by_place.get((model, target))) for target in TARGETS)} |")
    return "\n".join(lines)


def _distance(row: Mapping[str, Any] | None) -> str:
    match row:
        case None:
            return ""
        case {"failure": str(why)}:
            return why
        case {"agrees": False}:
            return f"**{row['error']:.0e}**"
        case {"steps": None, "error": error}:
            return f"{error:.0e}" if error else "equal"
        case _:
            return f"{row['steps']:.2g} step" if row["steps"] else "equal"


def summary(results: Mapping[str, Mapping[str, str]]) -> str:
    """Tests that pass, by family, target and variant."""
    variants = sorted({key.split()[1] for answers in results.values() for key in answers}, key=("inputs", "constants", "symbolic").index)
    ran = {key for answers in results.values() for key in answers}
    columns = [f"{target} {variant}" for variant in variants for target in TARGETS if f"{target} {variant}" in ran]
    lines = [f"| family | tests | {' | '.join(columns)} |", f"|---|--:|{'--:|' * len(columns)}"]
    for family in FAMILIES:
        mine = [results.get(name, {}) for name in tests(family)]
        counts = [_passing([answers[column] for answers in mine if column in answers]) for column in columns]
        lines.append(f"| {family} | {len(mine)} | {' | '.join(counts)} |")
    return "\n".join(lines)


def _passing(answers: Sequence[str]) -> str:
    """How many tests pass; nothing where none was run."""
    return str(answers.count("pass")) if answers else ""


def by_operator(results: Mapping[str, Mapping[str, str]]) -> dict[Key, Found]:
    """The suite's tests by operator; a test of several operators counts for each."""
    found: dict[Key, Found] = {}
    for family in FAMILIES:
        for name, case in tests(family).items():
            model = next(data_sets(case))[0]
            answers = results.get(name, {})
            passed = [target for target in TARGETS if answers.get(f"{target} inputs") == "pass"]
            types = element_types(model) if len(passed) == len(TARGETS) and len(model.graph.node) == 1 else set()
            for key in sorted({(normal_domain(node.domain), node.op_type) for node in model.graph.node}):
                one = found.setdefault(key, Found())
                one.types |= types
                for target in TARGETS:
                    one.ran[target] += f"{target} inputs" in answers
                    one.passed[target] += target in passed
    return found


def element_types(model: onnx.ModelProto) -> set[str]:
    """The types of the graph's inputs and outputs, by their names in ONNX."""
    values = (*model.graph.input, *model.graph.output)
    return {TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower() for v in values if v.type.HasField("tensor_type")}


def rows_of(domain: str, found: Mapping[Key, Found]) -> Iterator[tuple[str, ...]]:
    for name in sorted(schemas(domain) | {lowering.op_type for lowering in standard_registry() if lowering.domain == domain}):
        tested = found.get((domain, name), Found())
        counts = [f"{tested.passed[target]}/{tested.ran[target]}" if tested.ran[target] else "" for target in TARGETS]
        yield (name, *versions(domain, name), *counts, " ".join(sorted(tested.types)))


def schemas(domain: str) -> set[str]:
    """The operators that the `onnx` package defines in `domain` today."""
    return {s.name for s in onnx.defs.get_all_schemas() if normal_domain(s.domain) == domain and not s.deprecated}


def versions(domain: str, name: str) -> tuple[str, str]:
    """The versions of an operator, and by what they are lowered."""
    ours = standard_registry().versions(domain, name)
    history = [s for s in onnx.defs.get_all_schemas_with_history() if normal_domain(s.domain) == domain and s.name == name]
    since = sorted({s.since_version for s in history if not s.deprecated})
    if domain == "":
        older = [v for v in since if v <= FIRST]
        since = [*older[-1:], *(v for v in since if v > FIRST)]
    ways, shown = set(), []
    for version in since or ours:
        way = how(domain, name, version, ours)
        ways.add(way or "")
        shown.append(str(version) if way else f"({version})")
    return ", ".join(shown), ", ".join(sorted(ways - {""})) or "-"


def how(domain: str, name: str, version: int, ours: tuple[int, ...]) -> str | None:
    """What lowers one version of an operator; None where nothing does."""
    if version in ours:
        return "lowering"
    if domain == "" and name in CONTROL:
        return "control"
    if domain == "" and name in (*STRUCTURED, *TEXTUAL):
        return "importer"
    node = helper.make_node(name, [], [], domain=domain)
    return "function" if has_schema_body(node, max(version, FIRST) if domain == "" else version) else None


if __name__ == "__main__":
    main()
