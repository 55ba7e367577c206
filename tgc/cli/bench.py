"""tgc bench."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import MODEL, compiling, feeding, input_option, json_option, mapping
from tgc.cli.build import build
from tgc.cli.output import duration, print_json, print_table, progress, size

if TYPE_CHECKING:
    from tgc.bench import Report


@click.command()
@click.argument("model", type=MODEL)
@compiling
@click.option("--against", type=click.Choice(["onnxruntime", "none"]), default="onnxruntime", show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="How long to measure, all engines together.")
@input_option
@feeding
@json_option
def bench(model: Path, against: str, seconds: float, files: Any, sizes: Any, seed: int, ranges: Any, as_json: bool, **flags: Any) -> None:
    """Measure MODEL's latency, on --threads threads, in turns with ONNX Runtime, and its start-up, memory and size.

    \b
    Example:
      tgc bench model.onnx --target c --seconds 10 --json
    """
    from tgc.bench import bench as measure
    from tgc.inputs import read
    from tgc.run.open_shapes import inputs_at

    artifact = build(model, **flags)
    tensors = inputs_at(artifact.graph.open, artifact.graph.inputs, mapping(sizes, "--size"))
    inputs = read(tensors, mapping(files, "--input"), seed, mapping(ranges, "--range"))
    with progress(f"measuring {artifact.name}"):
        report = measure(artifact, model, inputs, seconds=seconds, against=against != "none")
    if as_json:
        print_json({**asdict(report), "ratio": report.ratio})
    else:
        _print(report)


def _print(report: Report) -> None:
    rows = []
    for m in report.measurements:
        times = (m.latency.minimum, m.latency.median, m.latency.p99, m.startup)
        rows.append((f"{m.engine} {m.version}", *map(duration, times), str(m.latency.runs)))
    print_table(("engine", "min", "median", "p99", "start-up", "runs"), rows, right=(1, 2, 3, 4, 5))
    if report.ratio is not None:
        click.echo(f"median is {report.ratio:.2f} times {report.measurements[1].engine}'s")
    click.echo(f"target {report.target}, {report.kernels} kernels; arena {size(report.arena)}, weights {size(report.weights)}, "
               f"artifact {size(report.artifact)}; compiled in {duration(report.compile_seconds)}")  # fmt: skip
