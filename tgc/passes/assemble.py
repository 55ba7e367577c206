"""Assemble: regions become launches of kernels over planned memory. Equal kernels and equal weights are stored once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import from_numpy
from tgc.ir.expr import Expr
from tgc.ir.graph import Constant
from tgc.ir.kernel import Kernel
from tgc.ir.partition import Binding, Block, Fill, Loop, Lowered, Partition
from tgc.ir.program import Argument, Call, Program, Repeat, Step, Storage, Tensor, calls_of
from tgc.ir.rewrite import map_expressions
from tgc.ir.verify import verify_kernel
from tgc.passes.lower import lower
from tgc.passes.lower_fill import lower_fill
from tgc.passes.memory import Lifetime, aligned, plan_memory
from tgc.passes.placement import identifier
from tgc.passes.schedule.apply import Rearrangement, Scheduled, rearranged

ALIGNMENT = 64
Scheduler = Callable[[Kernel, frozenset[str]], Scheduled]


@dataclass(slots=True)
class _Weights:
    """The weights so far. `known` finds a constant that was stored before, by content and packing."""

    storages: list[Storage] = field(default_factory=list)
    chunks: list[tuple[int, npt.NDArray[np.uint8]]] = field(default_factory=list)
    known: dict[tuple[str, tuple[Rearrangement, ...]], str] = field(default_factory=dict)
    end: int = 0

    def add(self, constant: Constant, steps: tuple[Rearrangement, ...]) -> str:
        """The name of the storage that holds `constant` after `steps`."""
        key = (constant.digest, steps)
        if key not in self.known:
            data = rearranged(constant.data, steps)
            name = f"w{len(self.storages)}_{identifier(constant.name)}".rstrip("_")
            layout = "packed" if steps else "row-major"
            self.storages.append(Storage(name, "weight", from_numpy(data.dtype), data.size, self.end, constant.shape, layout))
            self.chunks.append((self.end, np.ascontiguousarray(data).view(np.uint8)))
            self.end = aligned(self.end + data.nbytes, ALIGNMENT)
            self.known[key] = name
        return self.known[key]

    def bytes(self) -> npt.NDArray[np.uint8]:
        whole = np.zeros(self.end, dtype=np.uint8)
        for start, chunk in self.chunks:
            whole[start : start + chunk.size] = chunk
        return whole


def assemble(partition: Partition, polish: Callable[[Expr], Expr], scheduler: Scheduler) -> Program:
    """The program of `partition`: each region lowered, its expressions polished, the loop nest scheduled, memory planned."""
    weights = _Weights()
    kernels: dict[tuple[object, ...], tuple[str, Scheduled]] = {}
    calls: list[tuple[tuple[Loop, ...], Call]] = []
    for step in partition.steps:
        if isinstance(step, Fill):
            lowered = lower_fill(step, partition)
        elif 0 in step.body.shape:
            continue
        else:
            lowered = lower(step, partition)
        plain = replace(lowered.kernel, body=map_expressions(lowered.kernel.body, polish))
        key = _key(plain, lowered.bindings)
        if key not in kernels:
            verify_kernel(plain)
            kernels[key] = (_name(len(kernels), plain), scheduler(plain, _constants(lowered)))
        name, scheduled = kernels[key]
        calls.append((step.loops, Call(name, _arguments(lowered, scheduled, weights, step.loops), plain.origins)))
    return _program(partition, [(name, scheduled.kernel) for name, scheduled in kernels.values()], _nested(calls, 0), weights)


def _nested(calls: Sequence[tuple[tuple[Loop, ...], Call]], depth: int) -> tuple[Step, ...]:
    """The calls, those of one loop around them as a Repeat; they are inside of `depth` loops already."""
    steps: list[Step] = []
    for loop, group in groupby(calls, key=lambda entry: entry[0][depth] if len(entry[0]) > depth else None):
        part = list(group)
        steps.extend([call for _, call in part] if loop is None else [Repeat(loop.count, _nested(part, depth + 1))])
    return tuple(steps)


def _key(kernel: Kernel, bindings: tuple[Binding, ...]) -> tuple[object, ...]:
    """Equal for kernels that compute the same from the same kinds of parameters."""
    return (*((p.buffer, p.access, b.constant is None) for p, b in zip(kernel.parameters, bindings, strict=True)), kernel.body)


def _name(number: int, kernel: Kernel) -> str:
    return f"k{number}_{identifier(kernel.origins[-1]) if kernel.origins else 'move'}".rstrip("_")


def _constants(lowered: Lowered) -> frozenset[str]:
    pairs = zip(lowered.kernel.parameters, lowered.bindings, strict=True)
    return frozenset(parameter.buffer.name for parameter, binding in pairs if binding.constant is not None)


def _arguments(lowered: Lowered, scheduled: Scheduled, weights: _Weights, loops: tuple[Loop, ...]) -> tuple[Argument, ...]:
    arguments: list[Argument] = []
    for parameter, binding in zip(scheduled.kernel.parameters, lowered.bindings, strict=True):
        if binding.constant is None:
            moves = dict(binding.moves)
            arguments.append(Argument(binding.block, binding.start, tuple(moves.get(loop, 0) for loop in loops)))
        else:
            arguments.append(Argument(weights.add(binding.constant, scheduled.packings.get(parameter.buffer.name, ()))))
    return tuple(arguments)


def _program(partition: Partition, kernels: list[tuple[str, Kernel]], steps: tuple[Step, ...], weights: _Weights) -> Program:
    used = {argument.storage for call in calls_of(steps) for argument in call.arguments}
    blocks = [block for block in partition.blocks.values() if block.role != "arena" or block.name in used]
    arena = [block for block in blocks if block.role == "arena"]
    offsets, arena_bytes = plan_memory(_lifetimes(arena, steps), ALIGNMENT)
    storages = [_storage(block, offsets.get(block.name, 0)) for block in blocks]
    by_role = {role: [block for block in blocks if block.role == role] for role in ("input", "output")}
    graph = partition.graph
    return Program(
        name=graph.name,
        inputs=tuple(Tensor(n.name, n.dtype, n.shape, b.name) for n, b in zip(graph.inputs, by_role["input"], strict=True)),
        outputs=tuple(Tensor(name, n.dtype, n.shape, b.name) for (name, n), b in zip(graph.outputs, by_role["output"], strict=True)),
        kernels=tuple(replace(kernel, name=name) for name, kernel in kernels),
        steps=steps,
        storages=(*storages, *weights.storages),
        weights=weights.bytes(),
        arena_bytes=arena_bytes,
        alignment=ALIGNMENT,
    )


def _lifetimes(blocks: list[Block], steps: tuple[Step, ...]) -> list[Lifetime]:
    """When each block is needed: what is used in a loop is needed until the loop ends."""
    moments: dict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for call in calls_of((step,)):
            for argument in call.arguments:
                moments[argument.storage].append(number)
    return [
        Lifetime(block.name, max(1, prod(block.shape)) * block.dtype.bytes, moments[block.name][0], moments[block.name][-1])
        for block in blocks
    ]


def _storage(block: Block, offset: int) -> Storage:
    identity = block.order == tuple(range(len(block.shape)))
    layout = "row-major" if identity else "axes " + " ".join(map(str, block.order))
    return Storage(block.name, block.role, block.dtype, prod(block.shape), offset, block.shape, layout)
