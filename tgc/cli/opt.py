"""tgc opt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tgc.cli.arguments import MODEL, json_option, mapping, pinning
from tgc.cli.output import print_json
from tgc.errors import InvalidIrError, ModelError, OptionError
from tgc.ir.graph import Graph
from tgc.targets import Target

ON_KERNELS = ("schedule",)
LAST = ("lower", "program", "images")
_KERNEL = re.compile(r"^kernel (\w+)\(.*?^\}$", re.MULTILINE | re.DOTALL)


@click.command()
@click.argument("file", type=MODEL)
@click.option("--passes", "names", default="", metavar="NAME,NAME",
              help="Passes to run, in this order; see tgc passes. On a model or graph those of graphs, and at last lower, program or "
              "images; on kernels: schedule.")  # fmt: skip
@click.option("--kernel", metavar="NAME", help="Of a program: this kernel alone.")
@click.option("--schedule", type=MODEL, metavar="FILE", help="On a kernel: the steps of a schedule in JSON, in place of the heuristic's.")
@click.option("--target", default="cpu", show_default=True, help="The target that the passes optimise for.")
@pinning
@json_option
def opt(
    file: Path, names: str, kernel: str | None, schedule: Path | None, target: str, dims: Any, shapes: Any, constants: Any, as_json: bool
) -> None:
    """Run passes on FILE, an ONNX model, or what --dump-ir wrote: a graph, a program or a kernel in text form (.tir).

    What comes out is printed. Of a program it is the kernels.

    \b
    Example:
      tgc opt model.onnx
      tgc opt graph.tir --passes=fold,merge-pads
      tgc opt graph.tir --passes=fold,program --target c
      tgc opt kernel.tir --passes=schedule --target x86-64-v3
      tgc opt program.tir --kernel k2_dense
    """
    from tgc import driver

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    chosen = driver.resolve(target)
    pins = mapping(dims, "--dim"), mapping(shapes, "--shape"), None, mapping(constants, "--const")
    text = None if _is_onnx(file) else _read(file)
    if text is not None and (kernels := _kernels(text)):
        kind, made = "kernel", _on_kernels(_chosen(kernels, kernel, file), wanted, schedule, chosen, file)
    else:
        graph = driver.import_graph(file, *pins) if text is None else _parsed(text, file)
        kind, made = "program" if {*wanted} & {*LAST} else "graph", _on_graph(graph, wanted, chosen)
    if as_json:
        print_json({"passes": wanted, kind: made})
    else:
        click.echo(made)


def _is_onnx(file: Path) -> bool:
    return file.suffix in (".onnx", ".ort") or file.is_dir() or not file.exists()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(file)) from error
    except UnicodeDecodeError as error:
        raise ModelError("is no text", str(file), "a .tir file is what --dump-ir writes; a model's name ends with .onnx") from error


@contextmanager
def _in_file(file: Path) -> Iterator[None]:
    """Adds to what a parser says in which file that is."""
    try:
        yield
    except ModelError as error:
        where = f"{file}, {error.where}" if error.where else str(file)
        raise ModelError(error.what, where, error.hint or "graphs, programs and kernels are read as --dump-ir writes them") from error


def _parsed(text: str, file: Path) -> Graph:
    from tgc.ir.text import parse_graph

    with _in_file(file):
        return parse_graph(text)


def _on_graph(graph: Graph, wanted: list[str], target: Target) -> str:
    from tgc.ir.text import print_graph, print_program
    from tgc.passes import GRAPH_PASSES, program_of
    from tgc.passes.images import images
    from tgc.passes.schedule.apply import plain_scheduler

    known = {p.name: p for p in GRAPH_PASSES}
    for place, name in enumerate(wanted, 1):
        if name not in known and not (name in LAST and place == len(wanted)):
            hint = f"choose from {', '.join(known)}, and at last {', '.join(LAST[:-1])} or {LAST[-1]}"
            raise OptionError(f"there is no pass {name!r} on graphs", "--passes", hint)
    for name in wanted:
        match name:
            case "lower":
                return print_program(program_of(graph, target, scheduler=plain_scheduler))
            case "program":
                return print_program(program_of(graph, target))
            case "images" if not target.images:
                raise OptionError(f"{target.name} has no images", "--passes", "choose the target qcom")
            case "images":
                return print_program(images(program_of(graph, target), target))
        graph = known[name].run(graph, target)
    return print_graph(graph)


def _kernels(text: str) -> dict[str, str]:
    """The kernels of a program's text, or of a kernel's, by name, each behind as many empty lines as there are lines before it."""
    found = {match[1]: "\n" * text.count("\n", 0, match.start()) + match[0] for match in _KERNEL.finditer(text)}
    return found or ({"": text} if text.lstrip().startswith("kernel") else {})


def _chosen(found: dict[str, str], name: str | None, file: Path) -> list[str]:
    if name is not None and name not in found:
        raise OptionError(f"has no kernel {name!r}", str(file), f"there are {', '.join(found)}")
    return list(found.values()) if name is None else [found[name]]


def _on_kernels(texts: list[str], wanted: list[str], steps: Path | None, target: Target, source: Path) -> str:
    for name in wanted:
        if name not in ON_KERNELS:
            raise OptionError(f"there is no pass {name!r} on kernels", "--passes", f"choose from {', '.join(ON_KERNELS)}")
    if steps is not None and len(texts) > 1:
        raise OptionError("is for one kernel, and the program has several", "--schedule", "name one with --kernel")
    return "\n".join(_on_kernel(text, wanted, steps, target, source) for text in texts)


def _on_kernel(text: str, wanted: list[str], steps: Path | None, target: Target, source: Path) -> str:
    from tgc.ir.schedule import from_json
    from tgc.ir.text import parse_kernel, print_kernel
    from tgc.passes.heuristic import scheduler_for
    from tgc.passes.schedule.apply import apply

    with _in_file(source):
        kernel = parse_kernel(text)
    if steps is not None:
        try:
            return print_kernel(apply(kernel, from_json(_read(steps))).kernel)
        except (ValueError, InvalidIrError) as error:
            raise OptionError(f"the schedule does not fit: {error}", str(steps)) from error
    return print_kernel(scheduler_for(target)(kernel, frozenset()).kernel if wanted else kernel)
