"""templates/runtime/tgc_runtime.c, called as it stands."""

from __future__ import annotations

import ctypes as c
import hashlib

import numpy as np
import pytest
from c_build import STRICT, checked, compiler

from tgc.backends.files import templates_folder
from tgc.run.abi import ABI_VERSION, STATUS, EntryStruct, ModelStruct, RunFunction, TensorStruct
from tgc.run.native import aligned_bytes

BAD_ARGUMENT, BAD_WEIGHTS, IO = 1, 2, 4


class WeightsStruct(c.Structure):
    """tgc_weights."""

    _fields_ = (("data", c.c_void_p), ("bytes", c.c_uint64))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    source = templates_folder() / "runtime" / "tgc_runtime.c"
    checked([compiler("gcc", "cc", "clang"), *STRICT, "-pedantic", "-O1", "-shared", "-fPIC", "-o", "runtime.so", str(source)], folder)
    library = c.CDLL(str(folder / "runtime.so"))
    library.tgc_status_text.restype = c.c_char_p
    library.tgc_sha256.argtypes = (c.c_char_p, c.c_uint64, c.c_char_p)
    library.tgc_check_weights.argtypes = (c.c_void_p, c.c_char_p, c.c_uint64)
    library.tgc_check_memory.argtypes = (c.c_void_p, c.c_void_p, c.c_void_p, c.c_uint64)
    library.tgc_check_tensor.argtypes = (c.c_void_p, c.c_uint32, c.c_uint32, c.c_void_p)
    return library


@pytest.fixture
def model():
    """A model of one input, one output and five bytes of weights, that does nothing."""
    made = ModelStruct()
    made.weights_bytes, made.arena_bytes, made.alignment, made.abi_version = 5, 100, 64, ABI_VERSION
    made.weights_sha256[:] = hashlib.sha256(b"hello").digest()
    tensors = (TensorStruct * 2)(TensorStruct(b"x", None, 8, 11, 0), TensorStruct(b"y", None, 8, 4, 0))
    made.inputs = made.outputs = c.cast(tensors, c.POINTER(TensorStruct))
    made.input_count, made.output_count = 2, 0
    made.run = RunFunction(lambda *_: 0)
    both = (c.c_uint32 * 2)(0, 1)
    entries = (EntryStruct * 1)(EntryStruct(b"run", made.run, both, None, 2, 0))
    made.entries, made.entry_count = c.cast(entries, c.POINTER(EntryStruct)), 1
    made.kept = (tensors, both, entries)
    return made


def test_plain_c_and_cpp(tmp_path):
    header = templates_folder() / "runtime" / "tgc_runtime.h"
    source = templates_folder() / "runtime" / "tgc_runtime.c"
    checked([compiler("clang", "clang-14"), *STRICT, "-c", "-o", "a.o", str(source)], tmp_path)
    checked([compiler("gcc", "cc"), *STRICT, "-DTGC_NO_FILES", "-ffreestanding", "-c", "-o", "b.o", str(source)], tmp_path)
    checked([compiler("g++", "clang++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", str(header)], tmp_path)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000])
def test_sha256(runtime, size):
    data = np.random.default_rng(size).bytes(size)
    digest = c.create_string_buffer(32)
    runtime.tgc_sha256(data, size, digest)
    assert digest.raw == hashlib.sha256(data).digest()


def test_every_status_has_a_text(runtime):
    texts = [runtime.tgc_status_text(status) for status in range(len(STATUS))]
    assert len(set(texts)) == len(STATUS)
    assert b"unknown" in runtime.tgc_status_text(len(STATUS))
    assert b"unknown" in runtime.tgc_status_text(-1)


def test_tensors_are_found_by_name(runtime, model):
    assert [runtime.tgc_find_tensor(model.inputs, 2, name) for name in (b"x", b"y", b"z")] == [0, 1, -1]


def test_check_tensor(runtime, model):
    inputs = c.cast(model.inputs, c.c_void_p)
    assert runtime.tgc_check_tensor(inputs, 2, 1, 64) == 0
    assert runtime.tgc_check_tensor(inputs, 2, 1, 68) == BAD_ARGUMENT, "i64 on an address that is no multiple of 8"
    assert runtime.tgc_check_tensor(inputs, 2, 0, 68) == 0
    assert runtime.tgc_check_tensor(inputs, 2, 2, 64) == BAD_ARGUMENT
    assert runtime.tgc_check_tensor(inputs, 2, 0, None) == BAD_ARGUMENT


def test_check_memory(runtime, model):
    arena, weights = aligned_bytes(128, 64).ctypes.data, aligned_bytes(64, 64).ctypes.data
    address = c.byref(model)
    assert runtime.tgc_check_memory(address, weights, arena, 100) == 0
    for wrong in ((weights, arena, 99), (weights, arena + 4, 100), (weights + 4, arena, 100), (None, arena, 100), (weights, None, 100)):
        assert runtime.tgc_check_memory(address, *wrong) == BAD_ARGUMENT
    model.abi_version += 1
    assert runtime.tgc_check_memory(address, weights, arena, 100) == BAD_ARGUMENT


def test_run_wants_every_tensor_bound(runtime, model):
    arena = aligned_bytes(128, 64)
    memory = arena.ctypes.data_as(c.c_void_p)
    pointers = (c.c_void_p * 2)(arena.ctypes.data, None)
    assert runtime.tgc_run(c.byref(model), memory, memory, pointers, pointers) == BAD_ARGUMENT
    pointers[1] = arena.ctypes.data
    assert runtime.tgc_run(c.byref(model), memory, memory, pointers, pointers) == 0


def test_weights_are_checked(runtime, model):
    assert runtime.tgc_check_weights(c.byref(model), b"hello", 5) == 0
    assert runtime.tgc_check_weights(c.byref(model), b"hella", 5) == BAD_WEIGHTS
    assert runtime.tgc_check_weights(c.byref(model), b"hello!", 6) == BAD_WEIGHTS


@pytest.mark.parametrize(
    ("content", "status"), [(b"hello", 0), (b"hellp", BAD_WEIGHTS), (b"hell", BAD_WEIGHTS), (b"", BAD_WEIGHTS), (None, IO)]
)
def test_weights_file(runtime, model, tmp_path, content, status):
    path = tmp_path / "w.weights"
    if content is not None:
        path.write_bytes(content)
    weights = WeightsStruct()
    assert runtime.tgc_weights_open(c.byref(weights), c.byref(model), str(path).encode()) == status
    if status == 0:
        assert c.string_at(weights.data, weights.bytes) == b"hello"
        runtime.tgc_weights_close(c.byref(weights))
    assert weights.data is None
