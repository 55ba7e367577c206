"""A small model that still fails, written to a folder with its data and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tgc.artifact import Artifact
from tgc.errors import InvalidIrError, OptionError, TgcError
from tgc.frontend_onnx.extract import Part, Whole, read_whole, run_whole, write_part
from tgc.ir.text import print_kernel
from tgc.run.device import Device
from tgc.verify.bisect import Fault
from tgc.verify.compare import Tolerance, compare
from tgc.verify.minimise import minimise
from tgc.verify.place import LOCAL, place

Array = npt.NDArray[np.generic]
Compile = Callable[[Part], Artifact]
Watch = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reproducer:
    """A model file that fails, and the nodes in it."""

    model: Path
    nodes: tuple[str, ...]


def reproduce(
    artifact: Artifact, model: Path, inputs: Mapping[str, Array], fault: Fault | None, folder: Path, again: Compile,
    tolerance: Tolerance, watch: Watch | None = None, device: Device = LOCAL,
) -> Reproducer | None:  # fmt: skip
    """Writes the smallest part of the file `model` that `again`, which compiles it as the whole was, gets wrong.

    What is right is what ONNX Runtime computes for each value in the whole model. None where no part is wrong by that measure.
    """
    whole = run_whole(read_whole(model), inputs)
    part = minimise(whole, lambda part: is_wrong(part, again, tolerance, device), _guesses(whole, fault), watch=watch)
    if part is None:
        return None
    nodes = tuple(node.name or node.op_type for node in part.model.graph.node)
    _write(part, folder, _story(artifact, fault, nodes))
    if fault is not None and fault.kernel:
        (folder / "kernel.tir").write_text(print_kernel(artifact.program.kernel(fault.kernel)), encoding="utf-8")
    return Reproducer(folder / "model.onnx", nodes)


def is_wrong(part: Part, again: Compile, tolerance: Tolerance, device: Device = LOCAL) -> bool:
    """Whether `part`, compiled and run, gives other outputs than it has in the whole model. What cannot be compiled is not wrong."""
    try:
        with place(device) as prepare:
            found = prepare(again(part))(part.inputs)
    except (TgcError, InvalidIrError):
        return False
    return not all(compare(name, found[name], value, tolerance).passed for name, value in part.outputs.items())


def _guesses(whole: Whole, fault: Fault | None) -> list[frozenset[int]]:
    """The nodes of the kernel that is at fault."""
    if fault is None or not fault.origins:
        return []
    own = {origin.split("/")[0] for origin in fault.origins} | set(fault.origins)
    return [frozenset(number for number, node in enumerate(whole.nodes) if node in own)]


def _write(part: Part, folder: Path, story: str) -> None:
    try:
        write_part(part, folder)
        (folder / "README.txt").write_text(story, encoding="utf-8")
    except OSError as error:
        hint = "name another folder with --reproducer"
        raise OptionError(f"the reproducer cannot be written: {error.strerror}", str(folder), hint) from error


def _story(artifact: Artifact, fault: Fault | None, nodes: tuple[str, ...]) -> str:
    lines = [f"tgc gets this model wrong for the target {artifact.target.name}; it was cut out of {artifact.name}.",
             f"nodes: {', '.join(nodes)}"]  # fmt: skip
    if fault is not None:
        lines.append(f"stage: {fault.stage}" + (f"; kernel {fault.kernel}, see kernel.tir" if fault.kernel else ""))
    lines.append(f"again: tgc verify model.onnx --target {artifact.target.name}")
    return "\n".join(lines) + "\n"
