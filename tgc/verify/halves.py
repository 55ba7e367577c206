"""How many of a network's sums may be in half: the fewest products of a kernel for which the error stays within a limit.

What a kernel gains by sums in half grows with its products, and what it adds to the network's error hardly does. So kernels are taken in
order of their products, the largest first, and the place where to stop is found by bisection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tgc.artifact import Artifact
from tgc.passes.half_sums import products
from tgc.passes.recording import Recording
from tgc.run.device import Device
from tgc.verify.compare import Tolerance, compare
from tgc.verify.oracle import Case
from tgc.verify.place import LOCAL, place


@dataclass(frozen=True, slots=True)
class Trial:
    """half_from: products that a kernel has at least whose sums are in half. share: of all products, those of such kernels.
    error: the largest difference from what is right, as a part of the output's largest magnitude."""

    half_from: int
    share: float
    error: float


def find(
    compiled: Callable[..., Artifact], cases: Callable[[Artifact], Sequence[Case]], limit: float, device: Device = LOCAL,
    watch: Callable[[Trial], None] = lambda _: None,
) -> list[Trial]:  # fmt: skip
    """What was tried, in order. The last one whose error is at most `limit` has the most sums in half; there may be none.

    compiled: compiles one model with options of `tgc.compile`. cases: what the results are compared with, asked once.
    """
    recording, sizes, known, tried = Recording(), Counter[int](), list[Case](), list[Trial]()

    def attempt(half_from: int, **more: object) -> bool:
        artifact = compiled(half_from=half_from, **more)
        if not tried:
            known.extend(cases(artifact))
            for kernel, _, calls in recording.kernels():
                count = products(kernel.body)
                sizes[count] += calls * count
        share = sum(whole for size, whole in sizes.items() if size >= half_from) / max(1, sizes.total())
        tried.append(Trial(half_from, share, _error(artifact, known, device)))
        watch(tried[-1])
        return tried[-1].error <= limit

    if attempt(0, scheduler=recording.scheduler, observe=recording.observe):
        return tried
    steps = sorted((size for size in sizes if size), reverse=True)
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
