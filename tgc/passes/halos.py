"""Halos: zeros around what a convolution reads, written once and kept, instead of in every run.

A storage with a halo goes to the beginning of the arena, which is zero before the first run. Others share its bytes only where they
have the same halo, so that nothing but zeros is ever written there, and the launches that wrote the zeros go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tgc.ir.program import Call, Program, Step, calls_of
from tgc.passes.memory import Lifetime, aligned

Signature = tuple[object, ...]


def kept_halos(program: Program) -> dict[str, Signature]:
    """The arena storages whose halos are written outside of loops, with what two have to have in common to share bytes."""
    found: dict[str, list[object]] = defaultdict(list)
    inside: set[str] = set()
    for step in (step for entry in program.entry_points for step in entry.steps):
        if isinstance(step, Call) and step.halo:
            (argument,) = step.arguments
            found[argument.storage].append((step.kernel, argument.start))
        elif not isinstance(step, Call):
            inside.update(argument.storage for call in calls_of((step,)) for argument in call.arguments)
    sizes = {s.name: (s.size, s.dtype.name) for s in program.storages if s.role == "arena" and s.name not in inside}
    return {name: (*sizes[name], *fills) for name, fills in found.items() if name in sizes}


def without_halos(steps: tuple[Step, ...], kept: Mapping[str, Signature]) -> tuple[Step, ...]:
    """`steps` without the launches that write the halos of `kept`."""
    return tuple(step for step in steps if not (isinstance(step, Call) and step.halo and step.arguments[0].storage in kept))


def plan_halos(lifetimes: Sequence[Lifetime], kept: Mapping[str, Signature], start: int, alignment: int) -> tuple[dict[str, int], int]:
    """The offset of each storage of `kept`, from `start` on, and where they end. A signature's storages take turns in its places."""
    offsets: dict[str, int] = {}
    places: dict[Signature, list[tuple[int, int]]] = defaultdict(list)  # offsets, and until when each is taken
    end = start
    for life in sorted(lifetimes, key=lambda life: (life.first, life.name)):
        taken = places[kept[life.name]]
        free = next((number for number, (_, until) in enumerate(taken) if until < life.first), len(taken))
        if free == len(taken):
            taken.append((end, 0))
            end = aligned(end + life.size, alignment)
        offsets[life.name] = taken[free][0]
        taken[free] = (taken[free][0], life.last)
    return offsets, end
