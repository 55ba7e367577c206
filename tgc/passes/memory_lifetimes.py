"""Lifetimes of a program's arena storages, for whoever plans its memory again."""

from __future__ import annotations

from collections import defaultdict

from tgc.ir.program import EntryPoint, Program, calls_of
from tgc.passes.memory import Lifetime, plan_memory


def planned(program: Program) -> tuple[dict[str, int], int]:
    """The offset of each arena storage, states first, and the bytes of the arena, which the entry points take turns in."""
    kept = {state.storage for state in program.states}
    offsets = {name: program.storage(name).offset for name in kept}
    arena_bytes = program.state_bytes
    for entry in program.entry_points:
        own, end = plan_memory([block for block in lifetimes(program, entry) if block.name not in kept], program.alignment)
        offsets |= {name: program.state_bytes + offset for name, offset in own.items()}
        arena_bytes = max(arena_bytes, program.state_bytes + end)
    return offsets, arena_bytes


def lifetimes(program: Program, entry: EntryPoint) -> list[Lifetime]:
    """When each arena storage is needed in an entry point: what is used in a loop is needed until the loop ends."""
    moments: dict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(entry.steps):
        for call in calls_of((step,)):
            for argument in call.arguments:
                moments[argument.storage].append(number)
    arena = (s for s in program.storages if s.role == "arena" and s.name in moments)
    return [Lifetime(s.name, max(1, s.size) * s.dtype.bytes, moments[s.name][0], moments[s.name][-1]) for s in arena]
