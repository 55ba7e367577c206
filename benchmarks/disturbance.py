"""How much of this machine's processors other programs take, by what Linux counts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")  # seconds
QUIET = 0.06  # of the processors' time, up to which others disturb nobody; what the counters cannot tell apart is half of that


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds: on the clock, that all processors were idle, and that the programs of our own computed, until now."""

    clock: float
    idle: float
    own: float


def now(processes: Iterable[int]) -> Moment:
    """The counters, `processes` and the one that asks being our own."""
    idle = sum(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6]))
    own = sum(map(_computed, (os.getpid(), *processes)))
    return Moment(time.perf_counter(), idle * TICK, own * TICK)


def _computed(process: int) -> int:
    """Ticks that all threads of a process computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def disturbance(before: Moment, after: Moment) -> float:
    """The share of all processors' time between two moments that others took, the hypervisor among them."""
    whole = (os.cpu_count() or 1) * (after.clock - before.clock)
    return max(0.0, whole - (after.idle - before.idle) - (after.own - before.own)) / whole
