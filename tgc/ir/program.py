"""The program: kernels in order over planned memory. This is all that a backend sees of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import DType
from tgc.ir.kernel import Kernel

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
    """`storage` from element `start` on, passed for a kernel's parameter."""

    storage: str
    start: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One launch: the kernel by name, one argument a parameter, and the ONNX nodes that this launch computes."""

    kernel: str
    arguments: tuple[Argument, ...]
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the caller sees it: `name` as in the model, `storage` the piece of memory bound to it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    storage: str


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled model.

    name:    C identifier that prefixes every exported symbol.
    kernels: each once, however often it is called. calls: in the order in which they run.
    weights: the aligned bytes that every "weight" storage points into. alignment: of arena, weights and each offset, in bytes.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]
    calls: tuple[Call, ...]
    storages: tuple[Storage, ...]
    weights: npt.NDArray[np.uint8]
    arena_bytes: int
    alignment: int = 64

    def storage(self, name: str) -> Storage:
        """The storage called `name`. Raises KeyError."""
        return {storage.name: storage for storage in self.storages}[name]

    def kernel(self, name: str) -> Kernel:
        """The kernel called `name`. Raises KeyError."""
        return {kernel.name: kernel for kernel in self.kernels}[name]
