"""The C compiler of this machine, where there is one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tgc.errors import ToolchainError

SPEED_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
"""What generated C deserves. None of these changes a result beyond fusing multiply-adds."""
TABLE_FLAGS = ("-O1",)
"""What sources deserve that are tables, and calls of a driver: no tuning, which is also spared the headers of vector types that CL/cl.h
takes in for a tuned machine, two thirds of the time that it takes to compile them."""
SHOWN_LINES = 12


def find_compiler() -> tuple[str, ...]:
    """The command of a C compiler: $CC (with its flags), else cc, gcc or clang. Raises ToolchainError where there is none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise ToolchainError(f"there is no program {chosen[0]!r}", "CC", "point CC at a C compiler, or unset it")
        return tuple(chosen)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return (name,)
    raise ToolchainError(
        "there is no C compiler on this machine", hint="install gcc or clang (apt install gcc, xcode-select --install), or use --target=cpu"
    )


def compile_shared(files: Sequence[Path], out: Path, flags: Sequence[str] = SPEED_FLAGS) -> None:
    """Compiles C sources, and links objects among them, to the shared library `out`. Raises ToolchainError with the first lines."""
    run_compiler([*flags, "-std=c99", "-fPIC", "-shared", "-o", str(out), *map(str, files), *libraries()])


def compile_object(source: Path, out: Path, flags: Sequence[str] = SPEED_FLAGS) -> None:
    """Compiles one C source to the object file `out`, fit for a shared library. Raises ToolchainError."""
    run_compiler([*flags, "-std=c99", "-fPIC", "-c", "-o", str(out), str(source)])


def libraries() -> tuple[str, ...]:
    """What generated C links with."""
    return () if sys.platform == "win32" else ("-lm", "-pthread")


def run_compiler(arguments: Sequence[str]) -> None:
    """Runs the C compiler. Raises ToolchainError with its first lines where it fails."""
    command = find_compiler()
    try:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ToolchainError(f"could not start {command[0]}: {error.strerror}", "CC") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[:SHOWN_LINES]
        raise ToolchainError("\n  ".join([f"{command[0]} failed with status {done.returncode}", *lines]))
