"""A `tgc_model` in this process's memory as something to run."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.errors import ModelError, TgcError
from tgc.run.abi import ABI_VERSION, STATUS, ModelStruct, RunPartsFunction
from tgc.run.model import Array, Engine
from tgc.run.threads import Pool

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the functions lie that share a model's work out, one an entry point, and the threads to share it out to."""

    addresses: tuple[int, ...]
    pool: Pool

    def functions(self) -> list[Callable[..., int]]:
        """What runs each entry point, with the pool filled in."""
        return [_on(self.pool, RunPartsFunction(address)) for address in self.addresses]


def _on(pool: Pool, function: Callable[..., int]) -> Callable[..., int]:
    """`function` with the pool as its last argument; the pool lives as long as this does."""
    return lambda *arguments: function(*arguments, pool.parallel)


def executor(address: int, weights: Bytes | None, owner: object, parts: Parts | None = None) -> Engine:
    """What runs the `tgc_model` at `address`, its states zero; on threads where there are `parts`.

    weights: the contents of the weights file; None for embedded ones. owner: kept alive as long as the result. Raises ModelError
    where the ABI or the weights do not fit.
    """
    model = ModelStruct.from_address(address)
    name = (model.name or b"").decode("utf-8", "replace")
    if model.abi_version != ABI_VERSION:
        raise ModelError(f"was compiled for ABI {model.abi_version}, this is ABI {ABI_VERSION}", name, "compile it again")
    if weights is not None and weights.size != model.weights_bytes:
        raise ModelError(f"the program takes {model.weights_bytes} bytes of weights, not {weights.size}", name)
    aligned = None if weights is None else _aligned_copy(weights, model.alignment)
    arena = aligned_bytes(model.arena_bytes, model.alignment)
    weights_address = model.weights if aligned is None else aligned.ctypes.data
    kept = (owner, aligned)
    functions = parts.functions() if parts else [entry.run for entry in model.entries[: model.entry_count]]

    def execute(inputs: Sequence[Array], outputs: Sequence[Array], entry: int = 0) -> None:
        assert kept is not None
        status = functions[entry](weights_address, arena.ctypes.data, _pointers(inputs), _pointers(outputs))
        if status != 0:
            raise TgcError(STATUS[status] if 0 <= status < len(STATUS) else f"status {status}", name)

    def reset() -> None:
        arena[:] = 0  # the states; and what an earlier run left in the rest is not to be taken for a result

    reset()
    return Engine(execute, reset)


def aligned_bytes(count: int, alignment: int) -> Bytes:
    """`count` bytes whose address is a multiple of `alignment`."""
    data = np.empty(count + alignment, np.uint8)
    start = -data.ctypes.data % alignment
    return data[start : start + count]


def _aligned_copy(data: Bytes, alignment: int) -> Bytes:
    if data.ctypes.data % alignment == 0:
        return data
    copy = aligned_bytes(data.size, alignment)
    copy[:] = data
    return copy


def _pointers(arrays: Sequence[Array]) -> c.Array[c.c_void_p]:
    return (c.c_void_p * max(1, len(arrays)))(*(array.ctypes.data for array in arrays))
