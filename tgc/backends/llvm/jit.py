"""Loads object code into this process, without a compiler or a linker."""

from __future__ import annotations

from dataclasses import dataclass, field

import llvmlite.binding as llvm

from tgc.backends.llvm.machine import host_features, initialize
from tgc.errors import ToolchainError

_IMPLIED = {
    "x86-64-v2": ("sse4.2", "popcnt"),
    "x86-64-v3": ("avx2", "bmi2", "f16c", "fma"),
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "cortex-a76": ("dotprod", "fullfp16"),
}
"""What a processor's name says that it has, by LLVM's names (x86-64 psABI, section 3.1.1; Cortex-A76 reference manual)."""


@dataclass(frozen=True, slots=True)
class LoadedObject:
    """Object code in memory, for as long as this object lives: keep it beside whatever was taken from it.

    found: what LLVM answered for each symbol; the end of any of these unloads the object.
    """

    engine: llvm.LLJIT
    library: llvm.ResourceTracker
    found: dict[str, llvm.ResourceTracker] = field(default_factory=dict)

    def address(self, symbol: str) -> int:
        """Where `symbol` lies. Raises ToolchainError where the object does not export it."""
        try:
            if symbol not in self.found:
                self.found[symbol] = self.engine.lookup(self.library.name, symbol)
            return int(self.found[symbol][symbol])
        except RuntimeError as error:
            raise ToolchainError(f"the object has no symbol {symbol}", hint="is it an object that tgc wrote?") from error


def require_host(triple: str, cpu: str, features: str) -> None:
    """Raises ToolchainError where code for this machine, as LLVM names it, cannot run on the one that this process runs on."""
    hint = "compile for the target cpu, or run it on the machine that it is for"
    here, there = llvm.get_process_triple().split("-")[0], triple.split("-")[0]
    if (here, there) not in ((here, here), ("arm64", "aarch64"), ("aarch64", "arm64")):
        raise ToolchainError(f"code for {there} cannot run here, on {here}", hint=hint)
    found = host_features()
    wanted = [*_IMPLIED.get(cpu, ()), *(flag[1:] for flag in features.split(",") if flag.startswith("+"))]
    missing = [name for name in wanted if found.get(name, True) is False]
    if missing:
        raise ToolchainError(f"this processor lacks what the code was compiled for: {', '.join(missing)}", hint=hint)


def load_object(data: bytes) -> LoadedObject:
    """Links the relocatable object `data` into memory that can be executed.

    Raises ToolchainError where it is no object for this machine or refers to something outside itself.
    """
    initialize()
    try:
        target = llvm.Target.from_triple(llvm.get_process_triple())
        machine = target.create_target_machine(reloc="pic", codemodel="small", jit=True)
        engine = llvm.create_lljit_compiler(machine, use_jit_link=True, suppress_errors=True)
        library = llvm.JITLibraryBuilder().add_object_img(data).link(engine, "tgc")
    except RuntimeError as error:
        raise ToolchainError(f"the object cannot be loaded: {error}", hint="compile it for the target cpu on this machine") from error
    return LoadedObject(engine, library)
