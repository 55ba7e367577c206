"""The graph: a model as maps, reductions and views over immutable tensors.

Nodes are immutable and compared by identity; `GraphBuilder` interns them, so equal computations are one node. Every node
has a type (`dtype` and `shape`, kept once computed, for graphs are deep) and `origin`, the ONNX node that it came from ("" for
what the compiler made).
A view is a rule `output index -> input index (+ guard)`; `tgc.ir.views` holds those rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import DType, from_numpy
from tgc.ir.expr import Expr, Lit
from tgc.ir.indexed import Gather as Gather
from tgc.ir.indexed import Scatter as Scatter
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
        header = f"{self.dtype.name}{list(self.shape)}".encode()
        return hashlib.sha256(header + self.data.tobytes()).hexdigest()


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


View = Reshape | Permute | Expand | Slice | Pad | Window
Node = Input | Constant | Map | Reduce | View | Gather | Concat | Scatter


def sources(node: Node) -> tuple[Node, ...]:
    """The tensors that `node` reads."""
    match node:
        case Input() | Constant():
            return ()
        case Map(sources=parents) | Concat(sources=parents):
            return parents
        case Gather(source=source, coordinates=coordinates):
            return (source, *coordinates)
        case Scatter(source=source, coordinates=coordinates, updates=updates):
            return (source, *coordinates, updates)
        case Reduce() | Reshape() | Permute() | Expand() | Slice() | Pad() | Window():
            return (node.source,)


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: what the caller passes, in order, and the named results, in order.

    An input that nothing reads is still listed. Symbolic dimensions are already pinned.
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, Node], ...]

    def nodes(self) -> list[Node]:
        """Every node once, sources before users; a fixed order for a given graph."""
        return list(postorder(tuple(node for _, node in self.outputs), self.inputs))


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


@dataclass(slots=True)
class GraphBuilder:
    """Makes nodes: checks types and shapes, interns, and leaves out views that change nothing.

    `origin` is stamped on each node made; set it before lowering an ONNX node. Faulty arguments raise ValueError or TypeError.
    """

    origin: str = ""
    _interned: dict[tuple[object, ...], Node] = field(default_factory=dict)

    def _intern(self, key: tuple[object, ...], node: Node) -> Node:
        return self._interned.setdefault(key, node)

    def input(self, name: str, dtype: DType, shape: Shape) -> Input:
        node = self._intern(("input", name), Input(name, dtype, shape, self.origin))
        assert isinstance(node, Input)
        return node

    def constant(self, data: npt.ArrayLike, name: str = "") -> Constant:
        """A constant with a private, read-only copy of `data`."""
        array = np.array(data, order="C", copy=True)
        array.flags.writeable = False
        made = Constant(array, name, self.origin)
        node = self._intern(("constant", made.digest), made)
        assert isinstance(node, Constant)
        return node

    def keep(self, node: Constant) -> Node:
        """`node`, or the constant with the same data that was made before; nothing is copied."""
        return self._intern(("constant", node.digest), node)

    def map(self, expr: Expr, *srcs: Node, shape: Shape | None = None) -> Node:
        """A map of `expr` over `srcs`; `shape` is needed only where there is no source."""
        if not srcs and shape is None:
            raise ValueError("a map without sources needs a shape")
        out = srcs[0].shape if shape is None else shape
        if any(source.shape != out for source in srcs):
            raise ValueError(f"map over shapes {[s.shape for s in srcs]}")
        return self._intern(("map", expr, tuple(map(id, srcs)), out), Map(expr, srcs, out, self.origin))

    def reduce(self, op: Op, source: Node, axes: tuple[int, ...]) -> Node:
        kept = tuple(sorted(set(axes)))
        if any(not 0 <= axis < len(source.shape) for axis in kept):
            raise ValueError(f"reduce over axes {axes} of shape {source.shape}")
        if all(source.shape[axis] == 1 for axis in kept):
            return source
        return self._intern(("reduce", op.name, id(source), kept), Reduce(op, source, kept, self.origin))

    def reshape(self, source: Node, shape: Shape) -> Node:
        if int(np.prod(shape, dtype=object)) != int(np.prod(source.shape, dtype=object)):
            raise ValueError(f"reshape of {source.shape} to {shape}")
        if shape == source.shape:
            return source
        base = source.source if isinstance(source, Reshape) else source
        if shape == base.shape:
            return base
        return self._intern(("reshape", id(base), shape), Reshape(base, shape, self.origin))

    def permute(self, source: Node, order: tuple[int, ...]) -> Node:
        if sorted(order) != list(range(len(source.shape))):
            raise ValueError(f"permute {order} of shape {source.shape}")
        if order == tuple(range(len(order))):
            return source
        return self._intern(("permute", id(source), order), Permute(source, order, self.origin))

    def expand(self, source: Node, shape: Shape) -> Node:
        if len(shape) != len(source.shape) or any(a not in (1, b) for a, b in zip(source.shape, shape, strict=True)):
            raise ValueError(f"expand of {source.shape} to {shape}")
        if shape == source.shape:
            return source
        return self._intern(("expand", id(source), shape), Expand(source, shape, self.origin))

    def slice(self, source: Node, starts: tuple[int, ...], steps: tuple[int, ...], shape: Shape) -> Node:
        for start, step, extent, size in zip(starts, steps, shape, source.shape, strict=True):
            last = start + step * (extent - 1)
            if step == 0 or (extent > 0 and not (0 <= start < size and 0 <= last < size)):
                raise ValueError(f"slice {starts} {steps} {shape} of {source.shape}")
        if shape == source.shape and all(s == 1 for s in steps):
            return source
        return self._intern(("slice", id(source), starts, steps, shape), Slice(source, starts, steps, shape, self.origin))

    def pad(self, source: Node, low: tuple[int, ...], high: tuple[int, ...], value: Lit) -> Node:
        if min((*low, *high), default=0) < 0 or len(low) != len(source.shape) or len(high) != len(low):
            raise ValueError(f"pad {low} {high} of shape {source.shape}")
        if value.dtype != source.dtype:
            raise TypeError(f"pad of {source.dtype} with {value.dtype}")
        if not any((*low, *high)):
            return source
        return self._intern(("pad", id(source), low, high, value), Pad(source, low, high, value, self.origin))

    def window(self, source: Node, axis: int, size: int, stride: int = 1, dilation: int = 1) -> Node:
        node = Window(source, axis, size, stride, dilation, self.origin)
        if not 0 <= axis < len(source.shape) or min(size, stride, dilation) < 1 or node.shape[axis] < 1:
            raise ValueError(f"window of {size} by {stride}, dilation {dilation}, on axis {axis} of {source.shape}")
        return self._intern(("window", id(source), axis, size, stride, dilation), node)

    def gather(self, source: Node, coordinates: tuple[Node, ...], shape: Shape) -> Node:
        if len(coordinates) != len(source.shape) or any(c.shape != shape for c in coordinates):
            raise ValueError(f"gather of {source.shape} at {[c.shape for c in coordinates]}")
        if any(not c.dtype.is_integer for c in coordinates):
            raise TypeError("gather coordinates are integers")
        key = ("gather", id(source), tuple(map(id, coordinates)), shape)
        return self._intern(key, Gather(source, coordinates, shape, self.origin))

    def concat(self, srcs: tuple[Node, ...], axis: int) -> Node:
        kept = tuple(s for s in srcs if s.shape[axis] > 0) or srcs[:1]
        rest = {(*s.shape[:axis], *s.shape[axis + 1 :], s.dtype.name) for s in kept}
        if len(rest) != 1:
            raise ValueError(f"concat on axis {axis} of {[s.shape for s in srcs]}")
        if len(kept) == 1:
            return kept[0]
        return self._intern(("concat", tuple(map(id, kept)), axis), Concat(kept, axis, self.origin))

    def scatter(self, source: Node, coordinates: tuple[Node, ...], updates: Node, op: Op | None = None) -> Node:
        if len(coordinates) != len(source.shape) or any(c.shape != updates.shape for c in coordinates):
            raise ValueError(f"scatter of {updates.shape} into {source.shape} at {[c.shape for c in coordinates]}")
        if any(not c.dtype.is_integer for c in coordinates) or updates.dtype != source.dtype:
            raise TypeError(f"scatter of {updates.dtype} into {source.dtype} at {[c.dtype.name for c in coordinates]}")
        if 0 in updates.shape or 0 in source.shape:
            return source
        key = ("scatter", id(source), tuple(map(id, coordinates)), id(updates), None if op is None else op.name)
        return self._intern(key, Scatter(source, coordinates, updates, op, self.origin))
