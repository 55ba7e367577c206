"""A program as an artifact of object code: NAME.o, and all that goes with it."""

from __future__ import annotations

from tgc.backends.files import cpu_files
from tgc.backends.llvm import codegen
from tgc.backends.llvm.link import shared_library
from tgc.backends.llvm.machine import host_target, machine_of
from tgc.backends.llvm.module import print_module
from tgc.backends.llvm.symbols import undefined_symbols
from tgc.backends.options import EmitOptions
from tgc.errors import InvalidIrError
from tgc.ir.program import Program
from tgc.targets import CPU, Target


def emit(program: Program, target: Target, options: EmitOptions) -> dict[str, bytes]:
    """The artifact: file name -> bytes. NAME.o defines `NAME_model` and refers to nothing outside itself.

    NAME.so is there too where `target` is this machine and has a linker. Raises ToolchainError where llvmlite lacks the target.
    """
    target = host_target(target)
    machine = machine_of(target)
    code = codegen.compile_module(print_module(program, machine, options), machine)
    missing = undefined_symbols(code)
    if missing:
        raise InvalidIrError(f"the object would need {', '.join(missing)} from a library")
    library = shared_library(code) if target == host_target(CPU) else None
    shared = {} if library is None else {f"{program.name}.so": library}
    return cpu_files(program, target, options, {f"{program.name}.o": code, **shared})


def emit_ir(program: Program, target: Target, options: EmitOptions, *, optimised: bool = False) -> str:
    """The text of the LLVM module, as the backend writes it or after LLVM's passes."""
    machine = machine_of(target)
    text = print_module(program, machine, options)
    return codegen.optimised_ir(text, machine) if optimised else text


def emit_assembly(program: Program, target: Target, options: EmitOptions) -> str:
    """The assembly that NAME.o is made of."""
    machine = machine_of(target)
    return codegen.assembly(print_module(program, machine, options), machine)
