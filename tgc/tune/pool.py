"""Local workers: processes that evaluate schedules. One that dies is replaced, and its task is reported as failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Timer

import tgc
from tgc.tune.evaluate import Outcome, Task
from tgc.tune.worker import receive, send

MOST_SECONDS = 120  # for one task; its process is ended then

Evaluate = Callable[[Sequence[Task]], Iterator[tuple[int, Outcome]]]
"""Outcomes with the number of their task, in any order."""


@contextmanager
def local(workers: int) -> Iterator[Evaluate]:
    """`workers` processes on this machine, which compile side by side and measure one at a time."""
    idle: SimpleQueue[_Worker] = SimpleQueue()
    started = [_Worker() for _ in range(workers)]
    for worker in started:
        idle.put(worker)

    def one(number: int, task: Task) -> tuple[int, Outcome]:
        worker = idle.get()
        try:
            return number, worker.evaluate(task)
        finally:
            idle.put(worker)

    def all_of(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        futures = [threads.submit(one, number, task) for number, task in enumerate(tasks)]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    with ThreadPoolExecutor(workers) as threads:
        try:
            yield all_of
        finally:
            for worker in started:
                worker.stop()


def evaluate_apart(task: Task) -> Outcome:
    """`evaluate` in a process of its own, for workers that must not die with it."""
    worker = _Worker()
    try:
        return worker.evaluate(task)
    finally:
        worker.stop()


class _Worker:
    """A process that is started when it is first needed, and again when it died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def evaluate(self, task: Task) -> Outcome:
        if self.process is None or self.process.poll() is not None:
            self.process = _start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            send(self.process.stdin, task)
            late = Timer(MOST_SECONDS, self.process.kill)
            late.start()
            try:
                outcome = receive(self.process.stdout)
            finally:
                late.cancel()
        except (EOFError, BrokenPipeError):
            return Outcome("failed", why=f"the worker ended with status {self.process.wait()}")
        assert isinstance(outcome, Outcome)
        return outcome

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()


def _start() -> subprocess.Popen[bytes]:
    beside = str(Path(tgc.__file__).resolve().parent.parent)
    path = os.pathsep.join([beside, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen([sys.executable, "-m", "tgc.tune.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path})  # fmt: skip
