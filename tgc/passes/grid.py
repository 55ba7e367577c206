"""Binding to work-groups: the loops that enclose everything else become the grid and the lanes of a launch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import log2, prod

from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, LoopKind, Statement
from tgc.ir.schedule import Bind, Fuse, Reorder, Schedule, Split, Step
from tgc.passes.nest import chain

WAVE = 64  # work-items
NEIGHBOURS = 8
NEAR = 1.05  # of the least waste


def bind_to_grid(body: Statement, lanes: int) -> Schedule:
    """Steps that bind the outer loops of `body`: the innermost to `lanes` work-items a group, up to three to the grid.

    Loops beyond three are fused into the outermost. A kernel that is not one nest runs in one work-item.
    """
    loops, _ = chain(body)
    if not loops:
        return ()
    steps: list[Step] = []
    names = [loop.var.name for loop in loops]
    while len(names) > 3:
        steps.append(Fuse(names[0], names[1]))
        del names[1]
    last = names[-1]
    extent = loops[-1].extent
    width = min(lanes, extent)
    steps.append(Split(last, width, "guard"))
    count = -(-extent // width)
    grid = names[:-1] + ([f"{last}_o"] if count > 1 else [])
    if width > 1:
        steps.append(Bind(f"{last}_i", "lane0"))
    for name, kind in zip(reversed(grid), ("grid0", "grid1", "grid2"), strict=False):
        steps.append(Bind(name, kind))  # type: ignore[arg-type]
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Group:
    """most: work-items of a group. parts: what each becomes later on (`Share`). narrow: time in waves of WAVE, relative to wider ones.

    neighbours: work-items along the innermost loop, rather than more or fewer.
    """

    most: int
    parts: int = 1
    narrow: float = 1.4
    neighbours: int = NEIGHBOURS


def bind_to_groups(body: Statement, group: Group) -> Schedule:
    """Steps that bind the outer loops of `body` to the grid, each with some of a group's work-items.

    How many of each, `_widths` says. Loops beyond three, or two where a third is needed for the parts, are fused into the outermost.
    """
    most = len(GRID_KINDS) - (group.parts > 1)
    loops, _ = chain(body)
    names = [(loop.var.name, loop.extent) for loop in loops if loop.kind != "unroll"]
    steps: list[Step] = []
    while len(names) > most:
        (outer, a), (inner, b) = names[:2]
        steps.append(Fuse(outer, inner))
        names[:2] = [(outer, a * b)]
    widths = _widths(tuple(extent for _, extent in reversed(names)), group)
    grid: list[tuple[str, LoopKind]] = []
    lanes: list[tuple[str, LoopKind]] = []
    for dimension, ((name, extent), width) in enumerate(zip(reversed(names), widths, strict=True)):
        if 1 < width < extent:
            steps.append(Split(name, width))
        if width > 1:
            lanes.insert(0, (f"{name}_i" if width < extent else name, LANE_KINDS[dimension]))
        if width < extent or width == 1:
            grid.insert(0, (f"{name}_o" if width > 1 else name, GRID_KINDS[dimension]))
    if grid and lanes and len(grid) + len(lanes) > 1:
        steps.append(Reorder(tuple(name for name, _ in (*grid, *lanes))))
    return (*steps, *(Bind(name, kind) for name, kind in (*grid, *lanes)))


def launched_items(extents: tuple[int, ...], group: Group) -> int:
    """The work-items that loops of these extents, the innermost first, are launched with: whole groups."""
    return prod(-(-extent // width) * width for extent, width in zip(extents, _widths(extents, group), strict=True))


@cache
def _widths(extents: tuple[int, ...], group: Group) -> tuple[int, ...]:
    """How many work-items of a group each loop has, the innermost first.

    Those that waste least: a group is made of whole waves, of twice as many work-items where it has more than WAVE of them, and what does
    not divide a loop is done twice. Of what comes near that, the fewest work-items; then those whose work-items share both what they read:
    the innermost loops are vectors of results, then pixels, and of the first a group takes `neighbours`.
    """

    def groups(widths: tuple[int, ...]) -> int:
        return prod(-(-extent // width) for extent, width in zip(extents, widths, strict=True))

    def launched(widths: tuple[int, ...]) -> float:
        items = prod(widths) * group.parts
        wave, slow = (2 * WAVE, 1.0) if items > WAVE else (WAVE, group.narrow)
        return slow * groups(widths) * -(-items // wave) * wave

    def preferred(widths: tuple[int, ...]) -> tuple[float, ...]:
        neighbours = abs(log2(widths[0] / min(group.neighbours, extents[0]))) if widths else 0.0
        return (groups(widths) * prod(widths), neighbours, -prod(widths), *widths)

    tried = {widths: launched(widths) for widths in _sizes(extents, group.most // group.parts)}
    least = NEAR * min(tried.values())
    return min((widths for widths, found in tried.items() if found <= least), key=preferred)


def _sizes(extents: tuple[int, ...], most: int) -> Iterator[tuple[int, ...]]:
    """Ways to take work-items of the loops, at most `most` in all: powers of two, and what divides a loop most evenly."""
    if not extents:
        yield ()
        return
    even = {-(-extents[0] // -(-extents[0] // width)) for width in range(1, min(extents[0], most) + 1)}
    for width in sorted(even | {1 << power for power in range(min(extents[0], most).bit_length())}):
        for others in _sizes(extents[1:], most // width):
            yield (width, *others)
