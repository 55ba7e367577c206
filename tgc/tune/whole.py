"""What a lock is worth where it counts: the whole model, as the heuristic schedules it and as the lock does, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tgc import driver
from tgc.inputs import draw
from tgc.lock import Lock
from tgc.run import load
from tgc.run.open_shapes import inputs_at
from tgc.tune.evaluate import exclusive

SECONDS = 2.0
LEAST_RUNS = 11
Run = Callable[[], object]


def whole_model(model: Any, target: str, options: Mapping[str, Any], lock: Lock) -> tuple[float, float]:
    """Seconds of one run without `lock` and with it: medians of the CPU time of this thread, of the clock for a device."""
    with tempfile.TemporaryDirectory(prefix="tgc-whole-") as folder:
        runs = [_ready(model, target, {**options, "lock": each}, Path(folder) / name) for name, each in (("plain", None), ("lock", lock))]
        with exclusive():
            return _in_turns(runs[0], runs[1], driver.resolve(target).backend)


def _ready(model: Any, target: str, options: Mapping[str, Any], folder: Path) -> Run:
    driver.compile(model, target, folder, **options)
    loaded = load(folder)
    values = draw(inputs_at(loaded.open, loaded.inputs, {}))
    return lambda: loaded.run(values)


def _in_turns(first: Run, second: Run, backend: str) -> tuple[float, float]:
    clock = time.perf_counter if backend == "opencl" else time.thread_time
    times: tuple[list[float], list[float]] = ([], [])
    for run in (first, second):
        run()
    begin = time.perf_counter()
    while len(times[0]) < LEAST_RUNS or time.perf_counter() - begin < SECONDS:
        for run, found in ((first, times[0]), (second, times[1])):
            start = clock()
            run()
            found.append(clock() - start)
        if time.perf_counter() - begin > 10 * SECONDS:
            break
    return median(times[0]), median(times[1])
