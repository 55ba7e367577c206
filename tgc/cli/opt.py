"""tgc opt."""

from __future__ import annotations

from pathlib import Path

import click

from tgc.cli.arguments import MODEL, json_option
from tgc.cli.output import print_json
from tgc.errors import ModelError, OptionError


@click.command()
@click.argument("file", type=MODEL)
@click.option("--passes", "names", required=True, metavar="NAME,NAME", help="Passes on graphs to run, in this order; see tgc passes.")
@click.option("--target", default="cpu", show_default=True, help="The target that the passes optimise for.")
@json_option
def opt(file: Path, names: str, target: str, as_json: bool) -> None:
    """Run passes on FILE, a graph in text form (.tir), and print the graph that comes out.

    \b
    Example:
      tgc opt graph.tir --passes=fold,merge-pads
    """
    from tgc import driver
    from tgc.ir.text import parse_graph, print_graph
    from tgc.passes import GRAPH_PASSES

    known = {p.name: p for p in GRAPH_PASSES}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise OptionError(f"there is no pass {name!r} on graphs", where="--passes", hint=f"choose from {', '.join(known)}")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from error
    graph = parse_graph(text)
    for name in wanted:
        graph = known[name].run(graph, driver.resolve(target))
    if as_json:
        print_json({"passes": wanted, "graph": print_graph(graph)})
    else:
        click.echo(print_graph(graph))
