"""Loops in a partition: which nodes a scan computes in every iteration, and where what it carries lies in memory.

A state is a row of a history: a block of length + 1 rows, where iteration t reads row t and writes row t + 1 (counted from the
end in a scan that runs in reverse). So no iteration overwrites what it reads, nothing is copied from one to the next, and a scan
that puts its state together has its result when it ends. A state too large to be kept that often has one row, and its next value
is copied there at the end of each iteration. An element is a slab of a tensor in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from tgc.ir.graph import Bound, Node, Scan, ScanResult, sources
from tgc.ir.partition import Block, Loop, Place

MOST_HISTORY = 1 << 20  # bytes of a state's history that is not a result


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops around each node, outermost first, and the graph's scans, outer before inner, each with its first position."""

    around: Mapping[Node, tuple[Loop, ...]]
    scans: tuple[tuple[Scan, int], ...]
    inside: Mapping[Scan, tuple[Loop, ...]]
    starts: Mapping[str, int]


def find_loops(order: list[Node]) -> Loops:
    """The loops of a graph whose nodes are `order`."""
    owner: dict[Bound, Scan] = {}
    first: dict[Scan, int] = {}
    for number, node in enumerate(order):
        if isinstance(node, ScanResult):
            first.setdefault(node.scan, number)
            owner.update((bound, node.scan) for bound in node.scan.bound)
    free: dict[Node, frozenset[Scan]] = {}
    outer: dict[Scan, frozenset[Scan]] = {}
    for node in order:
        below = frozenset[Scan]().union(*(free[source] for source in sources(node)))
        if isinstance(node, Bound):
            below = frozenset((owner[node],))
        if isinstance(node, ScanResult):
            outer[node.scan] = below = below - {node.scan}
        free[node] = below
    inside: dict[Scan, tuple[Loop, ...]] = {}
    for scan, number in sorted(first.items(), key=lambda entry: -entry[1]):  # an outer scan's results come after an inner one's
        inside[scan] = (*_deepest(outer[scan], inside), Loop(f"loop{number}", scan.length))
    return Loops(
        {node: _deepest(scans, inside) for node, scans in free.items()},
        tuple(sorted(first.items(), key=lambda entry: -entry[1])),
        inside,
        {inside[scan][-1].name: number for scan, number in first.items()},
    )


def _deepest(scans: frozenset[Scan], inside: Mapping[Scan, tuple[Loop, ...]]) -> tuple[Loop, ...]:
    """The loops around what depends on what `scans`, one in the other, bind."""
    return max((inside[scan] for scan in scans), key=len, default=())


@dataclass(frozen=True, slots=True)
class Carried:
    """A state in memory. first: where it begins. now, after: where an iteration reads it and leaves the next value.

    last: where it is at the end. back: where the next value has to be copied to then; None with a history.
    """

    block: Block
    first: Place
    now: Place
    after: Place
    last: Place
    back: Place | None = None
    spare: Block | None = None


def carried(scan: Scan, position: int, loop: Loop, name: str) -> Carried:
    """The places of a state."""
    state = scan.states[position]
    rows, rest = state.shape[0], state.shape[1:]
    still = (0,) * len(state.shape)
    kept = (scan.length + 1) * prod(state.shape) * state.dtype.bytes <= MOST_HISTORY
    if not kept and scan.following[position] not in scan.yields:
        block, spare = (Block(n, state.dtype, state.shape, "arena", tuple(range(len(still)))) for n in (name, f"{name}_next"))
        place, following = Place(block.name, still), Place(spare.name, still)
        return Carried(block, place, place, following, place, place, spare)
    block = Block(name, state.dtype, ((scan.length + 1) * rows, *rest), "arena", tuple(range(len(still))))
    start, end = (scan.length, 0) if scan.reverse else (0, scan.length)
    step = -rows if scan.reverse else rows
    first = Place(name, (start * rows, *still[1:]))
    now = first.moving(loop, step)
    return Carried(block, first, now, now.inside((step, *still[1:])), Place(name, (end * rows, *still[1:])))


def history(scan: Scan, kept: Carried) -> Place:
    """Where the values of a state after each iteration lie together."""
    rows = scan.length * (kept.block.shape[0] // (scan.length + 1))
    return Place(kept.block.name, (0 if scan.reverse else kept.block.shape[0] - rows, *kept.first.low[1:]))


def slab(scan: Scan, whole: Place, rows: int, loop: Loop) -> Place:
    """Where the slab of `rows` rows lies that an iteration reads or writes of a tensor at `whole`."""
    start = (scan.length - 1) * rows if scan.reverse else 0
    offset = (start, *(0 for _ in whole.low[1:]))
    return whole.inside(offset).moving(loop, -rows if scan.reverse else rows)
