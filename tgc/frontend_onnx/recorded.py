"""ONNX's recorded test data: folders `test_data_set_N` beside a model, with input_K.pb and output_K.pb in the model's order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from tgc.errors import ModelError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded run: tensors in the order of the model's inputs (weights left out) and outputs."""

    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


def parse_tensor(data: bytes, where: str) -> Array:
    """A serialised TensorProto as an array. Raises ModelError where it is something else."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(data)
        return np.asarray(numpy_helper.to_array(tensor))
    except (DecodeError, ValueError, TypeError) as error:
        raise ModelError(f"not an ONNX tensor: {error}", where=where) from error


def recordings(model: Path) -> list[Recording]:
    """Every recorded run beside the file `model`, by name; none is an empty list."""
    return [
        Recording(folder.name, _read(folder, "input"), _read(folder, "output"))
        for folder in sorted(model.parent.glob("test_data_set_*"))
        if (folder / "output_0.pb").exists()
    ]


def _read(folder: Path, kind: str) -> tuple[Array, ...]:
    found: list[Array] = []
    while (path := folder / f"{kind}_{len(found)}.pb").exists():
        found.append(parse_tensor(path.read_bytes(), str(path)))
    return tuple(found)
