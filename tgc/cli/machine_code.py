"""tgc inspect --ir3."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgc.cli.build import build
from tgc.cli.output import print_json, print_table, progress
from tgc.errors import OptionError

if TYPE_CHECKING:
    from tgc.run.ir3 import MachineCode, Mesa


def print_machine_code(subject: Path, root: Path, as_json: bool, flags: dict[str, Any]) -> None:
    """A row for each kernel of a model or an artifact for Adreno. Raises OptionError where it is for another target, or without a Mesa."""
    from tgc.run.ir3 import MachineCode, find_mesa

    mesa = find_mesa(root)
    if subject.is_dir():
        rows = _rows(subject, mesa)
    else:
        with tempfile.TemporaryDirectory(prefix="tgc-ir3-") as scratch:
            rows = _rows(build(subject, **flags).write(Path(scratch) / "out"), mesa)
    if as_json:
        print_json({name: {"launches": count, **asdict(code)} for name, (count, code) in rows.items()})
        return
    names = [field.name for field in fields(MachineCode)]
    cells = [(name, str(count), *(str(getattr(code, each)) for each in names)) for name, (count, code) in rows.items()]
    headings = [name.replace("_", " ") for name in names]
    print_table(("kernel", "launches", *headings), cells, right=range(1, len(names) + 2))


def _rows(folder: Path, mesa: Mesa) -> dict[str, tuple[int, MachineCode]]:
    """Launches a frame and machine code of each kernel of the artifact in `folder`."""
    from tgc.run.ir3 import GPUS, machine_code
    from tgc.run.launches import frame
    from tgc.run.load import read_manifest

    manifest = read_manifest(folder)
    target = manifest["target"]["name"]
    if target not in GPUS:
        raise OptionError(
            f"Mesa's compiler for Adreno has no use for what is compiled for {target}", "--ir3", f"choose {' or '.join(GPUS)}"
        )
    counts = Counter(str(launch["name"]) for launch in frame(folder))
    source = (folder / f"{manifest['name']}.cl").read_text()
    with progress(f"compiling {len(counts)} kernels for Adreno"):
        found = machine_code(mesa, GPUS[target], source, str(manifest["build_options"]), list(counts))
    return {name: (counts[name], code) for name, code in found.items()}
