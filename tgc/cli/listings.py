"""tgc ops, tgc passes, tgc targets: what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import click

from tgc.cli.arguments import json_option
from tgc.cli.output import print_json, print_table


@click.command()
@click.option("--scalar", is_flag=True, help="The scalar operations that a backend prints, instead of ONNX operators.")
@json_option
def ops(scalar: bool, as_json: bool) -> None:
    """List the ONNX operators that tgc lowers, with the opsets in which their versions begin. Operators that ONNX itself
    defines as functions of others need no lowering and are not listed.

    \b
    Example:
      tgc ops
      tgc ops --scalar
    """
    if scalar:
        _scalar(as_json)
        return
    rows = list(_lowered())
    if as_json:
        print_json([{"operator": name, "domain": domain, "since": list(since)} for domain, name, since in rows])
        return
    cells = [(name, domain or "ai.onnx", ", ".join(map(str, since)) or "any") for domain, name, since in rows]
    print_table(("operator", "domain", "since opset"), cells)


def _lowered() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Domain, name and versions of every operator; no version is named where all are taken."""
    from tgc.frontend_onnx.control import CONTROL
    from tgc.frontend_onnx.registry import standard_registry
    from tgc.frontend_onnx.structured import STRUCTURED

    table = standard_registry()
    found = {(lowering.domain, lowering.op_type): table.versions(lowering.domain, lowering.op_type) for lowering in table}
    for domain, name in sorted(found | {("", name): () for name in (*CONTROL, *STRUCTURED)}):
        yield domain, name, found.get((domain, name), ())


def _scalar(as_json: bool) -> None:
    from tgc.ir.ops import OPS

    if as_json:
        print_json([{"operation": op.name, "arguments": op.arity, "meaning": op.meaning, "bits_only": op.bits_only} for op in OPS])
        return
    print_table(("operation", "arguments", "meaning"), [(op.name, str(op.arity), op.meaning) for op in OPS], right=(1,))


@click.command()
@json_option
def passes(as_json: bool) -> None:
    """List the passes in the order in which they run.

    \b
    Example:
      tgc passes
    """
    from tgc.driver import import_graph
    from tgc.passes import GRAPH_PASSES
    from tgc.passes.assemble import assemble
    from tgc.passes.images import images
    from tgc.passes.layout import layout
    from tgc.passes.partition import partition

    listed: list[tuple[str, str, Callable[..., object]]] = [("import", "graph", import_graph)]
    listed += [(p.name, "graph", p.run) for p in GRAPH_PASSES]
    listed += [("partition", "kernels", partition), ("layout", "kernels", layout), ("program", "program", assemble)]
    listed.append(("images", "program", images))
    rows = [(name, on, (run.__doc__ or "").strip().split("\n")[0]) for name, on, run in listed]
    if as_json:
        print_json([{"name": name, "makes": on, "what": what} for name, on, what in rows])
        return
    print_table(("pass", "makes", "what it does"), rows)


@click.command()
@json_option
def targets(as_json: bool) -> None:
    """List the targets that a model can be compiled for.

    \b
    Example:
      tgc targets --json
    """
    from tgc.targets import TARGETS

    if as_json:
        print_json([asdict(target) for target in TARGETS])
        return
    print_table(("target", "backend", "what it is"), [(t.name, t.backend, t.summary) for t in TARGETS])
