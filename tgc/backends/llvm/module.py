"""A program as the text of one LLVM module: kernels, the function that calls them in order, and the exported descriptor.

The descriptor has the layout of `tgc_model` in templates/runtime/tgc_runtime.h: LLVM lays structs out as C does on each
target, so its pointers take 4 bytes on wasm32 and 8 elsewhere. Nothing outside the module is referred to.
"""

from __future__ import annotations

from itertools import count
from math import gcd

import numpy as np

from tgc.backends.files import embeds
from tgc.backends.llvm.golden import print_golden
from tgc.backends.llvm.kernels import print_kernel
from tgc.backends.llvm.machine import Machine
from tgc.backends.llvm.tasks import entry_without_threads, print_tasks, task_name
from tgc.backends.options import EmitOptions
from tgc.errors import InvalidIrError
from tgc.ir.dtypes import DTYPES, INDEX, SMALL, DType
from tgc.ir.kernel import Kernel
from tgc.ir.packing import stored_bytes
from tgc.ir.program import Argument, Call, EntryPoint, Program, Repeat, Step, Storage, Tensor

ABI_VERSION = 2
_OK, _BAD_ARGUMENT = 0, 1
_TENSOR = "{ ptr, ptr, i64, i32, i32 }"
_STATE = f"{{ {_TENSOR}, i64 }}"
_ENTRY = "{ ptr, ptr, ptr, ptr, i32, i32 }"
_MODEL = "{ ptr, ptr, ptr, ptr, i64, i64, ptr, [32 x i8], i32, i32, i32, i32, ptr, ptr, i64, i32, i32 }"


def print_module(program: Program, machine: Machine, options: EmitOptions) -> str:
    """The module's text; the same for the same program, target and options."""
    kernels = [print_kernel(kernel, _alignments(program, kernel), machine) for kernel in program.kernels]
    parts = [
        f'source_filename = "{program.name}"',
        f'target datalayout = "{machine.data_layout}"',
        f'target triple = "{machine.triple}"\n',
        *kernels,
        *print_tasks(program, machine),
        *(entry_without_threads(program, entry) for entry in program.entry_points if program.shared),
        *(_run_function(program, entry, machine) for entry in program.entry_points),
        *_descriptor(program, options),
        *(print_golden(program.name, options.golden) if options.golden else []),
        _attributes(machine),
        '!0 = distinct !{!0, !1, !2}\n!1 = !{!"llvm.loop.unroll.disable"}\n!2 = !{!"llvm.loop.vectorize.enable", i1 false}\n',
    ]
    return "\n".join(parts)


def _attributes(machine: Machine) -> str:
    """no-builtins keeps LLVM from making a call of memset or memcpy out of a loop."""
    strings = {"no-builtins": "", "target-cpu": machine.cpu, "target-features": machine.features}
    if machine.vector_bits:
        strings |= {"prefer-vector-width": str(machine.vector_bits), "min-legal-vector-width": str(machine.vector_bits)}
    shown = " ".join(f'"{key}"="{value}"' if value else f'"{key}"' for key, value in strings.items() if value or key == "no-builtins")
    return f"attributes #0 = {{ nounwind noinline norecurse nosync nofree mustprogress {shown} }}\nattributes #1 = {{ nounwind {shown} }}\n"


def _alignments(program: Program, kernel: Kernel) -> tuple[int, ...]:
    """For each parameter, what divides its address at every call: a power of two, in bytes."""
    calls = [call.arguments for call in program.calls if call.kernel == kernel.name]
    return tuple(
        min((_argument_alignment(program, arguments[i]) for arguments in calls), default=parameter.buffer.dtype.bytes)
        for i, parameter in enumerate(kernel.parameters)
    )


def _argument_alignment(program: Program, argument: Argument) -> int:
    storage = program.storage(argument.storage)
    step = storage.dtype.bytes
    if storage.role in ("input", "output"):
        return step
    common = gcd(program.alignment, storage.offset + argument.start * step, *(move * step for move in argument.steps))
    return common & -common


