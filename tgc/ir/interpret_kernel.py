"""The meaning of a loop-nest kernel, executed a statement at a time. For small kernels: tests of passes and of backends.

Every loop runs its iterations in order, whatever its kind, but for `lane` loops: their iterations are work-items, which go
on to each Barrier before any of them passes it. Barriers may stand in loops and conditions, as long as every work-item of
the group arrives at the same number of them. A register buffer made inside the lane loops belongs to one work-item,
a local buffer to all of the group. An access outside a buffer, and a read of what nothing has written, raise InvalidIrError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from tgc.errors import InvalidIrError
from tgc.ir.expr import Buffer, Expr
from tgc.ir.interpret_expression import Array, Frame, Memory, Place, Value, compile_expression, memory
from tgc.ir.kernel import LANE_KINDS, Alloc, Barrier, Block, For, If, Kernel, Statement, Store

Steps = Iterator[Barrier]
"""Executes; yields wherever the work-item waits at a barrier."""


def run_kernel(kernel: Kernel, buffers: Mapping[str, Array]) -> None:
    """Runs `kernel` in place on `buffers`: for each parameter, by name, a flat array of its dtype and at least its size.

    Raises ValueError where an array does not fit its parameter and InvalidIrError where the kernel does what it must not.
    """
    frame = Frame()
    for parameter in kernel.parameters:
        frame.buffers[parameter.buffer.name] = _bound(parameter.buffer, buffers)
    with np.errstate(all="ignore"):
        for _ in _Machine().steps(kernel.body, frame):
            pass


def _bound(buffer: Buffer, buffers: Mapping[str, Array]) -> Memory:
    if buffer.name not in buffers:
        raise ValueError(f"buffer {buffer.name} is missing")
    data = buffers[buffer.name]
    if data.ndim != 1 or data.size < buffer.size or data.dtype != np.dtype(buffer.dtype.numpy):
        raise ValueError(f"buffer {buffer.name} is {data.dtype}{list(data.shape)}, not {buffer.dtype}[{buffer.size}]")
    return Memory(buffer, data, None)


@dataclass(frozen=True, slots=True)
class _Machine:
    """Executes statements; remembers the compiled form of each expression."""

    compiled: dict[Expr, Callable[[Frame], Value]] = field(default_factory=dict)

    def value(self, expr: Expr, frame: Frame) -> Value:
        if expr not in self.compiled:
            self.compiled[expr] = compile_expression(expr)
        return self.compiled[expr](frame)

    def steps(self, statement: Statement, frame: Frame) -> Steps:
        match statement:
            case Store(buffer, index, value):
                memory(buffer.name, frame).store(cast(Place, self.value(index, frame)), self.value(value, frame))
            case Block(body):
                for part in body:
                    yield from self.steps(part, frame)
            case For(kind=kind) if kind in LANE_KINDS:
                yield from self.group(statement, frame)
            case For(var, extent, body):
                for at in range(extent):
                    frame.variables[var.name] = at
                    yield from self.steps(body, frame)
                frame.variables.pop(var.name, None)
            case If(condition, body):
                if self.value(condition, frame):
                    yield from self.steps(body, frame)
            case Alloc(buffer):
                _allocate(buffer, frame)
            case Barrier():
                yield statement

    def group(self, loop: For, frame: Frame) -> Steps:
        """The iterations of a lane loop as work-items in step, from barrier to barrier."""
        group = {} if frame.group is None else frame.group
        running: list[Steps] = []
        for at in range(loop.extent):
            item = frame.work_item(group)
            item.variables[loop.var.name] = at
            running.append(self.steps(loop.body, item))
        while running:
            waiting = [item for item in running if next(item, None) is not None]
            if waiting and len(waiting) != len(running):
                raise InvalidIrError(f"a barrier that {len(waiting)} of {len(running)} work-items along {loop.var.name} reach")
            running = waiting
            if waiting:
                yield Barrier()


def _allocate(buffer: Buffer, frame: Frame) -> None:
    shared = buffer.space == "local" and frame.group is not None
    home = frame.group if shared and frame.group is not None else frame.buffers
    if not (shared and buffer.name in home):
        home[buffer.name] = Memory(buffer, np.zeros(buffer.size, buffer.dtype.numpy), np.zeros(buffer.size, np.bool_))
