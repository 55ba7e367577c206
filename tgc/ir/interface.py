"""How a model is called: what it keeps between calls, and which of its outputs each entry point computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A way into a model: `outputs` by name, those that become states included, in the model's order."""

    name: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """states: pairs of an output and the input that has its value in the next call; neither is the caller's then.

    entries: the main one first; none means one that computes everything.
    """

    states: tuple[tuple[str, str], ...] = ()
    entries: tuple[Entry, ...] = ()
