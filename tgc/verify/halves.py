"""How many of a network's sums may be in half: the fewest products of a kernel for which the error stays within a limit.

What a kernel gains by sums in half grows with its products, and what it adds to the network's error hardly does. So kernels are taken in
order of their products, the largest first, and the place where to stop is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tgc.artifact import Artifact
from tgc.ir.graph import Graph
from tgc.ir.kernel import Kernel
from tgc.ir.program import Program
from tgc.passes.assemble import Scheduler
from tgc.passes.half_sums import products
from tgc.passes.heuristic import scheduler_for
from tgc.passes.schedule.apply import Scheduled
from tgc.run.device import Device
from tgc.targets import Target
from tgc.verify.compare import Tolerance, compare
from tgc.verify.oracle import Case
from tgc.verify.place import LOCAL, place


class Compile(Protocol):
    """Compiles one model with sums in half in kernels of so many products at least."""

    def __call__(
        self, *, half_from: int, scheduler: Callable[[Target], Scheduler], observe: Callable[[str, Graph | Program], None]
    ) -> Artifact: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """half_from: products that a kernel has at least whose sums are in half. share: of all products, those of such kernels.
    error: the largest difference from what is right, as a part of the output's largest magnitude."""

    half_from: int
    share: float
    error: float


@dataclass(slots=True)
class _Sizes:
    """The products of each kernel as it is scheduled, and of all its launches together once the program is there."""

    single: list[int] = field(default_factory=list)
    whole: dict[int, int] = field(default_factory=dict)

    def scheduler(self, target: Target) -> Scheduler:
        """The heuristic's, noting sizes."""
        plain = scheduler_for(target)

        def schedule(kernel: Kernel, constants: frozenset[str]) -> Scheduled:
            self.single.append(products(kernel.body))
            return plain(kernel, constants)

        return schedule

    def observe(self, stage: str, result: Graph | Program) -> None:
        """Counts the launches of the kernels, which a program has in the order in which they were scheduled."""
        if stage == "program" and isinstance(result, Program):
            size = dict(zip((kernel.name for kernel in result.kernels), self.single, strict=True))
            for call in result.calls:
                count = size[call.kernel]
                self.whole[count] = self.whole.get(count, 0) + count

    def share(self, half_from: int) -> float:
        """The part of all products that kernels of at least `half_from` have."""
        return sum(count for size, count in self.whole.items() if size >= half_from) / max(1, sum(self.whole.values()))


def find(
    compiled: Compile, cases: Callable[[Artifact], Sequence[Case]], limit: float, device: Device = LOCAL,
    watch: Callable[[Trial], None] = lambda _: None,
) -> list[Trial]:  # fmt: skip
    """What was tried, in order. The last one whose error is at most `limit` has the most sums in half; there may be none.

    cases: what the results are compared with, asked once.
    """
    sizes, known, tried = _Sizes(), list[Case](), list[Trial]()

    def attempt(half_from: int) -> bool:
        noting = sizes if not sizes.single else _Sizes()
        artifact = compiled(half_from=half_from, scheduler=noting.scheduler, observe=noting.observe)
        known.extend(cases(artifact) if not known else ())
        tried.append(Trial(half_from, sizes.share(half_from), _error(artifact, known, device)))
        watch(tried[-1])
        return tried[-1].error <= limit

    if attempt(0):
        return tried
    steps = sorted((size for size in sizes.whole if size), reverse=True)
    fits, fails = -1, len(steps) - 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if attempt(round_between(steps[middle + 1], steps[middle])):
            fits = middle
        else:
            fails = middle
    if fits < 0 and steps:
        attempt(steps[0] + 1)
    return tried


def round_between(above: int, most: int) -> int:
    """The number of the fewest digits that is greater than `above` and at most `most`."""
    for zeros in range(len(str(most)), -1, -1):
        scale = int(10**zeros)
        rounded = most // scale * scale
        if rounded > above:
            return rounded
    raise ValueError(f"there is no number above {above} up to {most}")


def _error(artifact: Artifact, known: Sequence[Case], device: Device) -> float:
    """The largest relative difference of any output."""
    errors: list[float] = []
    with place(device) as prepare:
        run = prepare(artifact)
        for case in known:
            results = run(case.inputs)
            errors += [float(compare(name, results[name], value, Tolerance()).relative) for name, value in case.expected.items()]
    return max(errors, default=0.0)
