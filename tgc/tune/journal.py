"""The journal of a search: a line for each measurement, written when it is made, so that a search that was killed goes on where it was."""

from __future__ import annotations

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
def journal(path: Path, target: str) -> Iterator[Journal]:
    """The journal in `path`, with what an earlier search for `target` wrote; that of another target or version is begun anew."""
    head = json.dumps(["tgc-journal", 2, tgc.__version__, target])
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line.rstrip("\n") for line in lines if line.endswith("\n")]
        kept = whole[1:] if whole[:1] == [head] else []
        fresh = path.with_name(path.name + ".new")
        fresh.write_text("".join(f"{line}\n" for line in (head, *kept)), encoding="utf-8")
        os.replace(fresh, path)
        with path.open("a", encoding="utf-8") as file:
            yield Journal(dict(map(_read, kept)), file)
    except OSError as error:
        raise OptionError(f"cannot be written: {error.strerror}", str(path)) from error


def _read(line: str) -> tuple[str, Outcome]:
    name, status, seconds, incumbent, why = json.loads(line)
    return name, Outcome(status, seconds, incumbent, why)
