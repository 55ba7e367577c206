"""What compiling makes: files as bytes, and the one place that writes them to disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tgc.errors import OptionError
from tgc.ir.graph import Graph
from tgc.ir.program import Program
from tgc.targets import Target


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled model. `files` maps each file's name to its bytes; nothing is on disk until `write`.

    seconds, passes: time that each step of the pipeline and each pass took, in order; for reports only, never part of `files`.
    """

    name: str
    target: Target
    files: Mapping[str, bytes]
    program: Program
    graph: Graph
    seconds: tuple[tuple[str, float], ...] = ()
    passes: tuple[tuple[str, float], ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(len(content) for content in self.files.values())

    def write(self, folder: str | Path) -> Path:
        """Writes every file into `folder`, or none of them.

        The files are first written to a temporary folder on the same disk, then moved into place, so that a full disk or an
        interruption leaves no half-written file. Other files in `folder` stay. Raises OptionError where it cannot be written.
        """
        goal = Path(folder)
        try:
            _write(goal, self.files)
        except OSError as error:
            what = f"cannot write the artifact: {error.strerror or error}"
            raise OptionError(what, where=str(folder), hint="nothing was written; choose another folder with -o") from error
        return goal


def _write(goal: Path, files: Mapping[str, bytes]) -> None:
    if goal.exists() and not goal.is_dir():
        raise OptionError("the output folder is a file", where=str(goal), hint="choose another folder with -o")
    base = _existing(goal)
    with tempfile.TemporaryDirectory(prefix=".tgc-", dir=base, ignore_cleanup_errors=True) as temporary:
        staged = Path(temporary) / "files"
        staged.mkdir()
        for name, content in files.items():
            (staged / name).write_bytes(content)
        if goal.exists():
            for name in files:
                os.replace(staged / name, goal / name)
        else:
            goal.parent.mkdir(parents=True, exist_ok=True)
            staged.rename(goal)


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    for candidate in (folder.absolute(), *folder.absolute().parents):
        if candidate.exists():
            return candidate
    return Path(folder.anchor or ".")
