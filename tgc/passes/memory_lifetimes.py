"""Lifetimes of a program's arena storages, for whoever plans its memory again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tgc.ir.program import EntryPoint, Program, calls_of
from tgc.passes.halos import Signature, plan_halos
from tgc.passes.memory import Lifetime, plan_memory


def planned(program: Program, halos: Mapping[str, Signature]) -> tuple[dict[str, int], int, int]:
    """The offset of each arena storage, the bytes of the arena, and how many at its beginning are to be zero.

    States come first, storages with halos next, then what the entry points take turns in.
    """
    states = {state.storage for state in program.states}
    offsets = {name: program.storage(name).offset for name in states}
    lives = [[block for block in lifetimes(program, entry) if block.name not in states] for entry in program.entry_points]
    zeroed = program.state_bytes
    for own in lives:
        placed, zeroed = plan_halos([block for block in own if block.name in halos], halos, zeroed, program.alignment)
        offsets |= placed
    arena_bytes = zeroed
    for own in lives:
        placed_rest, end = plan_memory([block for block in own if block.name not in halos], program.alignment)
        offsets |= {name: zeroed + offset for name, offset in placed_rest.items()}
        arena_bytes = max(arena_bytes, zeroed + end)
    return offsets, arena_bytes, zeroed


def lifetimes(program: Program, entry: EntryPoint) -> list[Lifetime]:
    """When each arena storage is needed in an entry point: what is used in a loop is needed until the loop ends."""
    moments: dict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(entry.steps):
        for call in calls_of((step,)):
            for argument in call.arguments:
                moments[argument.storage].append(number)
    arena = (s for s in program.storages if s.role == "arena" and s.name in moments)
    return [Lifetime(s.name, max(1, s.size) * s.dtype.bytes, moments[s.name][0], moments[s.name][-1]) for s in arena]
