"""A program as an OpenCL artifact: NAME.cl to read, NAME.c with the same text and the tables that the runtime works from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import accumulate

import tgc
from tgc.backends.cfamily.dialect import Dialect
from tgc.backends.files import data_sources, fields, finished, linked, render, runtime_files
from tgc.backends.names import c_string, comment, entry_views
from tgc.backends.opencl.dialect import OPENCL, QCOM
from tgc.backends.opencl.kernels import KernelText, kernel_text, needs_fp64, prelude
from tgc.backends.options import EmitOptions
from tgc.errors import InvalidIrError, UnsupportedError
from tgc.ir.dtypes import F16, F32
from tgc.ir.kernel import Kernel
from tgc.ir.program import Argument, Call, EntryPoint, Program, Storage
from tgc.ir.program import launches as launches_of
from tgc.ir.texels import TEXEL
from tgc.targets import Target

BUILD_OPTIONS = "-cl-std=CL1.2"
_LARGEST = 2**31 - 1
RUNTIME = (
    "tgc_opencl.c", "tgc_opencl.h", "tgc_opencl_bind.c", "tgc_opencl_device.c", "tgc_opencl_frame.c", "tgc_opencl_internal.h",
    "tgc_opencl_memory.c", "tgc_opencl_program.c", "tgc_opencl_qcom.c", "tgc_opencl_qcom.h", "tgc_runtime.c", "tgc_runtime.h",
)  # fmt: skip
SELFTEST = ("tgc_opencl_selftest.c", "tgc_opencl_selftest.h", "tgc_selftest.c", "tgc_selftest.h")
_MEMORY = {"arena": "TGC_CL_ARENA", "weight": "TGC_CL_WEIGHTS", "input": "TGC_CL_INPUT", "output": "TGC_CL_OUTPUT"}

_IMAGES = (("arena", F16), ("weight", F16), ("arena", F32), ("weight", F32))
"""The images that a program has, if any: each memory as each type of texel."""


@dataclass(frozen=True, slots=True)
class ArgumentRow:
    """A tgc_cl_argument as the template shows it. doc: the storage, its shape and layout."""

    start: int
    element_bytes: int
    memory: str
    tensor: int
    doc: str


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A tgc_cl_image as the template shows it."""

    offset: int
    width: int
    height: int
    row_bytes: int
    memory: str
    dtype: str
    doc: str


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """A tgc_cl_launch as the template shows it. doc: the ONNX nodes that it computes."""

    kernel: str
    first: int
    arguments: tuple[ArgumentRow, ...]
    global_size: tuple[int, int, int]
    local_size: tuple[int, int, int]
    doc: str


def emit(program: Program, target: Target, options: EmitOptions) -> dict[str, bytes]:
    """The artifact: file name -> bytes. Raises UnsupportedError where the model is too large for 32-bit indices."""
    name = program.name
    texts = tuple(kernel_text(kernel, dialect(target)) for kernel in program.kernels)
    source = render("opencl_kernels.cl.j2", version=tgc.__version__, name=name, prelude=prelude(texts), kernels=[t.text for t in texts])
    points = [launches(program, entry, texts) for entry in program.entry_points]
    filled = {
        "launches": numbered(points), "entry_launches": [0, *accumulate(len(point) for point in points)],
        "lines": [_source_line(line) for line in source.decode().splitlines()],
        "needs": _needs(program, texts), "build_options": c_string(BUILD_OPTIONS),
        "images": _images(program), "program_sha256": _digest(source), "run": "NULL /* it runs on a device */",
        **fields(program, target, options), "entries": [replace(view, function="NULL") for view in entry_views(program)],
    }  # fmt: skip
    code = {f"{name}.c": render("opencl_model.c.j2", **filled), **data_sources(program, options)}
    runtime = runtime_files(*RUNTIME, *(SELFTEST if options.golden else ()))
    files = {
        **code, **runtime, f"{name}.cl": source, f"{name}.h": render("opencl_model.h.j2", **filled),
        "example_main.c": render("opencl_example_main.c.j2", **filled),
        "CMakeLists.txt": render("opencl_CMakeLists.txt.j2", name=name, code=linked({**code, **runtime})),
    }  # fmt: skip
    listed = [{"kernel": row.kernel, "global": row.global_size, "local": row.local_size} for row in points[0]]
    return finished(program, target, options, files, {"launches": listed, "build_options": BUILD_OPTIONS})


