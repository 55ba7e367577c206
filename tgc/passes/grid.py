"""Binding to work-groups: the loops that enclose everything else become the grid and the lanes of a launch."""

from __future__ import annotations

from tgc.ir.kernel import Statement
from tgc.ir.schedule import Bind, Fuse, Schedule, Split, Step
from tgc.passes.nest import chain


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
