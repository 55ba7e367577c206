"""What a measurement was made on, in words: times are worth nothing on another device, or with another driver."""

from __future__ import annotations

import platform
from pathlib import Path

from tgc.run.opencl import describe_device
from tgc.targets import Target


def device_of(target: Target) -> str:
    """The device here that kernels for `target` run on: an OpenCL device and its driver, else this machine's processor."""
    return describe_device() if target.backend == "opencl" else _processor(Path("/proc/cpuinfo"))


def _processor(info: Path) -> str:
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
