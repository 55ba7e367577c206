"""A closed form for a scheduled loop nest on one core: cycles of arithmetic, loads, latency and loops, bytes that caches do not hold.

For each store, with the unrolled loops around it as one block of straight code:

    block = max(operations / PORTS, loads / PORTS, (operations + loads + BRANCH) / ISSUED, LATENCY * steps of one accumulator)
    total = max(sum of blocks * iterations + STORED * stores + LOOP * iterations of loops around loops + EXIT * ends of innermost loops,
                bytes from L2 / L2_RATE + bytes from beyond / L3_RATE)

An operand is loaded once for all unrolled iterations in which it stays where it is. A multiply that is added is one operation. The bytes of
a level: the data of the outermost loop whose whole footprint fits the cache below, as often as the loops around it bring other data. A core
fetches while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod

from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Load, Ramp, Var, children
from tgc.ir.kernel import Block, For, If, Statement, Store
from tgc.ir.rewrite import statements, walk
from tgc.passes.nest import Access, strides_in
from tgc.passes.schedule.loops import paths
from tgc.targets import Target

LATENCY = 4.0
LOOP = 3.0
EXIT = 8.0  # a branch that was foreseen wrongly, half of the time
STORED = 1.0
BRANCH = 2.0
ISSUED = 6.0
BROADCAST = 0.6  # of a vector's load
GATHERED = 1.5  # loads for each lane of one
L2_RATE = 64.0  # bytes a cycle into L1
L3_RATE = 24.0  # bytes a cycle into L2
HERTZ = 3e9


Step = Callable[[Access, Var], int | None]
"""How far an access moves with a loop; None where that is not constant."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A store and the loops around it, outermost first."""

    store: Store
    loops: tuple[For, ...]


def seconds(body: Statement, target: Target) -> float:
    """Modelled time of one launch of the nest `body`, scheduled but not written out."""
    places = [_Place(statement, loops) for statement, loops in paths(body) if isinstance(statement, Store)]
    strides = strides_in(body)

    @cache
    def step(access: Access, var: Var) -> int | None:
        found = strides.of(access, var)
        return 0 if found is None and var not in walk(access.place) else found

    blocks = sum(_block(place, step, target) * _times(place.loops) for place in places)
    loops = sum(_around(loop, _times(around)) for loop, around in _loops(body, ()))
    return max(blocks + loops, sum(_traffic(place, step, target) for place in places)) / HERTZ


def _distinct(access: Access, loops: Iterable[For], step: Step) -> int:
    """How many places `access` visits in `loops`: those with one stride overlap, as a window and the pixels that it moves over do."""
    reach: dict[int | Var, int] = {}
    for loop in loops:
        stride = step(access, loop.var)
        if stride != 0:
            kind = loop.var if stride is None else abs(stride)
            reach[kind] = reach.get(kind, 1) + loop.extent - 1
    return prod(reach.values())


def _around(loop: For, turns: int) -> float:
    """Cycles of a loop itself, which takes so many turns in all: an innermost one runs beside its body, and ends."""
    inner = any(isinstance(each, For) and each.kind != "unroll" for each in statements(loop.body))
    return LOOP * turns if inner else EXIT * turns / loop.extent


def _loops(statement: Statement, around: tuple[For, ...]) -> Iterator[tuple[For, tuple[For, ...]]]:
    """Every loop that stays one, with itself and those around it."""
    match statement:
        case For(_, _, body, kind):
            if kind != "unroll":
                yield statement, (*around, statement)
            yield from _loops(body, (*around, statement))
        case Block(parts):
            for part in parts:
                yield from _loops(part, around)
        case If(_, body):
            yield from _loops(body, around)
        case _:
            return


def _times(loops: tuple[For, ...]) -> int:
    return prod(loop.extent for loop in loops if loop.kind != "unroll")


def _block(place: _Place, step: Step, target: Target) -> float:
    """Cycles of a store in all the unrolled loops around it."""
    store = place.store
    inside = [loop for loop in place.loops if loop.kind == "unroll"]
    ports = 1.0 if target.vector_bits >= 512 else 2.0
    written = Access(store.buffer.name, store.index.base if isinstance(store.index, Ramp) else store.index, True)
    results = _distinct(written, inside, step)
    steps = prod(loop.extent for loop in inside) / results
    loaded = [expr for expr in walk(store.value) if isinstance(expr, Load)]
    memory = [load for load in loaded if load.buffer.space != "register"]
    loads = sum(_load(load, target) * _distinct(_access(load), inside, step) for load in memory)
    widest = max((e.lanes * e.dtype.bits for e in walk(store.value) if e.dtype != INDEX), default=32)
    width = max(1.0, widest / max(32, target.vector_bits))
    arithmetic = _operations(store) * results * steps * width
    summed = any(load.buffer == store.buffer for load in loaded)
    around = STORED * results * width if store.buffer.space != "register" else 0.0
    issued = (arithmetic + loads + BRANCH) / ISSUED
    inside_block = max(arithmetic / ports, loads / (1.5 if ports == 1.0 else 2.0), issued, LATENCY * steps if summed else 0.0)
    return float(inside_block + around)


def _access(load: Load) -> Access:
    return Access(load.buffer.name, load.index.base if isinstance(load.index, Ramp) else load.index, False)


def _load(load: Load, target: Target) -> float:
    """Loads of one vector, or of one element for all lanes."""
    if not isinstance(load.index, Ramp):
        return BROADCAST if load.lanes == 1 else GATHERED * load.lanes
    vectors = max(1.0, load.lanes * load.dtype.bits / max(32, target.vector_bits))
    return vectors if load.index.stride == 1 else GATHERED * load.lanes


def _operations(store: Store) -> float:
    """Operations on values for one result, a multiply that is added being none."""
    values = walk(store.value, below=lambda expr: () if isinstance(expr, Load) else children(expr))  # no arithmetic of places
    found = [e for e in values if isinstance(e, Apply) and e.dtype != INDEX and e.op is not ops.CAST]
    added = {arg for e in found if e.op is ops.ADD for arg in e.args if isinstance(arg, Apply) and arg.op is ops.MUL}
    return float(len(found) - len(added))


def _traffic(place: _Place, step: Step, target: Target) -> float:
    """Cycles in which data come from L2, and from beyond it, for the innermost statement of a nest."""
    loads = [expr for expr in walk(place.store.value) if isinstance(expr, Load) and expr.buffer.space != "register"]
    levels = ((target.l1_bytes, L2_RATE), (target.l2_bytes, L3_RATE))
    return sum(_fetched(place.loops, loads, size, step) / rate for size, rate in levels)


def _fetched(loops: tuple[For, ...], loads: list[Load], size: int, step: Step) -> float:
    """Bytes that a cache of `size` bytes does not hold from one use to the next."""

    def footprint(load: Load, inner: tuple[For, ...]) -> float:
        wide = load.lanes if isinstance(load.index, Ramp) else 1
        count = wide * _distinct(_access(load), inner, step)
        return float(min(load.buffer.size, count) * load.dtype.bytes)

    level = next(n for n in range(len(loops) + 1) if n == len(loops) or sum(footprint(load, loops[n:]) for load in loads) <= size)
    total = 0.0
    for load in loads:
        outside = list(loops[:level])
        while outside and step(_access(load), outside[-1].var) == 0:
            outside.pop()
        total += footprint(load, loops[level:]) * prod(loop.extent for loop in outside)
    return total
