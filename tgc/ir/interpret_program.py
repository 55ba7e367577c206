"""The meaning of a program: its launches in order over real bytes, so that a fault in the memory plan gives wrong numbers here too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir.interpret_kernel import run_kernel
from tgc.ir.packing import from_stored, to_stored
from tgc.ir.program import Call, Program, Storage, Tensor, launches

Array = npt.NDArray[np.generic]

POISON = 0xFF
"""What memory holds before it is written: every float made of such bytes is a NaN."""


def run_program(
    program: Program, inputs: Mapping[str, Array], *, entry: str | None = None, states: dict[str, Array] | None = None
) -> dict[str, Array]:
    """The outputs of an entry point, by default the main one, for `inputs`, by the names in the model.

    states: what the states hold, by name, zero where it says nothing; afterwards what they hold then. Raises ValueError where an input is
    missing or does not fit, KeyError where there is no such entry point.
    """
    point = program.entry_points[0] if entry is None else {point.name: point for point in program.entry_points}[entry]
    arena = np.full(program.arena_bytes, POISON, np.uint8)
    arena[: program.zeroed_bytes] = 0
    memory = {storage.name: _memory(storage, program, arena) for storage in program.storages}
    for tensor in (program.inputs[position] for position in point.inputs):
        memory[tensor.storage][:] = to_stored(_checked(tensor, inputs)).reshape(-1)
    for state in program.states:
        memory[state.storage][:] = to_stored(_checked(state, states)).reshape(-1) if states and state.name in states else 0
    for call in launches(point.steps):
        _run_call(program, call, memory)
    if states is not None:
        states.update(_results(program.states, memory))
    return _results([program.outputs[position] for position in point.outputs], memory)


def _results(tensors: Sequence[Tensor], memory: Mapping[str, Array]) -> dict[str, Array]:
    return {tensor.name: from_stored(memory[tensor.storage].copy(), tensor.dtype, tensor.shape) for tensor in tensors}


def _memory(storage: Storage, program: Program, arena: npt.NDArray[np.uint8]) -> Array:
    match storage.role:
        case "input" | "output":
            data = np.full(storage.bytes, POISON, np.uint8)
        case "weight":
            data = program.weights[storage.offset : storage.offset + storage.bytes]
        case "arena":
            data = arena[storage.offset : storage.offset + storage.bytes]
    if data.size != storage.bytes:
        raise InvalidIrError(f"storage {storage.name} does not fit where it lies")
    return data.view(storage.dtype.numpy)


def _checked(tensor: Tensor, inputs: Mapping[str, Array]) -> Array:
    if tensor.name not in inputs:
        raise ValueError(f"input {tensor.name!r} is missing")
    value = np.asarray(inputs[tensor.name])
    if value.shape != tensor.shape or value.dtype != np.dtype(tensor.dtype.numpy):
        raise ValueError(f"input {tensor.name!r} is {value.dtype}{list(value.shape)}, not {tensor.dtype}{list(tensor.shape)}")
    return value


def _run_call(program: Program, call: Call, memory: Mapping[str, Array]) -> None:
    kernel = program.kernel(call.kernel)
    buffers = {
        parameter.buffer.name: memory[argument.storage][argument.start :]
        for parameter, argument in zip(kernel.parameters, call.arguments, strict=True)
    }
    run_kernel(kernel, buffers)
