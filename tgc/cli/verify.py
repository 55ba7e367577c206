"""tgc verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import MODEL, compiling, feeding, json_option, mapping
from tgc.cli.build import build
from tgc.cli.output import print_json, print_table, progress

if TYPE_CHECKING:
    from tgc.verify import Difference, KernelReport, Report


@click.command()
@click.argument("model", type=MODEL)
@compiling
@click.option("--against", type=click.Choice(["auto", "recorded", "onnxruntime", "reference"]), default="auto", show_default=True,
              help="auto: recorded test data beside the model, else ONNX Runtime, else the ONNX reference.")  # fmt: skip
@click.option("--rtol", type=float, help="Allowed error relative to an output's largest magnitude [default: 1e-4 for f32, 1e-2 in half].")
@click.option("--atol", type=float, default=0.0, show_default=True, help="Allowed absolute error on top.")
@click.option("--per-kernel", is_flag=True, help="Also compare each kernel alone with the interpreter.")
@feeding
@json_option
def verify(model: Path, against: Any, rtol: float | None, atol: float, per_kernel: bool, sizes: Any, seed: int, ranges: Any,
           as_json: bool, **flags: Any) -> int:  # fmt: skip
    """Compile MODEL, run it, and compare each output; exit status 1 where one is too far off.

    \b
    Example:
      tgc verify model.onnx --target opencl --rtol 1e-3
    """
    from tgc.run.open_shapes import raw_inputs
    from tgc.verify import Tolerance, cases, verify_kernels
    from tgc.verify import verify as check

    artifact = build(model, **flags)
    tolerance = Tolerance(1e-2 if rtol is None and artifact.target.precision == "mixed" else rtol, atol)
    found = cases(model, artifact.graph, against, seed, mapping(ranges, "--range"), mapping(sizes, "--size"))
    reports = check(artifact, found, tolerance)
    kernels: list[KernelReport] = []
    if per_kernel:
        with progress("interpreting") as watch:
            raw = raw_inputs(artifact.graph.open, artifact.graph.inputs, found[0].inputs)
            kernels = verify_kernels(artifact, raw, tolerance, watch=watch)
    passed = all(report.passed for report in reports) and all(kernel.passed for kernel in kernels)
    if as_json:
        listed = {"kernels": [{**asdict(kernel), "passed": kernel.passed} for kernel in kernels]} if per_kernel else {}
        print_json({"passed": passed, "cases": [_plain(report) for report in reports], **listed})
        return 0 if passed else 1
    for report in reports:
        _print(report)
    if per_kernel:
        _print_kernels(kernels)
    return 0 if passed else 1


def _plain(report: Report) -> dict[str, object]:
    return {"source": report.source, "passed": report.passed, "outputs": [{**asdict(o), "passed": o.passed} for o in report.outputs]}


def _print(report: Report) -> None:
    click.echo(f"against {report.source}:")
    rows = [(o.name, f"{o.dtype}{list(o.shape)}", *_numbers(o)) for o in report.outputs]
    print_table(("output", "type", *_NUMBERS), rows, right=(2, 3, 4, 5))


def _print_kernels(reports: list[KernelReport]) -> None:
    click.echo("each kernel alone, against the interpreter:")
    rows = [
        (str(k.call), k.kernel, f"{100 * k.share:.3g} %", *(_numbers(k.worst) if k.worst else ("", "", "", "", "left out: too much work")))
        for k in reports
    ]
    print_table(("call", "kernel", "interpreted", *_NUMBERS), rows, right=(0, 2, 3, 4, 5, 6))


_NUMBERS = ("absolute", "relative", "ULP", "allowed", "")


def _numbers(o: Difference) -> tuple[str, ...]:
    return (f"{o.absolute:.3g}", f"{o.relative:.3g}", f"{o.ulp:.3g}", f"{o.limit:.3g}", "ok" if o.passed else "TOO FAR OFF")
