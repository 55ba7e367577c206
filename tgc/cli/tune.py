"""tgc tune."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tgc.cli.arguments import MODEL, compiling, json_option, keeping, mapping
from tgc.cli.output import duration, print_json, print_table

if TYPE_CHECKING:
    from tgc.tune.search import Report


@click.command()
@click.argument("model", type=MODEL, nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The lock file to write; by default MODEL.lock in this folder.")
@compiling
@keeping
@click.option("--seconds", default=60.0, show_default=True, help="How long to search.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes that compile; one at a time measures.")
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Measure on the workers of a Dask scheduler (pip install tgc[fleet]).")
@click.option("--no-measure", is_flag=True, help="Rank by the closed-form model alone, for targets that are not this machine.")
@json_option
def tune(
    model: tuple[Path, ...], output: Path | None, target: str, seconds: float, workers: int, scheduler: str | None, no_measure: bool,
    as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Search MODEL's kernels for schedules that are faster here than the heuristic's, and write them to a lock file.

    What was measured is kept in a journal beside it, so a search that was ended goes on where it was.

    \b
    Example:
      tgc tune model.onnx --target cpu --seconds 60 -o model.lock
      tgc compile model.onnx --target cpu --lock model.lock
      tgc tune model.onnx --target cortex-a75 --no-measure
    """
    from tgc.tune.search import search

    path = output or Path(f"{model[0].stem}.lock")
    if scheduler and no_measure:
        raise click.UsageError("--scheduler measures, --no-measure does not")
    options = {key: mapping(value, f"--{key.rstrip('s')}") if isinstance(value, tuple) else value for key, value in flags.items()}
    with _progress(f"tuning {model[0].name}") as watch:
        report = search(list(model), target, options, path, seconds=seconds, workers=workers, scheduler=scheduler,
                        measure=not no_measure, watch=watch)  # fmt: skip
    if as_json:
        print_json(_plain(report, path))
    else:
        _print(report, path)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what[:100])


def _plain(report: Report, path: Path) -> dict[str, object]:
    rows = [
        {"key": row.key, "origins": list(row.entry.origins), "calls": row.calls, "answers": dict(row.answers),
         "tried": row.tried, "refused": row.refused, "predicted": row.entry.predicted, "measured": row.entry.measured}
        for row in report.rows
    ]  # fmt: skip
    return {"lock": str(path), "finished": report.finished, "rank_correlation": report.correlation, "measured": len(report.points),
            "before": report.seconds[0], "after": report.seconds[1], "whole": report.whole, "kernels": rows}  # fmt: skip


def _print(report: Report, path: Path) -> None:
    rows = []
    for row in report.rows:
        if not row.tried:
            continue
        before, after = row.entry.measured or (0.0, 0.0)
        chosen = ", ".join(f"{name.split()[0]} {answer}" for name, answer in row.answers.items()) or "the heuristic's"
        name = row.entry.origins[-1] if row.entry.origins else row.key
        predicted = tuple(duration(each) for each in row.entry.predicted) if row.entry.predicted else ("", "")
        times = (*((duration(before), duration(after), f"{after / before:.2f}") if before else ("", "", "")), *predicted)
        rows.append((name[-40:], str(row.calls), str(row.tried), *times, chosen))
    heads = ("kernel", "calls", "tried", "before", "after", "ratio", "predicted", "then", "chosen")
    print_table(heads, rows, right=range(1, 8))
    before, after = report.seconds
    if before:
        click.echo(f"measured kernels together: {duration(before)} before, {duration(after)} after ({after / before:.2f}), alone")
    if report.whole:
        first, then = report.whole
        kept = "" if then < first else ": no gain, so the lock has the heuristic's schedules"
        click.echo(f"the whole model: {duration(first)} before, {duration(then)} after ({then / first:.2f}), measured in turns{kept}")
    if report.correlation is not None:
        click.echo(f"predicted against measured: rank correlation {report.correlation:.2f} over {len(report.points)} schedules")
    click.echo(f"{path}: {len(report.lock.entries)} kernels" + ("" if report.finished else "; not all had their turn within --seconds"))
