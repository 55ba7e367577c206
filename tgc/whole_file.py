"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from tgc.errors import OptionError


def write_whole(goal: Path, content: bytes | memoryview, hint: str = "nothing was written", *, folders: bool = False) -> None:
    """Writes beside `goal`, synchronises and renames, so that no one sees half a file and a full disk leaves what was there.

    folders: make those on the way. What is no ordinary file, such as /dev/stdout, is written to as it is. Raises OptionError with `hint`.
    """
    goal = Path(os.path.realpath(goal))  # a link stays one
    beside = goal.parent / f".new-{secrets.token_hex(8)}"
    try:
        if goal.exists() and not goal.is_file():
            goal.write_bytes(content)
            return
        if folders:
            goal.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, goal)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise OptionError(f"cannot be written: {error.strerror or error}", str(goal), hint) from error