def _run_function(program: Program, entry: EntryPoint, machine: Machine) -> str:
    """`NAME_ENTRY_kernels`: TGC_BAD_ARGUMENT where a pointer is null or misaligned, else every call in order and TGC_OK.

    Where threads share work it is `NAME_ENTRY_parts`, which takes a `tgc_parallel`, or null, and is exported.
    """
    body: list[str] = []
    checks: list[str] = []
    pointers: dict[str, str] = {}
    for base, size in (("weights", program.weights.size), ("arena", program.arena_bytes)):
        if size:
            checks.append(_check(f"%{base}", base, program.alignment, machine, body))
    for group, tensors, used in (("inputs", program.inputs, entry.inputs), ("outputs", program.outputs, entry.outputs)):
        for number, tensor in ((number, tensors[number]) for number in used):
            name = f"%{group}{number}"
            body.append(f"  {name}.at = getelementptr ptr, ptr %{group}, {machine.index} {number}")
            body.append(f"  {name} = load ptr, ptr {name}.at")
            pointers[tensor.storage] = name
            if _bytes(tensor):
                checks.append(_check(name, f"{group}{number}", tensor.dtype.bytes, machine, body))
    tables = [f"%{group}.null" for group, used in (("inputs", entry.inputs), ("outputs", entry.outputs)) if used]
    arguments = "ptr %weights, ptr %arena, ptr %inputs, ptr %outputs"
    head = f"define internal i32 @{program.name}_{entry.name}_kernels({arguments}) #1 {{"
    held = []
    if program.shared:
        head = f"define i32 @{program.name}_{entry.name}_parts({arguments}, ptr %parallel) #1 {{"
        most = max(len(kernel.parameters) for kernel in program.kernels if kernel.name in program.shared)
        held = [f"  %held = alloca [{most} x ptr]"]
    guards = [f"  {name} = icmp eq ptr {name.removesuffix('.null')}, null" for name in tables]
    checks_text = [*guards, *_refuse(tables, "tables"), *body, *_refuse(checks, "pointers")]
    tail = [f"  ret i32 {_OK}", "bad:", f"  ret i32 {_BAD_ARGUMENT}", "}", ""]
    return "\n".join([head, "entry:", *held, *checks_text, *_Calls(program, entry, machine, pointers).text(), *tail])


def _check(pointer: str, name: str, alignment: int, machine: Machine, body: list[str]) -> str:
    """Writes the test of one pointer; answers the name of an i1 that says it is null or misaligned."""
    index = machine.index
    body += [
        f"  %{name}.bits = ptrtoint ptr {pointer} to {index}",
        f"  %{name}.low = and {index} %{name}.bits, {alignment - 1}",
        f"  %{name}.misaligned = icmp ne {index} %{name}.low, 0",
        f"  %{name}.null_value = icmp eq ptr {pointer}, null",
        f"  %{name}.bad = or i1 %{name}.misaligned, %{name}.null_value",
    ]
    return f"%{name}.bad"


def _refuse(flags: list[str], label: str) -> list[str]:
    """A branch to `bad` where any of the flags is set."""
    lines: list[str] = []
    total = "false"
    for number, flag in enumerate(flags):
        lines.append(f"  %{label}.{number} = or i1 {total}, {flag}")
        total = f"%{label}.{number}"
    return [*lines, f"  br i1 {total}, label %bad, label %{label}_fine", f"{label}_fine:"]


