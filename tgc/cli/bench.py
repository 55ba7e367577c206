"""tgc bench."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import MODEL, at_least, compiling, feeding, input_option, json_option, lock_option, mapping, positive
from tgc.cli.build import build
from tgc.cli.output import duration, print_json, print_table, progress, size
from tgc.errors import OptionError

if TYPE_CHECKING:
    from tgc.bench.compare import Comparison, Row

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def _seconds(_: Any, __: Any, text: str | None) -> float | None:
    """26ms, 0.5s, 800us."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(s|ms|us|ns)", text or "")
    if text is not None and match is None:
        raise click.BadParameter(f"{text!r} is no time such as 26ms")
    return float(match[1]) * _UNITS[match[2]] if match else None


@click.command()
@click.argument("model", type=MODEL)
@compiling
@lock_option
@click.option(
    "--against",
    default="onnxruntime",
    show_default=True,
    metavar="ENGINE,..",
    help="onnxruntime, onnxruntime-cuda, -tensorrt, -qnn, openvino, torch, torch-compiled, tinygrad, mnn, iree, tvm; "
    "snpe, snpe-gpu, snpe-dsp by SNPE_ROOT; qnn, qnn-gpu, qnn-htp by QNN_SDK_ROOT; none; or OLD.json, of --json.",
)
@click.option("--python", "interpreter", help="The interpreter that has the other engines [default: TGC_PEERS_PYTHON, else this one].")
@click.option(
    "--device",
    default="local",
    show_default=True,
    metavar="DEVICE",
    help="Where tgc, SNPE and QNN run: ssh:HOST, ssh:HOST:/FOLDER, adb, adb:SERIAL.",
)
@click.option("--seconds", default=3.0, show_default=True, callback=at_least(0), help="How long to measure, all engines together.")
@click.option("--budget", callback=_seconds, metavar="TIME", help="Exit with 1 where tgc's median is above it, such as 26ms.")
@click.option(
    "--regression", default=10.0, show_default=True, callback=at_least(0), metavar="PERCENT", help="How much slower than OLD.json may be."
)
@click.option("--watts", type=float, callback=positive, help="The machine's power, where it cannot be read, for FLOPS/W.")
@click.option("--price", type=float, callback=positive, help="The machine's price, for FLOPS/$.")
@click.option("--peak", type=float, callback=positive, metavar="GFLOPS", help="The roofline's arithmetic [default: measured here].")
@click.option("--bandwidth", type=float, callback=positive, metavar="GB/S", help="The roofline's memory [default: measured here].")
@input_option
@feeding
@json_option
def bench(
    model: Path, against: str, interpreter: str | None, device: str, seconds: float, budget: float | None, regression: float,
    watts: float | None, price: float | None, peak: float | None, bandwidth: float | None, files: Any, sizes: Any, seed: int, ranges: Any,
    as_json: bool, **flags: Any,
) -> int:  # fmt: skip
    """Measure MODEL, on --threads threads, in turns with other engines, each in a process of its own: latency, start-up, memory, agreement.

    \b
    Example:
      tgc bench model.onnx --target c --seconds 10 --json
      tgc bench model.onnx --against onnxruntime,openvino --budget 26ms
      tgc bench model.onnx --against old.json --price 300 --watts 15
      tgc bench model.onnx --target c --against qnn-htp --device adb
    """
    from tgc.bench.compare import compare
    from tgc.inputs import read
    from tgc.reached import reached
    from tgc.run.device import parse
    from tgc.run.open_shapes import inputs_at

    engines, earlier = _against(against)
    parse(device)
    artifact = build(model, **flags)
    tensors = inputs_at(artifact.graph.open, artifact.graph.inputs, mapping(sizes, "--size"))
    inputs = read(tensors, mapping(files, "--input"), seed, mapping(ranges, "--range"))
    python = interpreter or os.environ.get("TGC_PEERS_PYTHON") or sys.executable
    peak_of = (peak and peak * 1e9, bandwidth and bandwidth * 1e9)
    with progress(f"measuring {artifact.name}") as watch:
        roof = reached(artifact.target) if device == "local" and None in peak_of else None
        report = compare(artifact, model, inputs, engines, seconds=seconds, python=python, device=device, watch=watch,
                         peak=peak_of, measured=roof)  # fmt: skip
    misses = _misses(report.rows[0].latency.median, budget, earlier, regression)
    rates = [_rates(report, row, watts, price) for row in report.rows]
    if as_json:
        print_json(_plain(report, rates, misses))
    else:
        _print(report, rates)
        click.echo("".join(f"FAILED: {miss}\n" for miss in misses), nl=False)
    return 1 if misses else 0


