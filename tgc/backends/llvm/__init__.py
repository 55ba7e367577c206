"""The LLVM backend: a program as object code for any machine that LLVM knows, without a compiler or a linker."""

from tgc.backends.llvm.emit import emit, emit_assembly, emit_ir
from tgc.backends.llvm.machine import host_target

__all__ = ["emit", "emit_assembly", "emit_ir", "host_target"]
