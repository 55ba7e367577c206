"""How fast, how big, how soon: a compiled model's latency, memory, size and start-up, beside ONNX Runtime's."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import tgc
from tgc.artifact import Artifact
from tgc.bench.engines import Engine, onnxruntime
from tgc.bench.timing import Latency, interleave
from tgc.run import load

__all__ = ["Latency", "Measurement", "Report", "bench"]
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One engine. startup: seconds from the files on disk to the first result."""

    engine: str
    version: str
    latency: Latency
    startup: float


@dataclass(frozen=True, slots=True)
class Report:
    """All engines, tgc first. arena, weights, artifact: bytes of scratch memory, of weights, and of all files together."""

    target: str
    measurements: tuple[Measurement, ...]
    arena: int
    weights: int
    artifact: int
    kernels: int
    compile_seconds: float

    @property
    def ratio(self) -> float | None:
        """tgc's median over the other engine's; None where there is no other."""
        if len(self.measurements) < 2:
            return None
        return self.measurements[0].latency.median / self.measurements[1].latency.median


def bench(artifact: Artifact, model: Path, inputs: dict[str, Array], *, seconds: float = 3.0, against: bool = True) -> Report:
    """Runs `artifact`, compiled from the file `model`, and ONNX Runtime where `against`, in turns, on as many threads."""
    threads = artifact.target.threads
    with tempfile.TemporaryDirectory(prefix="tgc-bench-") as folder:
        engines = [_compiled(artifact.write(Path(folder) / artifact.name), inputs, threads if artifact.program.shared else 1)]
        if against:
            engines.append(onnxruntime(model, inputs, threads))
        latencies = interleave([engine.run for engine in engines], seconds)
    measurements = tuple(Measurement(e.name, e.version, latency, e.startup) for e, latency in zip(engines, latencies, strict=True))
    return Report(
        target=artifact.target.name, measurements=measurements, arena=artifact.program.arena_bytes,
        weights=int(artifact.program.weights.nbytes), artifact=artifact.bytes, kernels=len(artifact.program.kernels),
        compile_seconds=sum(seconds for _, seconds in artifact.seconds),
    )  # fmt: skip


def _compiled(folder: Path, inputs: dict[str, Array], threads: int) -> Engine:
    """The compiled model, its inputs and outputs made beforehand. Source code has been built before the clock starts."""
    load(folder, threads=threads)
    start = time.perf_counter()
    model = load(folder, threads=threads)
    arrays, outputs = model.prepared(inputs)
    model.execute(arrays, outputs)
    return Engine("tgc", tgc.__version__, time.perf_counter() - start, lambda: model.execute(arrays, outputs))
