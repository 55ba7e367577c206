#!/usr/bin/env python3
"""What a frame costs the host: the time that enqueuing takes, a kernel, of a program of many empty kernels.

    python benchmarks/opencl_host.py [--kernels 200] [--frames 2000] [-o results.json]

On the driver of this machine (PoCL where there is no other), whose own enqueue is most of it, and on tests/fake_opencl.c, whose
enqueue does nothing: what is left is tgc's runtime, with recordings and without. CPU time of the calling thread, the median and the
99th percentile. Exit status 1 where a median is 2 microseconds or more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from tgc.backends import opencl
from tgc.backends.opencl.emit import RUNTIME
from tgc.backends.options import EmitOptions
from tgc.ir.dtypes import F32
from tgc.ir.expr import Buffer, Load, index
from tgc.ir.kernel import Kernel, Parameter, Store
from tgc.ir.program import Argument, Call, Program, Storage, Tensor
from tgc.run.opencl import driver_environment
from tgc.targets import OPENCL

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"


def empty(kernels: int) -> Program:
    """`kernels` launches, each of which copies one number: from the input, on through the arena, to the output."""
    x, y = Buffer("x", F32, 1), Buffer("y", F32, 1)
    kernel = Kernel("move", (Parameter(x, "read"), Parameter(y, "write")), Store(y, index(0), Load(x, index(0))))
    names = ["input", *(f"t{step}" for step in range(kernels - 1)), "output"]
    roles = ["input", *["arena"] * (kernels - 1), "output"]
    storages = tuple(
        Storage(name, role, F32, 1, 64 * step if role == "arena" else 0, (1,))  # type: ignore[arg-type]
        for step, (name, role) in enumerate(zip(names, roles, strict=True))
    )
    calls = tuple(Call("move", (Argument(a), Argument(b))) for a, b in pairwise(names))
    tensors = (Tensor("x", F32, (1,), "input"),), (Tensor("y", F32, (1,), "output"),)
    return Program("empty", *tensors, (kernel,), calls, storages, np.zeros(0, np.uint8), 64 * (kernels + 1))


def built(folder: Path, kernels: int, *arguments: str) -> Path:
    """The timing program, compiled in `folder`."""
    for name, content in opencl.emit(empty(kernels), OPENCL, EmitOptions()).items():
        (folder / name).write_bytes(content)
    sources = ["empty.c", *(name for name in RUNTIME if name.endswith(".c")), str(HERE / "opencl_host.c")]
    program = folder / f"host_{len(arguments)}"
    flags = ["-O2", "-std=c99", "-I.", f"-I{TESTS}", "-Wno-deprecated-declarations"]
    subprocess.run(["cc", *flags, *sources, *arguments, "-o", program], cwd=folder, check=True)
    return program


def measured(program: Path, kernels: int, frames: int, *more: str) -> dict[str, float]:
    """Microseconds a kernel."""
    environment = {**os.environ, **driver_environment()}
    done = subprocess.run([program, str(frames), *more], env=environment, capture_output=True, text=True, check=True)
    median, p99 = (float(number) / kernels for number in done.stdout.split())
    return {"median": round(median, 4), "p99": round(p99, 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=200)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fake = built(folder, given.kernels, str(TESTS / "fake_opencl.c"), "-DFAKE")
        real = built(folder, given.kernels, "-lOpenCL")
        results = {
            "runtime alone": measured(fake, given.kernels, given.frames),
            "runtime alone, a ring of 3 buffers": measured(fake, given.kernels, given.frames, "3"),
            "runtime alone, recorded": measured(fake, given.kernels, given.frames, "3", "record"),
            "with the driver": measured(real, given.kernels, max(1, given.frames // 10)),
        }
    for name, row in results.items():
        print(f"{name}: {row['median']:.3f} us a kernel, 99th percentile {row['p99']:.3f}")
    if given.output:
        given.output.write_text(json.dumps({"kernels": given.kernels, "microseconds": results}, indent=1) + "\n")
    return 0 if all(row["median"] < 2 for row in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
