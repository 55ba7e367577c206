"""Lock files: for each kernel of a model the schedule that it has, found by `tgc tune`, in a text that people review.

    {
      "tgc-lock": 1,
      "target": "cpu x86_64-unknown-linux-gnu znver4 ...",
      "kernels": {
        "0a31..": {
          "origins": ["Conv_12"],
          "predicted_us": [812.1, 790.4],
          "measured_us": [901.5, 640.2],
          "schedule": [
            {"step": "Split", "var": "c", "factor": 16, "tail": "overlap"},
    ...

A kernel is known by a hash of what it computes and of the target, never by its place in the model. Of each pair of times the first is the
heuristic's. Keys are sorted and every step has a line, so that a change of one kernel is a change of its lines. A model fits a lock whose
keys are those of its kernels, none more and none less.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgc.errors import InvalidIrError, OptionError
from tgc.ir.fingerprint import fingerprint
from tgc.ir.kernel import Kernel
from tgc.ir.schedule import Schedule, step_fields, step_from
from tgc.passes.assemble import Scheduler
from tgc.passes.schedule.apply import Scheduled, apply
from tgc.targets import Target
from tgc.whole_file import write_whole

VERSION = 1
Times = tuple[float, float]
"""Seconds of one launch: as the heuristic schedules the kernel, and as the lock does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel. origins: for people. predicted: by the closed form; measured: None where nothing was measured."""

    origins: tuple[str, ...]
    schedule: Schedule
    predicted: Times | None = None
    measured: Times | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """target: what `describe` says of it. entries: by the kernels' keys."""

    target: str
    entries: Mapping[str, Entry]


def describe(target: Target) -> str:
    """All of `target` that a schedule may depend on, in one line."""
    features = hashlib.sha256(target.features.encode()).hexdigest()[:8] if target.features else ""
    parts = [target.name, target.triple, target.cpu, features, target.precision, target.single]
    parts += [f"half-from={target.half_from}"] if target.half_from else []
    sizes = f"vector={target.vector_bits}x{target.vector_registers} threads={target.threads}"
    return " ".join([*(part for part in parts if part), sizes])


def key_of(kernel: Kernel, constants: frozenset[str], target: Target) -> str:
    """What a kernel is known by: SHA-256 of the unscheduled kernel, of which parameters are constants, and of the target, shortened."""
    content = "\n".join([describe(target), *sorted(constants), fingerprint(kernel)])
    return hashlib.sha256(content.encode()).hexdigest()[:24]


@dataclass(slots=True)
class Pinned:
    """Schedules kernels as `lock` says. used: keys of kernels so far; missing: ONNX nodes of those that it lacks, as `otherwise` does."""

    lock: Lock
    target: Target
    otherwise: Scheduler
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    def schedule(self, kernel: Kernel, constants: frozenset[str]) -> Scheduled:
        """Raises OptionError where a step of the lock cannot be applied."""
        key = key_of(kernel, constants, self.target)
        entry = self.lock.entries.get(key)
        if entry is None:
            self.missing.append(kernel.origins[-1] if kernel.origins else kernel.name)
            return self.otherwise(kernel, constants)
        self.used.add(key)
        try:
            return apply(kernel, entry.schedule)
        except InvalidIrError as error:
            raise OptionError(f"a step cannot be applied: {error}", f"lock entry {key} ({_origin(entry)})", _HINT) from error

    def require_fit(self) -> None:
        """Raises OptionError where the lock has entries for kernels that the model does not have, or lacks some that it has."""
        stray = [f"{key} ({_origin(entry)})" for key, entry in sorted(self.lock.entries.items()) if key not in self.used]
        faults = []
        if stray:
            faults.append(f"the lock has entries for kernels that this model does not have: {_first(stray)}")
        if self.missing:
            faults.append(f"this model has kernels that are not in the lock: {_first(self.missing)}")
        if faults:
            raise OptionError("; ".join(faults), "--lock", _HINT)


def _origin(entry: Entry) -> str:
    return entry.origins[-1] if entry.origins else "of no ONNX node"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_HINT = "the model, an option or the version of tgc changed; run tgc tune again"


def pinned(lock: Lock, target: Target, otherwise: Scheduler) -> Pinned:
    """Raises OptionError where `lock` is for another target."""
    if lock.target != describe(target):
        raise OptionError(f"the lock is for {lock.target!r}, and this is {describe(target)!r}", "--lock", "run tgc tune for this target")
    return Pinned(lock, target, otherwise)


def steadied(lock: Lock, earlier: Lock) -> Lock:
    """`lock` with the times of `earlier` for every schedule that both have, so that searching again changes only what it improves."""
    if earlier.target != lock.target:
        return lock
    old = earlier.entries
    kept = {key: old[key] if key in old and old[key].schedule == each.schedule and old[key].origins == each.origins
            and bool(old[key].measured) >= bool(each.measured) else each for key, each in lock.entries.items()}  # fmt: skip
    return Lock(lock.target, kept)


def print_lock(lock: Lock) -> str:
    """The text of the lock file: sorted, a line for each step."""
    rows = [f"    {json.dumps(key)}: {_print_entry(entry)}" for key, entry in sorted(lock.entries.items())]
    head = [f'  "tgc-lock": {VERSION}', f'  "target": {json.dumps(lock.target)}', '  "kernels": {\n' + ",\n".join(rows) + "\n  }"]
    return "{\n" + ",\n".join(head) + "\n}\n"


def _print_entry(entry: Entry) -> str:
    fields: list[tuple[str, object]] = [("origins", list(entry.origins))]
    times = (("predicted_us", entry.predicted), ("measured_us", entry.measured))
    fields += [(name, [float(f"{value * 1e6:.4g}") for value in pair]) for name, pair in times if pair is not None]
    lines = [f"      {json.dumps(name)}: {json.dumps(value)}" for name, value in fields]
    steps = ",\n".join(f"        {json.dumps(step_fields(step))}" for step in entry.schedule)
    lines.append('      "schedule": [' + (f"\n{steps}\n      ]" if steps else "]"))
    return "{\n" + ",\n".join(lines) + "\n    }"


def parse_lock(text: str, where: str) -> Lock:
    """The lock that `print_lock` wrote. Raises OptionError where it is none."""
    try:
        content = json.loads(text)
        if content["tgc-lock"] != VERSION:
            raise OptionError(f"is a lock of version {content['tgc-lock']}, and this tgc reads {VERSION}", where, "run tgc tune again")
        return Lock(str(content["target"]), {str(key): _entry(row) for key, row in content["kernels"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"is no lock file: {error}", where, "make one with tgc tune") from error


def _entry(row: Any) -> Entry:
    times = [tuple(float(value) * 1e-6 for value in row[name]) if name in row else None for name in ("predicted_us", "measured_us")]
    predicted, measured = ((t[0], t[1]) if t is not None else None for t in times)
    return Entry(tuple(map(str, row["origins"])), tuple(step_from(step) for step in row["schedule"]), predicted, measured)


def read_lock(path: str | Path) -> Lock:
    """The lock in a file. Raises OptionError where it is none."""
    try:
        return parse_lock(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", str(path)) from error
    except UnicodeDecodeError as error:
        raise OptionError("is no lock file: it is no text", str(path), "make one with tgc tune") from error


def write_lock(lock: Lock, path: Path) -> None:
    """Writes the file whole or not at all. Raises OptionError where that cannot be done."""
    write_whole(path, print_lock(lock).encode())
