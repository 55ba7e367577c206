"""Turned: what is read along one loop and stored along another is read in vectors, as many as are stored interleaved, or block by block."""

from __future__ import annotations

from tgc.ir.kernel import For, Store
from tgc.ir.schedule import Reorder, Split, Step, Unroll, Vectorize
from tgc.ir.texels import TEXEL
from tgc.passes.nest import Access, Strides, accesses
from tgc.passes.nest import strides_in as strides
from tgc.passes.schedule.loops import carried_buffers

BLOCK = 16  # elements of a block in both directions: a cache line of f32
LEAST = 4 * BLOCK  # rows apart in memory from which on the lines of one pass do not all stay in the first cache
MOST_INTERLEAVED = 8  # vectors that are stored together, an element of each in turn


def turned(loops: tuple[For, ...], store: Store, lanes: int) -> tuple[Step, ...]:
    """The steps for the two of `loops` along which `store` reads and stores; none where they are one, or short.

    lanes: of a vector of what is computed.
    """
    last, found, moves = loops[-1], accesses(store), strides(loops[0])
    along = next((loop for loop in reversed(loops[:-1]) if _reads_along(found, loop, moves)), None)
    stores = [access for access in found if access.store]
    if along is None or carried_buffers(last) or carried_buffers(along) or any(moves.of(access, last.var) != 1 for access in stores):
        return ()
    between = [loop.var.name for loop in loops[loops.index(along) + 1 : -1]]
    rows, columns = along.var.name, last.var.name
    if (
        all(moves.of(access, along.var) == last.extent for access in stores)
        and last.extent <= MOST_INTERLEAVED
        and along.extent >= lanes > 1
    ):
        if along.extent == lanes:
            return (Reorder((*between, columns, rows)), Vectorize(rows), Unroll(columns))
        return (Split(rows, lanes), Reorder((f"{rows}_o", *between, columns, f"{rows}_i")), Vectorize(f"{rows}_i"), Unroll(columns))
    if min(last.extent, along.extent) < LEAST:
        return ()
    block = lanes if lanes > 1 else BLOCK
    vectors = (Vectorize(f"{rows}_i"), Unroll(f"{columns}_i")) if lanes > 1 else ()
    inner = (f"{columns}_i", f"{rows}_i") if lanes > 1 else (f"{rows}_i", f"{columns}_i")
    return (Split(rows, block), Split(columns, block), Reorder((f"{rows}_o", *between, f"{columns}_o", *inner)), *vectors)


def squared(loops: tuple[For, ...], store: Store) -> tuple[Step, ...]:
    """The steps for a nest that reads along one of `loops` and stores along the last, on a target that reads and stores texels.

    A work-item makes four texels of four that it reads along the other loop; the backend turns them. None where a texel's elements lie
    unevenly, or the nest is none of this kind.
    """
    last, found, moves = loops[-1], accesses(store), strides(loops[0])
    along = next((loop for loop in reversed(loops[:-1]) if _reads_along(found, loop, moves)), None)
    if along is None or carried_buffers(last) or carried_buffers(along) or last.extent % TEXEL or along.extent % TEXEL:
        return ()
    loads = [access for access in found if not access.store and moves.of(access, along.var) == 1]
    steps = [moves.of(access, loop.var) for access in loads for loop in loops if loop is not along]
    if any(moves.of(access, last.var) != 1 for access in found if access.store) or any(step is None or step % TEXEL for step in steps):
        return ()
    split = tuple(Split(loop.var.name, TEXEL) for loop in (along, last) if loop.extent > TEXEL)
    inner = {loop: f"{loop.var.name}_i" if loop.extent > TEXEL else loop.var.name for loop in (along, last)}
    outer = [f"{loop.var.name}_o" if loop in inner else loop.var.name for loop in loops if loop not in inner or loop.extent > TEXEL]
    return (*split, Reorder((*outer, inner[along], inner[last])), Vectorize(inner[last]), Unroll(inner[along]))


def _reads_along(found: list[Access], loop: For, moves: Strides) -> bool:
    """Whether all loads lie next to each other along `loop`, or do not move, and some do."""
    steps = {moves.of(access, loop.var) for access in found if not access.store}
    return 1 in steps and steps <= {0, 1}
