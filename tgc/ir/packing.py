"""How tensors lie in memory: as they are, or, where their type is a small one, as bytes.

Elements of a type narrower than a byte share bytes, in row-major order over the whole tensor, the first of a byte in its lowest
bits, as ONNX stores them (onnx.proto, TensorProto.raw_data). Bits of the last byte that belong to no element are 0.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import SMALL, U8, DType, from_numpy

Array = npt.NDArray[np.generic]


def stored_type(dtype: DType) -> DType:
    """The type of what lies in memory: U8 for small types."""
    return U8 if dtype in SMALL else dtype


def stored_shape(dtype: DType, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what lies in memory: of packed elements, the number of bytes."""
    return (-(-prod(shape) * dtype.bits // 8),) if dtype.bits < 8 else shape


def stored_bytes(dtype: DType, shape: tuple[int, ...]) -> int:
    """The bytes that a tensor takes."""
    return prod(stored_shape(dtype, shape)) * dtype.bytes


def to_stored(array: Array) -> Array:
    """`array` as it lies in memory, of `stored_type` and `stored_shape`; itself where its type is not a small one."""
    dtype = from_numpy(array.dtype)
    if dtype not in SMALL:
        return array
    codes = np.ascontiguousarray(array).view(np.uint8).reshape(array.shape)
    if dtype.bits == 8:
        return codes
    each = 8 // dtype.bits
    padded = np.zeros(-(-codes.size // each) * each, np.uint8)
    padded[: codes.size] = codes.reshape(-1) & np.uint8((1 << dtype.bits) - 1)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(dtype.bits)
    return np.asarray(np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1))


def from_stored(stored: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """The tensor of `dtype` and `shape` that lies in memory as `stored`."""
    if dtype not in SMALL:
        return stored.reshape(shape)
    if dtype.bits == 8:
        return stored.view(dtype.numpy).reshape(shape)
    shifts = np.arange(8 // dtype.bits, dtype=np.uint8) * np.uint8(dtype.bits)
    codes = (stored.reshape(-1, 1).view(np.uint8) >> shifts) & np.uint8((1 << dtype.bits) - 1)
    return from_codes(codes.reshape(-1)[: prod(shape)].reshape(shape), dtype)


def from_codes(codes: npt.NDArray[np.uint8], dtype: DType) -> Array:
    """The elements of a small type that have these codes, a byte each, whose upper bits are 0."""
    if dtype.kind == "int":  # numpy's form of a small signed integer has its sign in the upper bits too
        shift = np.uint8(8 - dtype.bits)
        return ((codes << shift).view(np.int8) >> shift.astype(np.int8)).astype(dtype.numpy)
    return np.ascontiguousarray(codes).view(dtype.numpy)
