"""The text of a program, for people and for golden tests: tensors, memory, calls, kernels. It is not read back."""

from __future__ import annotations

from tgc.ir.program import Argument, Call, Program, Repeat, Step, Storage, Tensor
from tgc.ir.text_kernel import print_kernel
from tgc.ir.text_tokens import quote, write_integers


def print_program(program: Program) -> str:
    """The text of `program`; equal programs have equal texts, the values of weights included through their hash."""
    weights = program.weights_digest.hex()[:16]
    lines = [f"program {program.name}"]
    lines += [_tensor("input", tensor) for tensor in program.inputs]
    lines += [_tensor("output", tensor) for tensor in program.outputs]
    lines.append(f'weights {program.weights.size} bytes sha256="{weights}"')
    lines.append(f"arena {program.arena_bytes} bytes, alignment {program.alignment}")
    lines += [_storage(storage) for storage in program.storages]
    lines += [_tensor("state", tensor) for tensor in program.states]
    for entry in program.entry_points:
        if program.entries:
            lines.append(f"entry {entry.name}: inputs {write_integers(entry.inputs)}, outputs {write_integers(entry.outputs)}")
        lines += [line for step in entry.steps for line in _step(step)]
    return "\n".join([*lines, "", *(print_kernel(kernel) for kernel in program.kernels)])


def _tensor(role: str, tensor: Tensor) -> str:
    return f"{role} {quote(tensor.name)}: {tensor.dtype}{write_integers(tensor.shape)} = {tensor.storage}"


def _storage(storage: Storage) -> str:
    place = f" at {storage.offset}" if storage.role in ("weight", "arena") else ""
    shape = f"{storage.layout} {write_integers(storage.shape)}"
    return f"storage {storage.name}: {storage.dtype}[{storage.size}] {storage.role}{place} # {shape}"


def _step(step: Step) -> list[str]:
    match step:
        case Call():
            return [_call(step)]
        case Repeat(count, body):
            return [f"repeat {count} {{", *(f"  {line}" for part in body for line in _step(part)), "}"]


def _call(call: Call) -> str:
    origins = f" from [{', '.join(map(quote, call.origins))}]" if call.origins else ""
    return f"call {call.kernel}({', '.join(map(_argument, call.arguments))}){origins}"


def _argument(argument: Argument) -> str:
    moves = [f"{step} * t{level}" for level, step in enumerate(argument.steps) if step]
    return " + ".join([argument.storage, *([str(argument.start)] if argument.start else []), *moves])
