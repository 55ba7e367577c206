"""tgc reduce."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import MODEL, compiling, feeding, mapping
from tgc.cli.output import progress
from tgc.errors import OptionError, TgcError

if TYPE_CHECKING:
    from tgc.artifact import Artifact
    from tgc.frontend_onnx.extract import Part


@click.command()
@click.argument("model", type=MODEL)
@compiling
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write; by default MODEL's name and -reduced.")
@click.option(
    "--check",
    type=click.Choice(["compile", "verify"]),
    default="verify",
    show_default=True,
    help="What fails: compiling it, in the same way, or its outputs, compared with ONNX Runtime's.",
)
@click.option("--command", metavar="COMMAND", help="Or a command that exits with 0 as long as the model, put in place of {}, still fails.")
@feeding
def reduce(model: Path, output: Path | None, check: str, command: str | None, sizes: Any, seed: int, ranges: Any,
           **flags: Any) -> None:  # fmt: skip
    """Make MODEL, which fails, as small as it can be and still fail.

    \b
    Example:
      tgc reduce model.onnx --target x86-64-v3 -o small
      tgc reduce model.onnx --check compile -o small
      tgc reduce model.onnx --command "my-check {}" -o small
    """
    from tgc.frontend_onnx.extract import model_inputs, read_whole, run_whole, write_part
    from tgc.inputs import draw
    from tgc.verify.minimise import minimise

    source = read_whole(model)
    dims = {**mapping(flags["dims"], "--dim"), **mapping(sizes, "--size")}
    largest = {name: size if isinstance(size, int) else max(size) for name, size in dims.items()}
    opened = model_inputs(source, largest, mapping(flags["shapes"], "--shape"))
    with progress(f"reducing {model.name}") as watch:
        whole = run_whole(source, draw(opened, seed, mapping(ranges, "--range")))
        part = minimise(whole, _check(command, check, flags, whole.model), watch=watch)
    if part is None:
        raise OptionError("the model does not fail", str(model), "a command has to exit with 0 as long as it fails" if command else "")
    found = write_part(part, output or Path(f"{model.stem}-reduced"))
    click.echo(f"{found}: {len(part.model.graph.node)} of {len(whole.nodes)} nodes: {', '.join(n.op_type for n in part.model.graph.node)}")


def _check(command: str | None, check: str, flags: dict[str, Any], model: Any) -> Callable[[Part], bool]:
    if command is not None:
        words = _words(command)
        return lambda part: _command_fails(words, part)
    if check == "compile":
        wanted = _compile_error(model, flags, pinned=True)
        return lambda part: wanted is not None and _compile_error(part.model, flags) == wanted
    from tgc.verify import Tolerance
    from tgc.verify.reproduce import is_wrong

    return lambda part: is_wrong(part, recompiler(flags), Tolerance())


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(f"{command!r}: {str(error).lower()}", param_hint="--command") from error
    if not any("{}" in word for word in words[1:]):
        raise click.BadParameter(f"{command!r} names a program, and {{}} for the model's path behind it", param_hint="--command")
    return words


def _command_fails(command: list[str], part: Part) -> bool:
    from tgc.frontend_onnx.extract import write_part

    with tempfile.TemporaryDirectory(prefix="tgc-reduce-") as folder:
        path = write_part(part, Path(folder))
        words = [word.replace("{}", str(path)) for word in command]
        try:
            return subprocess.run(words, capture_output=True, check=False).returncode == 0
        except OSError as error:
            raise OptionError(f"the command cannot be run: {error.strerror}", words[0]) from error


def _compile_error(model: Any, flags: dict[str, Any], pinned: bool = False) -> type[Exception] | None:
    """The kind of error that compiling `model` ends with."""
    from tgc import driver

    pins: dict[str, Any] = {"dims": mapping(flags["dims"], "--dim"), "shapes": mapping(flags["shapes"], "--shape")} if pinned else {}
    try:
        driver.compile(model, flags["target"], **pins, **_choices(flags))
    except TgcError as error:
        return type(error)
    except Exception as error:
        return type(error)
    return None


def recompiler(flags: dict[str, Any]) -> Callable[[Part], Artifact]:
    """Compiles a part of a model with the flags of the whole, its shapes being fixed; by a lock the kernels that it knows."""
    from tgc import driver
    from tgc.lock import pinned, read_lock
    from tgc.passes.heuristic import scheduler_for

    lock = read_lock(flags["lock"]) if flags.get("lock") else None
    maker: Any = None if lock is None else lambda target: pinned(lock, target, scheduler_for(target)).schedule
    return lambda part: driver.compile(part.model, flags["target"], name="part", scheduler=maker, **_choices(flags))


def _choices(flags: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if key not in ("target", "dims", "shapes", "constants", "name", "lock")}
