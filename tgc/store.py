"""Weights by content: a file is found by the SHA-256 of its bytes, so that artifacts share what is equal and damage is seen.

    folder/ab/abcdef...     the bytes whose SHA-256 is abcdef...
    folder/roots/...        the artifacts that need some, by path: what none of them names, `collect` removes

An entry appears whole or not at all: it is written beside its place, synchronised and renamed, so that two writers of the same bytes
do not disturb each other and a full disk loses nothing. A remote is any URL that fsspec can read and write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgc.errors import ModelError, OptionError, ToolchainError
from tgc.whole_file import write_whole

FOLDER_VARIABLE, REMOTE_VARIABLE = "TGC_STORE", "TGC_STORE_REMOTE"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of entries, and the URL of another such folder that is asked for what is missing; "" for none."""

    folder: Path
    remote: str = ""

    def path(self, digest: str) -> Path:
        """Where the entry is, or would be. Raises ModelError for what is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise ModelError(f"{digest!r} is no SHA-256 in hexadecimal", str(self.folder))
        return self.folder / digest[:2] / digest

    def put(self, content: bytes | memoryview) -> str:
        """Stores `content` and returns its digest. Raises OptionError where it cannot be written; then nothing has changed."""
        digest = hashlib.sha256(content).hexdigest()
        goal = self.path(digest)
        if not goal.exists() or digest_of(goal) != digest:
            _write(goal, content)
        return digest

    def get(self, digest: str) -> Path:
        """The checked entry, fetched from the remote where it is missing or damaged. Raises ModelError where that is of no avail."""
        found = self.path(digest)
        fault = "is not in the store" if not found.exists() else "" if digest_of(found) == digest else "is damaged: its hash differs"
        if not fault:
            return found
        if self.remote:
            content = _fetch(f"{self.remote.rstrip('/')}/{digest[:2]}/{digest}")
            if hashlib.sha256(content).hexdigest() != digest:
                raise ModelError(f"{fault}, and the remote's copy is damaged too", f"entry {digest}", f"restore it in {self.remote}")
            _write(found, content)
            return found
        hint = f"put it there again with tgc store put, or name a remote in {REMOTE_VARIABLE}"
        raise ModelError(fault, f"{self.folder}: entry {digest}", hint)

    def push(self, digest: str) -> None:
        """Copies an entry to the remote, where it appears whole or not at all. Raises ToolchainError or OptionError where that fails."""
        target, entry = f"{self.remote.rstrip('/')}/{digest[:2]}/{digest}", self.get(digest)
        system, path = _remote(target)
        beside = f"{path.rpartition('/')[0]}/.new-{secrets.token_hex(8)}"
        try:
            if not system.exists(path) or system.size(path) != entry.stat().st_size:
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.put_file(str(entry), beside)
                system.mv(beside, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                system.rm_file(beside)
            raise OptionError(f"cannot be written: {error}", target) from error

    def damaged(self) -> list[str]:
        """The digests of the entries whose bytes have another hash."""
        return [entry.name for entry in self.entries() if digest_of(entry) != entry.name]

    def entries(self) -> Iterator[Path]:
        """Every entry, in order."""
        yield from (path for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")) if _DIGEST.fullmatch(path.name))

    def need(self, artifact: Path, digests: list[str]) -> None:
        """Notes that the artifact in the folder `artifact` needs these entries, until it is gone."""
        root = str(artifact.resolve())
        _write(self.folder / "roots" / hashlib.sha256(root.encode()).hexdigest(), json.dumps({"artifact": root, "needs": digests}).encode())

    def collect(self) -> tuple[int, int]:
        """Removes the entries that no artifact needs, and notes of artifacts that are gone; how many entries, and their bytes.

        Raises ModelError, with nothing removed, where a note cannot be read, for then it is unknown what is needed.
        """
        notes = {note: _root(note) for note in sorted((self.folder / "roots").glob("[0-9a-f]*"))}
        needed: set[str] = set()
        for note, root in notes.items():
            if root is None:
                note.unlink(missing_ok=True)
            else:
                needed.update(root)
        unused = [entry for entry in self.entries() if entry.name not in needed]
        freed = sum(entry.stat().st_size for entry in unused)
        for entry in unused:
            entry.unlink(missing_ok=True)
        return len(unused), freed


def default_store(folder: Path | None = None, remote: str | None = None) -> Store:
    """The store in `folder`, else in TGC_STORE, else in the user's cache; its remote likewise from TGC_STORE_REMOTE."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tgc" / "store"
    chosen = folder or Path(os.environ.get(FOLDER_VARIABLE) or cache)
    return Store(chosen, os.environ.get(REMOTE_VARIABLE, "") if remote is None else remote)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path)) from error
    return digest.hexdigest()


def _write(goal: Path, content: bytes | memoryview) -> None:
    write_whole(goal, content, "nothing in the store has changed", folders=True)


def _root(note: Path) -> list[str] | None:
    """The entries that a note is for; None where its artifact is gone. Raises ModelError where it cannot be read."""
    try:
        content = json.loads(note.read_bytes())
        return [str(digest) for digest in content["needs"]] if (Path(content["artifact"]) / "manifest.json").exists() else None
    except FileNotFoundError:  # another collection was faster
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "nothing was removed; remove this file, and tgc store put every artifact again"
        raise ModelError(f"the note of what an artifact needs is damaged: {error}", str(note), hint) from error


def _remote(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise ToolchainError("fsspec is not installed", "the store's remote", "pip install 'tgc[store]'") from error
    system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


def _fetch(url: str) -> bytes:
    system, path = _remote(url)
    try:
        return bytes(system.cat_file(path))
    except OSError as error:
        raise ModelError(f"cannot be fetched: {error}", url) from error
