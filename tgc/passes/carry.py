"""Carry: at the end of an entry each state's next value, an output so far, is copied to where the next call reads the state.

The copy is last because until then the state is read. Where nothing reads it after its next value begins to be written, `settle` has that
written in place, and there is no copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tgc.ir.graph import Input
from tgc.ir.kernel import Kernel
from tgc.ir.partition import Partition, Place, Region
from tgc.ir.program import Argument, Call, Repeat, Step, calls_of


@dataclass(frozen=True, slots=True)
class Carried:
    """A state of one entry: the block of its next value, and the state's own."""

    following: str
    state: str


def carry(partition: Partition, states: Sequence[tuple[str, str]]) -> tuple[Partition, tuple[Carried, ...]]:
    """`partition` with a copy for each of the states that it computes, last, and what is copied where, in the order of the copies."""
    graph = partition.graph
    by_role = {role: [block for block in partition.blocks.values() if block.role == role] for role in ("input", "output")}
    inputs = {node.name: block for node, block in zip(graph.inputs, by_role["input"], strict=True)}
    outputs = {name: (node, block) for (name, node), block in zip(graph.outputs, by_role["output"], strict=True)}
    places, steps, found = dict(partition.places), list(partition.steps), []
    for output, given in states:
        if output not in outputs:
            continue
        node, block = outputs[output]
        still = (0,) * len(block.shape)
        there = Input(output, node.dtype, node.shape, node.origin)  # what lies in the block, whatever it was computed by
        places[there] = Place(block.name, still)
        steps.append(Region(there, Place(inputs[given].name, still)))
        found.append(Carried(block.name, inputs[given].name))
    return replace(partition, places=places, steps=tuple(steps)), tuple(found)


def settle(steps: tuple[Step, ...], carried: Sequence[Carried], kernels: Mapping[str, Kernel]) -> tuple[Step, ...]:
    """`steps`, which end with the copies of `carried`, with each copy that nothing needs left out: its value is written in place."""
    for pair in carried:
        copy = next(step for step in reversed(steps) if isinstance(step, Call) and _copies(step, pair, kernels))
        rest = tuple(step for step in steps if step is not copy)
        reads = [number for number, step in enumerate(rest) if _touches(step, pair.state, kernels, writes=False)]
        writes = [number for number, step in enumerate(rest) if _touches(step, pair.following, kernels, writes=True)]
        others = any(_touches(step, pair.state, kernels, writes=True) for step in rest)
        if writes and not others and max(reads, default=-1) < writes[0]:
            steps = tuple(_renamed(step, pair.following, pair.state) for step in rest)
    return steps


def _copies(step: Call, pair: Carried, kernels: Mapping[str, Kernel]) -> bool:
    return _touches(step, pair.state, kernels, writes=True) and _touches(step, pair.following, kernels, writes=False)


def _touches(step: Step, block: str, kernels: Mapping[str, Kernel], *, writes: bool) -> bool:
    """Whether any call of `step` reads, or writes, `block`."""
    return any(
        argument.storage == block and (parameter.access == "read") != writes
        for call in calls_of((step,))
        for parameter, argument in zip(kernels[call.kernel].parameters, call.arguments, strict=True)
    )


def _renamed(step: Step, old: str, new: str) -> Step:
    match step:
        case Call(arguments=arguments):
            return replace(step, arguments=tuple(Argument(new, a.start, a.steps) if a.storage == old else a for a in arguments))
        case Repeat(count, body):
            return Repeat(count, tuple(_renamed(part, old, new) for part in body))
