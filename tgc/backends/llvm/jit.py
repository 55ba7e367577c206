"""Loads object code into this process, without a compiler or a linker."""

from __future__ import annotations

from dataclasses import dataclass, field

import llvmlite.binding as llvm

from tgc.backends.llvm.machine import initialize
from tgc.errors import ToolchainError


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
