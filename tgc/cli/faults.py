"""What tgc verify tells of a fault, and of indices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.artifact import Artifact
from tgc.cli.build import build
from tgc.cli.output import print_json, print_table, progress
from tgc.errors import ModelError

if TYPE_CHECKING:
    from tgc.run.device import Device
    from tgc.verify import Case, Tolerance
    from tgc.verify.bisect import Fault
    from tgc.verify.reproduce import Reproducer


@dataclass(frozen=True, slots=True)
class Told:
    """The first fault, if one was found, and a small model with it, if one was; else why there is none."""

    fault: Fault | None
    reproducer: Reproducer | None
    why: str = "no part of the model is wrong by ONNX Runtime's values"

    def plain(self) -> dict[str, object]:
        small = {"model": str(self.reproducer.model), "nodes": list(self.reproducer.nodes)} if self.reproducer else None
        return {"fault": asdict(self.fault) if self.fault else None, "reproducer": small}

    def print(self) -> None:
        if self.fault is None:
            click.echo("every kernel and every pass agrees with the one before it, open dimensions pinned; the fault is in the oracle, "
                       "at run time, or in what open dimensions take")  # fmt: skip
        elif self.fault.kernel:
            click.echo(f"first wrong kernel: {self.fault.kernel}, call {self.fault.call}, at fault: {self.fault.stage}; "
                       f"off by {self.fault.difference.absolute:.3g}; ONNX nodes {', '.join(self.fault.origins) or 'none'}")  # fmt: skip
        else:
            click.echo(f"the kernels agree; {self.fault.stage} changes the output {self.fault.difference.name!r}")
        if self.reproducer is None:
            click.echo(f"there is no reproducer: {self.why}")
        else:
            click.echo(f"{self.reproducer.model}: fails too, with {len(self.reproducer.nodes)} nodes: {', '.join(self.reproducer.nodes)}")


def find_fault(
    artifact: Artifact, model: Path, case: Case, tolerance: Tolerance, folder: Path | None, flags: dict[str, Any], device: Device
) -> Told:
    """Bisects, then minimises and writes the reproducer."""
    from tgc.cli.reduce import recompiler
    from tgc.verify.bisect import first_fault
    from tgc.verify.reproduce import reproduce

    with progress("looking for the fault") as watch:
        artifact = _pinned(artifact, model, case, flags)
        fault = first_fault(artifact, case.inputs, case.expected, tolerance, watch, device)
        goal = folder or Path(f"{artifact.name}-reproducer")
        try:
            again = recompiler(flags)
            return Told(fault, reproduce(artifact, model, case.inputs, fault, goal, again, tolerance, watch, device))
        except ModelError as error:
            return Told(fault, None, error.what)


def _pinned(artifact: Artifact, model: Path, case: Case, flags: dict[str, Any]) -> Artifact:
    """The model compiled for the sizes of `case` alone where it has open dimensions, else the artifact itself."""
    from tgc.run.open_shapes import sizes_of

    if artifact.graph.open is None:
        return artifact
    names = [tensor.name for tensor in artifact.graph.inputs][: len(artifact.graph.open.inputs)]
    sizes = sizes_of(artifact.graph.open, names, {name: array.shape for name, array in case.inputs.items()})
    return build(model, **{**flags, "dims": tuple({**dict(flags["dims"]), **sizes}.items())})


def print_bounds(artifact: Artifact, as_json: bool) -> int:
    """Every kernel's indices; exit status 1 where one is neither shown to be inside its buffer nor guarded."""
    from tgc.ir.ranges import program_accesses

    found = program_accesses(artifact.program)
    missing = [(name, access) for name, listed in found.items() for access in listed if access.verdict == "not shown"]
    if as_json:
        print_json({"passed": not missing, "kernels": {name: [asdict(access) for access in listed] for name, listed in found.items()}})
        return 1 if missing else 0
    verdicts = ("shown", "guarded", "not shown")
    rows = [(name, *(str(sum(a.verdict == verdict for a in listed)) for verdict in verdicts)) for name, listed in found.items()]
    print_table(("kernel", *verdicts), rows, right=(1, 2, 3))
    for name, access in missing:
        click.echo(f"{name}: {access.kind} of {access.buffer}, {access.low} .. {access.high} of {access.size}")
    return 1 if missing else 0