class _Calls:
    """The calls in order, with loops around those that are repeated."""

    def __init__(self, program: Program, entry: EntryPoint, machine: Machine, pointers: dict[str, str]) -> None:
        self.storages = {storage.name: storage for storage in program.storages}
        self.shared = program.shared
        self.steps = entry.steps
        self.index = machine.index
        self.pointers = pointers
        self.lines: list[str] = []
        self.numbers = count()
        self.label = "pointers_fine"  # of the block that is being written, which `_refuse` began

    def text(self) -> list[str]:
        for step in self.steps:
            self.step(step, ())
        return self.lines

    def step(self, step: Step, around: tuple[str, ...]) -> None:
        """Writes `step`, given the counters of the loops around it."""
        match step:
            case Call():
                self.call(step, around)
            case Repeat(times, body):
                self.loop(times, body, around)

    def loop(self, times: int, body: tuple[Step, ...], around: tuple[str, ...]) -> None:
        """A loop that runs at least once."""
        name = f"loop{next(self.numbers)}"
        before, self.label = self.label, name
        self.lines += [f"  br label %{name}", f"{name}:"]
        head = len(self.lines)
        for step in body:
            self.step(step, (*around, f"%{name}.now"))
        self.lines.insert(head, f"  %{name}.now = phi {self.index} [ 0, %{before} ], [ %{name}.next, %{self.label} ]")
        self.lines += [
            f"  %{name}.next = add {self.index} %{name}.now, 1",
            f"  %{name}.more = icmp ult {self.index} %{name}.next, {times}",
            f"  br i1 %{name}.more, label %{name}, label %{name}.end",
            f"{name}.end:",
        ]
        self.label = f"{name}.end"

    def call(self, call: Call, around: tuple[str, ...]) -> None:
        number = next(self.numbers)
        operands: list[str] = []
        for position, argument in enumerate(call.arguments):
            name = f"%call{number}.{position}"
            storage = self.storages[argument.storage]
            base, offset = _base(storage, argument.start, self.pointers)
            for level, move in enumerate(argument.steps):
                if move:
                    self.lines.append(f"  {name}.{level}.by = mul {self.index} {around[level]}, {move * storage.dtype.bytes}")
                    self.lines.append(f"  {name}.{level} = getelementptr i8, ptr {base}, {self.index} {name}.{level}.by")
                    base = f"{name}.{level}"
            self.lines.append(f"  {name} = getelementptr i8, ptr {base}, {self.index} {offset}")
            operands.append(f"ptr {name}")
        if call.kernel not in self.shared:
            self.lines.append(f"  call void @{call.kernel}({', '.join(operands)})")
            return
        for position, operand in enumerate(operands):
            self.lines.append(f"  %call{number}.at{position} = getelementptr ptr, ptr %held, {self.index} {position}")
            self.lines.append(f"  store {operand}, ptr %call{number}.at{position}")
        self.lines.append(f"  call void @tgc.share(ptr %parallel, ptr @{task_name(call.kernel)}, ptr %held)")


def _base(storage: Storage, start: int, pointers: dict[str, str]) -> tuple[str, int]:
    """Base pointer and bytes after it of a storage's element `start`."""
    inside = start * storage.dtype.bytes
    match storage.role:
        case "weight":
            return "%weights", storage.offset + inside
        case "arena":
            return "%arena", storage.offset + inside
        case _:
            if storage.name not in pointers:
                raise InvalidIrError(f"storage {storage.name} belongs to no input or output")
            return pointers[storage.name], inside


def dtype_code(dtype: DType) -> int:
    """The type's number in `tgc_dtype`, which lists them in the order of the tables."""
    return [kind for kind in (*DTYPES, *SMALL) if kind != INDEX].index(dtype)


def _bytes(tensor: Tensor) -> int:
    return stored_bytes(tensor.dtype, tensor.shape)


