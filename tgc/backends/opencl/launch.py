"""The launch of a kernel: its outermost grid and lane loops taken apart into sizes, variables and a body."""

from __future__ import annotations

from dataclasses import dataclass

from tgc.errors import InvalidIrError
from tgc.ir.expr import Buffer
from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, Alloc, Block, For, Kernel, Statement
from tgc.ir.rewrite import statements

Extents = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel as OpenCL sees it.

    grid, lane: work-groups and work-items in a group along each dimension; 1 where the kernel has no such loop.
    loops: the loops that these replace, outermost first.
    local: buffers that a work-group shares, which OpenCL wants declared at the start of the kernel.
    body: what one work-item does.
    """

    grid: Extents
    lane: Extents
    loops: tuple[For, ...]
    local: tuple[Buffer, ...]
    body: Statement

    @property
    def global_size(self) -> Extents:
        """Work-items in all along each dimension."""
        return (self.grid[0] * self.lane[0], self.grid[1] * self.lane[1], self.grid[2] * self.lane[2])


def launch(kernel: Kernel) -> Launch:
    """`kernel` taken apart. Allocations of local buffers may stand among the outer loops; nothing else may.

    Raises InvalidIrError where a grid or lane loop is not outermost or two claim the same dimension.
    """
    loops, local, body = _peel(kernel.body)
    if any(isinstance(part, For) and part.kind in GRID_KINDS + LANE_KINDS for part in statements(body)):
        raise InvalidIrError(f"kernel {kernel.name}: a grid or lane loop is not outermost")
    kinds = [loop.kind for loop in loops]
    if len(set(kinds)) != len(kinds):
        raise InvalidIrError(f"kernel {kernel.name}: two loops claim the same dimension of the launch")
    extent = {loop.kind: loop.extent for loop in loops}
    grid = tuple(extent.get(kind, 1) for kind in GRID_KINDS)
    lane = tuple(extent.get(kind, 1) for kind in LANE_KINDS)
    return Launch((grid[0], grid[1], grid[2]), (lane[0], lane[1], lane[2]), loops, local, body)


def _peel(body: Statement) -> tuple[tuple[For, ...], tuple[Buffer, ...], Statement]:
    """The outer grid and lane loops of `body`, the local buffers made among or right under them, and what is inside."""
    loops: list[For] = []
    local: list[Buffer] = []
    while True:
        match body:
            case For(kind=kind) if kind in GRID_KINDS + LANE_KINDS:
                loops.append(body)
                body = body.body
            case Block(parts) if parts and isinstance(parts[0], Alloc) and parts[0].buffer.space == "local":
                local.append(parts[0].buffer)
                body = parts[1] if len(parts) == 2 else Block(parts[1:])
            case _:
                return tuple(loops), tuple(local), body
