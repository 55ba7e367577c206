"""Timing things that run in one process, in turns, so that a slow moment of the machine meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Runner = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds for one run: over `runs` runs."""

    runs: int
    minimum: float
    median: float
    p99: float
    maximum: float


def summarise(seconds: Sequence[float]) -> Latency:
    """Order statistics of at least one measurement; the 99th percentile is the nearest rank."""
    ordered = sorted(seconds)
    count = len(ordered)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Latency(count, ordered[0], middle, ordered[max(0, -(-count * 99 // 100) - 1)], ordered[-1])


def interleave(runners: Sequence[Runner], seconds: float, at_least: int = 5, at_most: int = 10_000) -> list[Latency]:
    """Runs all `runners` in turns for about `seconds` in all, after a tenth of that (and at least twice) to warm up."""
    _rounds(runners, seconds / 10, 2, at_most)
    return [summarise(times) for times in _rounds(runners, seconds, at_least, at_most)]


def _rounds(runners: Sequence[Runner], seconds: float, at_least: int, at_most: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in runners]
    begin = time.perf_counter()
    for done in range(at_most):
        if done >= at_least and time.perf_counter() - begin > seconds:
            break
        for runner, record in zip(runners, times, strict=True):
            start = time.perf_counter_ns()
            runner()
            record.append((time.perf_counter_ns() - start) / 1e9)
    return times
