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
    builder = llvm.create_pass_builder(generator, llvm.create_pipeline_tuning_options())
    _passes().run(module, builder)
    return module


def _passes() -> llvm.ModulePassManager:
    """What the printer leaves to do: registers out of stack memory, peepholes, empty blocks.

    It has written invariant code outside loops and common subexpressions once already; the default pipelines take ten times as
    long for the same object code. Loops are not unrolled or vectorised: schedules have done that.
    """
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_aggressive_dce_pass()
    return passes
