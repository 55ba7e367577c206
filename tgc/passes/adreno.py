"""The Adreno's cost model, and what it chooses: register tiles, blocks of the reduction, work-groups.

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
from math import prod

from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, For, LoopKind, Statement
from tgc.ir.schedule import Bind, Fuse, Reorder, Schedule, Split, Step
from tgc.ir.texels import TEXEL
from tgc.passes.nest import Access, Accumulation, accesses, chain, iterations, strides_in
from tgc.passes.tile import Tile

RATE = 173e9  # lane instructions a second in waves of 64
HALF_RATE = 345e9  # multiply-adds of halves, in waves of 128
TEXELS = 18.5e9  # of four halves, a second
READ = 4.2  # instructions for each texel that is read
AROUND = 60.0  # instructions of a work-item outside of its reduction, and for each texel of results
STORED = 12.0
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
    that are read once the sum is there.
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


def seconds(problem: Problem, rows: int, vectors: int) -> float:
    """Modelled time of the nest with such a tile."""
    tiles = -(-problem.rows // rows) * -(-problem.vectors // vectors) * problem.others
    read = texels(problem, rows, vectors)
    blocks = problem.steps / problem.block
    instructions = blocks * (TEXEL * problem.block * rows * vectors + READ * read + 4.0) + AROUND + STORED * rows * vectors
    busy = min(1.0, tiles / (ITEMS * problem.processors))
    return tiles * max(instructions / (HALF_RATE if problem.half else RATE), blocks * read / TEXELS) / busy


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

    def candidates() -> Iterator[tuple[float, int, int]]:
        for vectors in range(1, min(problem.vectors, MOST_VECTORS) + 1):
            for rows in range(1, min(problem.rows, MOST_ROWS) + 1):
                fits = rows * vectors <= ACCUMULATORS and registers(problem, rows, vectors) <= REGISTERS
                if rows * vectors == 1 or fits:
                    yield seconds(problem, rows, vectors), rows, vectors

    time, rows, vectors = min(candidates(), key=lambda entry: (entry[0], -entry[1] * entry[2]))
    return Tile(rows, vectors, time), time


def choose_tile(
    body: Statement, loops: tuple[For, ...], found: Accumulation, vector: For, half: bool, processors: int
) -> tuple[For | None, Tile]:
    """The loop whose iterations are a tile's rows, if any, and the tile."""
    strides = strides_in(body)
    loads = accesses(found.update)
    count = -(-vector.extent // TEXEL)
    steps, block = iterations(found.loops), unrolled(body, found, vector)
    choices: list[tuple[float, For | None, Tile]] = []
    for loop in (*reversed(loops), None):
        alone = loop is not None and all(strides.of(access, loop.var) != 0 for access in loads) and not shares(body, loop, found)
        if loop is vector or alone:
            continue
        operands = tuple(_operand(body, access, loop, found, vector) for access in loads)
        extent = 1 if loop is None else loop.extent
        others = iterations(loops) // (extent * vector.extent)
        after = sum(1 for access in _around(body, found) if loop is not None and strides.of(access, loop.var) != 0)
        problem = Problem(extent, count, others, steps, block, operands, half, processors, after)
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
    for loop in reversed(found.loops):
        total *= loop.extent
        if loop.extent > 16 or (total > MOST_UNROLLED and (names or loop.extent > TEXEL)):
            break
        names.append(loop.var.name)
    return names


def bind_to_groups(body: Statement) -> Schedule:
    """Steps that bind the outer loops of `body`: up to three to the grid, each with some of a group's work-items.

    The innermost loops are vectors of results, then pixels: a group takes 8 of the first and as many of the others as make GROUP, so that
    its work-items share both what they read; more of the first where that leaves half a group, for 64 work-items or fewer run in waves of
    64. Loops beyond three are fused into the outermost.
    """
    loops, _ = chain(body)
    names = [(loop.var.name, loop.extent) for loop in loops]
    steps: list[Step] = []
    while len(names) > 3:
        (outer, a), (inner, b) = names[:2]
        steps.append(Fuse(outer, inner))
        names[:2] = [(outer, a * b)]
    widths = next((found for first in (8, 16, 32) if prod(found := _widths(names, first)) > GROUP // 2), _widths(names, GROUP))
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


def _widths(names: list[tuple[str, int]], first: int) -> list[int]:
    """How many work-items of a group each loop has, the innermost first and with `first` at most, unless the others have few iterations."""
    left, widths = GROUP, list[int]()
    for dimension, (_, extent) in enumerate(reversed(names)):
        others = prod(other for _, other in names[: len(names) - 1 - dimension])
        widths.append(_width(extent, min(left, extent, first if dimension == 0 and others >= first else left)))
        left //= widths[-1]
    return widths


def _width(extent: int, most: int) -> int:
    """The largest divisor of `extent` up to `most`, or where that is small, the width that wastes least."""
    divisor = max(width for width in range(1, most + 1) if extent % width == 0)
    if divisor * 2 >= most:
        return divisor
    return min(range(max(1, most // 2), most + 1), key=lambda width: (-(-extent // width) * width, -width))
