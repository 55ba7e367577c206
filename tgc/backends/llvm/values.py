"""LLVM's spelling of types and constants.

A bool is i1 as a value and one byte in memory. bf16, and f16 where the machine has no conversion of its own, are i16
as values too: kernels only load, store, choose and convert them.
"""

from __future__ import annotations

import struct

import numpy as np

from tgc.backends.llvm.machine import Machine
from tgc.errors import InvalidIrError
from tgc.ir.dtypes import BY_NAME, INDEX, DType
from tgc.ir.expr import Lit

_FLOATS = {"f16": "half", "bf16": "i16", "f32": "float", "f64": "double"}


def element_type(dtype: DType, machine: Machine) -> str:
    """The type of one value of `dtype`."""
    if dtype == INDEX:
        return machine.index
    if dtype.kind == "bool":
        return "i1"
    if dtype.kind == "float":
        return "i16" if dtype.name == "f16" and not machine.native_half else _FLOATS[dtype.name]
    return f"i{dtype.bits}"


def memory_type(dtype: DType, machine: Machine) -> str:
    """The type of one element in memory."""
    return "i8" if dtype.kind == "bool" else element_type(dtype, machine)


def vector(element: str, lanes: int) -> str:
    """`lanes` values of type `element`: a vector, or the element itself where there is one."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def value_type(dtype: DType, lanes: int, machine: Machine) -> str:
    """The type of `lanes` values of `dtype`."""
    return vector(element_type(dtype, machine), lanes)


def index_bytes(machine: Machine) -> int:
    """Bytes of an INDEX value."""
    return int(machine.index[1:]) // 8


def splat(element: str, text: str, lanes: int) -> str:
    """The constant `text` in each of `lanes` lanes."""
    return text if lanes == 1 else f"splat ({element} {text})"


def literal(lit: Lit, lanes: int, machine: Machine) -> str:
    """A constant, repeated over `lanes` lanes."""
    element = element_type(lit.dtype, machine)
    return splat(element, _scalar_literal(lit, element), lanes)


def _scalar_literal(lit: Lit, element: str) -> str:
    if lit.dtype.kind == "bool":
        return "true" if lit.value else "false"
    if lit.dtype.kind in ("int", "uint"):
        return str(int(lit.value))
    with np.errstate(all="ignore"):
        raw = np.asarray(lit.value, dtype=np.float64).astype(lit.dtype.numpy)
        if element == "i16":
            return str(int(raw.view(np.uint16)))
        if element == "half":
            return f"0xH{int(raw.view(np.uint16)):04X}"
        return float_bits(float(raw))


def float_bits(value: float) -> str:
    """A float or double constant, exact: LLVM writes both as the bits of a double."""
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def require(dtype: DType, machine: Machine, doing: str) -> None:
    """Raises InvalidIrError where `dtype` has no arithmetic here: a pass should have moved it to f32."""
    if dtype.kind == "float" and element_type(dtype, machine) == "i16":
        raise InvalidIrError(f"{doing} on {dtype}: arithmetic on it must be done in {BY_NAME['f32']}")
