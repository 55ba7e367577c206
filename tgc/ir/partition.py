"""What lies between graph and kernels: which nodes are written to memory, where, and which computation writes each.

A block is one piece of memory. A region is one kernel to be: it evaluates `body` at every index and stores the result in
`place`. Whatever its body reaches that has a place of its own, or is an input or a constant, is loaded; the rest is computed
on the spot. A fill writes the halo of a padded block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tgc.ir.dtypes import DType
from tgc.ir.graph import Constant, Graph, Node, Pad, Reduce, Shape
from tgc.ir.kernel import Kernel
from tgc.ir.program import Role


@dataclass(frozen=True, eq=False)
class Block:
    """Memory for a tensor of `shape`. `order` lists its axes from the slowest to the fastest; strides are dense."""

    name: str
    dtype: DType
    shape: Shape
    role: Role
    order: tuple[int, ...]

    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each axis."""
        strides = [0] * len(self.shape)
        step = 1
        for axis in reversed(self.order):
            strides[axis] = step
            step *= self.shape[axis]
        return tuple(strides)


@dataclass(frozen=True, slots=True)
class Loop:
    """`count` iterations of steps that stand next to each other."""

    name: str
    count: int


@dataclass(frozen=True, eq=False)
class Place:
    """A box in a block: `low` is the box's first element, its extent is that of the tensor which lives there.

    moves: by how many rows along axis 0 the box moves on with each iteration of a loop around it.
    """

    block: str
    low: tuple[int, ...]
    moves: tuple[tuple[Loop, int], ...] = ()

    def inside(self, offset: tuple[int, ...]) -> Place:
        """The box that starts `offset` further on."""
        return Place(self.block, tuple(a + b for a, b in zip(self.low, offset, strict=True)), self.moves)

    def moving(self, loop: Loop, rows: int) -> Place:
        """The box that also moves on by `rows` with each iteration of `loop`."""
        return Place(self.block, self.low, (*self.moves, (loop, rows)))


@dataclass(frozen=True, eq=False)
class Region:
    """One kernel to be: `body` evaluated over its shape, stored in `place`.

    contraction: the sum of products that the region computes, if any; between it and `body` are maps, reshapes, permutes, and gathers at
    coordinates that follow from it.
    ahead: the short sum, if any, that is computed where the contraction reads what follows it.
    loops: the loops in every iteration of which this is done, outermost first.
    """

    body: Node
    place: Place
    contraction: Reduce | None = None
    loops: tuple[Loop, ...] = ()
    ahead: Reduce | None = None


@dataclass(frozen=True, eq=False)
class Fill:
    """The halo of `pad`, whose whole box is `place`."""

    pad: Pad
    place: Place
    loops: tuple[Loop, ...] = ()


Step = Region | Fill


@dataclass(frozen=True, slots=True)
class Partition:
    """Steps in order, those of a loop together. `places` holds every node that is in memory, constants left out; `blocks` goes by name."""

    graph: Graph
    steps: tuple[Step, ...]
    places: Mapping[Node, Place]
    blocks: Mapping[str, Block] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a launch passes for one parameter: a block from element `start` on, or a constant.

    moves: by how many elements the start moves on with each iteration of a loop.
    """

    block: str = ""
    start: int = 0
    constant: Constant | None = None
    moves: tuple[tuple[Loop, int], ...] = ()


def binding(block: Block, place: Place) -> Binding:
    """What is passed for the box `place` in `block`."""
    strides = block.strides()
    start = sum(low * stride for low, stride in zip(place.low, strides, strict=True))
    return Binding(block.name, start, None, tuple((loop, rows * strides[0]) for loop, rows in place.moves))


@dataclass(frozen=True, slots=True)
class Lowered:
    """A kernel with canonical names (equal computations are equal kernels) and what to pass for its parameters."""

    kernel: Kernel
    bindings: tuple[Binding, ...]
