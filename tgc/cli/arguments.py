"""Flags that several commands share, and what their values look like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from tgc.targets import PRECISIONS, TARGETS, WINOGRAD

Command = TypeVar("Command", bound=Callable[..., Any])
MODEL = click.Path(path_type=Path)


@dataclass(slots=True)
class State:
    """What the group hands to its commands."""

    debug: bool = False


def _pair(form: str, read: Callable[[str], object]) -> Callable[[str], tuple[str, object]]:
    """Reads NAME=VALUE, split at the last "=", for names may hold one; `read` makes the value. `form` shows what is expected."""

    def convert(text: str) -> tuple[str, object]:
        key, separator, value = text.rpartition("=")
        try:
            if separator and key:
                return key, read(value)
        except ValueError:
            pass
        raise click.BadParameter(f"{text!r} is not of the form {form}")

    return convert


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.lower().split("x")) if text else ()
    if min(sizes, default=0) < 0:
        raise ValueError(text)
    return sizes


def _size(text: str) -> int:
    if (size := int(text)) < 0:
        raise ValueError(text)
    return size


def _size_or_range(text: str) -> int | str | tuple[int, int] | tuple[int, int, int]:
    low, dots, rest = text.partition("..")
    if not dots:
        return text if any(sign.isalpha() for sign in text) else _size(text)
    high, colon, step = rest.partition(":")
    return (_size(low), _size(high), _size(step)) if colon else (_size(low), _size(high))


def _numbers(text: str) -> float | int | list[float | int]:
    """One number, or several with commas between."""
    values = [float(part) if "." in part or "e" in part.lower() else int(part) for part in text.split(",")]
    return values if len(values) > 1 else values[0]


def at_least(least: float, open_end: bool = False) -> Callable[[Any, Any, float | None], float | None]:
    """Takes a finite number from `least` on, itself left out where `open_end`: a callback for a flag."""

    def check(_: Any, __: Any, value: float | None) -> float | None:
        if value is not None and not (math.isfinite(value) and (value > least or (value == least and not open_end))):
            raise click.BadParameter(f"{value:g} is not a number {'above' if open_end else 'from'} {least:g}{'' if open_end else ' on'}")
        return value

    return check


positive = at_least(0, open_end=True)


def _range(text: str) -> tuple[float, float]:
    low, high = text.split(":")
    if not -math.inf < float(low) < float(high) < math.inf:
        raise ValueError(text)
    return float(low), float(high)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def pairs(flag: str, name: str, form: str, read: Callable[[str], object], text: str) -> Callable[[Command], Command]:
    """A flag that may be given often, each time as NAME=VALUE."""
    return click.option(flag, name, type=_pair(form, read), metavar=form, multiple=True, help=text)


def pinning(command: Command) -> Command:
    """--dim, --shape, --const."""
    return _with(
        pairs(
            "--dim",
            "dims",
            "NAME=SIZE",
            _size_or_range,
            "Pin a symbolic dimension, or keep it open: LOW..HIGH, or LOW..HIGH:STEP; or say what it is equal to: --dim total=past+length.",
        ),
        pairs("--shape", "shapes", "INPUT=1x3x224x224", _shape, "Pin an input's whole shape."),
        pairs("--const", "constants", "INPUT=VALUE,..", _numbers, "Compile an input's value in; it is no input any more then."),
    )(command)


def compiling(command: Command) -> Command:
    """--target, --dim, --shape, --const, --name, --weights, --precision, --single, --half-from, --winograd, --threads."""
    names = ", ".join(target.name for target in TARGETS)
    return _with(
        click.option("--target", default="cpu", show_default=True, metavar="TARGET", help=f"What to compile for: {names}."),
        pinning,
        click.option("--name", help="C identifier that prefixes the exported symbols; by default the file's name."),
        click.option("--weights", type=click.Choice(["file", "embed"]), default="file", show_default=True,
                     help="Weights in a file beside the program, or inside it."),
        click.option("--precision", type=click.Choice(PRECISIONS),
                     help="Of floats. qcom: stored in half and computed in single precision (mixed, the default), sums in half too "
                     "(fp16), or single precision for both (fp32). "
                     "CPUs: weights and what is multiplied with them in bfloat16, summed in single precision (bf16). "
                     "CPUs with such arithmetic: what a model has in half computed in half (fp16)."),
        click.option("--single", metavar="REGEX",
                     help="qcom: store in single precision what ONNX nodes whose whole names match read and compute, "
                     "where half is not enough."),
        click.option("--half-from", type=click.IntRange(min=0), metavar="PRODUCTS",
                     help="qcom with --precision fp16: sum in half in kernels of at least so many products, "
                     "and in single precision in those that gain less by it."),
        click.option("--winograd", type=click.Choice(WINOGRAD),
                     help="Tiles of 2x2 or 4x4 for convolutions of 3x3: fewer products, sums rounded otherwise. "
                     "Default: auto on CPUs and qcom."),
        click.option("--threads", default=1, show_default=True, help="Divide large kernels for so many threads (CPUs)."),
    )(command)  # fmt: skip


def keeping(command: Command) -> Command:
    """--state, --shift, --entry."""
    return _with(
        pairs("--state", "states", "OUTPUT=INPUT", str,
              "Keep an output, or a part of it such as 'out[:,6097:]', for this input of the next run."),
        pairs("--shift", "shifts", "OUTPUT=INPUT", str, "The same where the input is a window of the output's last values."),
        pairs("--entry", "entries", "NAME=OUTPUT,..", lambda text: tuple(text.split(",")),
              "An entry point that computes these outputs, and updates these states (named by their inputs); NAME_run is the main one."),
    )(command)  # fmt: skip


def feeding(command: Command) -> Command:
    """--size, --seed, --range."""
    return _with(
        pairs("--size", "sizes", "NAME=SIZE", _size, "Run with this size of an open dimension; by default the largest."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of random inputs."),
        pairs("--range", "ranges", "INPUT=LOW:HIGH", _range, "Draw this input uniformly from a range."),
    )(command)


device_option = click.option("--device", default="local", show_default=True, metavar="DEVICE",
                             help="Where it runs: ssh:HOST, ssh:HOST:/FOLDER, adb, adb:SERIAL.")  # fmt: skip
lock_option = click.option("--lock", type=MODEL, metavar="FILE", help="Schedule kernels as a lock file of tgc tune says.")
input_option = pairs("--input", "files", "INPUT=FILE", Path, "Read an input from a .npy or .pb file; the others are random.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


def mapping(given: Sequence[tuple[str, Any]], flag: str) -> dict[str, Any]:
    """The pairs as a dictionary. A name given twice is a usage error."""
    result = dict(given)
    if len(result) != len(given):
        names = [key for key, _ in given]
        twice = next(name for name in names if names.count(name) > 1)
        raise click.UsageError(f"{flag} names {twice!r} twice")
    return result
