"""What is in a compiled model: operators and what each became, kernels and their work, memory, weights, and where the code is.

All of it but measured times follows from the artifact's manifest and files, so an artifact that was made elsewhere can be looked at too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgc.artifact import MANIFEST, Artifact
from tgc.errors import ModelError
from tgc.ir.text import print_kernel
from tgc.report.source import Place, located
from tgc.roof import Peak, Roof, roof_of
from tgc.run.load import read_manifest

__all__ = ["KernelRow", "MemoryRow", "OperatorRow", "Report", "StepRow", "WeightRow", "report_of", "report_of_folder"]


@dataclass(frozen=True, slots=True)
class KernelRow:
    """A kernel. flop, integer, read, written: of one launch, as `tgc.ir.work.Work` counts them.

    predicted: seconds of one launch by the roofline. measured: seconds of one launch alone; None where it was not measured.
    """

    name: str
    calls: int
    flop: int
    integer: int
    read: int
    written: int
    predicted: float
    bound: str
    measured: float | None
    nodes: tuple[str, ...]
    place: Place | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A call in the order in which they run, `times` in a row; the storages that it reads and writes."""

    entry: str
    kernel: str
    times: int
    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A piece of memory: `first` and `last` are the numbers of the steps that need it, -1 where none does."""

    name: str
    role: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    offset: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WeightRow:
    """A tensor of weights, as it is stored: `sha256` of its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    offset: int
    layout: str
    sha256: str


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """A node of the ONNX model and the kernels that compute it: none where it is a view, a constant, or not needed."""

    node: str
    operator: str
    kernels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. predicted: seconds of a run by the roofline, every launch; measured: the same of what was measured, if all was."""

    name: str
    target: str
    tgc: str
    roof: Roof
    predicted: float
    measured: float | None
    arena_bytes: int
    weights_bytes: int
    operators: tuple[OperatorRow, ...]
    kernels: tuple[KernelRow, ...]
    steps: tuple[StepRow, ...]
    memory: tuple[MemoryRow, ...]
    weights: tuple[WeightRow, ...]


def report_of(
    artifact: Artifact,
    operators: Sequence[tuple[str, str]] = (),
    measured: Mapping[str, float] | None = None,
    peak: Peak = (None, None),
    roof: Roof | None = None,
) -> Report:
    """The report of a model that was compiled just now. `peak`, `roof`: as `tgc.roof.roof_of` takes them."""
    manifest = json.loads(artifact.files[MANIFEST])
    places = located(artifact.files)
    text = {kernel.name: Place("", 0, print_kernel(kernel)) for kernel in artifact.program.kernels if kernel.name not in places}
    return _report(manifest, {**text, **places}, operators, measured or {}, roof_of(manifest["target"], peak, roof))


def report_of_folder(folder: Path, peak: Peak = (None, None)) -> Report:
    """The report of an artifact on disk. Raises ModelError where it is none, or lacks what a report needs."""
    manifest = read_manifest(folder)
    try:
        files = {name: (folder / name).read_bytes() for name in manifest["files"] if name.endswith((".c", ".cl"))}
        return _report(manifest, located(files), (), {}, roof_of(manifest["target"], peak))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the manifest lacks {error}", str(folder), "compile the model again with this version of tgc") from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(error.filename), "compile the model again") from error


def _report(
    manifest: Mapping[str, Any],
    places: Mapping[str, Place],
    operators: Sequence[tuple[str, str]],
    measured: Mapping[str, float],
    roof: Roof,
) -> Report:
    kernels = tuple(_kernel(row, roof, measured.get(row["name"]), places.get(row["name"])) for row in manifest["kernels"])
    steps = tuple(
        StepRow(s["entry"], s["kernel"], s["times"], tuple(s["nodes"]), tuple(s["reads"]), tuple(s["writes"])) for s in manifest["steps"]
    )
    known = {row["name"]: row for row in manifest["memory"]}
    times = [k.measured for k in kernels]
    total = None if None in times else sum((k.measured or 0) * k.calls for k in kernels)
    return Report(
        name=manifest["name"], target=manifest["target"]["name"], tgc=manifest["tgc"], roof=roof,
        predicted=sum(k.predicted * k.calls for k in kernels), measured=total,
        arena_bytes=manifest["arena_bytes"], weights_bytes=manifest["weights"]["bytes"],
        operators=_operators(operators, manifest["nodes"]), kernels=kernels, steps=steps,
        memory=tuple(_memory(row, steps) for row in known.values()),
        weights=tuple(
            WeightRow(w["name"], w["dtype"], tuple(w["shape"]), w["bytes"], w["offset"], w["layout"], w["sha256"])
            for w in manifest["weights"]["tensors"]
        ),
    )  # fmt: skip


def _kernel(row: Mapping[str, Any], roof: Roof, measured: float | None, place: Place | None) -> KernelRow:
    work = {key: row[key] for key in ("name", "calls", "flop", "integer", "read", "written")}
    done, moved = row["flop"] + row["integer"], row["read"] + row["written"]
    return KernelRow(
        **work, predicted=roof.seconds(done, moved), bound=roof.bound(done, moved), measured=measured, nodes=tuple(row["nodes"]),
        place=place,
    )  # fmt: skip


def _memory(row: Mapping[str, Any], steps: Sequence[StepRow]) -> MemoryRow:
    used = [number for number, step in enumerate(steps) if row["name"] in (*step.reads, *step.writes)]
    return MemoryRow(
        row["name"], row["role"], row["dtype"], tuple(row["shape"]), row["bytes"], row["offset"],
        used[0] if used else -1, used[-1] if used else -1,
    )  # fmt: skip


def _operators(listed: Sequence[tuple[str, str]], nodes: Mapping[str, Sequence[str]]) -> tuple[OperatorRow, ...]:
    """Those listed; a function's node has all the kernels of its parts. Without a list, the nodes that kernels know of."""
    if not listed:
        return tuple(OperatorRow(node, "", tuple(kernels)) for node, kernels in nodes.items())
    parts: dict[str, dict[str, None]] = {}
    for node, kernels in nodes.items():
        for name in (node, node.split("/")[0]):
            parts.setdefault(name, {}).update(dict.fromkeys(kernels))
    return tuple(OperatorRow(node, operator, tuple(parts.get(node, ()))) for node, operator in listed)
