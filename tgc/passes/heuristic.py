"""The heuristic: a schedule for each loop nest by its index structure alone.

Three shapes of nest, each with one way to make it fast:

- pointwise: adjacent loops fused where no index needs a division, the contiguous one vectorised;
- one accumulator (contractions, pooling, means): the contiguous loop vectorised, a tile of rows and vectors kept in
  registers around the reduction, constant operands packed in the order in which they are read;
- several reductions by row (softmax, normalisations): each reduction vectorised along the row, or all of it across rows; what two
  loops over a row compute alike is kept.

On a target with work-groups the loops that remain outside are bound to them.
"""

from __future__ import annotations

from tgc.errors import InvalidIrError
from tgc.ir.expr import Var
from tgc.ir.kernel import For, Kernel, Statement, Store
from tgc.ir.rewrite import statements
from tgc.ir.schedule import Distribute, Fuse, Pack, Reorder, Schedule, Share, Split, Step, Unroll, Vectorize, VectorizeReduction
from tgc.ir.texels import TEXEL
from tgc.passes.adreno import best_unroll, blocked, group_of
from tgc.passes.adreno import choose_tile as choose_texture_tile
from tgc.passes.ahead import carry_out, plan_ahead
from tgc.passes.assemble import Scheduler
from tgc.passes.choices import Cases, cases, written_out
from tgc.passes.decisions import Decisions
from tgc.passes.divide import divide
from tgc.passes.grid import Group, bind_to_grid, bind_to_groups
from tgc.passes.half_sums import sums_in_half
from tgc.passes.nest import (
    Access,
    Accumulation,
    accesses,
    accumulation,
    batches_of,
    buffer_sizes,
    chain,
    collapses,
    iterations,
    power_of_two,
    strides_in,
    widest,
    work,
)
from tgc.passes.repeats import repeats
from tgc.passes.schedule.apply import Scheduled, Scheduling
from tgc.passes.schedule.loops import carried_buffers, find_loop, parts
from tgc.passes.schedule.pack import packing_of
from tgc.passes.schedule.reduction import accumulates
from tgc.passes.tile import Operand, Problem, Tile, best_tile, tiles_of
from tgc.passes.tile_names import TileNames
from tgc.passes.turned import squared, turned
from tgc.passes.words import in_words
from tgc.targets import Target

MOST_UNROLLED = 400  # accumulator updates written out in one tile
WORTH_SCATTERING = 4  # products in a sum that is stored lane by lane, in vectors all the same
MOST_REPACKED = 1.6  # growth of constant data that packing may cause


def scheduler_for(target: Target) -> Scheduler:
    """Schedules kernels for `target`."""

    def schedule(kernel: Kernel, constants: frozenset[str]) -> Scheduled:
        return plan(kernel, constants, target).finish(kernel)

    return schedule


def plan(kernel: Kernel, constants: frozenset[str], target: Target, decisions: Decisions | None = None) -> Scheduling:
    """`kernel` with a schedule chosen and carried out; `constants` are the parameters whose data may be rearranged.

    decisions: asked wherever there is a choice; without it the heuristic decides alone.
    """
    planner = _Planner(Scheduling(kernel.body), constants, target, decisions or Decisions())
    for part in parts(kernel.body):
        if isinstance(part, For):
            planner.nest(part.var.name)
    if target.threads > 1:
        for step in divide(kernel.body, planner.body, target.threads):
            planner.do(step)
    if target.lanes:
        for step in planner.groups() if target.images else bind_to_grid(planner.body, target.lanes):
            planner.do(step)
    return planner.state


