"""Decisions: where the heuristic has a choice it asks, and the search answers in its place.

Without a search every answer is the heuristic's own, and nothing else is looked at. With one, each decision that is met is recorded with
what else could be chosen and what a closed form says of it; a second run takes the answers in `fixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Decision:
    """default: what the heuristic takes. options: everything that can be taken, the default included, and its modelled cost."""

    default: str
    options: Mapping[str, float]


@dataclass(slots=True)
class Decisions:
    """fixed: answers by the name of the decision. met: the decisions so far, recorded only where `search` is set."""

    fixed: Mapping[str, str] = field(default_factory=dict)
    search: bool = False
    met: dict[str, Decision] = field(default_factory=dict)

    def choose(self, name: str, default: str, options: Callable[[], Mapping[str, float]]) -> str:
        """The answer to the decision `name`: one of `options`."""
        if self.search:
            self.met[name] = Decision(default, options())
        return self.fixed.get(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """The same for a question, whose answers a closed form does not tell apart."""
        return self.choose(name, _yes(default), lambda: {_yes(default): 0.0, _yes(not default): 0.0}) == "yes"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
