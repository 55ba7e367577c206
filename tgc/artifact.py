"""What compiling makes: files as bytes, and the one place that writes them to disk."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tgc.errors import OptionError
from tgc.ir.graph import Graph
from tgc.ir.program import Program
from tgc.targets import Target

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled model. `files` maps each file's name to its bytes; nothing is on disk until `write`.

    seconds, passes: time that each step of the pipeline and each pass took, in order.
    For reports only, never part of `files`.
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
        """Makes `folder` hold these files, in place of an earlier artifact's; what else lies there is kept.

        The files are first written whole to a temporary folder on the same disk, then moved into place, so that a full disk or an
        interruption leaves no half-written file. Raises OptionError where `folder` is a file, cannot be written, or holds files
        of these names that tgc did not make.
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
    earlier = _earlier(goal)
    for name in files:
        if name not in earlier and (goal / name).exists():
            raise OptionError(f"holds {name}, which tgc did not make", where=str(goal), hint="choose another folder with -o")
    # In place rather than by renaming the folder: it may be a mount point, or where the user's shell is.
    with tempfile.TemporaryDirectory(prefix=".tgc-", dir=_existing(goal), ignore_cleanup_errors=True) as temporary:
        staged = Path(temporary) / "files"
        staged.mkdir()
        for name, content in files.items():
            (staged / name).write_bytes(content)
        if goal.exists():
            for name in sorted(files, key=lambda name: name == MANIFEST):  # last, for it vouches for the others
                os.replace(staged / name, goal / name)
        else:
            goal.parent.mkdir(parents=True, exist_ok=True)
            staged.rename(goal)
    for name in sorted(earlier - set(files)):
        (goal / name).unlink(missing_ok=True)


def _earlier(folder: Path) -> frozenset[str]:
    """The names of the files of the artifact that is in `folder`; none where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        names = {str(name) for name in manifest["files"]} if "tgc" in manifest else set[str]()
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
    return frozenset({name for name in names if Path(name).name == name} | {MANIFEST}) if names else frozenset()


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    for candidate in (folder.absolute(), *folder.absolute().parents):
        if candidate.exists():
            return candidate
    return Path(folder.anchor or ".")
