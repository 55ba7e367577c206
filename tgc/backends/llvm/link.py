"""A shared library out of an object, where this machine has a linker. Nothing depends on it: the object can do the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_LINKERS: tuple[tuple[str, ...], ...] = (("ld.lld",), ("ld",), ("cc", "-nostdlib"))
_FLAGS = ("-shared", "-z", "noexecstack", "--build-id=none")


def shared_library(code: bytes) -> bytes | None:
    """The object as an ELF shared library that needs no other; None where there is no linker, or it does not do this."""
    if not sys.platform.startswith("linux"):
        return None
    for program, *options in _LINKERS:
        found = shutil.which(program)
        if found is not None:
            return _link([found, *options, *_spelled(program)], code)
    return None


def _spelled(program: str) -> list[str]:
    """The flags as the linker takes them, or as a compiler passes them on."""
    if program != "cc":
        return list(_FLAGS)
    return ["-shared", "-Wl,-z,noexecstack", "-Wl,--build-id=none"]


def _link(command: list[str], code: bytes) -> bytes | None:
    with tempfile.TemporaryDirectory(prefix="tgc-") as folder:
        (Path(folder) / "model.o").write_bytes(code)
        done = subprocess.run([*command, "-o", "model.so", "model.o"], cwd=folder, capture_output=True, check=False)
        library = Path(folder) / "model.so"
        return library.read_bytes() if done.returncode == 0 and library.exists() else None
