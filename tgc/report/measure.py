"""Timing a compiled model's kernels one by one."""

from __future__ import annotations

from collections.abc import Callable

from tgc.alone import seconds_alone
from tgc.artifact import Artifact


def measure_kernels(artifact: Artifact, watch: Callable[[str], None]) -> dict[str, float]:
    """Seconds of one launch of each kernel, by name; see `tgc.alone.seconds_alone`."""
    times = {}
    for kernel in artifact.program.kernels:
        watch(kernel.name)
        times[kernel.name] = seconds_alone(kernel, artifact.target, artifact.program.alignment)
    return times
