"""The machine that LLVM generates code for: what the printer has to know of it, asked from LLVM rather than kept in tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import llvmlite.binding as llvm

from tgc.errors import ToolchainError
from tgc.targets import Target

_HALF_PROBE = """target triple = "{triple}"
define void @probe(ptr %p) {{
  %h = load half, ptr %p
  %f = fpext half %h to float
  %g = fadd float %f, 1.0
  %t = fptrunc float %g to half
  store half %t, ptr %p
  ret void
}}
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """An LLVM target as the printer sees it.

    index:           type of loop variables and buffer offsets: i64, or i32 where pointers have 32 bits.
    data_layout:     LLVM's description of sizes and alignments.
    native_half:     float <-> half takes an instruction, not a library call.
    native_maximum:  llvm.maximum (a NaN on either side gives NaN) takes one instruction.
    byte_products:   DOT4 is one instruction.
    signed_products: DOT4S is one instruction.
    bf16_products:   DOT2 is one instruction.
    abi:             the calling convention's name where a triple has several.
    """

    triple: str
    cpu: str
    features: str
    index: str
    data_layout: str
    vector_bits: int
    native_half: bool
    native_maximum: bool
    byte_products: bool
    signed_products: bool
    bf16_products: bool
    abi: str


@cache
def initialize() -> None:
    """Registers every target that the llvmlite wheel carries, once."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()


def target_machine(triple: str, cpu: str, features: str, abi: str = "") -> llvm.TargetMachine:
    """LLVM's code generator for position-independent code, as a shared library and an executable both need."""
    initialize()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError as error:
        raise ToolchainError(f"this build of llvmlite has no code generator for {triple}: {error}") from error
    machine: llvm.TargetMachine = target.create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small", abiname=abi
    )
    machine.set_asm_verbosity(False)
    return machine


def machine_of(target: Target) -> Machine:
    """`target` as the printer sees it; "host" is filled in where it was not yet."""
    target = host_target(target)
    return _machine(target.triple, target.cpu, target.features, target.vector_bits, (target.dot4, target.dot4s, target.dot2))


@cache
def _machine(triple: str, cpu: str, features: str, vector_bits: int, products: tuple[bool, bool, bool]) -> Machine:
    abi = _abi(triple, features)
    generator = target_machine(triple, cpu, features, abi)
    layout = str(generator.target_data)
    architecture = triple.split("-")[0]
    return Machine(
        triple, cpu, features, "i32" if "p:32:32" in layout else "i64", layout, vector_bits,
        native_half=_converts_half(generator, triple),
        native_maximum=architecture.startswith(("aarch64", "arm64", "wasm")),
        byte_products=products[0],
        signed_products=products[1],
        bf16_products=products[2],
        abi=abi,
    )  # fmt: skip


def _abi(triple: str, features: str) -> str:
    """RISC-V passes doubles in registers where it has them; LLVM has to be told."""
    return "lp64d" if triple.startswith("riscv64") and "+d" in features.split(",") else ""


def _converts_half(generator: llvm.TargetMachine, triple: str) -> bool:
    """Whether float <-> half compiles to instructions: a library call would show up by its name."""
    module = llvm.parse_assembly(_HALF_PROBE.format(triple=triple))
    text = generator.emit_assembly(module)
    return not any(call in text for call in ("__extendhf", "__trunc", "__gnu_"))


def host_features() -> dict[str, bool]:
    """LLVM's names of what this processor has."""
    initialize()
    return dict(llvm.get_host_cpu_features())


def host_target(target: Target) -> Target:
    """`target` with this machine's triple, processor and features where it says "host"; any other target as it is."""
    if target.cpu != "host":
        return target
    features = host_features()
    flags = sorted(f"{'+' if on else '-'}{name}" for name, on in features.items())
    triple = llvm.get_process_triple()
    bits, registers = _vectors(features, triple)
    if bits == 512:
        flags.append("-prefer-256-bit")
    return replace(
        target, triple=triple, cpu=llvm.get_host_cpu_name(), features=",".join(flags), vector_bits=bits,
        vector_registers=registers - (2 if features.get("dotprod") else 0),  # see CORTEX_A76
        dot4=_multiplies_bytes(features, bits), dot4s=features.get("dotprod", False),
        dot2=features.get("avx512bf16", False) and features.get("avx512vl", False),
        half=features.get("avx512fp16", False) or features.get("fullfp16", False),
    )  # fmt: skip


def _multiplies_bytes(features: dict[str, bool], bits: int) -> bool:
    """Whether vpdpbusd is there for vectors of `bits`: AVX512-VNNI, or AVX-VNNI up to 256 bits."""
    return (features.get("avx512vnni", False) and features.get("avx512vl", False)) or (bits == 256 and features.get("avxvnni", False))


def _vectors(features: dict[str, bool], triple: str) -> tuple[int, int]:
    """Width in bits and number of the vector registers."""
    if triple.startswith(("aarch64", "arm64")):
        return 128, 32
    if not triple.startswith(("x86_64", "i686")):
        return 0, 32
    if features.get("avx512f") and features.get("avx512vl"):
        return 512, 32
    return (256, 16) if features.get("avx2") else (128, 16)
