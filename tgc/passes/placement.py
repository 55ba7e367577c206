"""Places: where in memory each stored node of a partition lies, and the copies that bring there what is made elsewhere.

`Concat` and `Pad` are places, not computations: what they hold is written there directly by whoever makes it. So are the states
and results of a scan, as far as its loop makes them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from tgc.ir import index as ix
from tgc.ir.expr import Var
from tgc.ir.graph import Bound, Concat, Gather, Graph, Map, Node, Pad, Reduce, Scan, ScanResult, Scatter
from tgc.ir.partition import Block, Loop, Place
from tgc.ir.program import Role
from tgc.ir.views import Vector
from tgc.passes.loops import Carried, Loops, carried, history, slab


@dataclass(eq=False, slots=True)
class Root:
    """A region while it grows: `heavy` is its contraction, `rows` the variables by which it reads its other reductions.

    chosen: whether what is computed depends on the place, case by case; the loops are written out for that, not tiled for a contraction.
    ahead: the short sum that is computed where the contraction reads it.
    """

    body: Node
    place: Place | None
    variables: Vector
    work: int = 0
    heavy: Reduce | None = None
    rows: frozenset[Var] | None = None
    loops: tuple[Loop, ...] = ()
    chosen: bool = False
    ahead: Reduce | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A read of a node: by `root`, at `index`, `count` times in all, inside a reduction or not.

    one_to_one: between the region's body and here are only maps, reshapes and permutes. depth: nodes between.
    """

    root: Root
    index: Vector
    count: int
    inside: bool
    one_to_one: bool
    depth: int = field(default=0, compare=False)


@dataclass(slots=True)
class State:
    """What is known of a graph while it is partitioned.

    apart: sums that are not computed ahead of others; None where none is. ahead: those that are, and what is between.
    """

    graph: Graph
    users: Mapping[Node, list[Node]]
    ends: frozenset[Node]
    loops: Loops
    texels: bool = False
    apart: frozenset[Node] | None = None
    ahead: dict[Node, None] = field(default_factory=dict)
    records: dict[Node, list[Record]] = field(default_factory=lambda: defaultdict(list))
    claims: dict[Node, tuple[Node, tuple[int, ...]]] = field(default_factory=dict)
    assigned: dict[Node, Place] = field(default_factory=dict)
    kept: dict[Node, None] = field(default_factory=dict)
    carried: dict[Bound, Carried] = field(default_factory=dict)
    copied: dict[tuple[Scan, Node], Place] = field(default_factory=dict)
    roots: list[tuple[int, int, Root]] = field(default_factory=list)
    fresh: int = 0


def place(
    state: State, order: list[Node], outputs: dict[Node, int], position: dict[Node, int]
) -> tuple[dict[Node, Place], dict[str, Block]]:
    """The places that are known before any region is, all blocks that these are in, and the copies that fill them."""
    _claim(state, order, outputs)
    places, blocks = _place_edges(state.graph)
    for scan, first in state.loops.scans:
        _place_scan(state, scan, first, position, places, blocks)
    _place_results(state, order, position, places, blocks)
    _place_parents(state, order, outputs, places, blocks)
    for number, (name, node) in enumerate(state.graph.outputs):
        if outputs.get(node) != number:
            _copy(state, node, Place(f"out_{number}_{identifier(name)}", (0,) * len(node.shape)), position[node], ())
    for parent in order:
        if isinstance(parent, (Concat, Pad)):
            for source, offset in _pieces(parent):
                if state.claims.get(source) != (parent, offset):
                    _copy(state, source, places[parent].inside(offset), position[source], state.loops.around[parent])
    return places, blocks


def identifier(text: str) -> str:
    """`text` as part of a C identifier."""
    return re.sub(r"[^0-9a-zA-Z]+", "_", text).strip("_")[:40]


def output_owners(graph: Graph) -> dict[Node, int]:
    """For each computed node that is an output: the first output that it is. Views, inputs and constants are copied out."""
    owners: dict[Node, int] = {}
    for number, (_, node) in enumerate(graph.outputs):
        if isinstance(node, (Map, Reduce, Gather, Scatter, Concat, Pad)):
            owners.setdefault(node, number)
    return owners


def _pieces(parent: Concat | Pad) -> list[tuple[Node, tuple[int, ...]]]:
    """What `parent` holds, and where."""
    if isinstance(parent, Pad):
        return [(parent.source, parent.low)]
    found: list[tuple[Node, tuple[int, ...]]] = []
    start = 0
    for source in parent.sources:
        found.append((source, tuple(start if axis == parent.axis else 0 for axis in range(len(parent.shape)))))
        start += source.shape[parent.axis]
    return found


def _claim(state: State, order: list[Node], outputs: dict[Node, int]) -> None:
    """Lets each concat and pad take the nodes that can be written straight into it; the last user in order goes first."""
    for parent in reversed(order):
        if isinstance(parent, (Concat, Pad)):
            for source, offset in _pieces(parent):
                computed = isinstance(source, (Map, Reduce, Gather, Scatter, Concat, Pad))
                together = state.loops.around[source] == state.loops.around[parent]
                if computed and together and source not in state.claims and source not in outputs:
                    state.claims[source] = (parent, offset)


def _block_for(node: Node, number: int, outputs: dict[Node, int], graph: Graph) -> Block:
    owner = outputs.get(node)
    role: Role = "arena" if owner is None else "output"
    name = f"t{number}_{identifier(node.origin)}".rstrip("_") if owner is None else f"out_{owner}_{identifier(graph.outputs[owner][0])}"
    return Block(name, node.dtype, node.shape, role, tuple(range(len(node.shape))))


