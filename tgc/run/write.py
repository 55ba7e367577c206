"""Writes an artifact to disk, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tgc.errors import OptionError, TgcError


def write_artifact(files: Mapping[str, bytes], folder: str | Path) -> Path:
    """Makes `folder` hold `files` (name -> bytes), in place of an earlier artifact; what else lies there is kept.

    The files are written to a folder beside it, which then takes its name. Raises OptionError where `folder` is a file or holds
    something that tgc did not make, TgcError where the disk is full or not writable; then nothing is left behind.
    """
    target = Path(os.path.abspath(folder))
    old = _replaceable(target)
    scratch = target.parent / f".{target.name}.{os.getpid()}.new"
    aside = target.parent / f".{target.name}.{os.getpid()}.old"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_all(files, scratch)
        if old is not None:
            os.rename(target, aside)
        os.rename(scratch, target)
        if old is not None:
            _keep_others(aside, target, old)
            shutil.rmtree(aside)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        hint = "free some space, or choose another --output"
        raise TgcError(f"cannot be written: {error.strerror or error}", str(folder), hint) from error
    return target


def _replaceable(target: Path) -> frozenset[str] | None:
    """The names of the artifact's files in the folder that is there, which may be none; None where there is no folder."""
    if not os.path.lexists(target):
        return None
    if not target.is_dir():
        raise OptionError("is a file, and the output is a folder", str(target), "choose another --output")
    entries = sorted(entry.name for entry in target.iterdir())
    if not entries:
        return frozenset()
    try:
        manifest = json.loads((target / "manifest.json").read_bytes())
        return frozenset([*manifest["files"], "manifest.json"]) if "tgc" in manifest else _refuse(target, entries[0])
    except (OSError, ValueError, KeyError, TypeError):
        return _refuse(target, entries[0])


def _refuse(target: Path, entry: str) -> frozenset[str]:
    raise OptionError(f"is a folder that tgc did not make (it holds {entry})", str(target), "choose another --output, or empty it")


def _write_all(files: Mapping[str, bytes], scratch: Path) -> None:
    os.mkdir(scratch)
    for name in sorted(files):
        (scratch / name).write_bytes(files[name])


def _keep_others(aside: Path, target: Path, old: frozenset[str]) -> None:
    """Moves what does not belong to the old artifact, such as a build folder, into the new one."""
    for entry in sorted(aside.iterdir()):
        if entry.name not in old and not os.path.lexists(target / entry.name):
            os.rename(entry, target / entry.name)
