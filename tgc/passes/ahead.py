"""Sums in sums: what a contraction reads once a tile is computed where it is read, in registers, instead of by a kernel of its own.

A short sum of each channel by itself (a depthwise convolution) is often followed by a sum over channels that makes few (a 1x1 projection).
Where a register tile holds all of these, each of the short sums is needed by one tile only:

    for each tile of P pixels:
      for each texel of channels:
        P texels of short sums, and what follows them                      (`Ahead`)
        4 * P * V multiply-adds into the tile's sums, V texels of results for each pixel

That saves a launch, and storing and reading what is between. It costs reads, for the tile of a kernel that does the short sums alone is
larger. Which of them is less the closed form of `tgc.passes.adreno` says; tiles are as large as registers allow,

    P * V sums, P texels of short ones, the window's texels and its weights <= REGISTERS

which was fitted to machine code from Mesa's compiler for windows of 3x3 and 5x5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from tgc.ir.dtypes import F32
from tgc.ir.expr import Expr, Load
from tgc.ir.graph import Map, Node, Permute, Reduce, Reshape
from tgc.ir.kernel import Alloc, For, Statement, Store
from tgc.ir.partition import Partition, Region
from tgc.ir.rewrite import expressions, map_expressions, walk
from tgc.ir.schedule import Ahead, Distribute, Reorder, Split, Step, Unroll, Vectorize
from tgc.ir.texels import TEXEL
from tgc.ir.work import operations
from tgc.passes.adreno import AROUND, HALF_RATE, ITEMS, MOST_ROWS, RATE, READ, STORED, TEXELS, Operand, Problem, best_tile
from tgc.passes.contractions import is_contraction
from tgc.passes.grid import WAVE, Group, launched_items
from tgc.passes.half_sums import sums_in_half
from tgc.passes.lower import lower
from tgc.passes.nest import Access, accesses, chain, iterations, strides_in
from tgc.passes.products import constant_of
from tgc.passes.schedule.loops import parts
from tgc.targets import Target

MOST_STEPS = 25  # products of a sum that is computed ahead
MOST_RESULTS = 24  # of the sum that reads it, for each pixel
REGISTERS = 47
HALF_REGISTERS = 60  # the same for halves, which leave half of the file to numbers of places
HALVES = 0.97  # of the time of two kernels, for halves: what is not a multiply-add takes longer than the closed form says
LAUNCH = 3e-6  # seconds


def ahead_of(node: Map, users: Mapping[Node, list[Node]]) -> frozenset[Node]:
    """`node` and what is before it up to a short sum, where nothing else reads any of that; nothing where it is otherwise."""
    found: list[Node] = []
    here: Node = node
    while len(users[here]) == 1:
        found.append(here)
        match here:
            case Map(sources=several):
                tensors = [source for source in several if constant_of(source) is None]
                if len(tensors) != 1:
                    break
                here = tensors[0]
            case Reshape() | Permute():
                here = here.source
            case Reduce():
                steps = prod(here.source.shape[axis] for axis in here.axes)
                return frozenset(found) if is_contraction(here) and 1 < steps <= MOST_STEPS else frozenset()
            case _:
                break
    return frozenset()


def misfits(partition: Partition, polish: Callable[[Expr], Expr], target: Target) -> frozenset[Node]:
    """The short sums in `partition` that are better computed by kernels of their own, or cannot be scheduled where they are."""
    found: set[Node] = set()
    for step in partition.steps:
        if isinstance(step, Region) and step.ahead is not None:
            lowered = lower(step, partition)
            body = map_expressions(lowered.kernel.body, polish)
            pairs = zip(lowered.kernel.parameters, lowered.bindings, strict=True)
            constants = frozenset(parameter.buffer.name for parameter, binding in pairs if binding.constant is not None)
            if plan_ahead(body, constants, target) is None:
                found.add(step.ahead)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Nested:
    """A sum in a sum: `loops` around it, that over `channels`, `window` around `part`, which is added up for each channel, and `update`,
    which adds what is made of that to the outer sum."""

    loops: tuple[For, ...]
    channels: For
    window: tuple[For, ...]
    part: Store
    update: Store


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps that schedule a nest, but for the packing of constants and the binding of loops; the loops that are written out come last."""

    steps: tuple[Step, ...]
    unrolled: tuple[Step, ...]
    packed: tuple[str, ...]


def carry_out(plan: Plan, do: Callable[[Step], None], pack: Callable[[str], None], *, half: bool) -> Group:
    """Schedules a nest as planned; the answer is how to bind its loops. half: sums are halves."""
    for step in plan.steps:
        do(step)
    for buffer in plan.packed:
        pack(buffer)
    for step in plan.unrolled:
        do(step)
    return _group(half)


def _group(half: bool) -> Group:
    """A group is a wave of tiles next to each other: each loop that is divided among groups leaves one number more to keep in registers.

    Of halves there are waves of twice the size.
    """
    return Group(2 * WAVE if half else WAVE, neighbours=WAVE)


