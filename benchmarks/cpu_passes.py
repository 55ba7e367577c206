#!/usr/bin/env python3
"""What each part of the compiler is worth: five models compiled with one part left out at a time; and their roofline.

    python benchmarks/cpu_passes.py [--models ../shared/models] [--only REGEX] [--seconds 1]

Times are the least of many runs, in this thread's CPU time, with and without in turns; prints two tables for docs/performance.md. A
part is left out by replacing the function that decides on it, for this process alone.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import models
import numpy as np
from cpu_products import measured_peak

import tgc
from tgc import driver
from tgc.inputs import read
from tgc.ir.work import work_of
from tgc.passes import heuristic
from tgc.passes.tile import Tile

MODELS = ("resnet18", "mobilenetv2_100", "vit_tiny_patch16_224", "light_squeezenet", "supercombo")
WITHOUT: dict[str, list[tuple[object, str, object]]] = {
    "row reductions in one kernel": [(sys.modules["tgc.passes.partition"], "_reduce_joins", lambda *_: False)],
    "orders of axes": [(sys.modules["tgc.passes"], "layout", lambda made, **_: made)],
    "register tiles": [(heuristic, "best_tile", lambda *_: Tile(1, 1, 0.0))],
    "packed weights": [(heuristic._Planner, "worth_packing", lambda *_: False), (heuristic._Planner, "packable", lambda *_: False)],
}
Timed = Callable[[], float]


def runner(entry: models.Entry, model: Path, folder: Path, winograd: str | None, changes: list[tuple[object, str, object]]) -> Timed:
    """Seconds of one run of the model, compiled with `changes` made."""
    with ExitStack() as stack:
        for owner, name, changed in changes:
            stack.enter_context(patch.object(owner, name, changed))
        name = re.sub(r"\W", "_", entry.name)
        artifact = driver.compile(model, "cpu", folder, shapes=entry.shapes, winograd=winograd, name=name)
    given = read(artifact.graph.inputs, {}, 0, entry.ranges)
    loaded = tgc.load(folder)
    arrays = [np.require(given[tensor.name], requirements=["C", "A"]) for tensor in loaded.inputs]
    outputs = [np.empty(tensor.shape, tensor.dtype.numpy) for tensor in loaded.outputs]

    def timed() -> float:
        begun = time.thread_time()
        loaded.execute(arrays, outputs)
        return time.thread_time() - begun

    return timed


def least(runs: list[Timed], seconds: float) -> list[float]:
    """The least milliseconds of each, in turns."""
    found = [[run()] for run in runs]
    end = time.monotonic() + seconds * len(runs)
    while time.monotonic() < end:
        for run, times in zip(runs, found, strict=True):
            times.append(run())
    return [1e3 * min(times) for times in found]


def bandwidth() -> float:
    """Bytes a second that one thread copies beyond the last cache, read and written."""
    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    best = 0.0
    for _ in range(5):
        begun = time.thread_time()
        np.copyto(target, source)
        best = max(best, 2 * source.nbytes / max(1e-9, time.thread_time() - begun))
    return best


def roofline(entry: models.Entry, model: Path, took: float, peak: float, rate: float) -> str:
    """A row: operations, bytes of weights, inputs and outputs, the least time for these, and the share of the peak that was reached."""
    program = driver.compile(model, "cpu", shapes=entry.shapes, name=re.sub(r"\W", "_", entry.name)).program
    done = {kernel.name: work_of(kernel) for kernel in program.kernels}
    flop = sum(done[call.kernel].flop for call in program.calls)
    moved = int(program.weights.size) + sum(storage.bytes for storage in program.storages if storage.role in ("input", "output"))
    least_ms = 1e3 * max(flop / peak, moved / rate)
    gflops = flop / took / 1e6
    share = 1e9 * gflops / peak
    return f"| {entry.name} | {flop / 1e9:.2f} | {moved / 1e6:.0f} | {least_ms:.1f} | {took:.1f} | {gflops:.0f} | {share:.2f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=Path, default=models.ROOT.parent / "shared" / "models")
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each variant")
    options = parser.parse_args()
    peak, rate = measured_peak(), bandwidth()
    print(f"| model | whole, ms | {' | '.join(f'without {name}' for name in ('Winograd', *WITHOUT))} |")
    print(f"|---|{'--:|' * (len(WITHOUT) + 2)}")
    roof: list[str] = []
    for entry in (e for e in models.CATALOG if e.name in MODELS and re.search(options.only, e.name)):
        with tempfile.TemporaryDirectory(prefix="tgc-passes-") as folder:
            model = models.locate(entry, options.models, Path(folder))
            if model is None:
                continue
            runs = [runner(entry, model, Path(folder) / "whole", None, []), runner(entry, model, Path(folder) / "plain", "off", [])]
            runs += [runner(entry, model, Path(folder) / str(n), None, changes) for n, changes in enumerate(WITHOUT.values())]
            times = least(runs, options.seconds)
            print(f"| {entry.name} | {times[0]:.1f} | {' | '.join(f'{t:.1f}' for t in times[1:])} |", flush=True)
            roof.append(roofline(entry, model, times[0], peak, rate))
    print(f"\n{peak / 1e9:.0f} GFLOPS of multiply-adds, {rate / 1e9:.0f} GB/s, of one thread, measured in the same run.\n")
    print("| model | GFLOP | MB | least ms | ms | GFLOPS | share of the peak |\n|---|--:|--:|--:|--:|--:|--:|", *roof, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
