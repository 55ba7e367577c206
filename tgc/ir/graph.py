"""The graph: a model as maps, reductions and views over immutable tensors.

Nodes are immutable and compared by identity; `GraphBuilder` interns them, so equal computations are one node. Every node
has a type (`dtype` and `shape`, kept once computed, for graphs are deep) and `origin`, the ONNX node that it came from ("" for
what the compiler made).
A view is a rule `output index -> input index (+ guard)`; `tgc.ir.views` holds those rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import DType, from_numpy
from tgc.ir.expr import Expr, Lit
from tgc.ir.indexed import Gather as Gather
from tgc.ir.indexed import Scatter as Scatter
from tgc.ir.open_shapes import OpenShapes
from tgc.ir.ops import Op

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Input:
    """A tensor that the caller passes at run time."""

    name: str
    dtype: DType
    shape: Shape
    origin: str = ""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known at compile time: a C-contiguous, read-only array."""

    data: npt.NDArray[np.generic]
    name: str = ""
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return from_numpy(self.data.dtype)

    @cached_property
    def shape(self) -> Shape:
        return tuple(self.data.shape)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of type, shape and bytes, in hexadecimal."""
        digest = hashlib.sha256(f"{self.dtype.name}{list(self.shape)}".encode())
        digest.update(self.data.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Map:
    """`out[i] = expr` with `Arg(k)` read as `sources[k][i]` and `Coordinate(d)` as `i[d]`. All sources have the output's shape."""

    expr: Expr
    sources: tuple[Node, ...]
    shape: Shape
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.expr.dtype


@dataclass(frozen=True, eq=False)
class Reduce:
    """ADD, MUL or MAX over `axes` (sorted, not negative), which stay with extent 1. An empty extent gives the identity."""

    op: Op
    source: Node
    axes: tuple[int, ...]
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype

    @cached_property
    def shape(self) -> Shape:
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.source.shape))


@dataclass(frozen=True, eq=False)
class Reshape:
    """The same elements in row-major order under another shape."""

    source: Node
    shape: Shape
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype


@dataclass(frozen=True, eq=False)
class Permute:
    """`out[i] = source[j]` with j[order[d]] = i[d]: output axis d is source axis order[d]."""

    source: Node
    order: tuple[int, ...]
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype

    @cached_property
    def shape(self) -> Shape:
        return tuple(self.source.shape[axis] for axis in self.order)


@dataclass(frozen=True, eq=False)
class Expand:
    """Axes of extent 1 repeated to `shape`, which has the same rank."""

    source: Node
    shape: Shape
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype


@dataclass(frozen=True, eq=False)
class Slice:
    """`out[i] = source[starts + i * steps]` of extent `shape`; steps may be negative, never 0, and every index is in range."""

    source: Node
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    shape: Shape
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype


@dataclass(frozen=True, eq=False)
class Pad:
    """`low[d]` elements of `value` before and `high[d]` after, along every axis d; none negative."""

    source: Node
    low: tuple[int, ...]
    high: tuple[int, ...]
    value: Lit
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype

    @cached_property
    def shape(self) -> Shape:
        return tuple(a + size + b for a, size, b in zip(self.low, self.source.shape, self.high, strict=True))


@dataclass(frozen=True, eq=False)
class Window:
    """Sliding windows along `axis`: a new last axis of extent `size`, out[.., o, .., k] = source[.., o*stride + k*dilation, ..]."""

    source: Node
    axis: int
    size: int
    stride: int
    dilation: int
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype

    @cached_property
    def shape(self) -> Shape:
        reach = (self.size - 1) * self.dilation + 1
        count = (self.source.shape[self.axis] - reach) // self.stride + 1
        return (*self.source.shape[: self.axis], count, *self.source.shape[self.axis + 1 :], self.size)


@dataclass(frozen=True, eq=False)
class Concat:
    """The sources one after the other along `axis`."""

    sources: tuple[Node, ...]
    axis: int
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.sources[0].dtype

    @cached_property
    def shape(self) -> Shape:
        first = self.sources[0].shape
        return (*first[: self.axis], sum(s.shape[self.axis] for s in self.sources), *first[self.axis + 1 :])


@dataclass(frozen=True, eq=False)
class Bound:
    """What a scan binds anew in each iteration: a state or an element. `number` tells the graph's bound tensors apart."""

    number: int
    dtype: DType
    shape: Shape
    origin: str = ""


