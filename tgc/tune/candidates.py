"""Candidates: other answers to the decisions that the heuristic meets in a kernel, one decision at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tgc.errors import InvalidIrError
from tgc.ir.kernel import Kernel
from tgc.ir.schedule import Schedule
from tgc.passes.decisions import Decision, Decisions
from tgc.passes.heuristic import plan
from tgc.targets import Target
from tgc.tune.model import seconds


@dataclass(frozen=True, slots=True)
class Problem:
    """A kernel that is to be scheduled. calls: how often the model launches it."""

    key: str
    kernel: Kernel
    constants: frozenset[str]
    calls: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """answers: to decisions, where they are not the heuristic's. predicted: seconds of one launch, by the closed form."""

    answers: Mapping[str, str] = field(hash=False)
    schedule: Schedule
    predicted: float


def candidate(problem: Problem, target: Target, answers: Mapping[str, str]) -> tuple[Candidate, dict[str, Decision]] | None:
    """The schedule that follows from `answers`, and the decisions that it met; None where a step does not fit."""
    decisions = Decisions(answers, search=True)
    try:
        state = plan(problem.kernel, problem.constants, target, decisions)
    except InvalidIrError:
        return None
    return Candidate(dict(answers), tuple(state.steps), seconds(state.body, target)), decisions.met


def neighbours(answers: Mapping[str, str], name: str, decision: Decision, most: int) -> list[dict[str, str]]:
    """`answers` with other answers to the decision `name`: at most `most`, those of the least modelled cost first."""
    taken = answers.get(name, decision.default)
    others = sorted((cost, label) for label, cost in decision.options.items() if label != taken)
    return [{**answers, name: label} for _, label in others[:most]]
