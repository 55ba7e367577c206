"""The ONNX test suite through compiled code: every family that the `onnx` package carries, on each target.

    python benchmarks/onnx_suite.py [--target cpu --target c --target opencl] [--variant inputs|constants|symbolic] [--only TEXT] [--jobs 2]

inputs: each test as it is, its inputs known at run time. constants: all inputs are compiled in, so that the folder computes the
outputs. symbolic: the dimensions of the inputs are open, or one of them, one artifact is run at the recorded sizes and at the next smaller
ones; what cannot be open is refused. The tests' own tolerances hold. Everything runs in worker processes that load what they compiled; a
test that brings one down, or takes longer than --limit seconds, fails, and the rest goes on. Results are written to
benchmarks/results/onnx_suite.json, which docs/onnx-support.md is made from (benchmarks/onnx_support.py). Exit status 1 where a test gives
a wrong answer, or is refused and not listed in tests/onnx_excluded.txt.

Inputs at run time take 53 s on cpu, 136 s on c and 154 s on opencl (PoCL, whose cache was warm; a quarter more where it is cold) with two
processes on two cores that have nothing else to do: under six minutes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import onnx
from onnx_cases import FAMILIES, VARIANTS, names_of

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "onnx_suite.json"
EXCLUDED = HERE.parent / "tests" / "onnx_excluded.txt"
TARGETS = ("cpu", "c", "opencl")
PASSED = "pass"

Job = tuple[str, str, str, str]
"""Family, name of the test, target, variant."""


@dataclass(slots=True)
class Worker:
    """A process that runs one job after the other. `job`, since `started`: what it is at, None where it is idle."""

    process: SpawnProcess
    pipe: Connection
    job: Job | None = None
    started: float = 0.0


@dataclass(slots=True)
class Pool:
    """Workers that are replaced when they die."""

    size: int
    limit: float
    workers: list[Worker] = field(default_factory=list)
    scratch: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="tgc-suite-"))

    def run(self, jobs: list[Job]) -> Iterator[tuple[Job, str, float]]:
        """The outcome of each job, and the seconds that it took, as they come in."""
        waiting = list(reversed(jobs))
        self.workers = [_start(self.scratch.name) for _ in range(min(self.size, len(jobs)))]
        while waiting or any(worker.job for worker in self.workers):
            for worker in self.workers:
                if worker.job is None and waiting:
                    worker.job, worker.started = waiting.pop(), time.perf_counter()
                    worker.pipe.send(worker.job)
            ready = wait([worker.pipe for worker in self.workers if worker.job], timeout=1.0)
            for position, worker in enumerate(self.workers):
                if worker.job is not None and (answer := self._answer(worker, worker.pipe in ready)) is not None:
                    yield worker.job, answer, time.perf_counter() - worker.started
                    worker.job = None
                    if answer.startswith(("crash", "timeout")):
                        self.workers[position] = _start(self.scratch.name)
        for worker in self.workers:
            worker.pipe.send(None)
            worker.process.join()
        self.scratch.cleanup()

    def _answer(self, worker: Worker, ready: bool) -> str | None:
        if ready:
            try:
                return str(worker.pipe.recv())
            except EOFError:
                worker.process.join()
                return f"crash: the process ended with {worker.process.exitcode}"
        if time.perf_counter() - worker.started > self.limit:
            worker.process.kill()
            return f"timeout: more than {self.limit:.0f} s"
        return None


def _start(scratch: str) -> Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, scratch), daemon=True)
    process.start()
    there.close()
    return Worker(process, here)


def _work(pipe: Connection, scratch: str) -> None:
    """Answers jobs. All that they write goes to a folder in `scratch`; the objects of the runtime stay there, libraries do not."""
    from onnx_cases import outcome

    tempfile.tempdir = tempfile.mkdtemp(dir=scratch)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # compilers and drivers talk
    while (job := pipe.recv()) is not None:
        pipe.send(outcome(*job))
        for library in Path(tempfile.tempdir).glob("tgc-*/*.so"):
            library.unlink()


def excluded() -> dict[str, str]:
    """The tests that are left out, each with its reason: lines of `name: reason`, the name as a prefix where it ends in `*`."""
    lines = [line for line in EXCLUDED.read_text().splitlines() if line and not line.startswith("#")]
    return {name: reason for name, _, reason in (line.partition(": ") for line in lines)}


def reason_for(name: str, listed: dict[str, str]) -> str | None:
    """Why the test called `name` is left out; None where it is not."""
    return next((why for key, why in listed.items() if key == name or (key.endswith("*") and name.startswith(key[:-1]))), None)


@click.command(help=__doc__)
@click.option("--target", "targets", multiple=True, type=click.Choice(TARGETS), default=TARGETS)
@click.option("--variant", "variants", multiple=True, type=click.Choice(VARIANTS), default=("inputs",))
@click.option("--family", "families", multiple=True, type=click.Choice(FAMILIES), default=FAMILIES)
@click.option("--only", default="", help="tests whose name holds this text")
@click.option("--again", is_flag=True, help="only tests that do not pass in the results that are there, or are not in them")
@click.option("--jobs", default=2, help="worker processes")
@click.option("--limit", default=120.0, help="seconds for one test")
@click.option("--write/--no-write", default=True, help="whether the results are kept")
def main(
    targets: tuple[str, ...],
    variants: tuple[str, ...],
    families: tuple[str, ...],
    only: str,
    again: bool,
    jobs: int,
    limit: float,
    write: bool,
) -> None:
    work = [(f, n, t, v) for v in variants for t in targets for f in families for n in names_of(f) if only in n]
    if again:
        known = json.loads(RESULTS.read_text())["tests"]
        work = [(f, n, t, v) for f, n, t, v in work if known.get(n, {}).get(f"{t} {v}") != PASSED]
    found: dict[tuple[str, str], dict[str, str]] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    start, wrong = time.perf_counter(), 0
    listed = excluded()
    for (family, name, target, variant), answer, seconds in Pool(jobs, limit).run(work):
        found.setdefault((family, name), {})[f"{target} {variant}"] = answer
        kind = answer.partition(":")[0]
        counts[target, variant, kind] += 1
        fine = answer == PASSED or (kind == "refused" and (variant == "symbolic" or reason_for(name, listed) is not None))
        wrong += not fine
        if write and sum(counts.values()) % 100 == 0:
            _keep(found)  # a run that is interrupted leaves what it found
        if not fine or seconds > 20:
            print(f"{target:7} {variant:9} {name}: {answer[:300]} ({seconds:.1f} s)", flush=True)
    for (target, variant, kind), count in sorted(counts.items()):
        print(f"{target:7} {variant:9} {kind:8} {count}")
    print(f"{len(work)} tests in {time.perf_counter() - start:.0f} s with {jobs} processes, {wrong} to look at")
    if write:
        _keep(found)
    sys.exit(1 if wrong else 0)


def _keep(found: dict[tuple[str, str], dict[str, str]]) -> None:
    """Adds what was found to the results that are there, and drops tests that are no more."""
    old = json.loads(RESULTS.read_text())["tests"] if RESULTS.exists() else {}
    tests = {name: {**old.get(name, {}), **answers} for (_, name), answers in found.items()}
    kept = {name: answers for name, answers in old.items() if name not in tests}
    document = {"onnx": onnx.__version__, "tests": dict(sorted({**kept, **tests}.items()))}
    RESULTS.write_text(json.dumps(document, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
