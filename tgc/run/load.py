"""From an artifact's folder to a model that runs."""

from __future__ import annotations

import ctypes as c
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tgc.backends.toolchain import SPEED_FLAGS, compile_shared, find_compiler
from tgc.errors import ModelError, TgcError
from tgc.run.model import Execute, Model, described
from tgc.run.native import Bytes, executor

FORMAT = 1


def load(folder: str | Path) -> Model:
    """The compiled model in `folder`.

    Raises ModelError where it is no artifact or a damaged one, ToolchainError where a compiler is needed and missing.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    try:
        name, target = str(manifest["name"]), manifest["target"]
        inputs, outputs = described(manifest["inputs"]), described(manifest["outputs"])
        _check_files(path, manifest["files"])
        execute = _LOADERS[target["backend"]](path, manifest)
        return Model(name, str(target["name"]), inputs, outputs, execute)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the manifest is damaged: {error!r}", str(path / "manifest.json"), "compile the model again") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the artifact in `folder`. Raises ModelError where there is none that this tgc can read."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError("holds no compiled model (there is no manifest.json)", str(folder), "make one with tgc compile") from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise ModelError(f"is no JSON: {error}", str(path), "compile the model again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(f"is no manifest of format {FORMAT}", str(path), "compile the model again with this version of tgc")
    return manifest


def weights(folder: Path, manifest: dict[str, Any]) -> Bytes | None:
    """The weights file, mapped; None where the weights are embedded or there are none."""
    name = manifest["weights"]["file"]
    return None if name is None else np.memmap(folder / name, np.uint8, "r")


def _check_files(folder: Path, hashes: dict[str, str]) -> None:
    """Every file is there and is the one that the manifest speaks of."""
    for name, digest in hashes.items():
        path = folder / name
        if path.parent != folder:
            raise ModelError(f"the manifest names a file outside the artifact: {name!r}", str(folder))
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", str(path), "compile the model again") from error
        if found != digest:
            raise ModelError("is not the file that was compiled (its hash differs)", str(path), "compile the model again")


def _load_c(folder: Path, manifest: dict[str, Any]) -> Execute:
    """Compiles the sources, or takes the library from an earlier time."""
    sources = sorted(folder / name for name in manifest["files"] if name.endswith(".c") and name != "example_main.c")
    library = c.CDLL(str(shared_library(sources, manifest)))
    address = c.addressof(c.c_char.in_dll(library, f"{manifest['name']}_model"))
    return executor(address, weights(folder, manifest), library)


def shared_library(sources: list[Path], manifest: dict[str, Any]) -> Path:
    """The library of these sources in the cache, whose key is their content, the compiler and its flags."""
    command = find_compiler()
    key = hashlib.sha256(json.dumps([manifest["files"], command, SPEED_FLAGS, sys.platform]).encode()).hexdigest()[:32]
    cache = Path(tempfile.gettempdir()) / f"tgc-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    library = cache / f"{key}.so"
    if not library.exists():
        try:
            cache.mkdir(mode=0o700, exist_ok=True)
            if hasattr(os, "getuid") and cache.lstat().st_uid != os.getuid():
                raise TgcError("belongs to somebody else", str(cache), "set TMPDIR to a folder of your own")
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                fresh = Path(scratch) / "model.so"
                compile_shared(sources, fresh)
                os.replace(fresh, library)
        except OSError as error:
            raise TgcError(f"cannot keep the compiled library: {error.strerror}", str(cache)) from error
    return library


def _load_llvm(folder: Path, manifest: dict[str, Any]) -> Execute:
    """Links the object into this process."""
    from tgc.backends.llvm.jit import load_object

    name = manifest["name"]
    library = load_object((folder / f"{name}.o").read_bytes())
    return executor(library.address(f"{name}_model"), weights(folder, manifest), library)


def _load_opencl(folder: Path, manifest: dict[str, Any]) -> Execute:
    """Builds the program on a device."""
    from tgc.run.opencl import load_opencl

    return load_opencl(folder, manifest)


_LOADERS: dict[str, Callable[[Path, dict[str, Any]], Execute]] = {"c": _load_c, "llvm": _load_llvm, "opencl": _load_opencl}
