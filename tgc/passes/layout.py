"""Layout: the order of the axes of every block, chosen once.

A contraction wants the axes along which its constant operand varies (the output channels) to be contiguous, because those
are what it computes a vector of; anything else keeps the order of what it reads. Inputs and outputs of the model stay
row-major; a contraction that would have to scatter into one gets a block of its own and a copy. A contraction of two
computed operands whose second does not lie along the vector gets that operand copied into the order it needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from tgc.ir import index as ix
from tgc.ir.expr import Arg, Var
from tgc.ir.graph import Bound, Constant, Expand, Map, Node, Permute, Reduce, Reshape, Shape, Slice, Window
from tgc.ir.index import Axis, Index
from tgc.ir.partition import Block, Fill, Partition, Place, Region, Step
from tgc.ir.views import Vector, dot, source_index
from tgc.passes.region_reads import iteration_index, reads, reduction_index

Order = tuple[int, ...]
LEAST_USES = 16  # of each element in a product, for a copy to be worth it that is made again in every iteration of a loop


@dataclass(slots=True)
class _State:
    partition: Partition
    places: dict[Node, Place]
    blocks: dict[str, Block]
    wishes: dict[str, dict[Order, int]]
    settled: set[str]
    copies: list[tuple[Region, Node]] = field(default_factory=list)  # and what each reads
    texels: bool = False


def layout(partition: Partition, *, texels: bool = False) -> Partition:
    """`partition` with the order of every arena block chosen, and the copies that the choice needs.

    texels: what a contraction reads should also lie along the axis that it sums, which vectors of texels are read along.
    """
    blocks = dict(partition.blocks)
    fixed = {name for name, made in blocks.items() if made.role != "arena"}
    state = _State(replace(partition, blocks=blocks), dict(partition.places), blocks, defaultdict(dict), fixed, texels=texels)
    steps: list[Step] = []
    for step in partition.steps:
        steps.extend([step] if isinstance(step, Fill) else _settle_region(state, step))
    for name in blocks:
        _settle(state, name)
    for copy, source in state.copies:
        written = (number for number, step in enumerate(steps) if _writes_part_of(step, state.places[source], source.shape))
        moving = {loop for loop, _ in state.places[source].moves}
        inside = max((depth + 1 for depth, loop in enumerate(copy.loops) if loop in moving), default=0)
        _insert_after(steps, -1 if inside else max(written, default=-1), copy, inside)
    return Partition(partition.graph, tuple(steps), state.places, blocks)


def _insert_after(steps: list[Step], written: int, copy: Region, inside: int) -> None:
    """Puts `copy` behind the step that completes what it reads, in no loop but those around both that step and its reader.

    inside: of the reader's loops, those that move what is read on from one iteration to the next: there it comes first.
    """
    if inside:
        at = next(number for number, step in enumerate(steps) if number > written and step.loops[:inside] == copy.loops[:inside])
        steps.insert(at, replace(copy, loops=copy.loops[:inside]))
        return
    around = steps[written].loops if written >= 0 else ()
    shared = 0
    while shared < min(len(around), len(copy.loops)) and around[shared] == copy.loops[shared]:
        shared += 1
    at = written + 1
    while len(around) > shared and at < len(steps) and steps[at].loops[: shared + 1] == around[: shared + 1]:
        at += 1
    steps.insert(at, replace(copy, loops=copy.loops[:shared]))


def _writes_part_of(step: Step, place: Place, shape: Shape) -> bool:
    """Whether what `step` writes is in the box of `shape` at `place`."""
    written = step.pad.shape if isinstance(step, Fill) else step.body.shape
    if step.place.moves and step.place.block == place.block:
        rows = sum(abs(count) * (loop.count - 1) for loop, count in step.place.moves)
        start = step.place.low[0] + sum(min(0, count) * (loop.count - 1) for loop, count in step.place.moves)
        return start < place.low[0] + shape[0] and place.low[0] < start + rows + written[0]
    sides = zip(place.low, shape, step.place.low, written, strict=True) if step.place.block == place.block else None
    return sides is not None and all(low <= start and start + count <= low + size for low, size, start, count in sides)


def _settle_region(state: _State, region: Region) -> list[Step]:
    """The region, with copies before and after it where its layout needs them."""
    state.partition = replace(state.partition, places=state.places)
    heavy = region.contraction
    at = iteration_index(region)
    if heavy is not None:
        _wish_summed_last(state, region, heavy)
    for node, _ in reads(region, state.partition, at):
        if node in state.places and state.places[node] is not region.place:
            _settle(state, state.places[node].block)
    wish = _followed_order(state, region, at) if heavy is None else _feature_order(state, region, heavy, at)
    name = region.place.block
    if state.blocks[name].role == "output" and heavy is not None and wish not in (None, state.blocks[name].order):
        assert wish is not None
        return _detour(state, region, wish)
    if name not in state.settled and wish is not None:
        votes = state.wishes[name]
        votes[wish] = votes.get(wish, 0) + prod(region.body.shape)
    if heavy is not None and wish is not None:
        _copy_operands(state, region, heavy, at, state.blocks[name].order if name in state.settled else wish)
    return [region]


def _wish_summed_last(state: _State, region: Region, heavy: Reduce) -> None:
    """Votes for what `heavy` reads and nothing has settled to lie along the longest axis that is summed and nothing else.

    Texels and narrow elements are taken several at a time, along the sum.
    """
    assert isinstance(heavy.source, Map)
    for source in heavy.source.sources:
        node, index = through_views(source, reduction_index(region, heavy), state.places)
        narrow = node.dtype.bits < 32 and not state.texels
        if node not in state.places or state.places[node].block in state.settled or not (state.texels or narrow):
            continue
        summed = [axis for axis, size in enumerate(node.shape) if (narrow or size % 4 == 0) and size > 1 and _is_summed(index[axis])]
        if summed:
            last = max(summed, key=lambda axis: node.shape[axis])
            votes = state.wishes[state.places[node].block]
            wish = (*(axis for axis in range(len(node.shape)) if axis != last), last)
            votes[wish] = votes.get(wish, 0) + 2 * prod(node.shape)


def _is_summed(index: Index) -> bool:
    """Whether `index` is a variable of the sum."""
    whole = len(index.terms) == 1 and index.offset == 0 and isinstance(index.terms[0][0], Axis)
    return whole and {var.name[0] for var in ix.variables(index)} == {"k"}


def _settle(state: _State, name: str) -> None:
    if name in state.settled:
        return
    state.settled.add(name)
    votes = state.wishes.get(name)
    if votes:
        order = max(votes, key=lambda wish: votes[wish])
        state.blocks[name] = replace(state.blocks[name], order=order)


def _detour(state: _State, region: Region, wish: Order) -> list[Step]:
    """The region into a block of its own in the order it wants, then a copy to where its result belongs."""
    target = state.blocks[region.place.block]
    made = Block(f"{target.name}_{len(state.blocks)}", region.body.dtype, region.body.shape, "arena", wish)
    state.blocks[made.name] = made
    state.settled.add(made.name)
    inner = replace(region, place=Place(made.name, (0,) * len(made.shape)))
    if region.contraction is not None:
        _copy_operands(state, inner, region.contraction, iteration_index(region), wish)
    state.places[region.body] = inner.place
    copied = Map(_identity_of(region.body), (region.body,), region.body.shape, region.body.origin)
    return [inner, Region(copied, region.place, loops=region.loops)]


def _identity_of(node: Node) -> Arg:
    return Arg(0, node.dtype)


def _followed_order(state: _State, region: Region, at: Vector) -> Order | None:
    """The order of the largest tensor that is read along all of the body's axes, or else along most; None where none is."""
    best: tuple[int, int, Order] | None = None
    own = _variables(at)
    for node, index in reads(region, state.partition, at):
        place = state.places.get(node)
        along = len(own & _variables(index))
        if place is None or place is region.place or along < (len(own) if state.texels else min(2, len(own))):
            continue
        order = _order_along(at, index, state.blocks[place.block].order, tiles=not state.texels)
        if order is not None and (best is None or (along, prod(node.shape)) > best[:2]):
            best = (along, prod(node.shape), order)
    return best[2] if best is not None else None


