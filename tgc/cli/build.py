"""tgc compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tgc.artifact import Artifact
from tgc.cli.arguments import MODEL, compiling, json_option, mapping
from tgc.cli.output import duration, print_json, print_table, progress, size


def build(model: Path, *, target: str, dims: Any, shapes: Any, name: str | None, weights: str, **more: Any) -> Artifact:
    """Compiles with the flags of `compiling`, showing progress."""
    from tgc import driver

    with progress(f"compiling {model.name}") as watch:
        return driver.compile(
            model, target, dims=mapping(dims, "--dim"), shapes=mapping(shapes, "--shape"), name=name, weights=weights, watch=watch, **more
        )


@click.command("compile")
@click.argument("model", type=MODEL)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output folder; by default named after the model.")
@compiling
@click.option("--check-passes", is_flag=True, help="Compare every pass with the interpreter (slow).")
@click.option("--time-passes", is_flag=True, help="Print how long each step took.")
@json_option
def compile_command(model: Path, output: Path | None, check_passes: bool, time_passes: bool, as_json: bool, **flags: Any) -> None:
    """Compile MODEL, an ONNX file, to a folder that stands alone.

    \b
    Example:
      tgc compile model.onnx --target c --shape input=1x3x224x224 -o out
    """
    artifact = build(model, check_passes=check_passes, **flags)
    folder = artifact.write(output or Path(artifact.name))
    if as_json:
        print_json({"folder": str(folder), **summary(artifact)})
        return
    program = artifact.program
    click.echo(f"{folder}: {len(artifact.files)} files, {size(artifact.bytes)}, for {artifact.target.name}")
    memory = f"weights {size(program.weights.nbytes)}, arena {size(program.arena_bytes)}"
    click.echo(f"{len(program.kernels)} kernels, {len(program.calls)} calls; {memory}")
    if time_passes:
        print_table(("step", "time"), [(step, duration(seconds)) for step, seconds in artifact.seconds], right=(1,))


def summary(artifact: Artifact) -> dict[str, object]:
    """What compiling made, for --json."""
    program = artifact.program

    def tensors(listed: Any) -> list[dict[str, object]]:
        return [{"name": t.name, "dtype": t.dtype.name, "shape": list(t.shape)} for t in listed]

    return {
        "name": artifact.name, "target": artifact.target.name, "files": {name: len(content) for name, content in artifact.files.items()},
        "inputs": tensors(program.inputs), "outputs": tensors(program.outputs), "kernels": len(program.kernels),
        "calls": len(program.calls), "weights_bytes": int(program.weights.nbytes), "arena_bytes": program.arena_bytes,
        "seconds": dict(artifact.seconds),
    }  # fmt: skip
