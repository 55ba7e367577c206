"""The Adreno's cost model, and what it chooses: register tiles, blocks of the reduction, work-items that share a sum.

A closed form for one nest that adds up, with its rates from published measurements of the Adreno 630. Each work-item computes `rows` x
`vectors` texels of results. A block of the reduction takes 4 * rows * vectors multiply-adds for each of its steps and reads

    operand along rows only, next to each other along the reduction: rows texels for four steps
    operand along vectors only (packed weights):                     vectors texels a step
    both (depthwise, pooling):                                       rows * vectors texels a step, less what rows share

    time = tiles * blocks * max(instructions / RATE, texels / TEXELS) / min(1, tiles / (ITEMS * processors))

Instructions are multiply-adds and READ for each texel: its address and the wait. A tile needs its accumulators and one block's texels in
registers; REGISTERS of them are there before the compiler spills.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tgc.ir.dtypes import F32
from tgc.ir.kernel import For, Statement
from tgc.ir.texels import TEXEL
from tgc.passes.grid import Group
from tgc.passes.nest import Access, Accumulation, accesses, iterations, strides_in
from tgc.passes.tile import Tile

RATE = 173e9  # lane instructions a second in waves of 64
HALF_RATE = 345e9  # multiply-adds of halves, in waves of 128
TEXELS = 18.5e9  # of four halves, a second
READ = 4.2  # instructions for each texel that is read
AROUND = 60.0  # instructions of a work-item outside of its reduction, and for each texel of results
STORED = 12.0
EXCHANGED = 6.0  # for each texel of sums that work-items exchange, and again for each part of it that is added up
BARRIERS = 25.0  # for each vector of texels that are exchanged
PARTS = (1, 2, 4, 8)  # work-items that share a sum
LEAST_OWN = 8  # iterations of the shared loop that each of them does
LOCAL_BYTES = 16384  # of a group, so that two have room
REGISTERS = 46
ACCUMULATORS = 24
WINDOW, WINDOW_SUM = 1.65, 1.3  # registers for each texel of a window's block, and for each sum: more than one block is under way
WINDOW_WHOLE = 1.8  # the first of a window that the compiler writes out in full
AFTER = 0.4  # and for each texel that is read for the results
WRITTEN_OUT, BLOCKS_BEYOND = 25, 4.0  # steps of a window that the compiler writes out in full, and registers for each block beyond three
ELEMENTS = 1.25  # the same for elements that are read one by one, each with an address of two words
ITEMS = 256  # work-items that fill one of the device's processors
MOST_ROWS, MOST_VECTORS = 16, 6
GROUP = 128
SMALL = 6  # texels of a tile that few registers hold
NARROW, NARROW_FLOATS = 1.4, 1.12  # time in waves of 64, relative to groups that could run in waves of 128: always, and mostly not
MOST_UNROLLED = 100  # texels of multiply-adds written out in one block


@dataclass(frozen=True, slots=True)
class Operand:
    """A load in a step of the reduction. together: four steps of it are one texel. shift: the rows' stride over the window's, where
    neighbouring rows read the same texels in different steps of a window; 0 elsewhere."""

    rows: bool
    vectors: bool
    together: bool
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """rows, vectors: extents, the second in texels. others: tiles side by side. steps: of the reduction. block: steps written out.

    half: sums, and what is read for them, are halves, of which two take the place of a float. after: operands of each texel of results
    that are read once the sum is there. shared: iterations of the loop that work-items may share.
    """

    rows: int
    vectors: int
    others: int
    steps: int
    block: int
    operands: tuple[Operand, ...]
    half: bool = False
    processors: int = 2
    after: int = 0
    shared: int = 1


def seconds(problem: Problem, rows: int, vectors: int, parts: int = 1) -> float:
    """Modelled time of the nest with such a tile, and `parts` work-items for each."""
    items = -(-problem.rows // rows) * -(-problem.vectors // vectors) * problem.others * parts
    read = texels(problem, rows, vectors)
    blocks = problem.steps / (problem.block * parts)
    instructions = blocks * (TEXEL * problem.block * rows * vectors + READ * read + 4.0) + AROUND
    if parts == 1:
        instructions += STORED * rows * vectors
    else:
        own = rows * vectors / parts if at_once(rows, vectors, parts) else rows * vectors
        rounds = rows * vectors / (at_once(rows, vectors, parts) or 1)
        instructions += rounds * BARRIERS + EXCHANGED * rows * vectors + own * (STORED + EXCHANGED * parts)
    busy = min(1.0, items / (ITEMS * problem.processors))
    return items * max(instructions / (HALF_RATE if problem.half else RATE), blocks * read / TEXELS) / busy


def at_once(rows: int, vectors: int, parts: int) -> int:
    """How many texels of a tile's sums work-items exchange at once: along which of its sides they can be divided; 0 where along neither."""
    return next((side for side in (rows, vectors) if side % parts == 0), 0)


