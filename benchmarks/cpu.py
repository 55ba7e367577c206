#!/usr/bin/env python3
"""tgc against other engines on this processor: one process an engine, in turns, medians.

    python benchmarks/cpu.py [--peers PYTHON] [--engines LIST] [--threads 1,2] [--only REGEX] [--rounds 15] [--clock wall]

PYTHON is an interpreter that has the other engines (openvino, torch and onnx2torch, tinygrad, mnn, iree). Writes
benchmarks/results/cpu.json and the tables of docs/performance.md and README.md; models that --only leaves out keep their rows. On a
machine that others use, --clock cpu compares the time that all threads of a process computed; waiting does not count then, so it
says nothing of how well several threads are used. Rounds in which other programs take more than a few hundredths of the
processors are repeated, up to four times as many as asked for; the quietest count. Runs with engines beside those of the ratio
(tgc, ONNX Runtime, OpenVINO) are a table of their own, for they take minutes a model; `--only '^$'` writes the tables again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import models
import numpy as np
from cpu_products import products, share_lines
from disturbance import QUIET, disturbance, now

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "cpu.json"
TABLE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
SHOWN = {
    "supercombo": "supercombo, openpilot 0.8.x",
    "driving_vision_like": "driving_vision_like (FastViT, 1 G multiply-adds)",
    "driving_policy_like": "driving_policy_like (transformer)",
    "openpilot_dmon_0.8.9": "openpilot driver monitoring 0.8.9",
    "mobilenetv2_100": "MobileNetV2",
    "resnet18": "ResNet-18",
    "light_resnet50": "ResNet-50",
    "light_densenet121": "DenseNet-121",
    "vit_tiny_patch16_224": "ViT-Tiny/16",
    "yolox_nano": "YOLOX-nano",
    "superres_10": "super-resolution",
    "yunet_n_320": "YuNet",
}
"""What the README's table has, and as what."""
LIGHT = ("resnet50", "squeezenet", "inception_v2", "shufflenet", "densenet121")
BATCH_SECONDS = 0.4  # what one engine runs before it is the next one's turn: some take a tenth of a second to wake their threads
COUNTED = {"tgc", "onnxruntime", "openvino"}  # the engines of the ratio; runs with more of them are a table of their own
FAILED = "Where there is no number, the engine was not asked (tinygrad's beam search takes many minutes a model), or failed:"
MOST_TRIES = 4  # rounds measured for each that is kept
Row = dict[str, object]


def catalogue() -> list[models.Entry]:
    """Skeletons, supercombo, five light models, and the trained ones in f32; those below a millisecond drop out of the summary."""
    light = [entry for entry in models.LIGHT if entry.name.removeprefix("light_") in LIGHT]
    trained = [entry for entry in models.TRAINED if "fp16" not in entry.name]
    return [*models.SKELETONS, *models.SUPERCOMBO, *light, *trained]


@dataclass(slots=True)
class Worker:
    """One engine's process."""

    engine: str
    process: subprocess.Popen[str]
    wall: list[float]
    cpu: list[float]
    version: str = ""
    failure: str = ""
    batch: int = 1
    disturbed: float = 0.0

    def ask(self, runs: int) -> None:
        """So many runs, their times kept."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        found = self.read()
        self.wall += found.get("wall", [])
        self.cpu += found.get("cpu", [])

    def read(self) -> dict[str, list[float]]:
        """The next answer; none where the process has died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.failure = self.failure or f"exit status {self.process.wait()}"
            return {}
        found = json.loads(line)
        self.failure, self.version = found.get("failure", self.failure), found.get("ready", self.version)
        answered: dict[str, list[float]] = found
        return answered