def _descriptor(program: Program, options: EmitOptions) -> list[str]:
    """The constants: tensors, weights where they are embedded, and the model."""
    name, weights = program.name, program.weights
    parts = [_string("name", name), _tensors("inputs", program.inputs), _tensors("outputs", program.outputs), _states(program)]
    parts.append(_entries(program))
    embedded = "null"
    if embeds(program, options):
        parts.append(f"@tgc.weights = internal constant [{weights.size} x i8] {_bytes_text(weights)}, align {program.alignment}")
        embedded = "@tgc.weights"
    digest = _bytes_text(np.frombuffer(program.weights_digest, np.uint8))
    fields = [
        "ptr @tgc.name", "ptr @tgc.inputs", "ptr @tgc.outputs", f"ptr {embedded}", f"i64 {weights.size}", f"i64 {program.arena_bytes}",
        f"ptr @{name}_{program.entry_points[0].name}_kernels", f"[32 x i8] {digest}", f"i32 {ABI_VERSION}", f"i32 {len(program.inputs)}",
        f"i32 {len(program.outputs)}", f"i32 {program.alignment}", "ptr @tgc.entries", "ptr @tgc.states", f"i64 {program.state_bytes}",
        f"i32 {len(program.entry_points)}", f"i32 {len(program.states)}",
    ]  # fmt: skip
    return [*parts, f"@{name}_model = constant {_MODEL} {{ {', '.join(fields)} }}, align 8", ""]


def _entries(program: Program) -> str:
    """The table of entry points, and the positions of what each reads and writes."""
    lines: list[str] = []
    rows: list[str] = []
    for number, entry in enumerate(program.entry_points):
        own = f"entries.{number}"
        lines.append(_string(f"{own}.name", entry.name))
        for group, positions in (("inputs", entry.inputs), ("outputs", entry.outputs)):
            listed = ", ".join(f"i32 {position}" for position in positions)
            lines.append(f"@tgc.{own}.{group} = internal constant [{len(positions)} x i32] [{listed}]")
        pointers = f"ptr @tgc.{own}.name, ptr @{program.name}_{entry.name}_kernels, ptr @tgc.{own}.inputs, ptr @tgc.{own}.outputs"
        rows.append(f"{_ENTRY} {{ {pointers}, i32 {len(entry.inputs)}, i32 {len(entry.outputs)} }}")
    lines.append(f"@tgc.entries = internal constant [{len(rows)} x {_ENTRY}] [{', '.join(rows)}]")
    return "\n".join(lines)


def _states(program: Program) -> str:
    lines: list[str] = []
    rows = [
        f"{_STATE} {{ {_tensor(f'states.{number}', state, lines)}, i64 {program.storage(state.storage).offset} }}"
        for number, state in enumerate(program.states)
    ]
    lines.append(f"@tgc.states = internal constant [{len(rows)} x {_STATE}] [{', '.join(rows)}]")
    return "\n".join(lines)


def _tensors(label: str, tensors: tuple[Tensor, ...]) -> str:
    lines: list[str] = []
    rows = [_tensor(f"{label}.{number}", tensor, lines) for number, tensor in enumerate(tensors)]
    lines.append(f"@tgc.{label} = internal constant [{len(rows)} x {_TENSOR}] [{', '.join(rows)}]")
    return "\n".join(lines)


def _tensor(own: str, tensor: Tensor, lines: list[str]) -> str:
    """One tgc_tensor; what it points to is written to `lines`."""
    extents = ", ".join(f"i64 {extent}" for extent in tensor.shape) or "i64 0"
    lines.append(_string(f"{own}.name", tensor.name))
    lines.append(f"@tgc.{own}.shape = internal constant [{max(1, len(tensor.shape))} x i64] [{extents}]")
    fields = f"ptr @tgc.{own}.name, ptr @tgc.{own}.shape, i64 {_bytes(tensor)}, i32 {dtype_code(tensor.dtype)}, i32 {len(tensor.shape)}"
    return f"{_TENSOR} {{ {fields} }}"


def _string(label: str, text: str) -> str:
    data = np.frombuffer(text.encode() + b"\0", np.uint8)
    return f"@tgc.{label} = internal constant [{data.size} x i8] {_bytes_text(data)}"


def _bytes_text(data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> str:
    r"""The bytes as LLVM writes them: c"\00\FF"."""
    table = np.array([list(f"\\{byte:02X}".encode()) for byte in range(256)], np.uint8)
    return f'c"{table[data].tobytes().decode("ascii")}"'
