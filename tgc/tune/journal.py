"""The journal of a search: a line for each measurement, written when it is made, so that a search that was killed goes on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import tgc
from tgc.errors import OptionError
from tgc.ir.schedule import Schedule, to_json
from tgc.tune.evaluate import Outcome


@dataclass(slots=True)
class Journal:
    """known: outcomes by kernel and schedule. file: where new ones go; None keeps them in memory."""

    known: dict[str, Outcome] = field(default_factory=dict)
    file: IO[str] | None = None

    def find(self, key: str, schedule: Schedule) -> Outcome | None:
        return self.known.get(_name(key, schedule))

    def add(self, key: str, schedule: Schedule, outcome: Outcome) -> None:
        name = _name(key, schedule)
        self.known[name] = outcome
        if self.file is not None:
            row = [name, outcome.status, outcome.seconds, outcome.incumbent, outcome.why]
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())


def _name(key: str, schedule: Schedule) -> str:
    return f"{key}-{hashlib.sha256(to_json(schedule).encode()).hexdigest()[:16]}"


@contextmanager
def journal(path: Path, measured: str) -> Iterator[Journal]:
    """The journal in `path`, with what an earlier search wrote whose `measured`, target and device, is the same; another is begun anew.

    Raises OptionError where it cannot be written, or another search is writing it.
    """
    head = json.dumps(["tgc-journal", 3, tgc.__version__, measured]) + "\n"
    try:
        with path.open("a+", encoding="utf-8") as file:
            _claim(file, path)
            yield Journal(dict(map(_read, _kept(file, head))), file)
    except OSError as error:
        raise OptionError(f"cannot be written: {error.strerror}", str(path)) from error


def _claim(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OptionError("another search is writing it", str(path), "wait for that one, or choose another lock file with -o") from error


def _kept(file: IO[str], head: str) -> list[str]:
    """The whole lines of a file that begins with `head`. What a search that was killed had half written is cut off, and nothing more."""
    file.seek(0)
    whole = [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
    kept = whole if whole[:1] == [head] else []
    file.truncate(len("".join(kept).encode()))
    if not kept:
        file.write(head)
        file.flush()
    return kept[1:]


def _read(line: str) -> tuple[str, Outcome]:
    name, status, seconds, incumbent, why = json.loads(line)
    return name, Outcome(status, seconds, incumbent, why)
