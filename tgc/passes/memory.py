"""Plan memory: offsets in the arena, so that blocks which are never needed at the same time may share bytes.

Each block in turn goes to an offset where nothing that lives at the same time is in the way; what differs is whose turn it is
and which offset. These ways are tried until one takes no more than the largest set of blocks that live at a time, and the smallest arena is
kept:

- the largest first, at the lowest offset (Pisarchyk and Lee, "Efficient memory management for deep neural net inference",
  2020, section 5.2);
- the one needed earliest first, at the lowest offset;
- the same from both ends of an arena of the least possible size, which no plan for a chain of layers can beat;
- the first two again, and again, with the block whose end is the arena's in an earlier turn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

MOST_ATTEMPTS, MOST_PLACED = 100, 20_000  # plans with other turns, and blocks placed for them: less for graphs of thousands of nodes


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A block of `size` bytes that is needed from launch `first` to launch `last`, both included."""

    name: str
    size: int
    first: int
    last: int

    @property
    def moments(self) -> range:
        """The launches at which it is needed."""
        return range(self.first, self.last + 1)


def plan_memory(lifetimes: Sequence[Lifetime], alignment: int) -> tuple[Mapping[str, int], int]:
    """The offset of each block, a multiple of `alignment`, and the bytes of the whole arena."""
    rounded = [replace(block, size=aligned(block.size, alignment)) for block in lifetimes]
    by_size = sorted(rounded, key=lambda entry: (-entry.size, entry.first, entry.name))
    by_time = sorted(rounded, key=lambda entry: (entry.first, -entry.size, entry.name))
    least = largest_live_set(rounded)
    plans = [_plan(by_size, None), _plan(by_time, None), _plan(by_time, least)]
    best = min(plans, key=lambda plan: plan[1])
    for order in (by_size, by_time):
        if best[1] > least:
            best = min(best, _earlier_turns(order, least), key=lambda plan: plan[1])
    return best


def _earlier_turns(order: Sequence[Lifetime], least: int) -> tuple[Mapping[str, int], int]:
    """The best of plans at the lowest offsets, each made after the block at the end of the one before was moved ahead of others."""
    turns, best = list(order), _plan(order, None)
    offsets, end = best
    for attempt in range(min(MOST_ATTEMPTS, MOST_PLACED // max(1, len(turns)))):
        if best[1] == least:
            break
        position = next(n for n, block in enumerate(turns) if offsets[block.name] + block.size == end)
        turns.insert(position // 2 if attempt % 2 else 0, turns.pop(position))
        offsets, end = _plan(turns, None)
        best = min(best, (offsets, end), key=lambda plan: plan[1])
    return best


def _plan(blocks: Sequence[Lifetime], end: int | None) -> tuple[Mapping[str, int], int]:
    """The blocks placed in order, at the lowest offset or, above the bottom, at the highest below `end`; and the arena's bytes."""
    first, last = (np.array([getattr(block, key) for block in blocks], np.int64) for key in ("first", "last"))
    starts, stops = np.zeros((2, len(blocks)), np.int64)
    for n, block in enumerate(blocks):
        together = np.flatnonzero((first[:n] <= block.last) & (last[:n] >= block.first))
        taken = sorted(zip(starts[together].tolist(), stops[together].tolist(), strict=True))
        offset = _lowest(taken, block.size)
        if end is not None and offset > 0:
            offset = _highest(taken, block.size, end) if offset + block.size <= end else offset
        starts[n], stops[n] = offset, offset + block.size
    offsets = {block.name: start for block, start in zip(blocks, starts.tolist(), strict=True)}
    return offsets, int(stops.max(initial=0))


def _lowest(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The lowest offset of `size` free bytes; `taken` are intervals by their start."""
    offset = 0
    for start, stop in taken:
        if offset + size <= start:
            break
        offset = max(offset, stop)
    return offset


def _highest(taken: Sequence[tuple[int, int]], size: int, end: int) -> int:
    """The highest offset of `size` free bytes below `end`, where there are any."""
    offset = end - size
    for start, stop in sorted(taken, key=lambda interval: -interval[1]):
        if stop <= offset:
            break
        offset = min(offset, start - size)
    return offset


def aligned(value: int, alignment: int) -> int:
    """`value` rounded up to a multiple of `alignment`."""
    return -(-value // alignment) * alignment


def largest_live_set(lifetimes: Sequence[Lifetime]) -> int:
    """The bytes needed at the launch that needs most: no plan can do with fewer."""
    needed: dict[int, int] = defaultdict(int)
    for block in lifetimes:
        for moment in block.moments:
            needed[moment] += block.size
    return max(needed.values(), default=0)
