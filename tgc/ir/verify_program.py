"""The invariants of a program."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tgc.errors import InvalidIrError
from tgc.ir.kernel import Kernel, Parameter
from tgc.ir.overlap import reach_apart
from tgc.ir.packing import stored_shape, stored_type
from tgc.ir.program import Argument, Call, EntryPoint, Program, Repeat, Step, Storage, Tensor, calls_of, launches
from tgc.ir.verify_expression import require
from tgc.ir.verify_kernel import IDENTIFIER, verify_kernel

Interval = tuple[int, int]


def verify_program(program: Program) -> None:
    """The program and everything in it:

    - the program, its kernels and its storages have names that are C identifiers, different among kernels and among storages;
      inputs have different names, and outputs; every kernel is valid;
    - a Tensor's storage exists, has role "input" or "output" as the tensor is one, its type, and as many elements as its
      shape, or, of a small type, is U8 and has its bytes;
      two tensors are not bound to one storage;
    - offsets are multiples of the alignment; weights lie inside the weights, arena storages inside the arena;
    - a call names a kernel, and gives one argument a parameter: a storage of the parameter's type with enough elements after
      `start`; what a kernel writes is neither an input nor a weight, and no element that it writes is reached through another
      of its arguments (two may be boxes of one storage);
    - an output or arena storage is written before it is read (a "readwrite" parameter is taken to begin by writing), and every
      output with elements is written;
    - a Repeat runs at least once; an argument has at most one step for each Repeat around its call, and all of this holds in
      every iteration;
    - two arena storages that share bytes are not live at the same time. A storage is live from the first call or outermost Repeat
      that has it for an argument to the last, both included;
    - a state has an arena storage of its type and size inside the first `state_bytes` bytes, where no other storage lies; it counts
      as written before, and as live throughout;
    - of entry points the first has the steps of the program; each has another name, and writes what its outputs say; all of the above
      holds in each.

    Raises InvalidIrError.
    """
    try:
        _verify_names([kernel.name for kernel in program.kernels], "kernels")
        _verify_names([storage.name for storage in program.storages], "storages")
        require(IDENTIFIER.fullmatch(program.name) is not None, f"{program.name!r} is no C identifier")
        for kernel in program.kernels:
            verify_kernel(kernel)
        storages = {storage.name: storage for storage in program.storages}
        _verify_tensors(program, storages)
        for storage in program.storages:
            _verify_place(storage, program)
        _verify_states(program, storages)
        require(program.steps == program.entry_points[0].steps, "the first entry point has other steps than the program")
        _verify_names([entry.name for entry in program.entry_points], "entry points")
        for entry in program.entry_points:
            _verify_calls(program, entry, storages)
            _verify_liveness(program, entry, storages)
    except InvalidIrError as error:
        raise InvalidIrError(f"program {program.name}: {error}") from error


def _verify_names(names: list[str], what: str) -> None:
    for name in names:
        require(IDENTIFIER.fullmatch(name) is not None, f"{name!r} is no C identifier")
        require(names.count(name) == 1, f"two {what} are called {name}")


def _verify_tensors(program: Program, storages: Mapping[str, Storage]) -> None:
    for role, tensors in (("input", program.inputs), ("output", program.outputs)):
        for tensor in tensors:
            require([other.name for other in tensors].count(tensor.name) == 1, f"two {role}s are called {tensor.name!r}")
            require([other.storage for other in tensors].count(tensor.storage) == 1, f"two {role}s are bound to {tensor.storage}")
            _verify_tensor(tensor, role, storages)


def _verify_tensor(tensor: Tensor, role: str, storages: Mapping[str, Storage]) -> None:
    require(tensor.storage in storages, f"{role} {tensor.name!r} is bound to {tensor.storage}, which does not exist")
    storage = storages[tensor.storage]
    require(storage.role == role, f"{role} {tensor.name!r} is bound to {storage.name}, of role {storage.role}")
    fits = storage.dtype == stored_type(tensor.dtype) and storage.size == math.prod(stored_shape(tensor.dtype, tensor.shape))
    require(fits, f"{role} {tensor.name!r} is {tensor.dtype}{list(tensor.shape)}, and {storage.name} {storage.dtype}[{storage.size}]")


def _verify_place(storage: Storage, program: Program) -> None:
    require(storage.size >= 0, f"{storage.name} has {storage.size} elements")
    if storage.role in ("weight", "arena"):
        whole = program.arena_bytes if storage.role == "arena" else program.weights.size
        require(storage.offset % program.alignment == 0, f"{storage.name} lies at {storage.offset}, no multiple of {program.alignment}")
        inside = storage.offset >= 0 and storage.offset + storage.bytes <= whole
        require(inside, f"{storage.name} ends at {storage.offset + storage.bytes} of {whole} bytes")


def _verify_states(program: Program, storages: Mapping[str, Storage]) -> None:
    _verify_names([state.storage for state in program.states], "states")
    for state in program.states:
        _verify_tensor(state, "arena", storages)
    kept = {state.storage for state in program.states}
    for storage in program.storages:
        if storage.role == "arena":
            end = storage.offset + storage.bytes
            inside = end <= program.state_bytes if storage.name in kept else storage.offset >= program.state_bytes
            require(inside, f"{storage.name} lies at {storage.offset}, and the states in the first {program.state_bytes} bytes")


def _verify_calls(program: Program, entry: EntryPoint, storages: Mapping[str, Storage]) -> None:
    kernels = {kernel.name: kernel for kernel in program.kernels}
    written = {state.storage for state in program.states}
    bound = {program.inputs[position].storage for position in entry.inputs}
    for call, counts in _calls_in_loops(entry.steps):
        require(call.kernel in kernels, f"a call of {call.kernel}, which does not exist")
        _verify_call(call, counts, kernels[call.kernel], storages)
        pairs = list(zip(kernels[call.kernel].parameters, call.arguments, strict=True))
        for parameter, argument in pairs:
            filled = storages[argument.storage].role == "weight" or argument.storage in bound | written
            require(filled or parameter.access != "read", f"{call.kernel} reads {argument.storage}, which nothing has written")
        written.update(argument.storage for parameter, argument in pairs if parameter.access != "read")
    for tensor in (program.outputs[position] for position in entry.outputs):
        require(tensor.storage in written or 0 in tensor.shape, f"nothing writes output {tensor.name!r}")


def _calls_in_loops(steps: tuple[Step, ...], around: tuple[int, ...] = ()) -> Iterator[tuple[Call, tuple[int, ...]]]:
    """Every call once, with the iterations of the loops around it."""
    for step in steps:
        match step:
            case Call():
                yield step, around
            case Repeat(count, body):
                require(count >= 1, f"a loop of {count} iterations")
                yield from _calls_in_loops(body, (*around, count))


def _verify_call(call: Call, counts: tuple[int, ...], kernel: Kernel, storages: Mapping[str, Storage]) -> None:
    takes = len(kernel.parameters)
    require(len(call.arguments) == takes, f"{call.kernel} takes {takes} arguments, not {len(call.arguments)}")
    pairs = list(zip(kernel.parameters, call.arguments, strict=True))
    for parameter, argument in pairs:
        _verify_argument(call, counts, parameter, argument, storages)
    moving = len({argument.steps for argument in call.arguments if any(argument.steps)}) > 0
    nest: Step = call
    for count in reversed(counts if moving else ()):
        nest = Repeat(count, (nest,))
    for launch in launches((nest,)):
        _verify_apart(kernel, launch)


def _verify_apart(kernel: Kernel, launch: Call) -> None:
    """No element that the launch writes is reached through another of its arguments."""
    pairs = list(zip(kernel.parameters, launch.arguments, strict=True))
    spans = [(a.storage, (a.start, a.start + p.buffer.size - 1), p.access) for p, a in pairs]
    for at, (storage, span, access) in enumerate(spans):
        for before, (other, other_span, other_access) in enumerate(spans[:at]):
            apart = storage != other or not _meet(span, other_span) or access == other_access == "read"
            first, second = ((p.buffer.name, a.start) for p, a in (pairs[at], pairs[before]))
            require(apart or reach_apart(kernel, first, second), f"{launch.kernel} writes {storage} where it is another argument too")


def _verify_argument(
    call: Call, counts: tuple[int, ...], parameter: Parameter, argument: Argument, storages: Mapping[str, Storage]
) -> None:
    place = f"argument {parameter.buffer.name} of {call.kernel}"
    require(argument.storage in storages, f"{place} is {argument.storage}, which does not exist")
    storage = storages[argument.storage]
    require(storage.dtype == parameter.buffer.dtype, f"{place} is {parameter.buffer.dtype}, and {storage.name} {storage.dtype}")
    require(len(argument.steps) <= len(counts), f"{place} moves in {len(argument.steps)} loops, and {len(counts)} are around it")
    reach = [(count - 1) * step for count, step in zip(counts, argument.steps, strict=False)]
    first, last = (argument.start + sum(bound(0, way) for way in reach) for bound in (min, max))
    fits = first >= 0 and last + parameter.buffer.size <= storage.size
    require(fits, f"{place} takes {parameter.buffer.size} elements from {argument.start} of {storage.name}, which has {storage.size}")
    require(parameter.access == "read" or storage.role in ("output", "arena"), f"{place} writes {storage.name}, of role {storage.role}")


def _verify_liveness(program: Program, entry: EntryPoint, storages: Mapping[str, Storage]) -> None:
    live: dict[str, Interval] = {state.storage: (0, len(entry.steps)) for state in program.states}
    for position, step in enumerate(entry.steps):
        for argument in (argument for call in calls_of((step,)) for argument in call.arguments):
            if storages[argument.storage].role == "arena":
                first, last = live.get(argument.storage, (position, position))
                live[argument.storage] = (first, max(last, position))
    by_offset = sorted((storages[name] for name in live), key=lambda storage: storage.offset)
    for at, storage in enumerate(by_offset):
        for other in by_offset[at + 1 :]:
            if other.offset >= storage.offset + storage.bytes:
                break
            both = _meet(live[storage.name], live[other.name])
            require(not both, f"{storage.name} and {other.name} share bytes and are live at the same time")


def _meet(a: Interval, b: Interval) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
