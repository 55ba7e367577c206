"""OpenCL artifacts: the host program as a shared library, and the device that it runs on."""

from __future__ import annotations

import ctypes as c
import importlib.util
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tgc.backends.toolchain import TABLE_FLAGS
from tgc.errors import ModelError, OptionError, TgcError, ToolchainError
from tgc.run.abi import STATUS
from tgc.run.load import locator, shared_library
from tgc.run.model import Array, Engine, Locate
from tgc.run.native import Bytes

DEVICE_VARIABLE = "TGC_OPENCL_DEVICE"
"""Which device to run on: the numbers of the platform and of the device on it, such as "0" or "1:0"."""
_SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")
_NO_DEVICE_HINT = "install the device's OpenCL driver, or PoCL for the CPU (pip install 'tgc[opencl]')"


class _Options(c.Structure):
    """tgc_cl_options."""

    _fields_ = (
        ("context", c.c_void_p), ("device", c.c_void_p), ("queue", c.c_void_p),
        ("platform_index", c.c_uint32), ("device_index", c.c_uint32), ("queue_properties", c.c_uint64), ("build_options", c.c_char_p),
        ("cache_folder", c.c_char_p), ("performance_hint", c.c_int32), ("priority_hint", c.c_int32), ("no_recording", c.c_int32),
    )  # fmt: skip


def load_opencl(folder: Path, manifest: dict[str, Any], weights: Bytes | None) -> tuple[Engine, Locate]:
    """Builds the artifact's host program with this machine's C compiler and its kernels on the chosen device.

    Raises ToolchainError where a compiler, the OpenCL headers or a device are missing.
    """
    platform_index, device_index = chosen_device(os.environ)
    icd_loader()
    sources = sorted(folder / name for name in manifest["files"] if name.endswith(".c") and name != "example_main.c")
    library = c.CDLL(str(_compiled(sources, manifest)))
    name = str(manifest["name"])
    context = c.create_string_buffer(c.c_size_t.in_dll(library, f"{name}_context_bytes").value)
    call = _caller(library, name, context)
    shared = _shared_context(platform_index, device_index)
    options = _Options(context=shared, platform_index=platform_index, device_index=device_index)
    pointer, size = (None, 0) if weights is None else (c.c_void_p(weights.ctypes.data), weights.size)
    call("init", c.byref(options), pointer, c.c_uint64(size))

    points = _entry_points(manifest)

    def execute(inputs: Sequence[Array], outputs: Sequence[Array], entry: int = 0) -> None:
        point, reads, writes = points[entry]
        for kind, arrays, used in (("bind_input", inputs, reads), ("bind_output", outputs, writes)):
            for position in used:
                call(kind, c.c_uint32(position), c.c_void_p(arrays[position].ctypes.data))
        call(point)

    def reset() -> None:
        if library.tgc_cl_reset(context) != 0:
            raise TgcError("the arena cannot be cleared", name)

    weakref.finalize(execute, library[f"{name}_release"], context)
    return Engine(execute, reset), locator(library)


def _entry_points(manifest: dict[str, Any]) -> list[tuple[str, list[int], list[int]]]:
    """Each entry point's name, and the positions of what it reads and writes."""
    inputs, outputs = ([tensor["name"] for tensor in manifest[kind]] for kind in ("inputs", "outputs"))
    return [
        (str(entry["name"]), [inputs.index(name) for name in entry["inputs"]], [outputs.index(name) for name in entry["outputs"]])
        for entry in manifest["entries"]
    ]


def chosen_device(environment: Mapping[str, str]) -> tuple[int, int]:
    """Platform and device as TGC_OPENCL_DEVICE names them, else the first of both. Raises OptionError where it is no such thing."""
    text = environment.get(DEVICE_VARIABLE, "0")
    numbers = text.split(":")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise OptionError(f"{text!r} names no device", DEVICE_VARIABLE, "write the platform's number and the device's, such as \"0:0\"")
    return int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0


@cache
def icd_loader() -> c.CDLL:
    """The library that finds the OpenCL drivers, its symbols global, so that a host program need not be linked with it.

    A machine without drivers of its own uses PoCL from pyopencl's wheel. Raises ToolchainError where there is no platform at all.
    """
    loader = _open_loader()
    with _environment(driver_environment()):  # a loader looks for drivers once, at its first call
        count = c.c_uint32(0)
        status = loader.clGetPlatformIDs(c.c_uint32(0), None, c.byref(count))
    if status != 0 or count.value == 0:
        raise ToolchainError("there is no OpenCL platform on this machine", hint=_NO_DEVICE_HINT)
    return loader


