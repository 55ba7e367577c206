"""The command line. Exit status: 0 done, 1 the input or the result is at fault, 2 wrong usage, 3 a defect in tgc."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
import warnings
from typing import TextIO

import click

import tgc
from tgc.cli.arguments import State
from tgc.cli.bench import bench
from tgc.cli.build import compile_command
from tgc.cli.halves import halves
from tgc.cli.inspect import inspect
from tgc.cli.jobs import build_job, job, store
from tgc.cli.listings import ops, passes, targets
from tgc.cli.opt import opt
from tgc.cli.reduce import reduce
from tgc.cli.run import run
from tgc.cli.tune import tune
from tgc.cli.verify import verify
from tgc.errors import TgcError, TgcWarning

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # not the fault of tgc


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(tgc.__version__, prog_name="tgc")
@click.option("--debug", is_flag=True, help="Show the traceback of an error (also: TGC_DEBUG=1).")
@click.pass_obj
def group(state: State, debug: bool) -> None:
    """Compiles ONNX models, ahead of time, to standalone C, OpenCL and object code.

    \b
    Example:
      tgc compile model.onnx --target c -o out
      tgc verify model.onnx --target c
    """
    state.debug = state.debug or debug


for command in (compile_command, run, verify, halves, bench, tune, opt, reduce, inspect, job, build_job, store, ops, passes, targets):
    group.add_command(command)


def main() -> None:
    """What the `tgc` command runs."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Runs one command line and returns its exit status; messages go to standard error."""
    state = State(debug=bool(os.environ.get("TGC_DEBUG")))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            result = group.main(arguments, prog_name="tgc", standalone_mode=False, obj=state)
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        error.show()
        return 2
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except TgcError as error:
        _explain(f"tgc: {error}", state)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keep the interpreter from failing again at exit
        return 1
    except Exception as error:
        if (fault := _lack(error)) is not None:
            _explain(fault, state)
            return 1
        _explain(f"tgc: internal error: {type(error).__name__}: {error}\n  hint: this is a defect in tgc; please report it with "
                 "the output of the same command under `tgc --debug`", state)  # fmt: skip
        return 3


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """What concerns the user's model is said; what concerns Python code is not."""
    del filename, lineno, file, line  # of the code that warns
    if issubclass(category, TgcWarning):
        click.echo(f"tgc: warning: {message}", err=True)


def _lack(error: Exception) -> str | None:
    """What to say where the machine's disk or memory did not suffice; None for other errors."""
    if isinstance(error, OSError) and error.errno in _FULL:
        where = error.filename or tempfile.gettempdir()
        return f"tgc: {where}: {error.strerror}\n  hint: make room, or name another folder for temporary files in TMPDIR"
    if isinstance(error, MemoryError):
        return f"tgc: not enough memory: {error or 'for this model'}\n  hint: pin smaller sizes with --dim or --shape"
    return None


def _explain(message: str, state: State) -> None:
    if state.debug:
        traceback.print_exc()
    click.echo(message, err=True)