def dialect(target: Target) -> Dialect:
    """The dialect that `target` compiles."""
    return QCOM if target.images else OPENCL


def launches(program: Program, entry: EntryPoint, texts: tuple[KernelText, ...]) -> list[LaunchRow]:
    """The calls of `entry` that have any work-items, as rows of the launch table, each as if it were the first."""
    by_name = dict(zip((kernel.name for kernel in program.kernels), texts, strict=True))
    positions = {tensor.storage: position for tensors in (program.inputs, program.outputs) for position, tensor in enumerate(tensors)}
    storages = {storage.name: storage for storage in program.storages}
    calls = [(call, by_name[call.kernel], program.kernel(call.kernel)) for call in launches_of(entry.steps)]
    return [_launch(call, text, kernel, storages, positions) for call, text, kernel in calls if 0 not in text.launch.global_size]


def numbered(points: list[list[LaunchRow]]) -> list[LaunchRow]:
    """The launches of all entry points, with their places in the table of arguments."""
    rows = [row for point in points for row in point]
    starts = [0, *accumulate(len(row.arguments) for row in rows)]
    return [replace(row, first=start) for row, start in zip(rows, starts, strict=False)]


def _launch(call: Call, text: KernelText, kernel: Kernel, storages: dict[str, Storage], positions: dict[str, int]) -> LaunchRow:
    pairs = zip(kernel.parameters, call.arguments, strict=True)
    arguments = tuple(_argument(argument, storages[argument.storage], positions, p.buffer.space == "image") for p, argument in pairs)
    return LaunchRow(text.symbol, 0, arguments, text.launch.global_size, text.launch.lane, comment(", ".join(call.origins)))


def _argument(argument: Argument, storage: Storage, positions: dict[str, int], image: bool) -> ArgumentRow:
    """Where a kernel's buffer begins: elements (of an image, texels) into the arena or the weights, or elements into a tensor."""
    offset, rest = divmod(storage.offset, storage.dtype.bytes)
    if rest:
        raise InvalidIrError(f"storage {storage.name} is not aligned to its elements")
    bound = storage.role in ("input", "output")
    start = argument.start + (0 if bound else offset)
    if start + storage.size > _LARGEST:
        raise UnsupportedError(f"{storage.name} reaches beyond element {_LARGEST}, the last that OpenCL kernels of tgc address")
    shape = "x".join(str(extent) for extent in storage.shape) or "scalar"
    doc = comment(f"{storage.name}: {storage.dtype.name} {shape}, {storage.layout}")
    if image:
        texel = storage.dtype.bytes * TEXEL
        return ArgumentRow(start // TEXEL, texel, "TGC_CL_IMAGE", _IMAGES.index((storage.role, storage.dtype)), doc)
    return ArgumentRow(start, storage.dtype.bytes, _MEMORY[storage.role], positions[storage.name] if bound else 0, doc)


def _images(program: Program) -> tuple[ImageRow, ...]:
    """The arena and the weights whole, as images of the types of texels that kernels read; of width 0 where none does."""
    read = {
        (program.storage(argument.storage).role, parameter.buffer.dtype.name)
        for call in program.calls
        for parameter, argument in zip(program.kernel(call.kernel).parameters, call.arguments, strict=True)
        if parameter.buffer.space == "image"
    }
    sizes = {"arena": program.arena_bytes, "weight": int(program.weights.size)}
    return tuple(
        ImageRow(0, sizes[role] // (TEXEL * dtype.bytes) if (role, dtype.name) in read else 0, 0, 0, _MEMORY[role],
                 f"TGC_{dtype.name.upper()}", f"the {role} in {dtype.name}")
        for role, dtype in _IMAGES
    ) if read else ()  # fmt: skip


def _reads_images(program: Program) -> bool:
    return any(parameter.buffer.space == "image" for kernel in program.kernels for parameter in kernel.parameters)


def _needs(program: Program, texts: tuple[KernelText, ...]) -> str:
    """What the device has to have, as bits of the runtime."""
    found = ["TGC_CL_NEEDS_FP64"] if needs_fp64(texts) else []
    return " | ".join([*found, "TGC_CL_NEEDS_IMAGES"] if _reads_images(program) else found) or "0"


def _digest(source: bytes) -> str:
    """The bytes by which binaries of this program are known."""
    return ", ".join(f"0x{byte:02x}" for byte in hashlib.sha256(BUILD_OPTIONS.encode() + b"\0" + source).digest())


def _source_line(line: str) -> str:
    return c_string(line)[:-1] + '\\n"'
