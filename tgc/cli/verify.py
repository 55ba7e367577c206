"""tgc verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import MODEL, at_least, compiling, device_option, feeding, json_option, lock_option, mapping
from tgc.cli.build import build
from tgc.cli.faults import find_fault, print_bounds
from tgc.cli.output import print_json, print_table, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgc.verify import Difference, KernelReport, Report


@click.command()
@click.argument("model", type=MODEL)
@compiling
@lock_option
@click.option("--against", type=click.Choice(["auto", "recorded", "onnxruntime", "reference"]), default="auto", show_default=True,
              help="auto: recorded test data beside the model, else ONNX Runtime, else the ONNX reference.")  # fmt: skip
@click.option(
    "--rtol",
    type=float,
    callback=at_least(0),
    help="Allowed error relative to an output's largest magnitude [default: 1e-4 for f32, 1e-2 in half].",
)
@click.option("--atol", type=float, callback=at_least(0), default=0.0, show_default=True, help="Allowed absolute error on top.")
@click.option("--per-kernel", is_flag=True, help="Also compare each kernel alone with the interpreter.")
@click.option("--bounds", is_flag=True, help="Instead: show for every index of every kernel whether it is inside its buffer.")
@click.option(
    "--bisect/--no-bisect",
    default=True,
    show_default=True,
    help="On a mismatch find the first wrong kernel or pass, and write a small model that shows it.",
)
@device_option
@click.option("--reproducer", type=click.Path(path_type=Path), help="Where to write that [default: NAME-reproducer].")
@feeding
@json_option
def verify(model: Path, against: Any, rtol: float | None, atol: float, per_kernel: bool, bounds: bool, bisect: bool,
           device: str, reproducer: Path | None, sizes: Any, seed: int, ranges: Any, as_json: bool, **flags: Any) -> int:  # fmt: skip
    """Compile MODEL, run it, and compare each output; exit status 1 where one is too far off.

    \b
    Example:
      tgc verify model.onnx --target opencl --rtol 1e-3
      tgc verify model.onnx --target c --bounds
      tgc verify model.onnx --target c --per-kernel --device adb
    """
    from tgc.run.device import parse, require_sendable
    from tgc.run.open_shapes import raw_inputs
    from tgc.verify import Tolerance, cases, verify_kernels
    from tgc.verify import verify as check

    where = parse(device)
    artifact = build(model, **flags)
    require_sendable(artifact.target, where)
    if bounds:
        return print_bounds(artifact, as_json)
    tolerance = Tolerance(artifact.target.rounding or None if rtol is None else rtol, atol)
    found = cases(model, artifact.graph, against, seed, mapping(ranges, "--range"), mapping(sizes, "--size"))
    reports = check(artifact, found, tolerance, where)
    kernels: list[KernelReport] = []
    if per_kernel:
        with progress("interpreting") as watch:
            raw = raw_inputs(artifact.graph.open, artifact.graph.inputs, found[0].inputs)
            kernels = verify_kernels(artifact, raw, tolerance, watch=watch, device=where)
    passed = all(report.passed for report in reports) and all(kernel.passed for kernel in kernels)
    wrong = next((case for case, report in zip(found, reports, strict=True) if not report.passed), None)
    if not as_json:
        _print_all(reports, kernels if per_kernel else None)
    told = find_fault(artifact, model, wrong, tolerance, reproducer, flags, where) if bisect and wrong is not None else None
    if as_json:
        listed = {"kernels": [{**asdict(kernel), "passed": kernel.passed} for kernel in kernels]} if per_kernel else {}
        more = {"found": told.plain()} if told else {}
        print_json({"passed": passed, "cases": [_plain(report) for report in reports], **listed, **more})
    elif told is not None:
        told.print()
    return 0 if passed else 1


def _plain(report: Report) -> dict[str, object]:
    return {"source": report.source, "passed": report.passed, "outputs": [{**asdict(o), "passed": o.passed} for o in report.outputs]}


def _print_all(reports: Sequence[Report], kernels: list[KernelReport] | None) -> None:
    """What is known before the fault is looked for, which may take long."""
    for report in reports:
        _print(report)
    if kernels is not None:
        _print_kernels(kernels)


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
