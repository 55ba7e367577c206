"""Plan memory: offsets in the arena, so that blocks which are never needed at the same time may share bytes.

Greedy by size: the largest block first, each at the lowest offset where nothing that lives at the same time is in the way.
(Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020, section 5.2.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A block of `size` bytes that is needed from launch `first` to launch `last`, both included."""

    name: str
    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """Whether there is a launch at which both are needed."""
        return self.first <= other.last and other.first <= self.last


def plan_memory(lifetimes: Sequence[Lifetime], alignment: int) -> tuple[Mapping[str, int], int]:
    """The offset of each block, a multiple of `alignment`, and the bytes of the whole arena."""
    placed: list[tuple[int, Lifetime]] = []
    for block in sorted(lifetimes, key=lambda entry: (-entry.size, entry.first, entry.name)):
        offset = 0
        for start, other in sorted(((start, other) for start, other in placed if other.overlaps(block)), key=lambda entry: entry[0]):
            if offset + block.size <= start:
                break
            offset = max(offset, aligned(start + other.size, alignment))
        placed.append((offset, block))
    total = max((start + block.size for start, block in placed), default=0)
    return {block.name: start for start, block in placed}, aligned(total, alignment)


def aligned(value: int, alignment: int) -> int:
    """`value` rounded up to a multiple of `alignment`."""
    return -(-value // alignment) * alignment


def largest_live_set(lifetimes: Sequence[Lifetime]) -> int:
    """The bytes needed at the launch that needs most: no plan can do with fewer."""
    moments = sorted({block.first for block in lifetimes})
    return max((sum(block.size for block in lifetimes if block.first <= moment <= block.last) for moment in moments), default=0)
