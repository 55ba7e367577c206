"""Evaluates one schedule of one kernel: compiled alone, checked against the heuristic's, timed in turns with it."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from tgc.alone import compiled_alone, stride
from tgc.errors import InvalidIrError, TgcError
from tgc.ir.kernel import Kernel
from tgc.ir.schedule import from_json
from tgc.ir.text import parse_kernel
from tgc.passes.schedule.apply import Scheduled, apply, rearranged
from tgc.run import Model
from tgc.targets import Target

Array = npt.NDArray[np.generic]
ALIGNMENT = 64
TOLERANCE = 1e-4  # of the largest magnitude; half precision and narrower HALF
HALF = 2e-2
Status = Literal["ok", "wrong", "failed"]


@dataclass(frozen=True, slots=True)
class Task:
    """kernel: in its text form. schedule, JSON, is to be compared with incumbent, JSON. seconds: about how long to measure.
    repeat: launches in a run, each on data of its own, so that calling the program is a small part of it.
    """

    kernel: str
    target: Target
    incumbent: str
    schedule: str
    seconds: float
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """seconds, incumbent: medians of one launch each; 0 where the status is not ok. why: of a failure."""

    status: Status
    seconds: float = 0.0
    incumbent: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A schedule compiled, with the memory that it runs on."""

    model: Model
    inputs: list[Array]
    outputs: list[Array]


def evaluate(task: Task) -> Outcome:
    """Compiles both schedules, compares what they compute on random inputs, then times them while no other process here does."""
    try:
        old = _ready(task.kernel, task.target, task.incumbent, task.repeat)
        new = _prepare(task.kernel, task.target, task.schedule, task.repeat)
        difference = _difference(old, new)
        if difference:
            return Outcome("wrong", why=difference)
        with exclusive():
            before, after = _times((old, new), task)
    except (TgcError, InvalidIrError) as error:
        return Outcome("failed", why=str(error).splitlines()[0])
    return Outcome("ok", after, before)


@lru_cache(maxsize=8)
def _ready(kernel: str, target: Target, schedule: str, repeat: int) -> _Ready:
    return _prepare(kernel, target, schedule, repeat)


def _prepare(text: str, target: Target, schedule: str, repeat: int) -> _Ready:
    kernel = parse_kernel(text)
    scheduled = apply(kernel, from_json(schedule))
    model = compiled_alone(replace(scheduled.kernel, name="tuned"), target, ALIGNMENT, keep=False, times=repeat)
    data = _data(kernel, scheduled, repeat)
    outputs = [np.zeros(tensor.shape, tensor.dtype.numpy) for tensor in model.outputs]
    return _Ready(model, [data[tensor.name] for tensor in model.inputs], outputs)


def _data(kernel: Kernel, scheduled: Scheduled, repeat: int) -> dict[str, Array]:
    """Random data for every parameter that is read, that of constants in the order that the schedule gives it, once for each launch."""
    made = {}
    for number, (parameter, changed) in enumerate(zip(kernel.parameters, scheduled.kernel.parameters, strict=True)):
        buffer = parameter.buffer
        random = _random(buffer.dtype.numpy, buffer.size, np.random.default_rng(number))
        once = np.ascontiguousarray(rearranged(random, scheduled.packings.get(buffer.name, ())))
        room = stride(changed.buffer, ALIGNMENT)
        made[buffer.name] = once if repeat == 1 else np.tile(np.resize(once, room), repeat)
    return made


def _random(dtype: npt.DTypeLike, size: int, rng: np.random.Generator) -> Array:
    """Floats within 1, bytes of any value; wider whole numbers may be indices, so they are 0 or 1."""
    kind = np.dtype(dtype)
    if kind.kind == "f" or kind.kind == "V":
        return rng.uniform(-1, 1, size).astype(kind)
    if kind.itemsize == 1 and kind.kind in "iu":
        info = np.iinfo(kind)
        return rng.integers(info.min, info.max, size, kind, endpoint=True)
    return rng.integers(0, 2, size).astype(kind)


def _difference(old: _Ready, new: _Ready) -> str:
    """In words where the results differ; "" where they agree."""
    for ready in (old, new):
        ready.model.execute(ready.inputs, ready.outputs)
    for tensor, want, got in zip(old.model.outputs, old.outputs, new.outputs, strict=True):
        a, b = (np.asarray(each, np.float64 if each.dtype.kind not in "iub" else each.dtype) for each in (want, got))
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return f"{tensor.name} differs from the untuned result"
            continue
        scale = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a))) or 1.0
        allowed = scale * (TOLERANCE if want.dtype.itemsize >= 4 else HALF)
        if not np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True):
            return f"{tensor.name} differs from the untuned result by more than {allowed:.2g}"
    return ""


def _times(pair: tuple[_Ready, _Ready], task: Task) -> tuple[float, float]:
    """Medians of both, run in turns: seconds of this thread's CPU, of the clock for a device."""
    clock = time.perf_counter if task.target.backend == "opencl" else time.thread_time
    counts = [max(1, int(2e-4 / max(_once(ready, clock, 1), 1e-7))) for ready in pair]
    times: tuple[list[float], list[float]] = ([], [])
    begin = time.perf_counter()
    while len(times[0]) < 5 or (time.perf_counter() - begin < task.seconds and len(times[0]) < 200):
        for ready, count, found in zip(pair, counts, times, strict=True):
            found.append(_once(ready, clock, count))
        if time.perf_counter() - begin > 10 * task.seconds:
            break
    return median(times[0]) / task.repeat, median(times[1]) / task.repeat


def _once(ready: _Ready, clock: object, count: int) -> float:
    assert callable(clock)
    start = clock()
    for _ in range(count):
        ready.model.execute(ready.inputs, ready.outputs)
    return float(clock() - start) / count


@contextmanager
def exclusive() -> Iterator[None]:
    """Waits until no other process of this user measures on this machine; the kernel frees what a process that died held."""
    with Path(tempfile.gettempdir(), f"tgc-measuring-{os.getuid()}").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
