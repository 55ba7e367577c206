"""The structs of tgc_runtime.h for ctypes."""

from __future__ import annotations

import ctypes as c

ABI_VERSION = 2
STATUS = (
    "ok", "bad argument", "the weights do not have the right size or hash", "out of memory", "a file could not be read",
    "the device, its driver or its compiler failed", "a self-test did not give the recorded result",
)  # fmt: skip


class TensorStruct(c.Structure):
    """tgc_tensor."""

    _fields_ = (
        ("name", c.c_char_p), ("shape", c.POINTER(c.c_int64)), ("bytes", c.c_uint64), ("dtype", c.c_int32), ("rank", c.c_int32),
    )  # fmt: skip


class GoldenValueStruct(c.Structure):
    """tgc_golden_value."""

    _fields_ = (("element", c.c_uint64), ("bits", c.c_uint64))


class GoldenOutputStruct(c.Structure):
    """tgc_golden_output."""

    _fields_ = (("values", c.POINTER(GoldenValueStruct)), ("count", c.c_uint64), ("tolerance", c.c_double))


class GoldenStruct(c.Structure):
    """tgc_golden."""

    _fields_ = (("outputs", c.POINTER(GoldenOutputStruct)), ("positive", c.c_uint32), ("unused", c.c_uint32))


RunFunction = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_void_p, c.POINTER(c.c_void_p), c.POINTER(c.c_void_p))

RunPartsFunction = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_void_p, c.POINTER(c.c_void_p), c.POINTER(c.c_void_p), c.c_void_p)


class EntryStruct(c.Structure):
    """tgc_entry."""

    _fields_ = (
        ("name", c.c_char_p), ("run", RunFunction), ("inputs", c.POINTER(c.c_uint32)), ("outputs", c.POINTER(c.c_uint32)),
        ("input_count", c.c_uint32), ("output_count", c.c_uint32),
    )  # fmt: skip


class StateStruct(c.Structure):
    """tgc_state."""

    _fields_ = (("tensor", TensorStruct), ("offset", c.c_uint64))


class ModelStruct(c.Structure):
    """tgc_model."""

    _fields_ = (
        ("name", c.c_char_p), ("inputs", c.POINTER(TensorStruct)), ("outputs", c.POINTER(TensorStruct)), ("weights", c.c_void_p),
        ("weights_bytes", c.c_uint64), ("arena_bytes", c.c_uint64), ("run", RunFunction), ("weights_sha256", c.c_uint8 * 32),
        ("abi_version", c.c_uint32), ("input_count", c.c_uint32), ("output_count", c.c_uint32), ("alignment", c.c_uint32),
        ("entries", c.POINTER(EntryStruct)), ("states", c.POINTER(StateStruct)), ("state_bytes", c.c_uint64),
        ("entry_count", c.c_uint32), ("state_count", c.c_uint32),
    )  # fmt: skip