def _place_edges(graph: Graph) -> tuple[dict[Node, Place], dict[str, Block]]:
    """The blocks of all inputs and outputs, and the places of inputs."""
    places: dict[Node, Place] = {}
    blocks: dict[str, Block] = {}
    for number, (name, node) in enumerate(graph.outputs):
        made = Block(f"out_{number}_{identifier(name)}", node.dtype, node.shape, "output", tuple(range(len(node.shape))))
        blocks[made.name] = made
    for number, source in enumerate(graph.inputs):
        made = Block(f"in_{number}_{identifier(source.name)}", source.dtype, source.shape, "input", tuple(range(len(source.shape))))
        blocks[made.name] = made
        places[source] = Place(made.name, (0,) * len(source.shape))
    return places, blocks


def _place_parents(state: State, order: list[Node], outputs: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]) -> None:
    """Places of concats and pads."""
    for number, node in reversed(list(enumerate(order))):
        if isinstance(node, (Concat, Pad)):
            _place(state, node, number, outputs, places, blocks)


def _place_scan(
    state: State, scan: Scan, number: int, position: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]
) -> None:
    """Places of what `scan` carries, and the copies that fill them; a next value that only this loop makes is written in place."""
    inside = state.loops.inside[scan]
    for at, (bound, initial, following) in enumerate(zip(scan.states, scan.initial, scan.following, strict=True)):
        kept = carried(scan, at, inside[-1], f"s{number}_{at}")
        state.carried[bound] = kept
        blocks.update((made.name, made) for made in (kept.block, kept.spare) if made is not None)
        places[bound] = kept.now
        _copy(state, initial, kept.first, position[initial], inside[:-1])
        _write(state, following, kept.after, position[following], inside)
        if kept.back is not None:
            _copy(state, following, kept.back, number, inside)
    for whole in scan.scanned:
        if isinstance(whole, (Map, Reduce, Gather, Scatter)):
            state.kept[whole] = None
        elif whole not in places and not isinstance(whole, (Concat, Pad, Bound, ScanResult)):
            made = Block(f"x{number}_{position[whole]}", whole.dtype, whole.shape, "arena", tuple(range(len(whole.shape))))
            blocks[made.name] = made
            state.copied[scan, whole] = Place(made.name, (0,) * len(whole.shape))
            _copy(state, whole, state.copied[scan, whole], position[whole], inside[:-1])


def _place_results(state: State, order: list[Node], position: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]) -> None:
    """Places of the results of scans, and of the slabs that they are put together from."""
    for number, node in enumerate(order):
        if not isinstance(node, ScanResult):
            continue
        scan, slabs = node.scan, node.scan.yields
        if node.is_state:
            places[node] = state.carried[scan.states[node.position]].last
            continue
        made_by = next((at for at, value in enumerate(scan.following) if value is node.element), None)
        if made_by is not None:
            places[node] = history(scan, state.carried[scan.states[made_by]])
            continue
        made = Block(f"y{number}_{identifier(node.origin)}".rstrip("_"), node.dtype, node.shape, "arena", tuple(range(len(node.shape))))
        blocks[made.name] = made
        places[node] = Place(made.name, (0,) * len(node.shape))
        inside = state.loops.inside[scan]
        target = slab(scan, places[node], node.element.shape[0], inside[-1])
        _write(state, slabs[node.position - len(scan.states)], target, position[node.element], inside)


def _write(state: State, node: Node, place: Place, number: int, inside: tuple[Loop, ...]) -> None:
    """Sees to it that every iteration leaves `node` in `place`: it is computed there, or copied where it has another home."""
    computed = isinstance(node, (Map, Reduce, Gather, Scatter, Concat, Pad)) and state.loops.around[node] == inside
    if computed and node not in state.claims and node not in state.assigned:
        state.assigned[node] = place
    else:
        _copy(state, node, place, number, inside)


def place_elements(state: State, places: dict[Node, Place]) -> None:
    """Places of the slabs of scanned tensors, outer loops first, now that these have theirs."""
    for scan, _ in state.loops.scans:
        for element, whole in zip(scan.elements, scan.scanned, strict=True):
            home = state.copied.get((scan, whole)) or places[whole]
            places[element] = slab(scan, home, element.shape[0], state.loops.inside[scan][-1])


def _place(state: State, node: Node, number: int, outputs: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]) -> None:
    if node in state.assigned:
        places[node] = state.assigned[node]
        return
    if node in state.claims:
        parent, offset = state.claims[node]
        places[node] = places[parent].inside(offset)
        return
    made = _block_for(node, number, outputs, state.graph)
    blocks[made.name] = made
    places[node] = Place(made.name, (0,) * len(node.shape))


def place_roots(state: State, outputs: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]) -> None:
    for number, _, root in state.roots:
        if root.place is None:
            _place(state, root.body, number, outputs, places, blocks)
            root.place = places[root.body]


def new_root(state: State, body: Node, place: Place | None, number: int, loops: tuple[Loop, ...]) -> Root:
    root = Root(body, place, tuple(ix.axis(Var(f"i{axis}"), size) for axis, size in enumerate(body.shape)), loops=loops)
    state.roots.append((number, 1 if place is None else 2, root))
    return root


def _copy(state: State, body: Node, place: Place, number: int, loops: tuple[Loop, ...]) -> None:
    root = new_root(state, body, place, number, loops)
    state.records[body].append(Record(root, root.variables, prod(body.shape), False, True))
