"""Lower, once for all regions that are alike: a network repeats its blocks, and making a loop nest takes longer than seeing that.

Two regions are alike where their nodes, numbered in the order in which they are found, are the same maps, reductions and views of
tensors that lie in memory the same way. Then the kernel is the same, and its parameters are the tensors of the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tgc.ir.graph import (
    Constant,
    Expand,
    Gather,
    Input,
    Map,
    Node,
    Permute,
    Reduce,
    Reshape,
    Scatter,
    Slice,
    Window,
    postorder,
    sources,
)
from tgc.ir.partition import Binding, Lowered, Partition, Region, binding
from tgc.passes.lower import lower_traced, origins_of

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A kernel that was made; by number, the nodes that its parameters (None: the result) and its computation stand for."""

    lowered: Lowered
    held: tuple[int | None, ...]
    computed: tuple[int, ...]


@dataclass(slots=True)
class Lowerings:
    """The regions lowered so far, by what they are."""

    known: dict[Key, _Known] = field(default_factory=dict)

    def of(self, region: Region, partition: Partition) -> Lowered:
        """The loop nest of `region`."""
        key, nodes = described(region, partition)
        found = self.known.get(key)
        if found is not None:
            return _again(found, region, partition, nodes)
        traced = lower_traced(region, partition)
        numbers = {node: number for number, node in enumerate(nodes)}
        held = tuple(None if node is None else numbers[node] for node in traced.held)
        self.known[key] = _Known(traced.lowered, held, tuple(numbers[node] for node in traced.computed))
        return traced.lowered


def _again(known: _Known, region: Region, partition: Partition, nodes: list[Node]) -> Lowered:
    """The kernel of `known` for `region`, whose nodes are `nodes`."""

    def bound(number: int | None) -> Binding:
        node = None if number is None else nodes[number]
        if isinstance(node, Constant):
            return Binding(constant=node)
        place = region.place if node is None else partition.places[node]
        return binding(partition.blocks[place.block], place)

    origins = origins_of(nodes[number] for number in known.computed)
    return Lowered(replace(known.lowered.kernel, origins=origins), tuple(map(bound, known.held)))


def described(region: Region, partition: Partition) -> tuple[Key, list[Node]]:
    """What `region` is, equal for regions that are alike, and its nodes in the order in which the description counts them."""
    body = region.body
    computed = partition.places.get(body) in (None, region.place)

    def stored(node: Node) -> bool:
        return isinstance(node, Input) or (node in partition.places and not (node is body and computed))

    nodes = list(postorder((body,), reads=lambda node: () if stored(node) else sources(node)))
    numbers = {node: number for number, node in enumerate(nodes)}
    tensors: dict[object, int] = {}
    lines: list[Key] = []
    for node in nodes:
        if stored(node):
            lines.append(_stored(node, partition, tensors))
        elif isinstance(node, Constant):
            lines.append(_constant(node, tensors))
        else:
            lines.append((*_head(node), *[numbers[source] for source in sources(node)]))
    block = partition.blocks[region.place.block]
    heavy = None if region.contraction is None else numbers[region.contraction]
    return (computed, heavy, block.strides(), block.order, body.shape, *lines), nodes


def _stored(node: Node, partition: Partition, tensors: dict[object, int]) -> Key:
    """A tensor in memory: which of those that the region reads, and how it lies there."""
    place = partition.places[node]
    block = partition.blocks[place.block]
    number = tensors.setdefault((place.block, place.low, place.moves), len(tensors))
    return ("stored", number, node.dtype.name, node.shape, block.strides(), block.order)


def _constant(node: Constant, tensors: dict[object, int]) -> Key:
    """A constant: which one, and its values where the loop nest may depend on them, as a literal or as coordinates."""
    number = tensors.setdefault(node.digest, len(tensors))
    return ("constant", number, node.dtype.name, node.shape, node.digest if node.data.size == 1 or not node.dtype.is_float else "")


def _head(node: Node) -> Key:
    """All of a computed node but its sources."""
    match node:
        case Map(expr, _, shape):
            return ("map", expr, shape)
        case Reduce(op, _, axes):
            return ("reduce", op.name, axes)
        case Reshape(_, shape):
            return ("reshape", shape)
        case Expand(_, shape):
            return ("expand", shape)
        case Permute(_, order):
            return ("permute", order)
        case Slice(_, starts, steps, shape):
            return ("slice", starts, steps, shape)
        case Window(_, axis, size, stride, dilation):
            return ("window", axis, size, stride, dilation)
        case Gather(_, _, shape):
            return ("gather", shape)
        case Scatter(op=op):
            return ("scatter", None if op is None else op.name)
        case _:
            raise AssertionError(f"{type(node).__name__} has a place and is never computed")