def _variables(at: Vector) -> frozenset[Var]:
    return frozenset().union(*(ix.variables(component) for component in at))


def _order_along(at: Vector, index: Vector, order: Order, *, tiles: bool) -> Order | None:
    """The body's axes in the order in which memory read at `index` has them; None where an axis is spread over several.

    With `tiles` it may be spread over neighbours, a number of a tile and a place in it; texels of images go their own way.
    An axis along which nothing is read stays behind the one that it follows in the body, as the parts of a tile do; the rest of these
    come first, for they repeat what is read.
    """
    axis_of = {var: axis for axis, component in enumerate(at) for var in ix.variables(component)}
    found: list[int] = []
    for component in (index[axis] for axis in order):
        own = {axis_of[var] for var in ix.variables(component) if var in axis_of}
        if tiles and found and own == {found[-1]}:
            continue  # the next part of an axis that is read in tiles
        if len(own) > 1 or own & set(found):
            return None
        found.extend(own)
    for axis in range(1, len(at)):
        if axis not in found and axis - 1 in found:
            found.insert(found.index(axis - 1) + 1, axis)
    return (*(axis for axis in range(len(at)) if axis not in found), *found)


def _feature_order(state: _State, region: Region, heavy: Reduce, at: Vector) -> Order:
    """Row-major, but for the axes along which the constant (else the second) operand varies, which come last."""
    features = feature_variables(region, heavy, state.places)
    last = tuple(axis for axis, component in enumerate(at) if ix.variables(component) & features)
    if not last or prod(region.body.shape[axis] for axis in last) < 4:
        return tuple(range(len(at)))
    return tuple(axis for axis in range(len(at)) if axis not in last) + last


