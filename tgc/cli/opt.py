"""tgc opt."""

from __future__ import annotations

from pathlib import Path

import click

from tgc.cli.arguments import MODEL, json_option
from tgc.cli.output import print_json
from tgc.errors import InvalidIrError, ModelError, OptionError
from tgc.targets import Target

ON_KERNELS = ("schedule",)
LAST = "program"


@click.command()
@click.argument("file", type=MODEL)
@click.option("--passes", "names", default="", metavar="NAME,NAME",
              help="Passes to run, in this order; see tgc passes. On a graph those of graphs, and at last program; on a kernel: schedule.")
@click.option("--schedule", type=MODEL, metavar="FILE", help="On a kernel: the steps of a schedule in JSON, in place of the heuristic's.")
@click.option("--target", default="cpu", show_default=True, help="The target that the passes optimise for.")
@json_option
def opt(file: Path, names: str, schedule: Path | None, target: str, as_json: bool) -> None:  # fmt: skip
    """Run passes on FILE, a graph or a kernel in text form (.tir), and print what comes out.

    \b
    Example:
      tgc opt graph.tir --passes=fold,merge-pads
      tgc opt graph.tir --passes=fold,program --target c
      tgc opt kernel.tir --passes=schedule --target x86-64-v3
    """
    from tgc import driver

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    text = _read(file)
    chosen = driver.resolve(target)
    kind = "kernel" if text.lstrip().startswith("kernel") else "graph"
    made = _on_kernel(text, wanted, schedule, chosen) if kind == "kernel" else _on_graph(text, wanted, chosen)
    if as_json:
        print_json({"passes": wanted, "program" if wanted[-1:] == [LAST] else kind: made})
    else:
        click.echo(made)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from error


def _on_graph(text: str, wanted: list[str], target: Target) -> str:
    from tgc.ir.text import parse_graph, print_graph, print_program
    from tgc.passes import GRAPH_PASSES, program_of

    known = {p.name: p for p in GRAPH_PASSES}
    for place, name in enumerate(wanted, 1):
        if name not in known and not (name == LAST and place == len(wanted)):
            raise OptionError(f"there is no pass {name!r} on graphs", "--passes", f"choose from {', '.join(known)}, and at last {LAST}")
    graph = parse_graph(text)
    for name in wanted:
        if name == LAST:
            return print_program(program_of(graph, target))
        graph = known[name].run(graph, target)
    return print_graph(graph)


def _on_kernel(text: str, wanted: list[str], file: Path | None, target: Target) -> str:
    from tgc.ir.schedule import from_json
    from tgc.ir.text import parse_kernel, print_kernel
    from tgc.passes.heuristic import scheduler_for
    from tgc.passes.schedule.apply import apply

    for name in wanted:
        if name not in ON_KERNELS:
            raise OptionError(f"there is no pass {name!r} on kernels", "--passes", f"choose from {', '.join(ON_KERNELS)}")
    kernel = parse_kernel(text)
    if file is not None:
        try:
            return print_kernel(apply(kernel, from_json(_read(file))).kernel)
        except (ValueError, InvalidIrError) as error:
            raise OptionError(f"the schedule does not fit: {error}", str(file)) from error
    return print_kernel(scheduler_for(target)(kernel, frozenset()).kernel if wanted else kernel)
