"""Keep halos: on devices that own the arena, zeros around what a convolution reads are written once, not in every run.

Such a launch is a few slabs of stores, which have no grid in common and would run in one work-item. The arena grows by what can no longer
share bytes with everything else.
"""

from __future__ import annotations

from dataclasses import replace

from tgc.ir.program import Program, calls_of
from tgc.passes.halos import kept_halos, without_halos
from tgc.passes.memory_lifetimes import planned


def keep_halos(program: Program) -> Program:
    """`program` without the launches that write zeros around storages of the arena; those lie where it is zero before the first run."""
    halos = kept_halos(program)
    if not halos:
        return program
    steps = [without_halos(entry.steps, halos) for entry in program.entry_points]
    entries = tuple(replace(entry, steps=own) for entry, own in zip(program.entries, steps, strict=False))
    used = {call.kernel for own in steps for call in calls_of(own)}
    kernels = tuple(kernel for kernel in program.kernels if kernel.name in used)
    lean = replace(program, kernels=kernels, steps=steps[0], entries=entries)
    offsets, arena_bytes, zeroed = planned(lean, halos)
    storages = tuple(replace(s, offset=offsets.get(s.name, 0)) if s.role == "arena" else s for s in program.storages)
    return replace(lean, storages=storages, arena_bytes=arena_bytes, zeroed_bytes=zeroed)