def nested(loops: tuple[For, ...], inner: Statement) -> Nested | None:
    """`inner`, inside of `loops`, as a sum in a sum; None where it is anything else."""
    outer = _sum(inner)
    if outer is None or len(outer[0]) != 1 or not loops:
        return None
    (channels,), body = outer
    within = _sum(body)
    if within is None or not isinstance(within[1], Store):
        return None
    update = parts(body)[-1]
    assert isinstance(update, Store)
    return Nested(loops, channels, within[0], within[1], update)


def _sum(statement: Statement) -> tuple[tuple[For, ...], Statement] | None:
    """The loops of `statement`, which sets a register, adds to it in loops and uses it, and what is inside of them."""
    match [part for part in parts(statement) if not isinstance(part, Alloc)]:
        case [Store(), For() as loop, Store()]:
            return chain(loop)
        case _:
            return None


def plan_ahead(body: Statement, constants: frozenset[str], target: Target) -> Plan | None:
    """How to schedule `body`, a sum in a sum; None where it is none or does not fit, or two kernels would take less time."""
    found = nested(*chain(body))
    if found is None or found.channels.extent % TEXEL or found.channels.extent == TEXEL:
        return None
    vector = _vector(body, found, constants)
    shape = _shape(body, found, vector, target) if vector is not None else None
    if vector is None or shape is None:
        return None
    most = HALF_REGISTERS if shape.half else REGISTERS
    tiles = [tile for tile in shape.tiles() if shape.registers(tile) <= most]
    best = min(tiles, key=lambda tile: (shape.seconds(tile), -tile[0]), default=None)
    if best is None or shape.seconds(best) > (HALVES if shape.half else 1.0) * shape.apart():
        return None
    return _plan(body, found, vector, shape, best)


