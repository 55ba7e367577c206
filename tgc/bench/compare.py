"""tgc beside other engines: one process an engine, run in turns, so that a slow moment of the machine meets all of them alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import tgc
from tgc.artifact import Artifact
from tgc.bench import sdk
from tgc.bench.timing import Latency, summarise
from tgc.errors import OptionError, TgcError
from tgc.ir.program import launches
from tgc.ir.work import work_of
from tgc.roof import Peak, Roof, roof_of
from tgc.run.device import parse, require_sendable

Array = npt.NDArray[np.generic]
PEERS = (
    "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-qnn", "openvino", "torch", "torch-compiled", "tinygrad", "mnn",
    "iree", "tvm", *sdk.ENGINES,
)  # fmt: skip
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
_WORKER = Path(__file__).with_name("worker.py")
_TURN, _TURN_OF_THREADS = 0.05, 0.4  # seconds that one engine runs before it is the next one's turn: some wake their threads slowly


@dataclass(frozen=True, slots=True)
class Row:
    """One engine. startup: seconds from the files on disk until it is loaded; first: its first run. memory: most bytes of its process.

    error: the worst difference of its outputs from tgc's, relative to the largest magnitude; None for tgc, and for other shapes.
    watts: of the processor package while it ran, where that can be read. note: such as `emulated`. None: not known.
    """

    engine: str
    version: str
    latency: Latency
    startup: float
    first: float
    memory: int | None
    error: float | None
    watts: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """tgc first. flop: operations of one run as tgc compiled it. failures: engines that did not run, and why."""

    target: str
    rows: tuple[Row, ...]
    failures: tuple[tuple[str, str], ...]
    flop: int
    roof: Roof
    roof_seconds: float
    arena: int
    weights: int
    artifact: int
    kernels: int
    compile_seconds: float


@dataclass(slots=True)
class _Worker:
    """An engine's process, and the seconds and joules of its runs. patience: how many seconds a turn takes."""

    engine: str
    process: subprocess.Popen[str]
    results: Path
    patience: float
    ready: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    seconds: list[float] = field(default_factory=list)
    joules: float = 0.0
    energy_known: bool = True
    turn: int = 1

    def read(self) -> dict[str, Any]:
        """The next answer; none where the process has died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {}
        if not line:
            self.failure = f"its process ended with status {self.process.wait()}"
        return found

    def start(self) -> None:
        """Waits until it is loaded."""
        found = self.read()
        self.failure = self.failure or str(found.get("failure", ""))
        self.ready = found

    def run(self) -> None:
        """One turn."""
        assert self.process.stdin is not None
        before = _energy()
        self.process.stdin.write(f"{self.turn}\n")
        self.process.stdin.flush()
        answered = self.read()
        self.failure = self.failure or str(answered.get("failure", ""))
        found = answered.get("seconds", [])
        after = _energy()
        self.seconds += found
        self.energy_known &= before is not None and after is not None and after >= before
        self.joules += (after or 0) - (before or 0)
        if found:
            self.turn = max(1, min(1000, int(self.patience / max(min(found), 1e-7))))


def compare(
    artifact: Artifact, model: Path, inputs: dict[str, Array], against: Sequence[str], *, seconds: float = 3.0,
    python: str = sys.executable, device: str = "local", watch: Callable[[str], None] | None = None,
    peak: Peak = (None, None),
    measured: Roof | None = None,
) -> Comparison:  # fmt: skip
    """Runs `artifact`, compiled from the file `model`, and the engines `against` in turns, on as many threads each.

    python: the interpreter that has the other engines. device: where tgc and the SDKs run. Raises TgcError where tgc itself does not run.
    """
    require_sendable(artifact.target, parse(device))
    threads = artifact.target.threads if artifact.program.shared else 1
    with tempfile.TemporaryDirectory(prefix="tgc-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
        job = {"model": str(model.resolve()), "inputs": str(folder / "inputs.npz"), "outputs": [name for name, _ in artifact.graph.outputs],
               "threads": threads, "device": device, "reference": str(folder / "tgc.npz")}  # fmt: skip
        compiled = artifact.write(folder / "tgc")
        if device == "local":
            tgc.load(compiled, threads=threads)  # source code is built before the clock starts
        workers, away = [], [engine for engine in against if device != "local" and engine not in sdk.ENGINES]
        for engine in ("tgc", *(engine for engine in against if engine not in away)):
            if watch:
                watch(f"starting {engine}")
            own = {**job, "folder": str(folder / engine)}
            worker = stack.enter_context(_started(engine, own, sys.executable if engine in ("tgc", *sdk.ENGINES) else python))
            worker.start()
            workers.append(worker)
        if workers[0].failure:
            raise TgcError(f"the compiled model does not run: {workers[0].failure}", artifact.name)
        _take_turns([worker for worker in workers if not worker.failure], seconds, watch)
        failures = [(w.engine, w.failure) for w in workers if w.failure] + [(engine, f"runs here only, not on {device}") for engine in away]
        return _report(artifact, [w for w in workers if not w.failure], failures, roof_of(asdict(artifact.target), peak, measured))


@contextmanager
def _started(engine: str, job: dict[str, object], python: str) -> Iterator[_Worker]:
    """The engine's process, which ends with the block."""
    folder = Path(str(job["folder"]))
    folder.mkdir(exist_ok=True)
    results, specification = folder.parent / f"{engine}.npz", folder.parent / f"{engine}.json"
    specification.write_text(json.dumps({**job, "results": str(results)}))
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), "PYTHONSAFEPATH": "1"}
    away = engine == "tgc" and job["device"] != "local"
    module = "tgc.bench.sdk_worker" if engine in sdk.ENGINES else "tgc.bench.device_worker" if away else ""
    program = ["-m", module] if module else [str(_WORKER)]
    if engine == "tgc" or engine in sdk.ENGINES:
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(tgc.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    try:
        process = subprocess.Popen(
            [python, *program, engine, str(specification)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )  # fmt: skip
    except OSError as error:
        raise OptionError(f"cannot be run: {error.strerror}", python, "name an interpreter with --python") from error
    with process:
        try:
            yield _Worker(engine, process, results, _TURN if job["threads"] == 1 else _TURN_OF_THREADS)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """It ends with its standard input, and takes away what it made; one that does not is stopped."""
    assert process.stdin is not None
    try:
        process.stdin.close()
        process.wait(10)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()


def _take_turns(workers: Sequence[_Worker], seconds: float, watch: Callable[[str], None] | None) -> None:
    """At least five turns each, and turns for about `seconds` in all."""
    begin, rounds = time.perf_counter(), 0
    while rounds < 5 or time.perf_counter() - begin < seconds:
        for worker in workers:
            if watch:
                watch(f"round {rounds + 1}, {worker.engine}")
            if not worker.failure:
                worker.run()
        rounds += 1


def _energy() -> int | None:
    """Microjoules that the processor package has taken so far; None where that cannot be read."""
    try:
        return int(RAPL.read_text())
    except (OSError, ValueError):
        return None


def _report(artifact: Artifact, ran: list[_Worker], failed: list[tuple[str, str]], roof: Roof) -> Comparison:
    ours = dict(np.load(ran[0].results))
    works = {kernel.name: work_of(kernel) for kernel in artifact.program.kernels}
    calls = [works[call.kernel] for call in launches(artifact.program.steps)]
    return Comparison(
        target=artifact.target.name, rows=tuple(_row(worker, ours) for worker in ran), failures=tuple(failed),
        flop=sum(work.flop + work.integer for work in calls), roof=roof,
        roof_seconds=sum(roof.seconds(work.flop + work.integer, work.bytes) for work in calls),
        arena=artifact.program.arena_bytes, weights=int(artifact.program.weights.nbytes), artifact=artifact.bytes,
        kernels=len(artifact.program.kernels), compile_seconds=sum(seconds for _, seconds in artifact.seconds),
    )  # fmt: skip


def _row(worker: _Worker, ours: dict[str, Array]) -> Row:
    total = sum(worker.seconds)
    return Row(
        engine=worker.engine, version=str(worker.ready["ready"]), latency=summarise(worker.seconds), startup=float(worker.ready["startup"]),
        first=float(worker.ready["first"]), memory=worker.ready["memory"], note=worker.ready.get("note", ""),
        error=None if worker.engine == "tgc" else _error(dict(np.load(worker.results)), ours),
        watts=worker.joules / 1e6 / total if worker.energy_known and worker.joules else None,
    )  # fmt: skip


def _error(theirs: dict[str, Array], ours: dict[str, Array]) -> float | None:
    """The worst relative difference; infinite where one side only is not a number."""
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        return None
    worst = 0.0
    for name, value in ours.items():
        a, b = value.astype(np.float64), theirs[name].astype(np.float64)
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max(initial=0.0)) / largest)
    return worst
