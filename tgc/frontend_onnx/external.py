"""Weights kept beside the model. Only regular files inside the model's own folder are opened, whatever the model says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt
import onnx

from tgc.errors import ModelError


def read_external(tensor: onnx.TensorProto, folder: Path | None, size: int, where: str) -> npt.NDArray[np.uint8]:
    """The `size` bytes of `tensor` from its file, mapped rather than read.

    Raises ModelError where the file is missing, outside `folder` (also through a link), or holds other than `size` bytes.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ModelError(f"its data are in the file {location!r}, and a model in memory has no folder", where, "pass the model's path")
    path = inside(folder, location, where)
    offset = _number(entries.get("offset", "0"), "offset", where)
    held = path.stat().st_size - offset
    length = _number(entries["length"], "length", where) if "length" in entries else size
    if length != size:
        raise ModelError(f"its shape takes {size} bytes, but the model says that {location!r} holds {length}", where)
    if held < size:
        raise ModelError(f"{location!r} is too short: {size} bytes at {offset}, {max(0, held)} there", where, "copy the data file again")
    if size == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r", offset=offset, shape=(size,))


def inside(folder: Path, location: str, where: str) -> Path:
    """The regular file `location` in `folder`. Raises ModelError for any other place."""
    pure = PurePosixPath(location)
    if not location or "\0" in location or pure.is_absolute() or PureWindowsPath(location).is_absolute() or ".." in pure.parts:
        raise ModelError(f"its data file {location!r} lies outside the model's folder", where, "keep the data file beside the model")
    path = folder / pure
    if not path.exists():
        raise ModelError(f"its data file {location!r} is missing", where, f"copy it into {folder}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"its data file {location!r} links to a place outside the model's folder", where, "copy the file itself")
    if not path.is_file():
        raise ModelError(f"its data file {location!r} is not a regular file", where)
    return path


def _number(text: str, key: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ModelError(f"the {key} of its data is {text!r}, not a number", where)
    return int(text)


def external_files(model: Path) -> tuple[str, ...]:
    """The files in which the model file's initializers keep their data, relative to it, in order. Raises ModelError."""
    from tgc.frontend_onnx.reading import read_model

    tensors = [tensor for tensor in read_model(model).graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    for name in sorted(names):
        inside(model.parent, name, str(model))
    return tuple(sorted(names))