class _Planner:
    """The steps chosen so far, and the loop nest after them."""

    def __init__(self, state: Scheduling, constants: frozenset[str], target: Target, decisions: Decisions) -> None:
        self.state = state
        self.constants = constants
        self.target = target
        self.halves = sums_in_half(state.body, target)
        self.decisions = decisions
        self.alone = len(parts(state.body)) == 1
        self.shared = ""
        self.tile = Tile(1, 1, 0.0)
        self.group: Group | None = None

    @property
    def body(self) -> Statement:
        return self.state.body

    def do(self, step: Step) -> None:
        self.state.do(step)

    def groups(self) -> Schedule:
        """The last steps: loops become work-groups of work-items, some of which share their sums where that was planned."""
        bound = bind_to_groups(self.body, self.group or group_of(self.tile, self.halves))
        return (*bound, Share(self.shared, self.tile.parts)) if self.shared else bound

    def nest(self, name: str) -> None:
        """Plans the loops from the one called `name` inward."""
        self.fuse_chain(name)
        loops, inner = chain(find_loop(self.body, name))
        if isinstance(inner, Store):
            if inner.buffer.space == "register":
                self.reduction(loops)
            else:
                self.pointwise(loops, inner)
            return
        if self.target.images and self.alone and (planned := plan_ahead(self.body, self.constants, self.target)):
            self.group = carry_out(planned, self.do, self.pack, half=self.halves)
            return
        found = accumulation(inner)
        vector = self.contiguous(loops, inner)
        if found is not None and vector is not None:
            self.tiled(loops, in_words(self.state, name, found, self.constants, self.target), vector)
        elif vector is not None and self.lanes(inner, vector.extent) > 1:
            self.do(Split(vector.var.name, self.lanes(inner, vector.extent)))
            self.do(Vectorize(f"{vector.var.name}_i"))
        else:
            for step in () if self.target.lanes else repeats(inner):
                self.do(step)
            for part in parts(chain(find_loop(self.body, name))[1]):
                if isinstance(part, For):
                    self.nest(part.var.name)

    def fuse_chain(self, name: str) -> None:
        """Makes adjacent loops one where every access allows it."""
        position = 0
        while True:
            loops, _ = chain(find_loop(self.body, name))
            if position + 1 >= len(loops):
                return
            if collapses(self.body, loops[position], loops[position + 1]):
                self.do(Fuse(loops[position].var.name, loops[position + 1].var.name))
            else:
                position += 1

    def lanes(self, statement: Statement, extent: int) -> int:
        return power_of_two(min(self.target.vector_lanes(widest(statement)), extent))

    def pointwise(self, loops: tuple[For, ...], store: Store) -> None:
        if selected := cases(loops, store):
            self.chosen(loops, selected, store)
            return
        last = loops[-1]
        strides = strides_in(self.body)
        steps = [strides.of(access, last.var) for access in accesses(store)]
        lanes = self.lanes(store, last.extent)
        scattered = any(step not in (0, 1) for step in steps) and work(store) < 8 and not self.target.images
        turns = turned(loops, store, self.target.vector_lanes(widest(store))) if scattered and not self.target.lanes else ()
        if self.target.images and lanes == TEXEL:
            turns = squared(loops, store)
        if not (turns or steps[0] != 1 or lanes < 2 or carried_buffers(last) or scattered):
            turns = (Split(last.var.name, lanes), Vectorize(f"{last.var.name}_i"))
        for step in turns:
            self.do(step)

    def chosen(self, loops: tuple[For, ...], selected: tuple[Cases, ...], store: Store) -> None:
        """A nest whose value is selected by some loops: these written out, another one vectorised where it is read in vectors."""
        strides = strides_in(self.body)
        loads = [access for access in accesses(store) if not access.store]
        free = [loop for loop in reversed(loops) if loop.var not in {each.var for each in selected}]
        wide = (loop for loop in free if all(strides.of(access, loop.var) in (0, 1) for access in loads))
        vector = next((loop for loop in wide if self.lanes(store, loop.extent) > 1), None)
        lanes = self.lanes(store, vector.extent) if vector is not None else 1
        for step in written_out(loops, selected, vector, lanes):
            self.do(step)

    def reduction(self, loops: tuple[For, ...]) -> None:
        """A nest that adds up into one register, by itself: along its innermost loop where memory is contiguous there."""
        loops = self.contiguous_last(loops)
        last = loops[-1]
        strides = strides_in(self.body)
        lanes = self.lanes(last.body, last.extent) if accumulates(last.body) else 1
        found = accesses(last.body)
        scattered = [access for access in found if strides.of(access, last.var) not in (0, 1)]
        if lanes > 1 and last.extent % lanes == 0 and all(self.packable(access, last.var) for access in scattered):
            self.do(VectorizeReduction(last.var.name, lanes))
            for buffer in dict.fromkeys(access.buffer for access in scattered):
                self.pack(buffer)
        elif lanes > 1 and not scattered:
            self.do(VectorizeReduction(last.var.name, lanes))

    def contiguous_last(self, loops: tuple[For, ...]) -> tuple[For, ...]:
        """The loops of a reduction, the one along which memory is contiguous innermost; with it, loops may become one."""
        strides, found = strides_in(self.body), accesses(loops[-1].body)
        inner = next((loop for loop in reversed(loops) if all(strides.of(access, loop.var) in (0, 1) for access in found)), loops[-1])
        if inner is loops[-1] or not accumulates(loops[-1].body):
            return loops
        order = [*(loop.var.name for loop in loops if loop is not inner), inner.var.name]
        self.do(Reorder(tuple(order)))
        self.fuse_chain(order[0])
        return chain(find_loop(self.body, order[0]))[0]

    def contiguous(self, loops: tuple[For, ...], inner: Statement) -> For | None:
        """The loop along which vectors can be loaded and results lie next to each other; anywhere, where each takes long to add up."""
        strides = strides_in(self.body)
        found = accesses(inner)
        loadable = [loop for loop in reversed(loops) if all(self.loads(access, loop.var) for access in found if not access.store)]
        for loop in loadable:
            if all(strides.of(access, loop.var) == 1 for access in found if access.store):
                return loop
        accumulated = accumulation(inner)
        if accumulated is None or iterations(accumulated.loops) < WORTH_SCATTERING:
            return None
        return next((loop for loop in loadable if all(strides.of(access, loop.var) for access in found if access.store)), None)

    def loads(self, access: Access, var: Var) -> bool:
        """Whether vectors along `var` can be read: equal, next to each other, or made so by packing."""
        return strides_in(self.body).of(access, var) in (0, 1) or self.packable(access, var)

    def packable(self, access: Access, var: Var) -> bool:
        return access.buffer in self.constants and strides_in(self.body).of(access, var) is not None

    def tiled(self, loops: tuple[For, ...], found: Accumulation, vector: For) -> None:
        """A register tile around the accumulation `found`."""
        lanes = self.lanes(found.update, vector.extent)
        if lanes == 1 and self.target.vector_bits and vector.extent == 1:
            return
        textures = self.target.images and lanes == TEXEL
        rows, tile = self.texture_tile(loops, found, vector) if textures else self.choose_tile(loops, found, vector, lanes)
        found = self.in_texels(found, vector, tile) if textures else found
        packed = [access.buffer for access in accesses(found.update) if self.worth_packing(access, vector.var)]
        names = TileNames(vector.var.name, rows.var.name if rows is not None else "")
        shared = rows is not None and self.rows_share_loads(found, rows.var, vector.var)
        self.split_for_tile(loops, vector, rows, lanes, tile, names)
        if lanes > 1:
            self.do(Vectorize(names.lane))
        if names.row:
            self.do(Distribute(names.row))
        if names.vector:
            self.do(Distribute(names.vector))
        for buffer in dict.fromkeys(packed):
            self.pack(buffer)
        if textures:
            for name in best_unroll(found, tile):
                self.do(Unroll(name))
        elif not (shared and self.unroll_window(found, tile)):
            self.unroll_steps(found, vector)
        for name in (names.row, names.vector):
            if name:
                self.do(Unroll(name))

    def texture_tile(self, loops: tuple[For, ...], found: Accumulation, vector: For) -> tuple[For | None, Tile]:
        rows, self.tile = choose_texture_tile(self.body, loops, found, vector, self.halves, self.target.processors, self.alone)
        return rows, self.tile

    def in_texels(self, found: Accumulation, vector: For, tile: Tile) -> Accumulation:
        """`found` with its innermost loop split, so that four steps, which read one texel, stand together.

        The loop over the texels is the one that work-items share, if any.
        """
        last = found.loops[-1]
        if not blocked(self.body, found, vector) or last.extent == TEXEL:
            return found
        self.do(Split(last.var.name, TEXEL))
        outer = next(inner for inner in statements(self.body) if isinstance(inner, For) and inner.var.name == f"{last.var.name}_o")
        inside, update = chain(outer)
        assert isinstance(update, Store)
        self.shared = outer.var.name if tile.parts > 1 else ""
        return Accumulation((*found.loops[:-1], *inside), update)

    def rows_share_loads(self, found: Accumulation, rows: Var, vector: Var) -> bool:
        """Whether some operand moves along rows and vectors both, so that neighbouring windows overlap in it."""
        strides = strides_in(self.body)
        return any(strides.of(a, rows) != 0 and strides.of(a, vector) != 0 for a in accesses(found.update))

    def worth_packing(self, access: Access, vector: Var) -> bool:
        return access.buffer in self.constants and strides_in(self.body).of(access, vector) != 0

    def choose_tile(self, loops: tuple[For, ...], found: Accumulation, vector: For, lanes: int) -> tuple[For | None, Tile]:
        strides = strides_in(self.body)
        loads = accesses(found.update)
        count = -(-vector.extent // lanes)
        steps = iterations(found.loops)
        choices: list[tuple[Tile, For | None]] = []
        problems: list[tuple[Problem, For | None, int]] = []
        for loop in reversed(loops):
            if loop is vector or all(strides.of(access, loop.var) != 0 for access in loads):
                continue
            operands = tuple(self.operand(access, loop.var, vector.var) for access in loads)
            others = iterations(loops) // (loop.extent * vector.extent)
            problems.append((Problem(loop.extent, count, steps, operands), loop, others))
            tile = best_tile(problems[-1][0], self.target)
            choices.append((Tile(tile.rows, tile.vectors, tile.cycles * others), loop))
        if not choices:
            operands = tuple(Operand(False, strides.of(access, vector.var) != 0) for access in loads)
            alone = Problem(1, count, steps, operands)
            others = iterations(loops) // vector.extent
            tile = best_tile(alone, self.target)
            return self.search_tile(vector, (None, Tile(tile.rows, tile.vectors, tile.cycles * others)), [(alone, None, others)])
        tile, rows = min(choices, key=lambda choice: choice[0].cycles)
        return self.search_tile(vector, (rows, tile), problems)

    def search_tile(
        self, vector: For, default: tuple[For | None, Tile], problems: list[tuple[Problem, For | None, int]]
    ) -> tuple[For | None, Tile]:
        """The tile that the search has chosen in place of `default`, if it has."""

        def options() -> dict[str, tuple[For | None, Tile]]:
            tiles = ((loop, tile) for problem, loop, _ in problems for tile in tiles_of(problem, self.target))
            return {_label(default): default} | {_label(each): each for each in tiles}

        def costs() -> dict[str, float]:
            tiles = ((_label((loop, t)), t.cycles * n) for problem, loop, n in problems for t in tiles_of(problem, self.target))
            return {_label(default): default[1].cycles} | dict(tiles)

        chosen = self.decisions.choose(f"tile {vector.var.name}", _label(default), costs)
        return default if chosen == _label(default) else options()[chosen]

    def operand(self, access: Access, rows: Var, vector: Var) -> Operand:
        strides = strides_in(self.body)
        step = strides.of(access, rows)
        size = buffer_sizes(self.body)[access.buffer][1].bytes
        return Operand(step != 0, strides.of(access, vector) != 0, abs(step or 0) * size)

    def split_for_tile(self, loops: tuple[For, ...], vector: For, rows: For | None, lanes: int, tile: Tile, names: TileNames) -> None:
        """Splits the two tiled loops and puts the parts in order: others, blocks of rows and vectors, then the tile."""
        outer = [loop.var.name for loop in loops if loop is not vector]
        self.do(Split(vector.var.name, lanes))
        count = -(-vector.extent // lanes)
        blocks = names.split_vectors(count, tile.vectors)
        if 1 < tile.vectors < count:
            self.do(Split(f"{vector.var.name}_o", tile.vectors))
        if rows is not None:
            if 1 < tile.rows < rows.extent:
                self.do(Split(rows.var.name, tile.rows))
            outer = names.split_rows(outer, rows.extent, tile.rows)
        if blocks:
            place = self.place_of_blocks(vector, outer)
            outer = [*outer[:place], blocks, *outer[place:]]
        batches = batches_of(self.body, [loop for loop in loops if loop is not vector and loop is not rows])
        outer = [*batches, *(name for name in outer if name not in batches)]
        inside = [name for name in (names.vector, names.row, names.lane if lanes > 1 else "") if name]
        if len(outer) + len(inside) > 1:
            self.do(Reorder((*outer, *inside)))

    def place_of_blocks(self, vector: For, outer: list[str]) -> int:
        """How many of the `outer` loops are around that over blocks of vectors: none of them where the weights are large."""
        first = not self.target.images and self.constant_bytes() > self.target.l2_bytes // 2
        places = {str(place): 0.0 for place in range(len(outer) + 1)}
        return int(self.decisions.choose(f"blocks {vector.var.name}", "0" if first else str(len(outer)), lambda: places))

    def constant_bytes(self) -> int:
        sizes = {access.buffer: _bytes(self.body, access) for access in accesses(self.body) if access.buffer in self.constants}
        return sum(sizes.values())

    def pack(self, buffer: str) -> None:
        try:
            packing = packing_of(self.body, buffer)
        except InvalidIrError:
            return
        if packing.size <= MOST_REPACKED * buffer_sizes(self.body)[buffer][0] or packing.size < 1 << 14:
            self.do(Pack(buffer))

    def unroll_window(self, found: Accumulation, tile: Tile) -> bool:
        """Writes out a small reduction (a depthwise or pooling window), so that neighbouring results share their loads."""
        total = iterations(found.loops)
        if total > 25 or total * tile.rows * tile.vectors > MOST_UNROLLED:
            return False
        if not self.decisions.flag(f"window {found.loops[-1].var.name}", True):
            return False
        for loop in reversed(found.loops):
            self.do(Unroll(loop.var.name))
        return True

    def unroll_steps(self, found: Accumulation, vector: For) -> None:
        """Writes out some steps of the reduction's innermost loop, where the search says so."""
        last = found.loops[-1]
        fits = {str(count): 0.0 for count in (1, 2, 4, 8, 16) if last.extent % count == 0 and count < last.extent}
        count = int(self.decisions.choose(f"steps {vector.var.name}", "1", lambda: {"1": 0.0} | fits))
        if count > 1:
            self.do(Split(last.var.name, count))
            self.do(Unroll(f"{last.var.name}_i"))


def _bytes(body: Statement, access: Access) -> int:
    size, dtype = buffer_sizes(body)[access.buffer]
    return size * dtype.bytes


def _label(choice: tuple[For | None, Tile]) -> str:
    rows, tile = choice
    return f"{rows.var.name if rows is not None else '-'} {tile.rows}x{tile.vectors}"
