"""From an artifact's folder to a model that runs."""

from __future__ import annotations

import ctypes as c
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgc.backends.toolchain import SPEED_FLAGS, compile_object, compile_shared, find_compiler
from tgc.errors import ModelError, OptionError, TgcError
from tgc.run.golden import read_golden
from tgc.run.model import Engine, EntryPoint, Locate, Model, described
from tgc.run.native import Bytes, Parts, executor
from tgc.run.open_shapes import read_open_shapes
from tgc.run.threads import MOST_THREADS, Pool
from tgc.store import default_store

FORMAT = 2
Loaded = tuple[Engine, Locate]


def load(folder: str | Path, *, weights: str | Path | None = None, threads: int = 1) -> Model:
    """The compiled model in `folder`.

    threads: how many threads run it; more than one for a model that was compiled with threads, on a machine with a C compiler.

    weights: a file to use instead of the artifact's own, from another artifact whose manifest has the same `weights.layout`. Its
    size is checked and its hash is not; the self-test, which was recorded with the artifact's own, is left out.

    Raises ModelError where it is no artifact or a damaged one, ToolchainError where a compiler is needed and missing.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    try:
        name, target = str(manifest["name"]), manifest["target"]
        open_shapes = read_open_shapes(manifest.get("open"))
        inputs, outputs = described(manifest["inputs"]), described(manifest["outputs"])
        own = manifest["weights"]["file"]
        if weights is not None and own is None:
            raise OptionError("this model has no weights file", name, "only weights in a file of their own can be exchanged")
        stored = weights is None and own is not None and not (path / own).exists()
        weights = _from_store(path / own, manifest["weights"]["sha256"]) if stored else weights
        _check_files(path, {file: digest for file, digest in manifest["files"].items() if weights is None or file != own})
        pool = start_pool(path, manifest, threads) if threads != 1 else None
        engine, locate = _LOADERS[target["backend"]](path, manifest, own and map_weights(Path(weights or path / own), manifest), pool)
        has_selftest = manifest["options"]["selftest"] and (weights is None or stored)
        golden = read_golden(locate(f"{name}_golden"), len(outputs)) if has_selftest else None
        if open_shapes is not None:
            inputs, outputs = inputs[: len(open_shapes.inputs)], outputs[: len(open_shapes.outputs)]
        entries = tuple(EntryPoint(e["name"], tuple(e["inputs"]), tuple(e["outputs"])) for e in manifest["entries"])
        states = described(manifest["states"])
        shown = () if open_shapes is not None else entries
        return Model(name, str(target["name"]), inputs, outputs, engine.execute, golden, engine.reset, states, shown, open_shapes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the manifest is damaged: {error!r}", str(path / "manifest.json"), "compile the model again") from error


def _from_store(missing: Path, digest: str) -> Path:
    """The weights of an artifact without its weights file. Raises ModelError where the store cannot give them either."""
    try:
        return default_store().get(digest)
    except ModelError as error:
        raise ModelError(f"there is no such file, and its entry in the store: {error.what}", str(missing), error.hint) from error


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


def map_weights(path: Path, manifest: dict[str, Any]) -> Bytes:
    """The weights in a file, mapped. Raises ModelError where it cannot be read or has another size than the program's weights."""
    expected = int(manifest["weights"]["bytes"])
    try:
        found = path.stat().st_size
        if found == expected:
            return np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path)) from error
    raise ModelError(f"holds {found} bytes; the program takes {expected} bytes of weights", str(path))


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


def start_pool(folder: Path, manifest: dict[str, Any], threads: int) -> Pool:
    """`threads` threads for the artifact in `folder`. Raises OptionError where it was not compiled for threads."""
    source = folder / "tgc_threads.c"
    if not 1 <= threads <= MOST_THREADS:
        raise OptionError(f"{threads} is no number of threads", str(folder), f"choose 1 to {MOST_THREADS}")
    if source.name not in manifest["files"]:
        raise OptionError("was compiled for one thread", str(folder), "compile it with --threads; small models have nothing to share")
    return Pool(c.CDLL(str(shared_library([source], manifest))), threads)


