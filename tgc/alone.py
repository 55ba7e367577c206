"""One kernel as a program of its own, compiled by the backend of the whole: for verifying, timing and tuning kernels one by one."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tgc.artifact import Artifact
from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.ir.expr import Buffer, Load, Var
from tgc.ir.graph import Graph
from tgc.ir.kernel import For, Kernel, Parameter, Store
from tgc.ir.program import Argument, Call, Program, Repeat, Step, Storage, Tensor
from tgc.run import Model, load
from tgc.targets import Target


def compiled_alone(kernel: Kernel, target: Target, alignment: int, *, keep: bool = True, times: int = 1) -> Model:
    """`kernel` as a program of its own, compiled and loaded; see `single`."""
    artifact = artifact_alone(kernel, target, alignment, keep=keep, times=times)
    with tempfile.TemporaryDirectory(prefix="tgc-kernel-") as folder:
        return load(artifact.write(Path(folder) / artifact.name))


def artifact_alone(kernel: Kernel, target: Target, alignment: int, *, keep: bool = True, times: int = 1) -> Artifact:
    """`kernel` as a program of its own, compiled; see `single`."""
    program = single(kernel, alignment, keep=keep, times=times)
    return Artifact(program.name, target, emit(program, target, EmitOptions("embed")), program, Graph(program.name, (), ()))


def seconds_alone(kernel: Kernel, target: Target, alignment: int, runs: int = 20, budget: float = 0.2) -> float:
    """The least time that one launch of `kernel` took, in seconds of its thread's CPU; wall time on an OpenCL device.

    Everything it reads is zero and in the cache where it fits. At most `runs` launches, and about `budget` seconds.
    """
    model = compiled_alone(kernel, target, alignment, keep=False)
    inputs = [np.zeros(tensor.shape, tensor.dtype.numpy) for tensor in model.inputs]
    outputs = [np.zeros(tensor.shape, tensor.dtype.numpy) for tensor in model.outputs]
    clock = time.perf_counter if target.backend == "opencl" else time.thread_time
    model.execute(inputs, outputs)
    best, begin = float("inf"), time.perf_counter()
    for _ in range(runs):
        start = clock()
        model.execute(inputs, outputs)
        best = min(best, clock() - start)
        if time.perf_counter() - begin > budget:
            break
    return best


def single(kernel: Kernel, alignment: int, *, keep: bool = True, times: int = 1) -> Program:
    """A program that calls `kernel` once. Inputs: every parameter, by its name; outputs: those written, as NAME_after.

    keep: what is written begins as the input of the same name; otherwise it begins as whatever lies there, and has no input.
    times: how often to call it, for kernels that take less time than calling a program does: each time on data of its own, `stride`
    elements further on in every parameter, for in a model data that were just used in full do not wait in the nearest cache.
    """
    inputs, outputs, storages, copies, arguments = [], [], [], [], []
    calls: list[Step] = []
    arena = 0
    for parameter in kernel.parameters:
        buffer = parameter.buffer
        read, room = parameter.access == "read", buffer.size if times == 1 else times * stride(buffer, alignment)
        if read or keep:
            storages.append(Storage(f"in_{buffer.name}", "input", buffer.dtype, room, 0, (room,)))
            inputs.append(Tensor(buffer.name, buffer.dtype, (room,), f"in_{buffer.name}"))
        if buffer.space == "image":  # images lie over the arena
            storages.append(Storage(f"image_{buffer.name}", "arena", buffer.dtype, room, arena, (room,)))
            arena += -(-room * buffer.dtype.bytes // alignment) * alignment
            copies.append(_copy(f"copy_{buffer.name}", buffer))
            calls.append(Call(f"copy_{buffer.name}", (Argument(f"in_{buffer.name}"), Argument(f"image_{buffer.name}"))))
            arguments.append(Argument(f"image_{buffer.name}"))
            continue
        if read:
            arguments.append(Argument(f"in_{buffer.name}"))
            continue
        storages.append(Storage(f"out_{buffer.name}", "output", buffer.dtype, room, 0, (room,)))
        outputs.append(Tensor(f"{buffer.name}_after", buffer.dtype, (room,), f"out_{buffer.name}"))
        if keep:
            copies.append(_copy(f"copy_{buffer.name}", buffer))
            calls.append(Call(f"copy_{buffer.name}", (Argument(f"in_{buffer.name}"), Argument(f"out_{buffer.name}"))))
        arguments.append(Argument(f"out_{buffer.name}"))
    if times > 1:
        arguments = [replace(a, steps=(stride(p.buffer, alignment),)) for a, p in zip(arguments, kernel.parameters, strict=True)]
    once = Call(kernel.name, tuple(arguments), kernel.origins)
    calls.append(once if times == 1 else Repeat(times, (once,)))
    return Program(
        f"alone_{kernel.name}", tuple(inputs), tuple(outputs), (*copies, kernel), tuple(calls), tuple(storages),
        np.zeros(0, np.uint8), arena, alignment,
    )  # fmt: skip


def stride(buffer: Buffer, alignment: int) -> int:
    """Elements from one piece of data for a parameter to the next."""
    return -(-buffer.size * buffer.dtype.bytes // alignment) * alignment // buffer.dtype.bytes


def _copy(name: str, buffer: Buffer) -> Kernel:
    source, goal = Buffer("source", buffer.dtype, buffer.size), Buffer("goal", buffer.dtype, buffer.size)
    at = Var("i")
    body = For(at, buffer.size, Store(goal, at, Load(source, at)))
    return Kernel(name, (Parameter(source, "read"), Parameter(goal, "write")), body)