def group_of(tile: Tile, half: bool) -> Group:
    """The work-items of a group: as many as have room in local memory for what they exchange.

    Waves of 128 are for few registers, or for halves; of large tiles of floats the compiler makes them only if what follows is in half.
    """
    exchanged = max(1, at_once(tile.rows, tile.vectors, tile.parts)) * TEXEL * F32.bytes
    most = GROUP if tile.parts == 1 else min(GROUP, LOCAL_BYTES // exchanged)
    return Group(most, tile.parts, NARROW if half or tile.rows * tile.vectors <= SMALL else NARROW_FLOATS)


def texels(problem: Problem, rows: int, vectors: int) -> float:
    """Texels that a block reads."""
    total = 0.0
    for operand in problem.operands:
        count: float = (rows if operand.rows else 1) * (vectors if operand.vectors else 1) * (1 if operand.together else problem.block)
        if operand.shift and problem.block > 1:
            count = vectors * min(rows * problem.block, (rows - 1) * operand.shift + problem.block)
        total += count
    return total


def registers(problem: Problem, rows: int, vectors: int) -> float:
    """Registers of four floats that a tile needs.

    A window's texels are all there at once, with those that its results are put together with: the compiler loads them first. So are
    elements that are read one by one.
    """
    read = texels(problem, rows, vectors)
    if problem.half:
        return 0.5 * rows * vectors + 0.5 * read + TEXEL
    if any(operand.rows and not operand.vectors and not operand.together for operand in problem.operands):
        return rows * vectors + ELEMENTS * read + TEXEL
    window = any(operand.shift for operand in problem.operands)
    sums = rows * vectors
    if not window:
        return sums + min(read, rows + TEXEL * vectors)
    around = (WINDOW_SUM + AFTER * problem.after) * sums
    if problem.steps > WRITTEN_OUT:
        return around + WINDOW * read
    return around + WINDOW_WHOLE * read + BLOCKS_BEYOND * max(0.0, problem.steps / problem.block - 3)


def best_tile(problem: Problem) -> tuple[Tile, float]:
    """The tile with the least modelled time, the larger among equals, and that time."""

    def candidates() -> Iterator[Tile]:
        for vectors in range(1, min(problem.vectors, MOST_VECTORS) + 1):
            for rows in range(1, min(problem.rows, MOST_ROWS) + 1):
                fits = rows * vectors <= ACCUMULATORS and registers(problem, rows, vectors) <= REGISTERS
                for parts in PARTS if rows * vectors == 1 or fits else ():
                    divided = rows * vectors == 1 or at_once(rows, vectors, parts)
                    if parts == 1 or (divided and problem.shared % parts == 0 and problem.shared // parts >= LEAST_OWN):
                        yield Tile(rows, vectors, seconds(problem, rows, vectors, parts), parts)

    tile = min(candidates(), key=lambda tile: (tile.cycles, -tile.rows * tile.vectors, tile.parts))
    return tile, tile.cycles


def choose_tile(
    body: Statement, loops: tuple[For, ...], found: Accumulation, vector: For, half: bool, processors: int, alone: bool = False
) -> tuple[For | None, Tile]:
    """The loop whose iterations are a tile's rows, if any, and the tile.

    half: sums may be of halves, which those over texels are then. alone: the nest is all that the kernel does.
    """
    strides = strides_in(body)
    loads = accesses(found.update)
    count = -(-vector.extent // TEXEL)
    steps, block = iterations(found.loops), unrolled(body, found, vector)
    together = blocked(body, found, vector)
    shared = found.loops[-1].extent // TEXEL if alone and together else 1
    choices: list[tuple[float, For | None, Tile]] = []
    for loop in (*reversed(loops), None):
        alone = loop is not None and all(strides.of(access, loop.var) != 0 for access in loads) and not shares(body, loop, found)
        if loop is vector or alone:
            continue
        operands = tuple(_operand(body, access, loop, found, vector) for access in loads)
        extent = 1 if loop is None else loop.extent
        others = iterations(loops) // (extent * vector.extent)
        after = sum(1 for access in _around(body, found) if loop is not None and strides.of(access, loop.var) != 0)
        problem = Problem(extent, count, others, steps, block, operands, half and together, processors, after, shared)
        tile, time = best_tile(problem)
        choices.append((time, loop, tile))
    time, loop, tile = min(choices, key=lambda choice: choice[0])
    return loop, tile


def _around(body: Statement, found: Accumulation) -> list[Access]:
    """What is loaded outside of the reduction."""
    summed = accesses(found.update)
    return [access for access in accesses(body) if not access.store and access not in summed]


def shares(body: Statement, rows: For, found: Accumulation) -> bool:
    """Whether neighbouring rows read the same in different steps of a window."""
    strides = strides_in(body)
    return any(
        strides.of(access, rows.var) not in (0, None) and abs(strides.of(access, rows.var) or 0) == abs(strides.of(access, loop.var) or 0)
        for access in accesses(found.update)
        for loop in found.loops[-1:]
    )


def _operand(body: Statement, access: Access, rows: For | None, found: Accumulation, vector: For) -> Operand:
    strides = strides_in(body)
    last = found.loops[-1]
    across = strides.of(access, vector.var) != 0
    step, window = 0 if rows is None else strides.of(access, rows.var), strides.of(access, last.var)
    shift = abs(step) / abs(window) if across and step and window else 0.0
    return Operand(step != 0, across, not across and window == 1 and last.extent % TEXEL == 0, shift)


def blocked(body: Statement, found: Accumulation, vector: For) -> bool:
    """Whether four steps of the reduction's innermost loop read one texel of some operand."""
    last = found.loops[-1]
    strides = strides_in(body)
    loads = accesses(found.update)
    return last.extent % TEXEL == 0 and any(strides.of(a, last.var) == 1 and strides.of(a, vector.var) == 0 for a in loads)


def unrolled(body: Statement, found: Accumulation, vector: For) -> int:
    """Steps of the reduction that are written out: a texel's, or a row of a window."""
    if blocked(body, found, vector):
        return TEXEL
    last = found.loops[-1].extent
    return last if last <= 16 else 1


def best_unroll(found: Accumulation, tile: Tile) -> list[str]:
    """The loops of the reduction that are written out, innermost first: a texel's four steps, or as much of a window as stays small."""
    names: list[str] = []
    total = tile.rows * tile.vectors
    for loop in reversed(found.loops if tile.parts == 1 else found.loops[-1:]):
        total *= loop.extent
        if loop.extent > 16 or (total > MOST_UNROLLED and (names or loop.extent > TEXEL)):
            break
        names.append(loop.var.name)
    return names
