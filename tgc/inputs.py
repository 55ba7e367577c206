"""Input tensors for a run: read from files, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tgc.errors import OptionError
from tgc.ir.dtypes import F8E8M0, DType

Array = npt.NDArray[np.generic]
Range = tuple[float, float]


class Tensor(Protocol):
    """An input or output: of a graph, a program or a loaded model."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def draw(tensors: Sequence[Tensor], seed: int = 0, ranges: Mapping[str, Range] | None = None) -> dict[str, Array]:
    """Random values for each tensor; the same seed gives the same values.

    Floats are standard normal; integers of up to 8 bits cover their whole range, as pixels do; wider ones, often indices, are 0 or
    1. `ranges` gives (low, high) by name instead: uniform, and for integers high itself is not drawn.
    """
    rng = np.random.default_rng(seed)
    unknown = sorted(set(ranges or {}) - {tensor.name for tensor in tensors})
    if unknown:
        raise OptionError(f"there is no input {unknown[0]!r}", hint=f"inputs: {', '.join(t.name for t in tensors)}")
    return {tensor.name: _draw(rng, tensor, (ranges or {}).get(tensor.name)) for tensor in tensors}


def _draw(rng: np.random.Generator, tensor: Tensor, limits: Range | None) -> Array:
    dtype = np.dtype(tensor.dtype.numpy)
    if tensor.dtype.is_float:
        values = rng.standard_normal(tensor.shape) if limits is None else rng.uniform(*limits, tensor.shape)
        return (np.abs(values) if tensor.dtype == F8E8M0 else values).astype(dtype)
    if limits is not None:
        low, high = int(limits[0]), int(limits[1])
    elif tensor.dtype.is_integer and tensor.dtype.bits <= 8:
        low = int(tensor.dtype.lowest)
        high = low + (1 << tensor.dtype.bits)
    else:
        low, high = 0, 2
    return rng.integers(low, high, tensor.shape).astype(dtype)


def read(
    tensors: Sequence[Tensor], files: Mapping[str, Path], seed: int = 0, ranges: Mapping[str, Range] | None = None
) -> dict[str, Array]:
    """`draw`, with the inputs named in `files` read from .npy or .pb files instead. Raises OptionError where one does not fit."""
    values = draw(tensors, seed, ranges)
    for name, path in files.items():
        if name not in values:
            raise OptionError(f"there is no input {name!r}", hint=f"inputs: {', '.join(values)}")
        values[name] = fit(read_tensor(path), next(t for t in tensors if t.name == name), str(path))
    return values


def fit(array: Array, tensor: Tensor, where: str) -> Array:
    """`array` if it has the type and shape of `tensor`. Raises OptionError where it has not."""
    if array.dtype == np.dtype((np.void, np.dtype(tensor.dtype.numpy).itemsize)):
        array = array.view(tensor.dtype.numpy)  # as numpy saves what it does not know by name
    if array.dtype != np.dtype(tensor.dtype.numpy) or array.shape != tensor.shape:
        raise OptionError(
            f"{tensor.name} is {tensor.dtype.name}{list(tensor.shape)}, and the file holds {array.dtype}{list(array.shape)}",
            where=where, hint="convert the file, or compile with --shape or --dim to fit it",
        )  # fmt: skip
    return array


def read_tensor(path: Path) -> Array:
    """The tensor in a .npy file, or in a .pb file, ONNX's form for test data. Raises OptionError where there is none."""
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".pb":
            from tgc.frontend_onnx.recorded import parse_tensor

            return parse_tensor(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:
        raise OptionError(f"cannot read a tensor: {error}", where=str(path)) from error
    raise OptionError("the file is neither .npy nor .pb", where=str(path))
