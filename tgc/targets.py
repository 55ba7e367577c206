"""Targets as values. Adding a target to an existing backend is adding one row here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from tgc.errors import OptionError

BackendName = Literal["llvm", "c", "opencl"]
Precision = Literal["", "mixed", "fp32", "bf16", "fp16"]
Winograd = Literal["off", "2", "4", "auto"]
WINOGRAD: tuple[Winograd, ...] = ("off", "2", "4", "auto")
MOST_THREADS = 64
PRECISIONS: tuple[Precision, ...] = ("mixed", "fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Target:
    """What the compiler knows of where the kernels run.

    triple, cpu, features: as LLVM names them; empty for C and OpenCL. cpu "host" is the machine that compiles.
    vector_bits: width of one vector register; 0 where vectors do not pay. vector_registers: how many of them.
    fma_latency: cycles until a fused multiply-add's result can be used, times how many start in one cycle: the number of
                 independent accumulators that keep the units busy.
    l1_bytes, l2_bytes: data caches of one core.
    dot4, dot4s: whether DOT4, four products of bytes summed, is one instruction, and whether DOT4S is, where all are signed.
    dot2: whether DOT2, two products of bf16 summed in f32, is one instruction.
    winograd: where convolutions of 3x3 are computed in tiles with fewer products: nowhere, everywhere with tiles of 2x2 or of 4x4,
              or as a model of their cost says.
    threads: how many threads the work of a kernel is divided for; 1 compiles no code for threads in.
    half: whether there is native arithmetic in half precision, which --precision fp16 asks for.
    f16: whether what a model has in half is computed in it; without it half is stored and float computed.
    lanes: work-items in a work-group, for grids; 0 on a CPU.
    processors: that run work-groups side by side, where a model of the device asks; 0 elsewhere.
    images: whether memory is read through images where it can be, in texels of four elements.
    precision: of floats. On targets with images: mixed: stored in half, computed in single precision; fp32: single for both; fp16: as
               mixed, but sums of products are in half too. On CPUs:
               bf16: weights and what is multiplied with them rounded to bfloat16, sums in single precision; fp16: what the model has
               in half is computed in half; fp32, or "": all in single precision.
    single: regular expression of ONNX nodes: what they read and compute is stored in single precision, other values in half; "" is none.
    half_from: products that a kernel has at least whose sums are in half, where precision fp16 asks for such sums.
    """

    name: str
    backend: BackendName
    summary: str
    triple: str = ""
    cpu: str = ""
    features: str = ""
    vector_bits: int = 0
    vector_registers: int = 16
    accumulators: int = 8
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    dot4: bool = False
    dot4s: bool = False
    dot2: bool = False
    winograd: Winograd = "off"
    threads: int = 1
    half: bool = False
    f16: bool = False
    lanes: int = 0
    pointer_bits: int = 64
    processors: int = 0
    images: bool = False
    precision: Precision = ""
    single: str = ""
    half_from: int = 0

    @property
    def rounding(self) -> float:
        """The error, as a part of an output's largest magnitude, that the choice of precision may add."""
        return {"mixed": 1e-2, "bf16": 5e-2, "fp16": 3e-2}.get(self.precision, 0.0)

    def vector_lanes(self, bits: int) -> int:
        """Elements of `bits` bits in one vector register; 1 where vectors do not pay."""
        return max(1, self.vector_bits // bits)


X86_V2 = Target("x86-64-v2", "llvm", "x86-64 with SSE4.2", "x86_64-unknown-linux-gnu", "x86-64-v2", vector_bits=128, winograd="auto")
X86_V3 = Target("x86-64-v3", "llvm", "x86-64 with AVX2 and FMA", "x86_64-unknown-linux-gnu", "x86-64-v3", vector_bits=256, winograd="auto")
X86_V4 = Target(
    "x86-64-v4", "llvm", "x86-64 with AVX-512", "x86_64-unknown-linux-gnu", "x86-64-v4", "-prefer-256-bit",
    vector_bits=512, vector_registers=32, l2_bytes=1 << 20, winograd="auto",
)  # fmt: skip
X86_V4_BF16 = replace(
    X86_V4, name="x86-64-v4-bf16", summary="x86-64 with AVX-512, its VNNI and BF16 (Zen 4, Cooper Lake, Sapphire Rapids)",
    features="+avx512vnni,+avx512bf16,-prefer-256-bit", dot4=True, dot2=True,
)  # fmt: skip
CORTEX_A75 = Target(
    "cortex-a75", "llvm", "64-bit Arm, the Snapdragon 845's large core", "aarch64-unknown-linux-gnu", "cortex-a75",
    vector_bits=128, vector_registers=32, l1_bytes=64 << 10, l2_bytes=256 << 10, winograd="auto",
)  # fmt: skip
X86_V4_FP16 = replace(
    X86_V4_BF16, name="x86-64-v4-fp16", summary="the same with AVX512-FP16 (Sapphire Rapids)",
    features="+avx512vnni,+avx512bf16,+avx512fp16,-prefer-256-bit", half=True,
)  # fmt: skip
# Two registers fewer than there are: words of bytes are repeated over a register of their own, and with the largest tile LLVM spills.
CORTEX_A76 = replace(
    CORTEX_A75, name="cortex-a76", summary="64-bit Arm with dot products of bytes and arithmetic in half", cpu="cortex-a76",
    vector_registers=30, l2_bytes=512 << 10, dot4s=True, half=True,
)  # fmt: skip
RISCV64 = Target(
    "riscv64", "llvm", "64-bit RISC-V with G and C, scalar", "riscv64-unknown-linux-gnu",
    "generic-rv64", "+m,+a,+f,+d,+c", vector_registers=32
)  # fmt: skip
WASM32 = Target(
    "wasm32", "llvm", "WebAssembly with 128-bit SIMD", "wasm32-unknown-unknown", "generic", "+simd128", vector_bits=128, pointer_bits=32
)  # fmt: skip
C = Target("c", "c", "portable C99; vectors where the compiler has GCC's extension", vector_bits=256, vector_registers=16, winograd="auto")
C_AVX512 = replace(
    C, name="c:avx512", summary="the same with vectors of 512 bits, and VNNI and BF16 where the compiler may use them",
    vector_bits=512, vector_registers=32, l2_bytes=1 << 20, dot4=True, dot2=True,
)  # fmt: skip
C_NEON = replace(
    C, name="c:neon", summary="the same with vectors of 128 bits, and Arm's dot products of bytes where the compiler may use them",
    vector_bits=128, vector_registers=30, dot4s=True,
)  # fmt: skip
OPENCL = Target("opencl", "opencl", "OpenCL 1.2 on desktop GPUs and PoCL", vector_bits=128, vector_registers=32, lanes=64, pointer_bits=32)
# What differs between GPUs in buffers: work-items that share a scheduler, and registers of 16 bytes that one of them has at a useful
# occupancy. Warps of 32 and 255 registers of 4 bytes (CUDA C programming guide, compute capability 7 and later); waves of 64, of which
# four a SIMD have 128 (RDNA 2 and CDNA instruction set guides); 16 lanes share 128 registers of 32 bytes (oneAPI GPU optimization guide);
# warps of 16 with 64 registers a thread, or 32 at full occupancy (Arm GPU best practices, Valhall).
OPENCL_NVIDIA = replace(
    OPENCL, name="opencl:nvidia", summary="OpenCL on NVIDIA GPUs", lanes=128, vector_registers=48, accumulators=16, l2_bytes=4 << 20
)  # fmt: skip
OPENCL_AMD = replace(OPENCL, name="opencl:amd", summary="OpenCL on AMD GPUs", lanes=64, accumulators=16, l2_bytes=4 << 20)
OPENCL_INTEL = replace(OPENCL, name="opencl:intel", summary="OpenCL on Intel GPUs", lanes=32, vector_registers=16, l2_bytes=1 << 20)
OPENCL_MALI = replace(OPENCL, name="opencl:mali", summary="OpenCL on Arm Mali GPUs", lanes=16, vector_registers=16, l2_bytes=1 << 20)
QCOM = Target(
    "qcom", "opencl", "Adreno 630 of the Snapdragon 845: OpenCL with images in half precision",
    vector_bits=128, vector_registers=32, lanes=64, pointer_bits=32, images=True, precision="mixed", half=True, winograd="auto",
    processors=2,
)  # fmt: skip
# The same with six processors in place of two (num_ccu in Mesa's table of devices, src/freedreno/common/freedreno_devices.py).
QCOM_A7XX = replace(QCOM, name="qcom:a7xx", summary="Adreno 740: the same with six processors", processors=6)
CPU = Target("cpu", "llvm", "this machine, with the features it has", cpu="host", winograd="auto")

TARGETS: tuple[Target, ...] = (
    CPU, X86_V2, X86_V3, X86_V4, X86_V4_BF16, X86_V4_FP16, CORTEX_A75, CORTEX_A76, RISCV64, WASM32, C, C_AVX512, C_NEON,
    OPENCL, OPENCL_NVIDIA, OPENCL_AMD, OPENCL_INTEL, OPENCL_MALI, QCOM, QCOM_A7XX,
)  # fmt: skip


def find(name: str) -> Target:
    """The target called `name`. Raises OptionError that lists the names there are."""
    for target in TARGETS:
        if target.name == name:
            return target
    raise OptionError(f"there is no target {name!r}", hint=f"choose one of {', '.join(t.name for t in TARGETS)}")


def with_precision(target: Target, precision: str) -> Target:
    """`target` with floats stored and computed as `precision` says. Raises OptionError where it has no such choice."""
    choices: tuple[Precision, ...] = ("mixed", "fp32") if target.images else ("bf16", "fp32") if target.backend != "opencl" else ()
    choices += ("fp16",) if target.half else ()
    if not choices:
        raise OptionError(f"the target {target.name} has no choice of precision", "--precision", "leave it out")
    for known in choices:
        if known == precision:
            return replace(target, precision=known, f16=known == "fp16" and not target.images)
    raise OptionError(f"the target {target.name} has no precision {precision!r}", "--precision", f"choose one of {', '.join(choices)}")


def with_threads(target: Target, threads: int) -> Target:
    """`target` with kernels whose work `threads` threads share. Raises OptionError where it has no threads, or the number is not one."""
    if target.backend == "opencl":
        raise OptionError(f"the target {target.name} runs on a device, not on threads", "--threads", "leave it out")
    if not 1 <= threads <= MOST_THREADS:
        raise OptionError(f"{threads} is no number of threads", "--threads", f"choose 1 to {MOST_THREADS}")
    return replace(target, threads=threads)


def with_winograd(target: Target, choice: str) -> Target:
    """`target` with convolutions of 3x3 computed as `choice` says. Raises OptionError where that is not one."""
    for known in WINOGRAD:
        if known == choice:
            return replace(target, winograd=known)
    raise OptionError(f"{choice!r} is no size of Winograd's tiles", "--winograd", f"choose one of {', '.join(WINOGRAD)}")


def with_single(target: Target, pattern: str) -> Target:
    """`target` with single precision around nodes whose whole names match `pattern`. Raises OptionError where that means nothing."""
    if not target.images or target.precision == "fp32":
        raise OptionError(f"the target {target.name} stores no results in half", "--single", "leave it out, or choose mixed or fp16")
    try:
        re.compile(pattern)
    except re.error as error:
        raise OptionError(f"{pattern!r} is no regular expression: {error}", "--single") from None
    return replace(target, single=pattern)


def with_half_from(target: Target, products: int) -> Target:
    """`target` with sums in half in kernels of so many products at least. Raises OptionError where no sums are in half."""
    if not target.images or target.precision != "fp16":
        raise OptionError(f"the target {target.name} adds up nothing in half", "--half-from", "choose qcom with --precision fp16")
    if products < 0:
        raise OptionError(f"{products} is no number of products", "--half-from", "choose 0 or more")
    return replace(target, half_from=products)


def choosing(
    target: Target,
    precision: str | None,
    winograd: str | None,
    threads: int = 1,
    single: str | None = None,
    half_from: int | None = None,
) -> Target:
    """`target` with what the user chose; None leaves it as it is. Raises OptionError."""
    precise = target if precision is None else with_precision(target, precision)
    precise = precise if single is None else with_single(precise, single)
    precise = precise if half_from is None else with_half_from(precise, half_from)
    tiled = precise if winograd is None else with_winograd(precise, winograd)
    return tiled if threads == 1 else with_threads(tiled, threads)
