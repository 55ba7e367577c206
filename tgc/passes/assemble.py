"""Assemble: regions become launches of kernels over planned memory. Equal kernels and equal weights are stored once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import from_numpy
from tgc.ir.expr import Expr
from tgc.ir.graph import Constant, Graph, Node
from tgc.ir.interface import Interface
from tgc.ir.kernel import Kernel
from tgc.ir.partition import Binding, Block, Fill, Loop, Lowered, Partition
from tgc.ir.program import Argument, Call, EntryPoint, Program, Repeat, Role, Step, Storage, Tensor, calls_of
from tgc.ir.rewrite import map_expressions
from tgc.ir.verify import verify_kernel
from tgc.passes.carry import carry, settle
from tgc.passes.lower_alike import Lowerings
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


@dataclass(slots=True)
class _Kernels:
    """The kernels so far, by what they compute."""

    polish: Callable[[Expr], Expr]
    scheduler: Scheduler
    known: dict[tuple[object, ...], tuple[str, Scheduled]] = field(default_factory=dict)
    lowered: dict[tuple[object, ...], tuple[str, Scheduled]] = field(default_factory=dict)  # the same, as they are before being polished

    def of(self, lowered: Lowered) -> tuple[str, Scheduled, tuple[str, ...]]:
        """The kernel's name, the kernel, and the ONNX nodes that this use of it computes."""
        raw = _key(lowered.kernel, lowered.bindings)
        if raw not in self.lowered:
            self.lowered[raw] = self._polished(lowered)
        return (*self.lowered[raw], lowered.kernel.origins)

    def _polished(self, lowered: Lowered) -> tuple[str, Scheduled]:
        plain = replace(lowered.kernel, body=map_expressions(lowered.kernel.body, self.polish))
        key = _key(plain, lowered.bindings)
        if key not in self.known:
            verify_kernel(plain)
            self.known[key] = (_name(len(self.known), plain), self.scheduler(plain, _constants(lowered)))
        return self.known[key]

    def named(self) -> dict[str, Kernel]:
        return {name: replace(scheduled.kernel, name=name) for name, scheduled in self.known.values()}


def assemble(
    partitions: Sequence[tuple[str, Partition]], graph: Graph, interface: Interface, polish: Callable[[Expr], Expr], scheduler: Scheduler
) -> Program:
    """The program whose entry points compute `partitions`, parts of `graph`.

    Each region is lowered, its expressions polished, the loop nest scheduled. Entry points have kernels, weights, states and the arena in
    common; what else is in the arena each of them plans for itself.
    """
    weights, kernels = _Weights(), _Kernels(polish, scheduler)
    names = _names(graph, interface)
    states, state_bytes = _states(graph, interface, names)
    storages = {storage.name: storage for storage in (*_edges(graph, names), *states)}
    points: list[EntryPoint] = []
    arena_bytes = state_bytes
    for entry, partition in partitions:
        whole, carried = carry(partition, interface.states)
        steps = settle(_nested(_calls(whole, kernels, weights), 0), carried, kernels.named())
        blocks = _blocks(whole, steps, names, f"{entry}_" if len(partitions) > 1 else "")
        arena = [block for block, name in blocks if name not in storages]
        offsets, end = plan_memory(_lifetimes(arena, steps), ALIGNMENT)
        storages |= {name: _storage(block, name, state_bytes + offsets[block.name]) for block, name in blocks if name not in storages}
        arena_bytes = max(arena_bytes, state_bytes + end)
        points.append(_entry_point(entry, _renamed(steps, {block.name: name for block, name in blocks}), partition, names))
    return _program(graph, interface, names, (points, kernels, weights), tuple(storages.values()), (arena_bytes, state_bytes))


def as_declared(program: Program, graph: Graph) -> Program:
    """`program` with inputs, outputs and states of the types and shapes that `graph` has, of which theirs are the stored form."""
    inputs, outputs = {node.name: node for node in graph.inputs}, dict(graph.outputs)

    def declared(tensors: tuple[Tensor, ...], nodes: Mapping[str, Node]) -> tuple[Tensor, ...]:
        return tuple(_tensor(tensor.name, nodes[tensor.name], tensor.storage) for tensor in tensors)

    states = declared(program.states, inputs)
    return replace(program, inputs=declared(program.inputs, inputs), outputs=declared(program.outputs, outputs), states=states)


def _calls(partition: Partition, kernels: _Kernels, weights: _Weights) -> list[tuple[tuple[Loop, ...], Call]]:
    calls: list[tuple[tuple[Loop, ...], Call]] = []
    regions = Lowerings()
    for step in partition.steps:
        if isinstance(step, Fill):
            lowered = lower_fill(step, partition)
        elif 0 in step.body.shape:
            continue
        else:
            lowered = regions.of(step, partition)
        name, scheduled, origins = kernels.of(lowered)
        halo = isinstance(step, Fill) and step.pad.value.value == 0
        calls.append((step.loops, Call(name, _arguments(lowered, scheduled, weights, step.loops), origins, halo)))
    return calls


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