def started(engine: str, model: Path, inputs: Path, threads: int, folder: Path, python: str) -> Worker:
    """The engine, ready to run or with the reason why not."""
    folder.mkdir(exist_ok=True)
    command = [python, str(Path(__file__).with_name("cpu_engines.py")), engine, str(model), str(inputs), str(threads), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    worker = Worker(engine, subprocess.Popen(command, text=True, env=environment, **pipes), [], [])  # type: ignore[call-overload]
    worker.read()
    return worker


def compare(entry: models.Entry, model: Path, threads: int, options: argparse.Namespace, scratch: Path) -> list[Row]:
    """One row an engine."""
    from tgc import driver
    from tgc.inputs import read

    artifact = driver.compile(model, "cpu", scratch / "tgc", shapes=entry.shapes, threads=threads, name=re.sub(r"\W", "_", entry.name))
    inputs = scratch / "inputs.npz"
    with inputs.open("wb") as file:
        np.savez(file, **read(artifact.graph.inputs, {}, 0, entry.ranges))
    pythons = {engine: sys.executable if engine in ("tgc", "onnxruntime") else options.peers for engine in options.engines.split(",")}
    workers = [started(engine, model, inputs, threads, scratch / engine, python) for engine, python in pythons.items()]
    in_turns(workers, options.rounds)
    facts = facts_of(artifact)
    return [row_of(entry, threads, worker) | (facts if worker.engine == "tgc" else {}) for worker in workers]


def in_turns(workers: list[Worker], rounds: int) -> None:
    """Has all workers run, a little each at a time, and ends them."""
    alive = [worker for worker in workers if not worker.failure]
    for worker in alive:
        worker.ask(2)
        worker.batch = max(1, round(BATCH_SECONDS / max(1e-6, statistics.median(worker.wall or [1.0]))))
        worker.wall.clear()
        worker.cpu.clear()
    kept = quietest(alive, rounds)
    for worker in workers:
        worker.disturbed = max(kept, default=0.0)
        worker.process.kill()


def quietest(workers: list[Worker], rounds: int) -> list[float]:
    """Runs so many rounds, those that others disturb again and again, and keeps the times of the quietest; answers their disturbance."""
    found: list[tuple[float, list[tuple[list[float], list[float]]]]] = []
    processes = [worker.process.pid for worker in workers]
    while len(found) < MOST_TRIES * rounds and sum(share <= QUIET for share, _ in found) < rounds and not any(w.failure for w in workers):
        before = now(processes)
        for worker in workers:
            worker.ask(worker.batch)
        found.append((disturbance(before, now(processes)), [(worker.wall[:], worker.cpu[:]) for worker in workers]))
        for worker in workers:
            worker.wall.clear()
            worker.cpu.clear()
    best = sorted(found, key=lambda entry: entry[0])[:rounds]
    for number, worker in enumerate(workers):
        worker.wall = [t for _, times in best for t in times[number][0]]
        worker.cpu = [t for _, times in best for t in times[number][1]]
    return [share for share, _ in best]


def row_of(entry: models.Entry, threads: int, worker: Worker) -> Row:
    """Medians of one engine, in milliseconds."""
    head: Row = {"model": entry.name, "threads": threads, "engine": worker.engine}
    if worker.failure or not worker.wall:
        return {**head, "failure": _plain(worker.failure or "no answer")}
    times = {"wall": 1e3 * statistics.median(worker.wall), "cpu": 1e3 * statistics.median(worker.cpu), "least": 1e3 * min(worker.wall)}
    return {**head, "version": worker.version, "runs": len(worker.wall), "disturbed": worker.disturbed, **times}


def facts_of(artifact: object) -> Row:
    """Sizes in bytes, and the arena over the largest set of results that are needed at one time."""
    program, files = artifact.program, artifact.files  # type: ignore[attr-defined]
    sizes = {storage.name: storage.bytes for storage in program.storages if storage.role == "arena"}
    moments: dict[str, list[int]] = {name: [] for name in sizes}
    for number, call in enumerate(program.calls):
        for argument in call.arguments:
            if argument.storage in sizes:
                moments[argument.storage].append(number)
    live = [0] * (len(program.calls) + 1)
    for name, used in moments.items():
        for number in range(used[0], used[-1] + 1) if used else ():
            live[number] += sizes[name]
    code = next(len(data) for name, data in files.items() if name.endswith(".o"))
    return {"arena": program.arena_bytes, "live": max(live), "weights": int(program.weights.size), "code": code}


def sweep(options: argparse.Namespace) -> Iterator[Row]:
    """Every row, a model at a time."""
    for entry in (e for e in catalogue() if re.search(options.only, e.name)):
        with tempfile.TemporaryDirectory(prefix="tgc-cpu-") as folder:
            model = models.locate(entry, options.models, Path(folder))
            for threads in map(int, options.threads.split(",")) if model else ():
                scratch = Path(folder) / str(threads)
                scratch.mkdir()
                try:
                    rows = compare(entry, model, threads, options, scratch)
                except Exception as error:
                    rows = [{"model": entry.name, "threads": threads, "engine": "tgc", "failure": str(error).splitlines()[0]}]
                print(line(rows, options.clock), file=sys.stderr, flush=True)
                yield from rows


def line(rows: list[Row], clock: str) -> str:
    """The rows of one model, for whoever watches."""
    shown = [f"{row['engine']} {row[clock]:.3g}" if clock in row else f"{row['engine']} -" for row in rows]
    return f"{rows[0]['model']:26} x{rows[0]['threads']}  {'  '.join(shown)}"


def ratios(rows: list[Row], threads: int, clock: str) -> dict[str, float]:
    """tgc's time over the better of ONNX Runtime and OpenVINO, for each model above a millisecond."""
    times = {(str(r["model"]), str(r["engine"])): float(str(r[clock])) for r in rows if r["threads"] == threads and clock in r}
    found: dict[str, float] = {}
    for model in dict.fromkeys(name for name, _ in times):
        others = [times[model, engine] for engine in ("onnxruntime", "openvino") if (model, engine) in times]
        if others and (model, "tgc") in times and min(others) > 1.0:
            found[model] = times[model, "tgc"] / min(others)
    return found


def tables(results: dict[str, object]) -> str:
    """The generated part of docs/performance.md."""
    rows, clock = results["rows"], str(results["clock"])
    assert isinstance(rows, list)
    engines = list(dict.fromkeys(str(row["engine"]) for row in rows))
    lines: list[str] = []
    for threads in sorted({int(row["threads"]) for row in rows}):
        found = ratios(rows, threads, clock)
        lines += [f"### {threads} thread{'s' * (threads > 1)}, milliseconds ({clock} time, medians)", ""]
        lines += [f"| model | {' | '.join(engines)} | ratio |", f"|---|{'--:|' * (len(engines) + 1)}"]
        for model in dict.fromkeys(str(row["model"]) for row in rows):
            of_model = {row["engine"]: row for row in rows if row["model"] == model and row["threads"] == threads}
            cells = [f"{of_model[e][clock]:.3g}" if clock in of_model.get(e, {}) else "-" for e in engines]
            mark = "*" if max(float(str(row.get("disturbed", 0.0))) for row in of_model.values()) > QUIET else ""
            lines.append(f"| {model}{mark} | {' | '.join(cells)} | {f'{found[model]:.2f}' if model in found else ''} |")
        if found:
            worst = max(found, key=lambda model: found[model])
            lines += ["", f"tgc over the better of ONNX Runtime and OpenVINO, models above 1 ms: geometric mean "
                      f"{statistics.geometric_mean(found.values()):.2f}, worst {found[worst]:.2f} ({worst}).", ""]  # fmt: skip
    lines.append(f"\\* other programs took more than {QUIET:.0%} of the processors in some of the rounds.\n")
    return "\n".join([*lines, *others(results["others"]), *sizes(rows), *share_lines(results["products"])])


def others(rows: object) -> list[str]:
    """The engines beside those that the ratio counts, from runs of their own with all of them: times of tgc's."""
    assert isinstance(rows, list)
    if not rows:
        return []
    clock = str(rows[0]["clock"])
    engines = [engine for engine in dict.fromkeys(str(row["engine"]) for row in rows) if engine != "tgc"]
    lines = [f"### Other engines, one thread ({clock} time, medians, as multiples of tgc's)", ""]
    lines += [f"| model | tgc ms | {' | '.join(engines)} |", f"|---|{'--:|' * (len(engines) + 1)}"]
    for model in dict.fromkeys(str(row["model"]) for row in rows):
        times = {row["engine"]: float(row[clock]) for row in rows if row["model"] == model and clock in row}
        if "tgc" in times:
            cells = [f"{times[engine] / times['tgc']:.2f}" if engine in times else "-" for engine in engines]
            lines.append(f"| {model} | {times['tgc']:.3g} | {' | '.join(cells)} |")
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "failure" in row:
            reasons.setdefault((str(row["engine"]), str(row["failure"])), []).append(str(row["model"]))
    refused = [f"- {engine} on {', '.join(names)}: {why}" for (engine, why), names in sorted(reasons.items())]
    return [*lines, "", FAILED, "", *refused, ""]


def _plain(failure: str) -> str:
    """`failure` without paths and numbers of lines."""
    tool = re.search(r"Command '\['[^']*/([\w-]+)'", failure)
    return f"{tool[1]} fails" if tool else re.sub(r"\S*/[\w./-]+(:\d+)*:? ?", "", failure)


def sizes(rows: list[Row]) -> list[str]:
    """Memory and code of tgc's models."""
    lines = ["### Memory and code", "", "| model | weights MB | arena MB | arena / largest live set | code kB |", "|---|--:|--:|--:|--:|"]
    for row in rows:
        if row["engine"] == "tgc" and "arena" in row and row["threads"] == 1:
            share = float(str(row["arena"])) / max(1.0, float(str(row["live"])))
            weights, arena, code = (float(str(row[key])) for key in ("weights", "arena", "code"))
            lines.append(f"| {row['model']} | {weights / 1e6:.1f} | {arena / 1e6:.2f} | {share:.2f} | {code / 1e3:.0f} |")
    return [*lines, ""]


def with_earlier(rows: list[Row], before: list[Row]) -> list[Row]:
    """`rows`, and those of models and numbers of threads that are in `before` and not among them, in the catalogue's order."""
    measured = {(row["model"], row["threads"]) for row in rows}
    order = [entry.name for entry in catalogue()]
    kept = [row for row in before if (row["model"], row["threads"]) not in measured and row["model"] in order]
    return sorted([*kept, *rows], key=lambda row: (order.index(str(row["model"])), int(str(row["threads"]))))


def readme_lines(results: dict[str, object]) -> str:
    """The README's table: one thread, and the ratio with two."""
    rows, clock = results["rows"], str(results["clock"])
    assert isinstance(rows, list)
    lines = ["| model | tgc ms | ONNX Runtime ms | OpenVINO ms | ratio | ratio, 2 threads | weights + arena MB |", f"|---|{'--:|' * 6}"]
    one, two = (ratios(rows, threads, clock) for threads in (1, 2))
    for model, title in SHOWN.items():
        found = {row["engine"]: row for row in rows if row["model"] == model and row["threads"] == 1}
        times = " | ".join(f"{found[engine][clock]:.3g}" for engine in ("tgc", "onnxruntime", "openvino"))
        weights, arena = (float(str(found["tgc"][key])) / 1e6 for key in ("weights", "arena"))
        lines.append(f"| {title} | {times} | {one[model]:.2f} | {two[model]:.2f} | {weights:.1f} + {arena:.1f} |")
    lines.append(f"| geometric mean of {len(one)} models above 1 ms | | | | {statistics.geometric_mean(one.values()):.2f} "
                 f"| {statistics.geometric_mean(two.values()):.2f} | |")  # fmt: skip
    lines.append(f"| worst of them | | | | {max(one.values()):.2f} | {max(two.values()):.2f} | |")
    return "\n".join(lines)


MARK = "<!-- generated by benchmarks/cpu.py: do not edit below -->"
FENCE = "<!-- benchmarks/cpu.py -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models", help="folder with trained/ and skeletons/")
    parser.add_argument("--peers", default=sys.executable, help="the Python interpreter that has the other engines")
    parser.add_argument("--engines", default="tgc,onnxruntime,openvino,torch,torch-compiled,tinygrad,mnn,iree")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--only", default="", help="regular expression on the model's name")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what the tables compare")
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results: dict[str, object] = {"machine": models.machine(), "clock": options.clock, "products": [], "rows": [], "others": []} | earlier
    of_ratio = set(options.engines.split(",")) <= COUNTED
    key = "rows" if of_ratio else "others"
    rows = with_earlier([{**row, "clock": options.clock} for row in sweep(options)], earlier.get(key, []))
    results |= {"machine": models.machine(), key: rows}
    if of_ratio:
        results |= {"clock": options.clock, "products": products()}
    made = tables(results)
    print(made)
    if not options.no_write:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        before = TABLE.read_text().split(MARK)[0] if TABLE.exists() else "# Performance\n\n"
        TABLE.write_text(f"{before}{MARK}\n\n{made}\n")
        head, _, tail = README.read_text().split(FENCE)
        README.write_text(f"{head}{FENCE}\n\n{readme_lines(results)}\n\n{FENCE}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
