"""Recording: the kernels of a compilation as they are before they are scheduled, for those who schedule or count them anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tgc.ir.graph import Graph
from tgc.ir.kernel import Kernel
from tgc.ir.program import Program, launches
from tgc.passes.assemble import Scheduler
from tgc.passes.heuristic import scheduler_for
from tgc.passes.schedule.apply import Scheduled
from tgc.targets import Target


@dataclass(slots=True)
class Recording:
    """Hand `scheduler` and `observe` to `tgc.compile`. seen: each kernel, and which of its parameters are constants."""

    seen: list[tuple[Kernel, frozenset[str]]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def scheduler(self, target: Target) -> Scheduler:
        """The heuristic's, which notes what it is given."""
        plain = scheduler_for(target)

        def schedule(kernel: Kernel, constants: frozenset[str]) -> Scheduled:
            self.seen.append((kernel, constants))
            return plain(kernel, constants)

        return schedule

    def observe(self, stage: str, result: Graph | Program) -> None:
        """Counts the launches of each kernel; a program has kernels in the order in which they were scheduled."""
        if stage == "program" and isinstance(result, Program):
            counts = Counter(call.kernel for entry in result.entry_points for call in launches(entry.steps))
            self.calls = [counts[kernel.name] for kernel in result.kernels]

    def kernels(self) -> Iterator[tuple[Kernel, frozenset[str], int]]:
        """Each kernel, its constants, and its launches in all entry points; 1 where the program has left some kernels out."""
        known = len(self.calls) == len(self.seen)
        for (kernel, constants), count in zip(self.seen, self.calls if known else [1] * len(self.seen), strict=True):
            yield kernel, constants, count
