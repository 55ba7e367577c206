"""tgc compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tgc.artifact import Artifact
from tgc.cli.arguments import MODEL, compiling, json_option, keeping, mapping
from tgc.cli.output import duration, print_json, print_table, progress, size
from tgc.cli.stages import Stages, Stopped
from tgc.ir.program import Program, launches
from tgc.lock import Lock


def build(
    model: Path | tuple[Path, ...], *, target: str, dims: Any, shapes: Any, constants: Any, name: str | None, weights: str, **more: Any
) -> Artifact:
    """Compiles with the flags of `compiling`, showing progress."""
    from tgc import driver

    first = model if isinstance(model, Path) else model[0]
    with progress(f"compiling {first.name}") as watch:
        return driver.compile(
            model, target, dims=mapping(dims, "--dim"), shapes=mapping(shapes, "--shape"), constants=mapping(constants, "--const"),
            name=name, weights=weights, watch=watch, **more,
        )  # fmt: skip


@click.command("compile")
@click.argument("model", type=MODEL, nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output folder; by default named after the first model.")
@compiling
@keeping
@click.option("--selftest", is_flag=True, help="Add NAME_selftest(): known results to compare with where the model runs.")
@click.option("--check-passes", is_flag=True, help="Compare every pass with the interpreter (slow).")
@click.option("--time-passes", is_flag=True, help="Print how long each step and each pass took.")
@click.option("--print-ir-after", metavar="PASS", help="Print what a pass made to standard error; see tgc passes.")
@click.option("--stop-after", metavar="PASS", help="Print what a pass made to standard output, and write no artifact.")
@click.option("--dump-ir", type=click.Path(path_type=Path), metavar="DIR", help="Write what every pass made to a file in DIR.")
@click.option("--lock", type=click.Path(path_type=Path), metavar="FILE", help="Schedule kernels as a lock of tgc tune says; it must fit.")
@click.option("--tune", "tuning", type=float, metavar="SECONDS", help="Search schedules first, for so long; see tgc tune.")
@json_option
def compile_command(
    model: tuple[Path, ...], output: Path | None, selftest: bool, check_passes: bool, time_passes: bool, print_ir_after: str | None,
    stop_after: str | None, dump_ir: Path | None, as_json: bool, states: Any, shifts: Any, entries: Any, tuning: float | None,
    lock: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Compile MODEL, an ONNX file or several, to a folder that stands alone.

    \b
    Example:
      tgc compile model.onnx --target c --shape image=1x3x224x224 -o out
      tgc compile model.onnx --target c --dump-ir stages --time-passes
      tgc compile model.onnx --lock model.lock
      tgc compile policy.onnx --state hidden=previous --entry run=plan,hidden --entry prepare=hidden
    """
    pins: Any = {"states": mapping(states, "--state"), "shifts": mapping(shifts, "--shift"), "entries": mapping(entries, "--entry")}
    schedules = lock if tuning is None else _tuned(model, tuning, lock, {**flags, **pins})
    stages = Stages(print_ir_after, stop_after, dump_ir)
    try:
        artifact = build(model, selftest=selftest, check_passes=check_passes, observe=stages.observe, lock=schedules, **pins, **flags)
    except Stopped as stopped:
        click.echo(stopped.text)
        return
    stages.require()
    folder = artifact.write(output or Path(artifact.name))
    if as_json:
        print_json({"folder": str(folder), **summary(artifact)})
        return
    program = artifact.program
    click.echo(f"{folder}: {len(artifact.files)} files, {size(artifact.bytes)}, for {artifact.target.name}")
    memory = f"weights {size(program.weights.nbytes)}, arena {size(program.arena_bytes)}"
    memory += f", of it states {size(program.state_bytes)}" if program.states else ""
    click.echo(f"{len(program.kernels)} kernels, {_calls(program)} calls; {memory}")
    if time_passes:
        rows = (*artifact.seconds, *((f"pass {name}", seconds) for name, seconds in artifact.passes))
        print_table(("step", "time"), [(name, duration(seconds)) for name, seconds in rows], right=(1,))


def _tuned(model: tuple[Path, ...], seconds: float, lock: Path | None, flags: dict[str, Any]) -> Lock:
    """What a search finds in so many seconds."""
    from tgc.tune.search import search

    if lock is not None:
        raise click.UsageError("--tune makes a lock, --lock takes one")
    target = flags.pop("target")
    options = {key: mapping(value, f"--{key.rstrip('s')}") if isinstance(value, tuple) else value for key, value in flags.items()}
    with progress(f"tuning {model[0].name}") as watch:
        report = search(list(model), target, options, None, seconds=seconds, watch=lambda _, __, what: watch(what))
    return report.lock


def _calls(program: Program) -> int:
    return sum(1 for entry in program.entry_points for _ in launches(entry.steps))


def summary(artifact: Artifact) -> dict[str, object]:
    """What compiling made, for --json."""
    program = artifact.program

    def tensors(listed: Any) -> list[dict[str, object]]:
        return [{"name": t.name, "dtype": t.dtype.name, "shape": list(t.shape)} for t in listed]

    return {
        "name": artifact.name, "target": artifact.target.name, "files": {name: len(content) for name, content in artifact.files.items()},
        "inputs": tensors(program.inputs), "outputs": tensors(program.outputs), "states": tensors(program.states),
        "entries": [entry.name for entry in program.entry_points], "kernels": len(program.kernels),
        "calls": _calls(program), "weights_bytes": int(program.weights.nbytes), "arena_bytes": program.arena_bytes,
        "seconds": dict(artifact.seconds), "passes": dict(artifact.passes),
    }  # fmt: skip
