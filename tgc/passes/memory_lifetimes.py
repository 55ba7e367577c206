"""Lifetimes of a program's arena storages, for whoever plans its memory again."""

from __future__ import annotations

from collections import defaultdict

from tgc.ir.program import Program, calls_of
from tgc.passes.memory import Lifetime


def lifetimes(program: Program) -> list[Lifetime]:
    """When each arena storage is needed: what is used in a loop is needed until the loop ends."""
    moments: dict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(program.steps):
        for call in calls_of((step,)):
            for argument in call.arguments:
                moments[argument.storage].append(number)
    arena = (s for s in program.storages if s.role == "arena" and s.name in moments)
    return [Lifetime(s.name, max(1, s.size) * s.dtype.bytes, moments[s.name][0], moments[s.name][-1]) for s in arena]