def _parts(locate: Locate, manifest: dict[str, Any], pool: Pool | None) -> Parts | None:
    """Where each entry point's function for threads lies, and the threads."""
    names = [f"{manifest['name']}_{entry['name']}_parts" for entry in manifest["entries"]]
    return None if pool is None else Parts(tuple(locate(name) for name in names), pool)


def _load_c(folder: Path, manifest: dict[str, Any], weights: Bytes | None, pool: Pool | None) -> Loaded:
    """Compiles the sources, or takes the library from an earlier time."""
    sources = sorted(folder / name for name in manifest["files"] if name.endswith(".c") and name != "example_main.c")
    library = c.CDLL(str(shared_library(sources, manifest)))
    locate = locator(library)
    return executor(locate(f"{manifest['name']}_model"), weights, library, _parts(locate, manifest, pool)), locate


def locator(library: c.CDLL) -> Locate:
    """Finds data that `library` exports."""
    return lambda symbol: c.addressof(c.c_char.in_dll(library, symbol))


def shared_library(sources: list[Path], manifest: dict[str, Any], flags: Sequence[str] = SPEED_FLAGS) -> Path:
    """The library of these sources in the cache, whose key is their content, the compiler and its flags."""
    command = find_compiler()
    names = [source.name for source in sources]
    key = hashlib.sha256(json.dumps([manifest["files"], names, command, flags, sys.platform]).encode()).hexdigest()[:32]
    cache = Path(tempfile.gettempdir()) / f"tgc-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    library = cache / f"{key}.so"
    if not library.exists():
        try:
            cache.mkdir(mode=0o700, exist_ok=True)
            if hasattr(os, "getuid") and cache.lstat().st_uid != os.getuid():
                raise TgcError("belongs to somebody else", str(cache), "set TMPDIR to a folder of your own")
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                fresh = Path(scratch) / "model.so"
                parts = [_runtime_object(source, cache, flags) if source.name.startswith("tgc_") else source for source in sources]
                compile_shared(parts, fresh, flags)
                os.replace(fresh, library)
        except OSError as error:
            raise TgcError(f"cannot keep the compiled library: {error.strerror}", str(cache)) from error
    return library


def _runtime_object(source: Path, cache: Path, flags: Sequence[str]) -> Path:
    """The object of a source of the runtime, which all models share: compiled when it is first met."""
    headers = sorted(source.parent.glob("tgc_*.h"))
    content = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (source, *headers)]
    key = hashlib.sha256(json.dumps([content, find_compiler(), flags, sys.platform]).encode()).hexdigest()[:32]
    made = cache / f"{key}.o"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            fresh = Path(scratch) / "runtime.o"
            compile_object(source, fresh, flags)
            os.replace(fresh, made)
    return made


def _load_llvm(folder: Path, manifest: dict[str, Any], weights: Bytes | None, pool: Pool | None) -> Loaded:
    """Links the object into this process."""
    from tgc.backends.llvm.jit import load_object, require_host

    name, target = manifest["name"], manifest["target"]
    require_host(target["triple"], target["cpu"], target["features"])
    library = load_object((folder / f"{name}.o").read_bytes())
    return executor(library.address(f"{name}_model"), weights, library, _parts(library.address, manifest, pool)), library.address


def _load_opencl(folder: Path, manifest: dict[str, Any], weights: Bytes | None, _: Pool | None) -> Loaded:
    """Builds the program on a device."""
    from tgc.run.opencl import load_opencl

    return load_opencl(folder, manifest, weights)


_Loader = Callable[[Path, dict[str, Any], Bytes | None, Pool | None], Loaded]
_LOADERS: dict[str, _Loader] = {"c": _load_c, "llvm": _load_llvm, "opencl": _load_opencl}