def _against(text: str) -> tuple[list[str], float | None]:
    """The engines, and tgc's median in an earlier result where the text names one."""
    from tgc.bench.compare import PEERS

    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    engines = [name for name in names if not name.endswith(".json")]
    for name in engines:
        if name not in PEERS:
            raise OptionError(f"there is no engine {name!r}", "--against", f"choose from {', '.join(PEERS)}, none, or name a .json file")
    medians = [_median(Path(name)) for name in names if name.endswith(".json")]
    return engines, min(medians, default=None)


def _median(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["measurements"][0]["latency"]["median"])
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", str(path)) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise OptionError("is no result of tgc bench --json", str(path)) from error


def _misses(median: float, budget: float | None, earlier: float | None, regression: float) -> list[str]:
    found = []
    if budget is not None and median > budget:
        found.append(f"the median, {duration(median)}, is above the budget of {duration(budget)}")
    if earlier is not None and median > earlier * (1 + regression / 100):
        found.append(f"the median, {duration(median)}, is {100 * (median / earlier - 1):.0f} % above the earlier {duration(earlier)}")
    return found


def _rates(report: Comparison, row: Row, watts: float | None, price: float | None) -> dict[str, float | None]:
    """Of the work that tgc does, which is less than others' where it takes Winograd's way."""
    flops = report.flop / row.latency.median
    power = row.watts if row.watts is not None else watts
    return {"flops": flops, "flops_per_watt": flops / power if power else None, "flops_per_dollar": flops / price if price else None,
            "roofline_share": report.roof_seconds / row.latency.median}  # fmt: skip


def _plain(report: Comparison, rates: list[dict[str, float | None]], misses: list[str]) -> dict[str, object]:
    fields = asdict(report)
    rows = [{**row, **rate} for row, rate in zip(fields.pop("rows"), rates, strict=True)]
    ratio = rows[0]["latency"]["median"] / rows[1]["latency"]["median"] if len(rows) > 1 else None
    return {**fields, "measurements": rows, "ratio": ratio, "misses": misses}


def _print(report: Comparison, rates: list[dict[str, float | None]]) -> None:
    rows = []
    for m, rate in zip(report.rows, rates, strict=True):
        times = (m.latency.minimum, m.latency.median, m.latency.p99, m.first, m.startup)
        more = [f"{value / 1e9:.3g}" if (value := rate[key]) is not None else "" for key in ("flops", "flops_per_watt", "flops_per_dollar")]
        error = "" if m.engine == "tgc" else "other shapes" if m.error is None else f"{m.error:.1e}"
        memory = "" if m.memory is None else size(m.memory)
        rows.append((f"{m.engine} {m.version}", *map(duration, times), memory, error, *more,
                     f"{100 * (rate['roofline_share'] or 0):.0f} %", str(m.latency.runs)))  # fmt: skip
    heads = ("engine", "min", "median", "p99", "first run", "start-up", "memory", "differs", "GFLOPS", "/W", "/$", "of roof", "runs")
    kept = [n for n, head in enumerate(heads) if head not in ("/W", "/$") or any(row[n] for row in rows)]
    print_table([heads[n] for n in kept], [[row[n] for n in kept] for row in rows], right=range(1, len(kept)))
    for engine, why in report.failures:
        click.echo(f"{engine} did not run: {why}")
    for row in report.rows:
        if row.note:
            click.echo(f"{row.engine}: {row.note}{', its times tell nothing of the device' if row.note == 'emulated' else ''}")
    for row in (row for row in report.rows[1:] if row.note != "emulated"):
        click.echo(f"median is {report.rows[0].latency.median / row.latency.median:.2f} times {row.engine}'s")
    click.echo(f"target {report.target}, {report.kernels} kernels; arena {size(report.arena)}, weights {size(report.weights)}, "
               f"artifact {size(report.artifact)}; compiled in {duration(report.compile_seconds)}")  # fmt: skip
    click.echo(f"roofline {report.roof.flops / 1e9:g} GFLOPS, {report.roof.bandwidth / 1e9:g} GB/s: {report.roof.source}")
