"""A program as an OpenCL artifact: NAME.cl to read, NAME.c with the same text and the tables that the runtime works from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import tgc
from tgc.backends.cfamily.dialect import Dialect
from tgc.backends.files import data_sources, fields, finished, linked, render, runtime_files
from tgc.backends.names import c_string, entry_views
from tgc.backends.opencl.dialect import OPENCL, QCOM, QCOM_HALF, QCOM_RELAXED
from tgc.backends.opencl.kernels import KernelText, kernel_text, needs_fp64, prelude
from tgc.backends.opencl.launches import IMAGES, MEMORY, tables
from tgc.backends.options import EmitOptions
from tgc.ir.dtypes import F16
from tgc.ir.kernel import Alloc, Kernel
from tgc.ir.program import Program
from tgc.ir.program import launches as launches_of
from tgc.ir.rewrite import statements
from tgc.ir.texels import TEXEL
from tgc.targets import Target

BUILD_OPTIONS = "-cl-std=CL1.2"
RUNTIME = (
    "tgc_opencl.c", "tgc_opencl.h", "tgc_opencl_bind.c", "tgc_opencl_device.c", "tgc_opencl_frame.c", "tgc_opencl_internal.h",
    "tgc_opencl_memory.c", "tgc_opencl_program.c", "tgc_opencl_qcom.c", "tgc_opencl_qcom.h", "tgc_runtime.c", "tgc_runtime.h",
)  # fmt: skip
SELFTEST = ("tgc_opencl_selftest.c", "tgc_opencl_selftest.h", "tgc_selftest.c", "tgc_selftest.h")


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


def emit(program: Program, target: Target, options: EmitOptions) -> dict[str, bytes]:
    """The artifact: file name -> bytes. Raises UnsupportedError where the model is too large for 32-bit indices."""
    name = program.name
    texts = tuple(kernel_text(kernel, dialect(target, kernel)) for kernel in program.kernels)
    source = render("opencl_kernels.cl.j2", version=tgc.__version__, name=name, prelude=prelude(texts), kernels=[t.text for t in texts])
    made = tables(program, texts)
    filled = {
        "launches": made.launches, "repeats": made.repeats, "steps": made.steps, "entry_launches": made.bounds,
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
    sizes = [made.texts[call.kernel] for call in launches_of(program.steps)]
    listed = [{"kernel": t.symbol, "global": t.launch.global_size, "local": t.launch.lane} for t in sizes if 0 not in t.launch.global_size]
    return finished(program, target, options, files, {"launches": listed, "build_options": BUILD_OPTIONS})


def dialect(target: Target, kernel: Kernel) -> Dialect:
    """The dialect in which `target` compiles `kernel`."""
    if not target.images:
        return OPENCL
    if target.precision == "fp32":
        return QCOM
    halves = any(isinstance(part, Alloc) and part.buffer.dtype == F16 for part in statements(kernel.body))
    return QCOM_HALF if halves else QCOM_RELAXED


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
        ImageRow(0, sizes[role] // (TEXEL * dtype.bytes) if (role, dtype.name) in read else 0, 0, 0, MEMORY[role],
                 f"TGC_{dtype.name.upper()}", f"the {role} in {dtype.name}")
        for role, dtype in IMAGES
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
