"""Riders: a launch is done by the work-items of another one, where neither needs what the other makes.

    A: for each n < M: a(n)
    B: for each n < N: b(n)      ->      for each n < M: a(n); if n < N: b(n)

A launch takes some microseconds before it does anything, as long as hundreds of thousands of instructions. B moves to where A is in the
program, and what lies between must neither need what B writes nor write what B reads. Where groups of both have as many work-items,
group goes with group; otherwise work-item with work-item, unless those of B wait for each other; and where A has too few, each does
several of B's.

What rides is there for all work-items of the other launch, and is counted so: its instructions, and its registers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tgc.errors import InvalidIrError
from tgc.ir.index import Index
from tgc.ir.kernel import Kernel
from tgc.ir.overlap import places_apart, reached
from tgc.ir.program import Call, Program, Step, calls_of
from tgc.ir.ranges import accesses
from tgc.ir.verify_kernel import verify_kernel
from tgc.passes.adreno import LOCAL_BYTES, NARROW, SMALL
from tgc.passes.rider_kernels import Items, items_of, joined, turns

LAUNCH = 700_000  # instructions of work-items, in waves of 128, in the time that a launch takes
AROUND = 30  # instructions of a work-item before and after what it is for
MOST_TURNS = 4  # work-items of one launch that one of another stands for
MOST_PARAMETERS = 32  # of a kernel
MOST_NEEDED = 36  # texels of either, sums included: with more it may have all registers, and none is left to know whose turn it is
Place = tuple[str, str, int]  # a kernel, its parameter, and the element of a storage where that begins


def riders(program: Program) -> Program:
    """`program` with launches done along with others. Its memory has to be planned anew, for launches move."""
    state = _State({kernel.name: kernel for kernel in program.kernels})
    steps = [state.ridden(entry.steps) for entry in program.entry_points]
    used = {call.kernel for own in steps for call in calls_of(own)}
    kernels = tuple(kernel for name, kernel in state.kernels.items() if name in used)
    entries = tuple(replace(entry, steps=own) for entry, own in zip(program.entries, steps, strict=False))
    return replace(program, kernels=kernels, steps=steps[0], entries=entries)


def saved(host: Items, rider: Items) -> float:
    """Instructions that are saved where `rider` is done along with `host`: those that a launch costs, less what is done in vain.

    A kernel of few registers is slowed by one of many.
    """
    times = turns(host, rider)
    fits = host.local_bytes + rider.local_bytes <= LOCAL_BYTES and max(host.needed, rider.needed) <= MOST_NEEDED
    if times is None or times > MOST_TURNS or not fits:
        return 0.0
    alone = _time(host, host.held) + _time(rider, rider.held)
    held = max(host.held, rider.held)
    return LAUNCH + alone - _time(host, held) - _time(rider, held) * times * host.count / rider.count


def _time(items: Items, held: float) -> float:
    return items.count * (AROUND + items.effort) * (NARROW if held > SMALL else 1.0)


def _not_shown(kernel: Kernel) -> int:
    return sum(access.verdict == "not shown" for access in accesses(kernel))


@dataclass(frozen=True, slots=True)
class _Ride:
    """A launch that another one may be done along with. handed: parameters of the other one, and of this one, for what is made here."""

    number: int
    host: Call
    handed: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _State:
    """The kernels so far, those that do the work of two, and where each reads and writes."""

    kernels: dict[str, Kernel]
    items: dict[str, Items] = field(default_factory=dict)
    made: dict[tuple[object, ...], Kernel | None] = field(default_factory=dict)
    places: dict[str, Mapping[str, list[Index]]] = field(default_factory=dict)
    met: dict[tuple[Place, Place], bool] = field(default_factory=dict)

    def ridden(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """`steps` with launches done along with others: each in turn with the one where it saves most, of several the first."""
        found = list(steps)
        at = 0
        while at < len(found):
            rider = found[at]
            best = self.best(found, at, rider) if isinstance(rider, Call) else None
            if best is None or not isinstance(rider, Call):
                at += 1
                continue
            found[best.number] = self.together(best, rider)
            del found[at]
            at -= 1 if best.number < at else 0
        return tuple(found)

    def best(self, steps: Sequence[Step], at: int, rider: Call) -> _Ride | None:
        """What `rider`, which is at `at`, is best done along with, if it saves anything."""
        rides = [(self.saved(ride, rider), -ride.number, ride) for ride in self.able(steps, at, rider)]
        able = [ride for ride in rides if ride[0] > 0 and self.kernel_of(ride[2], rider) is not None]
        return max(able, key=lambda ride: ride[:2])[2] if able else None

    def able(self, steps: Sequence[Step], at: int, rider: Call) -> Iterator[_Ride]:
        """The launches that `rider`, which is at `at`, may be done along with."""
        for way in (range(at - 1, -1, -1), range(at + 1, len(steps))):
            for number in way:
                other = steps[number]
                pairs = [pair for call in calls_of((other,)) for pair in self.pairs(call, rider)]
                if isinstance(other, Call) and all(pair is not None for pair in pairs) and (number < at or not pairs):
                    yield _Ride(number, other, tuple(pair for pair in pairs if pair is not None))
                if pairs:
                    break

    def pairs(self, first: Call, second: Call) -> Iterator[tuple[str, str] | None]:
        """Parameters of the second and the first that reach the same elements, where one of these is written.

        None in place of a pair where it is not the first that writes just what the second reads.
        """
        pairs = [list(zip(self.kernels[call.kernel].parameters, call.arguments, strict=True)) for call in (first, second)]
        for mine, own in pairs[0]:
            for others, theirs in pairs[1]:
                if own.storage != theirs.storage or mine.access == others.access == "read":
                    continue
                if (
                    own.steps
                    or theirs.steps
                    or not self.apart((first.kernel, mine.buffer.name, own.start), (second.kernel, others.buffer.name, theirs.start))
                ):
                    handed = own == theirs and not own.steps and (mine.access, others.access) == ("write", "read")
                    yield (others.buffer.name, mine.buffer.name) if handed else None

    def apart(self, first: Place, second: Place) -> bool:
        """Whether what is reached at two places shares no element; not where either is a parameter that its kernel makes no use of."""
        if (first, second) not in self.met:
            mine, others = ([index + start for index in self.reached(kernel)[name]] for kernel, name, start in (first, second))
            self.met[first, second] = bool(mine) and bool(others) and places_apart(mine, others)
        return self.met[first, second]

    def reached(self, kernel: str) -> Mapping[str, list[Index]]:
        if kernel not in self.places:
            whole = self.kernels[kernel]
            self.places[kernel] = reached(whole, [parameter.buffer.name for parameter in whole.parameters])
        return self.places[kernel]

    def saved(self, ride: _Ride, rider: Call) -> float:
        if len(ride.host.arguments) + len(rider.arguments) > MOST_PARAMETERS:
            return 0.0
        return saved(self.of(ride.host.kernel), self.of(rider.kernel))

    def of(self, kernel: str) -> Items:
        if kernel not in self.items:
            self.items[kernel] = items_of(self.kernels[kernel])
        return self.items[kernel]

    def kernel_of(self, ride: _Ride, rider: Call) -> Kernel | None:
        """The kernel that does both, where there is one."""
        host = ride.host.kernel
        key = (host, rider.kernel, ride.handed)
        if key not in self.made:
            name = "_".join([host, *(part for part in rider.kernel.split("_") if re.fullmatch("k[0-9]+", part))])
            unique = name if all(made is None or made.name != name for made in self.made.values()) else f"{name}_{len(self.made)}"
            made = joined(self.kernels[host], self.kernels[rider.kernel], unique, dict(ride.handed))
            self.made[key] = made if made is not None and self.is_shown(made, (host, rider.kernel)) else None
        return self.made[key]

    def is_shown(self, kernel: Kernel, parts: tuple[str, str]) -> bool:
        """Whether `kernel` is seen to stay inside its buffers if its parts are: places computed from a number may not be."""
        try:
            verify_kernel(kernel)
        except InvalidIrError:
            return False
        return _not_shown(kernel) <= sum(_not_shown(self.kernels[part]) for part in parts)

    def together(self, ride: _Ride, rider: Call) -> Call:
        """One launch for two."""
        kernel = self.kernel_of(ride, rider)
        assert kernel is not None
        self.kernels[kernel.name] = kernel
        taken = {name for name, _ in ride.handed}
        passed = zip(self.kernels[rider.kernel].parameters, rider.arguments, strict=True)
        arguments = (*ride.host.arguments, *(argument for parameter, argument in passed if parameter.buffer.name not in taken))
        return Call(kernel.name, arguments, tuple(dict.fromkeys((*ride.host.origins, *rider.origins))))
