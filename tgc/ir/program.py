"""The program: kernels in order over planned memory. This is all that a backend sees of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import DType
from tgc.ir.kernel import Kernel, shared_loop
from tgc.ir.open_shapes import OpenShapes

Role = Literal["input", "output", "weight", "arena"]


@dataclass(frozen=True, slots=True)
class Storage:
    """A piece of memory that kernels read or write.

    name:   unique in the program and a C identifier.
    role:   input, output: bound by the caller, row-major `shape`. weight: `offset` bytes into the weights. arena: `offset`
            bytes into the caller's arena; others may share the bytes at other times.
    size:   elements, halos and padding included. shape, layout: for comments and reports; layout names the physical order of
            the axes, such as "NHWC" or "row-major".
    """

    name: str
    role: Role
    dtype: DType
    size: int
    offset: int
    shape: tuple[int, ...]
    layout: str = "row-major"

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.bytes


@dataclass(frozen=True, slots=True)
class Argument:
    """`storage` from element `start` on, passed for a kernel's parameter.

    steps: by how many elements `start` moves on with each iteration of the Repeats around the call, outermost first; 0 for those
    that are left out at the end.
    """

    storage: str
    start: int = 0
    steps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One launch: the kernel by name, one argument a parameter, and the ONNX nodes that this launch computes.

    halo: whether it does nothing but write zeros where no other call of the program writes.
    """

    kernel: str
    arguments: tuple[Argument, ...]
    origins: tuple[str, ...] = ()
    halo: bool = False


@dataclass(frozen=True, slots=True)
class Repeat:
    """`body` in order, `count` times."""

    count: int
    body: tuple[Step, ...]


Step = Call | Repeat


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the caller sees it: `name` as in the model, `storage` the piece of memory bound to it.

    Of a small type (`tgc.ir.dtypes.SMALL`), the storage is of U8 and has the bytes, as `tgc.ir.packing` says.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    storage: str


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A way into a program: steps that read the inputs, and write the outputs, at these positions, and update states."""

    name: str
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """A compiled model.

    name:    C identifier that prefixes every exported symbol.
    kernels: each once, however often it is called. steps: calls, and loops of them, in the order in which they run.
    weights: the aligned bytes that every "weight" storage points into. alignment: of arena, weights and each offset, in bytes.
    states: what is kept from one call to the next, zero at first; their storages lie in the first `state_bytes` bytes of the arena,
    which nothing else uses. entries: the entry points, the main one, whose steps `steps` are, first; empty where that is all there is.
    zeroed_bytes: the arena's first bytes, states included, which are zero at first and are the program's own between runs.
    open:    what of the shapes is only known at run time.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    storages: tuple[Storage, ...]
    weights: npt.NDArray[np.uint8]
    arena_bytes: int
    alignment: int = 64
    states: tuple[Tensor, ...] = ()
    entries: tuple[EntryPoint, ...] = ()
    state_bytes: int = 0
    zeroed_bytes: int = 0

    @cached_property
    def entry_points(self) -> tuple[EntryPoint, ...]:
        """All entry points, the main one first."""
        whole = EntryPoint("run", self.steps, tuple(range(len(self.inputs))), tuple(range(len(self.outputs))))
        return self.entries or (whole,)

    open: OpenShapes | None = None

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call of every entry point once, in order, with those inside of loops as they are in each iteration."""
        return tuple(call for entry in self.entry_points for call in calls_of(entry.steps))

    @property
    def shared(self) -> frozenset[str]:
        """The names of the kernels whose work threads share."""
        return frozenset(kernel.name for kernel in self.kernels if shared_loop(kernel.body) is not None)

    def storage(self, name: str) -> Storage:
        """The storage called `name`. Raises KeyError."""
        return self._storages[name]

    def kernel(self, name: str) -> Kernel:
        """The kernel called `name`. Raises KeyError."""
        return self._kernels[name]

    @cached_property
    def weights_digest(self) -> bytes:
        """SHA-256 of the weights, by which a weights file is recognised."""
        return hashlib.sha256(self.weights.data).digest()

    @cached_property
    def _storages(self) -> dict[str, Storage]:
        return {storage.name: storage for storage in self.storages}

    @cached_property
    def _kernels(self) -> dict[str, Kernel]:
        return {kernel.name: kernel for kernel in self.kernels}


def calls_of(steps: tuple[Step, ...]) -> Iterator[Call]:
    """Every call of `steps` once, in order."""
    for step in steps:
        match step:
            case Call():
                yield step
            case Repeat(_, body):
                yield from calls_of(body)


def launches(steps: tuple[Step, ...], at: tuple[int, ...] = ()) -> Iterator[Call]:
    """What runs, in order: the calls of `steps` in every iteration, each with its arguments where they begin then.

    at: the iterations of the loops around.
    """
    for step in steps:
        match step:
            case Call(arguments=arguments):
                yield replace(step, arguments=tuple(_placed(argument, at) for argument in arguments))
            case Repeat(count, body):
                for iteration in range(count):
                    yield from launches(body, (*at, iteration))


def _placed(argument: Argument, at: tuple[int, ...]) -> Argument:
    return Argument(argument.storage, argument.start + sum(i * step for i, step in zip(at, argument.steps, strict=False)))
