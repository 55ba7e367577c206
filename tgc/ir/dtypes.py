"""Element types. One table, one row each; everything else asks the row.

`INDEX` is the type of loop variables and buffer offsets. Each backend prints it as the integer its target addresses
memory with (64 bits on a CPU, 32 in OpenCL), so it never occurs in a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

Kind = Literal["bool", "int", "uint", "float"]


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """An element type.

    name: as the text form writes it.
    kind: how the scalar operations read it.
    bits: width of one element. Of types narrower than 8 bits several share a byte in memory, the first of them lowest; in a graph
          they are one to a byte.
    c:    spelling in C99 with <stdint.h>; empty where C has no such type.
    opencl: spelling in OpenCL C 1.2; empty where OpenCL has none.
    """

    name: str
    kind: Kind
    bits: int
    c: str
    opencl: str

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DType) and self.name == other.name)

    @property
    def bytes(self) -> int:
        """Bytes that one stored element takes; of types narrower than a byte, the byte that holds it and others."""
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def numpy(self) -> npt.DTypeLike:
        """The numpy type with the same values."""
        return _NUMPY[self.name]

    @property
    def lowest(self) -> float | int | bool:
        """The identity of MAX: minus infinity, or the smallest integer, or false."""
        if self.kind == "float":
            return float("-inf")
        if self.kind == "bool":
            return False
        return 0 if self.kind == "uint" else -(1 << (self.bits - 1))


BOOL = DType("bool", "bool", 8, "uint8_t", "uchar")
I8 = DType("i8", "int", 8, "int8_t", "char")
I16 = DType("i16", "int", 16, "int16_t", "short")
I32 = DType("i32", "int", 32, "int32_t", "int")
I64 = DType("i64", "int", 64, "int64_t", "long")
U8 = DType("u8", "uint", 8, "uint8_t", "uchar")
U16 = DType("u16", "uint", 16, "uint16_t", "ushort")
U32 = DType("u32", "uint", 32, "uint32_t", "uint")
U64 = DType("u64", "uint", 64, "uint64_t", "ulong")
F16 = DType("f16", "float", 16, "", "half")
BF16 = DType("bf16", "float", 16, "", "")
F32 = DType("f32", "float", 32, "float", "float")
F64 = DType("f64", "float", 64, "double", "double")
INDEX = DType("index", "int", 64, "int64_t", "int")

DTYPES: tuple[DType, ...] = (BOOL, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64, INDEX)
"""The types that kernels compute with and backends print."""

F8E4M3FN = DType("f8e4m3fn", "float", 8, "uint8_t", "uchar")
F8E4M3FNUZ = DType("f8e4m3fnuz", "float", 8, "uint8_t", "uchar")
F8E5M2 = DType("f8e5m2", "float", 8, "uint8_t", "uchar")
F8E5M2FNUZ = DType("f8e5m2fnuz", "float", 8, "uint8_t", "uchar")
F8E8M0 = DType("f8e8m0", "float", 8, "uint8_t", "uchar")
F4E2M1 = DType("f4e2m1", "float", 4, "uint8_t", "uchar")
I4 = DType("i4", "int", 4, "uint8_t", "uchar")
U4 = DType("u4", "uint", 4, "uint8_t", "uchar")
I2 = DType("i2", "int", 2, "uint8_t", "uchar")
U2 = DType("u2", "uint", 2, "uint8_t", "uchar")

SMALL: tuple[DType, ...] = (F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1, I4, U4, I2, U2)
"""Types of tensors only: `tgc.passes.encode` has their bytes in u8, and their arithmetic in other types, before there are kernels."""

BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in (*DTYPES, *SMALL)}

_NUMPY: dict[str, npt.DTypeLike] = {
    "bool": np.bool_, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "u8": np.uint8, "u16": np.uint16,
    "u32": np.uint32, "u64": np.uint64, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64,
    "index": np.int64,
    "f8e4m3fn": ml_dtypes.float8_e4m3fn, "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "f8e5m2": ml_dtypes.float8_e5m2,
    "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz, "f8e8m0": ml_dtypes.float8_e8m0fnu, "f4e2m1": ml_dtypes.float4_e2m1fn,
    "i4": ml_dtypes.int4, "u4": ml_dtypes.uint4, "i2": ml_dtypes.int2, "u2": ml_dtypes.uint2,
}  # fmt: skip

_ROWS: dict[np.dtype[np.generic], DType] = {np.dtype(_NUMPY[name]): row for name, row in BY_NAME.items() if row != INDEX}


def from_numpy(dtype: npt.DTypeLike) -> DType:
    """The row whose numpy type is `dtype`. Raises KeyError where there is none."""
    return _ROWS[np.dtype(dtype)]


def unsigned_of_width(bits: int) -> DType:
    """The unsigned integer of `bits` bits."""
    return BY_NAME[f"u{bits}"]


def signed_of_width(bits: int) -> DType:
    """The signed integer of `bits` bits."""
    return BY_NAME[f"i{bits}"]