def feature_variables(region: Region, heavy: Reduce, places: Mapping[Node, Place]) -> frozenset[Var]:
    """The loops along which the second operand varies and the first does not; where it is constant, all of its loops."""
    assert isinstance(heavy.source, Map)
    nodes: list[Node] = []
    operands: list[frozenset[Var]] = []
    for source in heavy.source.sources:
        node, index = through_views(source, reduction_index(region, heavy), places)
        nodes.append(node)
        operands.append(frozenset(var for i in index for var in ix.variables(i) if var.name.startswith("i")))
    if isinstance(nodes[-1], Constant):
        return operands[-1]
    return operands[-1] - operands[0] or operands[0] - operands[-1]


def through_views(node: Node, at: Vector, places: Mapping[Node, Place]) -> tuple[Node, Vector]:
    """The stored or computed node that `node` is a view of, and where it is read for `at`."""
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)) and node not in places:
        at = source_index(node, at)
        node = node.source
    return node, at


def _copy_operands(state: _State, region: Region, heavy: Reduce, at: Vector, wish: Order) -> None:
    """Copies the computed operands of `heavy` that do not lie along the axis the region's vectors will run.

    Next to a constant operand it never pays: that one can be packed instead.
    """
    vector = _vector_variable(region, at, wish)
    assert isinstance(heavy.source, Map)
    operands = [through_views(source, reduction_index(region, heavy), state.places) for source in heavy.source.sources]
    if vector is None or any(isinstance(node, Constant) for node, _ in operands):
        return
    for source, (node, _) in zip(heavy.source.sources, operands, strict=True):
        made = _copied_operand(state, source, reduction_index(region, heavy), vector)
        if made is not None:
            state.copies.append((replace(made, loops=region.loops), node))


def _vector_variable(region: Region, at: Vector, wish: Order) -> Var | None:
    """The loop whose steps are neighbours in a result stored in the order `wish`."""
    made = Block("", region.body.dtype, region.body.shape, "arena", wish)
    offset = dot(at, made.strides())
    steps = [(abs(ix.coefficient(offset, var) or 0), var.name, var) for var in ix.variables(offset)]
    close = [entry for entry in steps if entry[0] == 1]
    return min(close)[2] if close else None


def _copied_operand(state: _State, operand: Node, at: Vector, vector: Var) -> Region | None:
    """A copy of `operand`, `vector` fastest, where a step of `vector` is neither nothing nor the next element in memory."""
    node, index = through_views(operand, at, state.places)
    place = state.places.get(node)
    if place is None or (place.moves and not isinstance(node, Bound)):
        return None
    stride = _stride(state, place, index, vector)
    if stride in (0, 1):
        return None
    base: Node = operand
    while isinstance(base, (Expand, Reshape)) and base not in state.places:
        if isinstance(base, Reshape) and [s for s in base.shape if s != 1] != [s for s in base.source.shape if s != 1]:
            break
        at = source_index(base, at)
        base = base.source
    if place.moves and prod(operand.shape) < LEAST_USES * prod(base.shape):
        return None
    fastest = [axis for axis, component in enumerate(at) if vector in ix.variables(component)]
    if base in state.places or len(fastest) != 1 or at[fastest[0]] != ix.axis(vector, base.shape[fastest[0]]):
        return None
    order = (*(axis for axis in range(len(at)) if axis != fastest[0]), fastest[0])
    made = Block(f"c{len(state.blocks)}", base.dtype, base.shape, "arena", order)
    state.blocks[made.name] = made
    state.settled.add(made.name)
    state.places[base] = Place(made.name, (0,) * len(base.shape))
    return Region(base, state.places[base])


def _stride(state: _State, place: Place, index: Vector, vector: Var) -> int | None:
    offset: Index = dot(index, state.blocks[place.block].strides())
    return ix.coefficient(offset, vector)