def _vector(body: Statement, found: Nested, constants: frozenset[str]) -> For | None:
    """The loop whose steps are results next to each other, which the inner sum does not depend on; None where a load does not fit."""
    strides = strides_in(body)
    first = accesses(found.channels)
    second = [access for access in first if access in accesses(found.update)]
    window = accesses(found.part)
    stored = [access for access in accesses(body) if access.store]
    wide = [loop for loop in found.loops if len(stored) == 1 and strides.of(stored[0], loop.var) == 1 and loop.extent % TEXEL == 0]
    floats = all(expr.buffer.dtype == F32 for expr in walk(*expressions(body)) if isinstance(expr, Load))
    if len(wide) != 1 or not floats:
        return None
    (vector,) = wide
    for access in first:
        along, across = strides.of(access, found.channels.var), strides.of(access, vector.var)
        weights = access in second and across != 0
        if weights and not (access.buffer in constants and along is not None and across is not None):
            return None
        if not weights and (across != 0 or not (along == 1 or (access.buffer in constants and access in window and along is not None))):
            return None
    return vector


Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    """A loop whose iterations a tile may have several of. size: of the window along it. shift: how far an iteration moves the window."""

    loop: For
    size: int
    shift: float

    def read(self, tile: int) -> float:
        """What the windows of `tile` iterations read along this side, each element once."""
        return min(tile * self.size, (tile - 1) * self.shift + self.size)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The sizes of a sum in a sum.

    sides: the loops that may be tiled, the last first. others: iterations of those around, all together. texels: of channels that are
    summed. vectors: texels of results. steps: products of a short sum. after: texels read after a short sum. operations: done with each
    of its elements. beside: tensors read with the results. half: sums are halves.
    """

    sides: tuple[_Side, ...]
    others: int
    texels: int
    vectors: int
    steps: int
    after: int
    operations: int
    beside: int
    half: bool
    processors: int

    def tiles(self) -> Iterator[Sizes]:
        """The iterations of each side that a tile may have."""
        most = [range(1, min(MOST_ROWS, side.loop.extent) + 1) for side in self.sides]
        return product(*most)

    def window(self, tile: Sizes) -> float:
        """Texels that the short sums of a tile read, without weights."""
        return prod(side.read(count) for side, count in zip(self.sides, tile, strict=True))

    def registers(self, tile: Sizes) -> float:
        """Registers of four floats: sums, texels, and one for the numbers of tiles where no side is made of whole waves of these."""
        waves = any(-(-side.loop.extent // count) % WAVE == 0 for side, count in zip(self.sides, tile, strict=True))
        return prod(tile) * (self.vectors + 1) + self.window(tile) + self.steps + self.after + self.beside + (not waves)

    def seconds(self, tile: Sizes) -> float:
        """The modelled time with such tiles."""
        counts = (*(-(-side.loop.extent // count) for side, count in zip(self.sides, tile, strict=True)), self.others)
        items = launched_items(tuple(count for count in counts if count > 1), _group(self.half))
        read = self.window(tile) + self.steps + self.after + TEXEL * self.vectors
        arithmetic = TEXEL * prod(tile) * (self.steps + TEXEL * self.vectors + self.operations)
        instructions = self.texels * (arithmetic + READ * read + 4.0) + AROUND + STORED * prod(tile) * self.vectors
        busy = min(1.0, items / (ITEMS * self.processors))
        return items * max(instructions / self.rate, self.texels * read / TEXELS) / busy + LAUNCH

    @property
    def rate(self) -> float:
        """Lane instructions a second."""
        return HALF_RATE if self.half else RATE

    def apart(self) -> float:
        """The modelled time of the two sums as kernels."""
        side, *rest = self.sides
        others = self.others * prod(other.loop.extent for other in rest)
        window = (Operand(True, True, False, side.shift), Operand(False, True, False))
        short = Problem(side.loop.extent, self.texels, others, self.steps, side.size, window, self.half, self.processors)
        operands = (Operand(True, False, True), Operand(False, True, False))
        steps = self.texels * TEXEL
        long = Problem(side.loop.extent, self.vectors, others, steps, TEXEL, operands, self.half, self.processors, shared=self.texels)
        results = side.loop.extent * others * steps
        return best_tile(short)[1] + best_tile(long)[1] + results * self.operations / self.rate + 2 * LAUNCH


def _shape(body: Statement, found: Nested, vector: For, target: Target) -> _Shape | None:
    """The sizes of `found`; None where no loop moves what is summed ahead along its window."""
    strides = strides_in(body)
    weights = [access for access in accesses(found.part) if all(strides.of(access, loop.var) == 0 for loop in found.loops)]
    moving = [access for access in accesses(found.part) if access not in weights]
    if len(moving) != 1 or len(weights) != 1:
        return None
    sides: list[_Side] = []
    for inner in reversed(found.window):
        along = strides.of(moving[0], inner.var)
        moves = {loop: strides.of(moving[0], loop.var) for loop in reversed(found.loops) if loop is not vector}
        shifts = {loop: step // along for loop, step in moves.items() if step and along and step % along == 0}
        near = [loop for loop, shift in shifts.items() if 0 < shift <= inner.extent]
        if len(near) != 1:
            return None
        sides.append(_Side(near[0], inner.extent, shifts[near[0]]))
    if len({side.loop.var for side in sides}) != len(sides):
        return None
    others = iterations(found.loops) // (vector.extent * prod(side.loop.extent for side in sides))
    after = len([access for access in accesses(found.update) if strides.of(access, vector.var) == 0])
    work = max(0, operations(found.update.value) - 2)
    around = [access for access in accesses(body) if not access.store and access not in accesses(found.channels)]
    beside = [access for access in around if any(strides.of(access, side.loop.var) != 0 for side in sides)]
    channels = found.channels.extent // TEXEL
    vectors, half = vector.extent // TEXEL, sums_in_half(body, target)
    steps = iterations(found.window)
    return _Shape(tuple(sides), others, channels, vectors, steps, after, work, len(beside), half, target.processors)


def _plan(body: Statement, found: Nested, vector: For, shape: _Shape, tile: Sizes) -> Plan:
    """The steps for such tiles."""
    count = vector.extent // TEXEL
    channel, wide = f"{found.channels.var.name}_i", vector.var.name
    blocks = [f"{wide}_o"] if count > 1 else []
    sizes = {side.loop.var.name: size for side, size in zip(shape.sides, tile, strict=True)}
    steps: list[Step] = [Split(found.channels.var.name, TEXEL), Ahead(channel), Vectorize(f"{channel}_ahead"), Split(wide, TEXEL)]
    outer: list[str] = []
    inside: list[str] = []
    for loop in found.loops:
        name, size = loop.var.name, sizes.get(loop.var.name, 1)
        if 1 < size < loop.extent:
            steps.append(Split(name, size))
        if loop is not vector and size < loop.extent:
            outer.append(f"{name}_o" if size > 1 else name)
        if size > 1:
            inside.append(f"{name}_i" if size < loop.extent else name)
    steps += [Reorder((*outer, *blocks, *inside, f"{wide}_i")), Distribute(f"{wide}_i"), Vectorize(f"{wide}_i")]
    steps += [Distribute(name) for name in (*reversed(inside), *blocks)]
    written = [*(loop.var.name for loop in found.window), channel, *inside, *blocks]
    packed = dict.fromkeys(access.buffer for access in _packed(body, found, vector))
    return Plan(tuple(steps), tuple(Unroll(name) for name in written), tuple(packed))


def _packed(body: Statement, found: Nested, vector: For) -> Iterator[Access]:
    """The weights of both sums: what is not read in texels as it lies."""
    strides = strides_in(body)
    yield from (access for access in accesses(found.part) if strides.of(access, found.channels.var) != 1)
    yield from (access for access in accesses(found.update) if strides.of(access, vector.var) != 0)
