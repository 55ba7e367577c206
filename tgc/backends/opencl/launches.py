"""The tables that the OpenCL runtime works from: launches in order, loops around them, and what each is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tgc.backends.names import comment
from tgc.backends.opencl.kernels import KernelText
from tgc.errors import InvalidIrError, UnsupportedError
from tgc.ir.dtypes import F16, F32
from tgc.ir.program import Argument, Call, Program, Repeat, Step, Storage
from tgc.ir.texels import TEXEL

DEPTH = 8
"""Loops of launches in each other at most: TGC_CL_DEPTH."""
_LARGEST = 2**31 - 1
MEMORY = {"arena": "TGC_CL_ARENA", "weight": "TGC_CL_WEIGHTS", "input": "TGC_CL_INPUT", "output": "TGC_CL_OUTPUT"}

IMAGES = (("arena", F16), ("weight", F16), ("arena", F32), ("weight", F32))
"""The images that a program has, if any: each memory as each type of texel."""


@dataclass(frozen=True, slots=True)
class ArgumentRow:
    """A tgc_cl_argument as the template shows it. doc: the storage, its shape and layout."""

    start: int
    element_bytes: int
    memory: str
    tensor: int
    doc: str
    steps: tuple[int, ...] = ()
    first_step: int = 0


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """A tgc_cl_launch as the template shows it. doc: the ONNX nodes that it computes."""

    kernel: str
    first: int
    arguments: tuple[ArgumentRow, ...]
    global_size: tuple[int, int, int]
    local_size: tuple[int, int, int]
    doc: str


@dataclass(slots=True)
class Tables:
    """The rows of all entry points. positions: of inputs and outputs, by storage.

    repeats: first launch, the one after the last, iterations. bounds: where entry points begin and end.
    """

    program: Program
    texts: Mapping[str, KernelText]
    positions: Mapping[str, int]
    launches: list[LaunchRow] = field(default_factory=list)
    repeats: list[tuple[int, int, int]] = field(default_factory=list)
    bounds: list[int] = field(default_factory=lambda: [0])
    arguments: int = 0
    steps: list[int] = field(default_factory=list)

    def add(self, steps: tuple[Step, ...], depth: int = 0) -> None:
        """Appends the launches of `steps` that have any work-items. Raises UnsupportedError where loops are too deep."""
        if depth > DEPTH:
            raise UnsupportedError(f"more than {DEPTH} loops in each other around a launch")
        for step in steps:
            match step:
                case Call():
                    self.call(step)
                case Repeat(count, body):
                    first, at = len(self.launches), len(self.repeats)
                    self.add(body, depth + 1)
                    if len(self.launches) > first:
                        self.repeats.insert(at, (first, len(self.launches), count))

    def call(self, call: Call) -> None:
        text, kernel = self.texts[call.kernel], self.program.kernel(call.kernel)
        if 0 in text.launch.global_size:
            return
        pairs = zip(kernel.parameters, call.arguments, strict=True)
        rows = [self.argument(argument, parameter.buffer.space == "image") for parameter, argument in pairs]
        size, lane, doc = text.launch.global_size, text.launch.lane, comment(", ".join(call.origins))
        self.launches.append(LaunchRow(text.symbol, self.arguments, tuple(rows), size, lane, doc))
        self.arguments += len(rows)

    def argument(self, argument: Argument, image: bool) -> ArgumentRow:
        made = replace(_argument(argument, self.program.storage(argument.storage), self.positions, image), first_step=len(self.steps))
        self.steps.extend(made.steps)
        return made


def tables(program: Program, texts: tuple[KernelText, ...]) -> Tables:
    """The tables of `program`, whose kernels are printed as `texts`."""
    positions = {tensor.storage: position for tensors in (program.inputs, program.outputs) for position, tensor in enumerate(tensors)}
    made = Tables(program, dict(zip((kernel.name for kernel in program.kernels), texts, strict=True)), positions)
    for entry in program.entry_points:
        made.add(entry.steps)
        made.bounds.append(len(made.launches))
    return made


def _argument(argument: Argument, storage: Storage, positions: Mapping[str, int], image: bool) -> ArgumentRow:
    """Where a kernel's buffer begins: elements (of an image, texels) into the arena or the weights, or elements into a tensor."""
    offset, rest = divmod(storage.offset, storage.dtype.bytes)
    if rest:
        raise InvalidIrError(f"storage {storage.name} is not aligned to its elements")
    bound = storage.role in ("input", "output")
    start = argument.start + (0 if bound else offset)
    steps = argument.steps if any(argument.steps) else ()
    if start + storage.size > _LARGEST:
        raise UnsupportedError(f"{storage.name} reaches beyond element {_LARGEST}, the last that OpenCL kernels of tgc address")
    shape = "x".join(str(extent) for extent in storage.shape) or "scalar"
    doc = comment(f"{storage.name}: {storage.dtype.name} {shape}, {storage.layout}")
    if image:
        texel = storage.dtype.bytes * TEXEL
        return ArgumentRow(start // TEXEL, texel, "TGC_CL_IMAGE", IMAGES.index((storage.role, storage.dtype)), doc,
                           tuple(step // TEXEL for step in steps))  # fmt: skip
    return ArgumentRow(start, storage.dtype.bytes, MEMORY[storage.role], positions[storage.name] if bound else 0, doc, steps)
