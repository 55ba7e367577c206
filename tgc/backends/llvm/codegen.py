"""From a module's text to object code: parse, verify, optimise, emit."""

from __future__ import annotations

import llvmlite.binding as llvm

from tgc.backends.llvm.machine import Machine, initialize, target_machine
from tgc.errors import InvalidIrError


def compile_module(text: str, machine: Machine) -> bytes:
    """Relocatable object code of the module."""
    generator = _generator(machine)
    code: bytes = generator.emit_object(_optimised(text, generator))
    return code


def assembly(text: str, machine: Machine) -> str:
    """The module's assembly, to read."""
    generator = _generator(machine)
    listing: str = generator.emit_assembly(_optimised(text, generator))
    return listing


def optimised_ir(text: str, machine: Machine) -> str:
    """The module after optimisation, to read."""
    return str(_optimised(text, _generator(machine)))


def _generator(machine: Machine) -> llvm.TargetMachine:
    return target_machine(machine.triple, machine.cpu, machine.features, machine.abi)


def _optimised(text: str, generator: llvm.TargetMachine) -> llvm.ModuleRef:
    """The module parsed in a context of its own, so that nothing is left of one compilation in the next."""
    initialize()
    try:
        module = llvm.parse_assembly(text, llvm.create_context())
        module.verify()
    except RuntimeError as error:
        raise InvalidIrError(f"LLVM does not accept what the backend wrote: {error}") from error
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    options.loop_interleaving = False
    builder = llvm.create_pass_builder(generator, options)
    builder.getModulePassManager().run(module, builder)
    return module