@dataclass(frozen=True)
class Scan:
    """A loop of `length` iterations that carries `states` from one to the next.

    states begin as `initial` and become `following` after each iteration. elements are the slabs of `scanned` along axis 0, one an
    iteration; `yields` are put together along axis 0. reverse: slabs are read, and put, from the last to the first. A slab's extent
    along axis 0 is any number, so none of these is of rank 0. What `following` and `yields` depend on is ordinary nodes: those
    that a bound tensor reaches are computed in every iteration, the rest once.
    """

    states: tuple[Bound, ...]
    elements: tuple[Bound, ...]
    initial: tuple[Node, ...]
    scanned: tuple[Node, ...]
    following: tuple[Node, ...]
    yields: tuple[Node, ...]
    length: int
    reverse: bool = False

    @cached_property
    def bound(self) -> tuple[Bound, ...]:
        return (*self.states, *self.elements)

    @property
    def counts(self) -> tuple[int, int, int]:
        """The numbers of states, elements and slabs."""
        return len(self.states), len(self.elements), len(self.yields)

    @cached_property
    def captured(self) -> tuple[Node, ...]:
        """The nodes outside of the loop that the body reads, each once."""
        roots = (*self.following, *self.yields)
        inside: set[Node] = set(self.bound)
        found: dict[Node, None] = {}
        for node in postorder(roots, reads=free_sources):
            if any(source in inside for source in free_sources(node)):
                inside.add(node)
                found.update((source, None) for source in free_sources(node) if source not in inside)
        found.update((root, None) for root in roots if root not in inside)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class ScanResult:
    """A result of `scan`: the last values of its states, then what it put together, by `position`."""

    scan: Scan
    position: int
    origin: str = ""

    @property
    def is_state(self) -> bool:
        return self.position < len(self.scan.states)

    @cached_property
    def element(self) -> Node:
        """What one iteration contributes: the state's next value or the slab."""
        return (*self.scan.following, *self.scan.yields)[self.position]

    @cached_property
    def dtype(self) -> DType:
        return self.element.dtype

    @cached_property
    def shape(self) -> Shape:
        slab = self.element.shape
        return slab if self.is_state else (slab[0] * self.scan.length, *slab[1:])


View = Reshape | Permute | Expand | Slice | Pad | Window
Node = Input | Constant | Map | Reduce | View | Gather | Concat | Scatter | Bound | ScanResult


def sources(node: Node) -> tuple[Node, ...]:
    """The tensors that `node` reads; of a scan all of its parts, so that walks and rewrites go through its body like through the rest."""
    match node:
        case Input() | Constant() | Bound():
            return ()
        case ScanResult(scan):
            return (*scan.bound, *scan.initial, *scan.scanned, *scan.following, *scan.yields)
        case Map(sources=parents) | Concat(sources=parents):
            return parents
        case Gather(source=source, coordinates=coordinates):
            return (source, *coordinates)
        case Scatter(source=source, coordinates=coordinates, updates=updates):
            return (source, *coordinates, updates)
        case Reduce() | Reshape() | Permute() | Expand() | Slice() | Pad() | Window():
            return (node.source,)


def free_sources(node: Node) -> tuple[Node, ...]:
    """The tensors whose values `node` follows from: of a scan, those outside of its loop."""
    if isinstance(node, ScanResult):
        return (*node.scan.initial, *node.scan.scanned, *node.scan.captured)
    return sources(node)


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: what the caller passes, in order, and the named results, in order.

    An input that nothing reads is still listed. open: what of the shapes is only known at run time; extents are the largest then.
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, Node], ...]
    open: OpenShapes | None = None

    def nodes(self) -> list[Node]:
        """Every node once, sources before users; a fixed order for a given graph."""
        return list(postorder(tuple(node for _, node in self.outputs), self.inputs))


def make_scan(srcs: tuple[Node, ...], counts: tuple[int, int, int], length: int, reverse: bool) -> Scan:
    """The scan whose results have `srcs` as their sources, given the numbers of states, elements and slabs.

    Raises TypeError where these do not fit, or what should be bound is no bound tensor.
    """
    states, elements, slabs = counts
    ends = [sum((states, elements, states, elements, states, slabs)[:part]) for part in range(7)]
    parts = [srcs[start:end] for start, end in pairwise(ends)]
    bound = tuple(node for node in srcs[: ends[2]] if isinstance(node, Bound))
    if len(bound) != ends[2] or len(srcs) != ends[6]:
        raise TypeError(f"{len(srcs)} sources, {len(bound)} of them bound, for a scan of {counts}")
    return Scan(bound[:states], bound[states:], parts[2], parts[3], parts[4], parts[5], length, reverse)


Reads = Callable[[Node], tuple[Node, ...]]


def postorder(roots: tuple[Node, ...], first: tuple[Node, ...] = (), reads: Reads = sources) -> Iterator[Node]:
    """Every node that `roots` depend on, sources before users, `first` before all; without recursion, for deep graphs."""
    done: set[int] = set()
    for root in (*first, *roots):
        stack: list[tuple[Node, bool]] = [(root, False)]
        while stack:
            node, expanded = stack.pop()
            if id(node) in done:
                continue
            if expanded:
                done.add(id(node))
                yield node
                continue
            stack.append((node, True))
            stack.extend((source, False) for source in reversed(reads(node)) if id(source) not in done)