@dataclass(frozen=True, slots=True)
class _Names:
    """The storages of the graph's edges: inputs by name, outputs by name, each with its position among those that are the caller's."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    input_positions: dict[str, int]
    output_positions: dict[str, int]


def _names(graph: Graph, interface: Interface) -> _Names:
    kept = {given: f"state_{number}_{identifier(given)}" for number, (_, given) in enumerate(interface.states)}
    inputs = {node.name: kept.get(node.name, f"in_{n}_{identifier(node.name)}") for n, node in enumerate(graph.inputs)}
    hidden = {output for output, _ in interface.states}
    outputs = {name: f"out_{n}_{identifier(name)}" for n, (name, _) in enumerate(graph.outputs)}
    callers = [name for name in inputs if name not in kept], [name for name in outputs if name not in hidden]
    return _Names(inputs, outputs, *({name: position for position, name in enumerate(names)} for names in callers))


def _edges(graph: Graph, names: _Names) -> list[Storage]:
    """The storages of what the caller binds."""
    made = [_edge(names.outputs[name], "output", node) for name, node in graph.outputs if name in names.output_positions]
    return made + [_edge(names.inputs[node.name], "input", node) for node in graph.inputs if node.name in names.input_positions]


def _edge(name: str, role: Role, node: Node, offset: int = 0) -> Storage:
    return Storage(name, role, node.dtype, prod(node.shape), offset, node.shape)


def _states(graph: Graph, interface: Interface, names: _Names) -> tuple[list[Storage], int]:
    """The storages of the states, at the beginning of the arena, and where they end."""
    inputs = {node.name: node for node in graph.inputs}
    found: list[Storage] = []
    end = 0
    for _, given in interface.states:
        found.append(_edge(names.inputs[given], "arena", inputs[given], end))
        end = aligned(end + max(1, found[-1].bytes), ALIGNMENT)
    return found, end


def _blocks(partition: Partition, steps: tuple[Step, ...], names: _Names, prefix: str) -> list[tuple[Block, str]]:
    """The blocks that the steps use, and the caller's, each with the name of its storage in the program."""
    used = {argument.storage for call in calls_of(steps) for argument in call.arguments}
    edges = {role: iter([b for b in partition.blocks.values() if b.role == role]) for role in ("input", "output")}
    known = {next(edges["input"]).name: names.inputs[node.name] for node in partition.graph.inputs}
    outputs = {next(edges["output"]).name: name for name, _ in partition.graph.outputs}
    known |= {block: names.outputs[name] for block, name in outputs.items() if name in names.output_positions}
    return [(b, known.get(b.name, prefix + b.name)) for b in partition.blocks.values() if b.name in used]


def _renamed(steps: tuple[Step, ...], names: Mapping[str, str]) -> tuple[Step, ...]:
    """`steps` with the storages that `names` lists called so."""
    return tuple(_renamed_step(step, names) for step in steps)


def _renamed_step(step: Step, names: Mapping[str, str]) -> Step:
    if isinstance(step, Repeat):
        return Repeat(step.count, _renamed(step.body, names))
    return replace(step, arguments=tuple(replace(a, storage=names.get(a.storage, a.storage)) for a in step.arguments))


def _entry_point(name: str, steps: tuple[Step, ...], partition: Partition, names: _Names) -> EntryPoint:
    used = {argument.storage for call in calls_of(steps) for argument in call.arguments}
    inputs = tuple(position for given, position in names.input_positions.items() if names.inputs[given] in used)
    outputs = tuple(names.output_positions[output] for output, _ in partition.graph.outputs if output in names.output_positions)
    return EntryPoint(name, steps, inputs, outputs)


def _program(
    graph: Graph, interface: Interface, names: _Names, made: tuple[list[EntryPoint], _Kernels, _Weights], storages: tuple[Storage, ...],
    ends: tuple[int, int],
) -> Program:  # fmt: skip
    points, kernels, weights = made
    inputs, outputs = {node.name: node for node in graph.inputs}, dict(graph.outputs)
    return Program(
        name=graph.name,
        inputs=tuple(_tensor(name, inputs[name], names.inputs[name]) for name in names.input_positions),
        outputs=tuple(_tensor(name, outputs[name], names.outputs[name]) for name in names.output_positions),
        kernels=tuple(kernels.named().values()),
        steps=points[0].steps,
        storages=(*storages, *weights.storages),
        weights=weights.bytes(),
        arena_bytes=ends[0],
        alignment=ALIGNMENT,
        states=tuple(_tensor(given, inputs[given], names.inputs[given]) for _, given in interface.states),
        entries=tuple(points) if interface.entries else (),
        state_bytes=ends[1],
        open=graph.open,
    )


def _tensor(name: str, node: Node, storage: str) -> Tensor:
    return Tensor(name, node.dtype, node.shape, storage)


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


def _storage(block: Block, name: str, offset: int) -> Storage:
    identity = block.order == tuple(range(len(block.shape)))
    layout = "row-major" if identity else "axes " + " ".join(map(str, block.order))
    return Storage(name, "arena", block.dtype, prod(block.shape), offset, block.shape, layout)