@cache
def _shared_context(platform_index: int, device_index: int) -> c.c_void_p | None:
    """One context for all models of this process, since drivers take long to make one; None where there is no such device."""
    chosen = _device(platform_index, device_index)
    if chosen is None:
        return None
    loader = icd_loader()
    loader.clCreateContext.restype = c.c_void_p
    device, error = (c.c_void_p * 1)(chosen), c.c_int32(0)
    context = loader.clCreateContext(None, c.c_uint32(1), device, None, None, c.byref(error))
    return c.c_void_p(context) if error.value == 0 else None


def _device(platform_index: int, device_index: int) -> int | None:
    """The handle of a device; None where there is no such one."""
    loader, limit, count = icd_loader(), 16, c.c_uint32(0)
    found = (c.c_void_p * limit)()
    if loader.clGetPlatformIDs(c.c_uint32(limit), found, c.byref(count)) != 0 or platform_index >= count.value:
        return None
    every_type, platform = c.c_uint64(0xFFFFFFFF), c.c_void_p(found[platform_index])
    status = loader.clGetDeviceIDs(platform, every_type, c.c_uint32(limit), found, c.byref(count))
    return found[device_index] if status == 0 and device_index < count.value else None


def describe_device() -> str:
    """Name and driver version of the device that programs run on here. Raises ToolchainError where there is none."""
    loader, chosen = icd_loader(), _device(*chosen_device(os.environ))
    if chosen is None:
        raise ToolchainError("there is no such OpenCL device", DEVICE_VARIABLE, _NO_DEVICE_HINT)
    texts = []
    for what in (0x102B, 0x102D):  # CL_DEVICE_NAME, CL_DRIVER_VERSION
        text = c.create_string_buffer(256)
        loader.clGetDeviceInfo(c.c_void_p(chosen), c.c_uint32(what), c.c_size_t(len(text)), text, None)
        texts.append(text.value.decode("utf-8", "replace"))
    return ", driver ".join(texts)


def _open_loader() -> c.CDLL:
    system = {"win32": "OpenCL.dll", "darwin": "/System/Library/Frameworks/OpenCL.framework/OpenCL"}.get(sys.platform, "libOpenCL.so.1")
    for candidate in [system, *(str(path) for path in _wheel_libraries() if path.name.startswith("libOpenCL"))]:
        try:
            loader = c.CDLL(candidate, mode=c.RTLD_GLOBAL)
        except OSError:
            continue
        # The host program finds what was preloaded first, such as Oclgrind; a context has to come from there too.
        return c.CDLL(None) if os.name == "posix" else loader
    raise ToolchainError("there is no OpenCL loader (libOpenCL) on this machine", hint=_NO_DEVICE_HINT)


def _wheel_libraries() -> list[Path]:
    """The libraries in pyopencl's wheel, which is not imported for that."""
    found = importlib.util.find_spec("pyopencl")
    if found is None or found.origin is None:
        return []
    package = Path(found.origin).parent
    return sorted(path for folder in (package / ".libs", package.parent / "pyopencl.libs") for path in folder.glob("lib*.so*"))


def driver_environment() -> dict[str, str]:
    """Variables that point a loader at the wheel's PoCL; empty where the user or the system names drivers, or there is no wheel.

    Debian's loader takes a library in OCL_ICD_VENDORS; the one from Khronos takes it in OCL_ICD_FILENAMES.
    """
    variables = ("OCL_ICD_VENDORS", "OCL_ICD_FILENAMES")
    pocl = next((path for path in _wheel_libraries() if path.name.startswith("libpocl")), None)
    if pocl is None or any(name in os.environ for name in variables) or any(_SYSTEM_VENDORS.glob("*.icd")):
        return {}
    return dict.fromkeys(variables, str(pocl))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with `variables`, none of which it has, added for a while."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


def _compiled(sources: list[Path], manifest: dict[str, Any]) -> Path:
    try:
        return shared_library(sources, manifest, TABLE_FLAGS)
    except ToolchainError as error:
        if "cl.h" not in error.what:
            raise
        raise ToolchainError("the OpenCL headers are missing", "CL/cl.h", "install them (apt install opencl-c-headers)") from error


def _caller(library: c.CDLL, name: str, context: c.Array[c.c_char]) -> Callable[..., None]:
    """Calls a function of the model on `context`. Raises the TgcError that fits the status, with the runtime's message."""
    library.tgc_cl_message.restype = c.c_char_p

    def call(function: str, *arguments: object) -> None:
        status = library[f"{name}_{function}"](context, *arguments)
        if status != 0:
            message = (library.tgc_cl_message(context) or b"").decode("utf-8", "replace")
            raise _error(status, message or (STATUS[status] if 0 <= status < len(STATUS) else f"status {status}"), name)

    return call


def _error(status: int, message: str, name: str) -> TgcError:
    match status:
        case 2:
            return ModelError(message, name, "compile the model again")
        case 5:
            return ToolchainError(message, name)
        case _:
            return TgcError(message, name)
