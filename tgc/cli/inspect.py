"""tgc inspect."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import compiling, json_option, lock_option, positive
from tgc.cli.build import build
from tgc.cli.machine_code import print_machine_code
from tgc.cli.output import duration, print_json, print_table, progress, size
from tgc.errors import OptionError
from tgc.whole_file import write_whole

if TYPE_CHECKING:
    from tgc.report import Report
    from tgc.roof import Peak


@click.command()
@click.argument("subject", metavar="MODEL|ARTIFACT", type=click.Path(path_type=Path))
@compiling
@lock_option
@click.option("--launches", is_flag=True, help="Of an OpenCL artifact: the launches of a frame as JSON, each with its kernel's text.")
@click.option("--ir3", is_flag=True, help="For qcom: what Mesa's compiler for Adreno, where there is one, makes of each kernel.")
@click.option(
    "--mesa",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="/",
    show_default=True,
    metavar="FOLDER",
    help="The root of the system that Mesa is in, for --ir3.",
)
@click.option("--measure", is_flag=True, help="Of a model: also time each kernel alone, here, and measure the roofline.")
@click.option("--peak", type=float, callback=positive, metavar="GFLOPS", help="The roofline's arithmetic [default: assumed, or measured].")
@click.option("--bandwidth", type=float, callback=positive, metavar="GB/S", help="The roofline's memory [default: assumed, or measured].")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one self-contained page.")
@json_option
def inspect(
    subject: Path, launches: bool, ir3: bool, mesa: Path, measure: bool, peak: float | None, bandwidth: float | None, page: Path | None,
    as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Look into an ONNX MODEL as tgc compiles it, or into an ARTIFACT, a compiled model's folder.

    Predicted times are the roofline's: a lower bound by a model of the target, not a measurement.

    \b
    Example:
      tgc inspect model.onnx --target c --html report.html
      tgc inspect out --json
    """
    if launches:
        from tgc.run.launches import frame

        print_json(frame(subject))
        return
    if ir3:
        print_machine_code(subject, mesa, as_json, flags)
        return
    report = _report(subject, measure, (peak and peak * 1e9, bandwidth and bandwidth * 1e9), flags)
    if page is not None:
        from tgc.report.html import html

        write_whole(page, html(report))
    if as_json:
        print_json(asdict(report))
    elif page is None:
        _print(report)


def _report(subject: Path, measure: bool, peak: Peak, flags: dict[str, Any]) -> Report:
    from tgc.frontend_onnx import operators
    from tgc.reached import reached
    from tgc.report import report_of, report_of_folder
    from tgc.report.measure import measure_kernels

    if subject.is_dir():
        if measure:
            raise OptionError("an artifact's kernels cannot be measured one by one", "--measure", "name the model instead")
        return report_of_folder(subject, peak)
    artifact = build(subject, **flags)
    with progress(f"measuring {artifact.name}") as watch:
        times = measure_kernels(artifact, watch) if measure else {}
        roof = reached(artifact.target) if measure and None in peak else None
    return report_of(artifact, operators(subject), times, peak, roof)


def _print(report: Report) -> None:
    click.echo(f"{report.name} for {report.target}: {len(report.kernels)} kernels, {len(report.steps)} steps, "
               f"weights {size(report.weights_bytes)}, arena {size(report.arena_bytes)}")  # fmt: skip
    click.echo(f"roofline {report.roof.flops / 1e9:g} GFLOPS, {report.roof.bandwidth / 1e9:g} GB/s ({report.roof.source})")
    measured = f"; measured, each kernel alone: {duration(report.measured)}" if report.measured is not None else ""
    click.echo(f"predicted by the roofline: at least {duration(report.predicted)}{measured}\n")
    rows = [
        (k.name, str(k.calls), f"{k.flop / 1e6:.3g}", size(k.read + k.written), duration(k.predicted), k.bound,
         duration(k.measured) if k.measured is not None else "", f"{k.place.file}:{k.place.line}" if k.place and k.place.file else "")
        for k in report.kernels
    ]  # fmt: skip
    print_table(("kernel", "calls", "MFLOP", "bytes", "predicted", "bound", "measured", "code"), rows, right=(1, 2, 3, 4, 6))
    click.echo()
    print_table(("ONNX node", "operator", "became"), [(o.node, o.operator, ", ".join(o.kernels) or "no kernel") for o in report.operators])
    click.echo()
    arena = sorted((m for m in report.memory if m.role == "arena"), key=lambda m: (m.offset, m.first))
    places = [(m.name, f"{m.dtype}{list(m.shape)}", str(m.offset), size(m.bytes), f"{m.first}-{m.last}") for m in arena]
    print_table(("arena", "type", "offset", "size", "steps"), places, right=(2, 3))
    click.echo()
    weights = [(w.name, f"{w.dtype}{list(w.shape)}", size(w.bytes), w.layout, w.sha256[:16]) for w in report.weights]
    print_table(("weights", "type", "size", "layout", "sha256"), weights, right=(2,))
