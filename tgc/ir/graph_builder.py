"""Making graphs: nodes are checked, equal ones are one, and views that change nothing are left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import DType
from tgc.ir.expr import Expr, Lit
from tgc.ir.graph import (
    Bound,
    Concat,
    Constant,
    Expand,
    Gather,
    Input,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Scan,
    ScanResult,
    Scatter,
    Shape,
    Slice,
    Window,
)
from tgc.ir.ops import Op


@dataclass(slots=True)
class GraphBuilder:
    """Makes nodes: checks types and shapes, interns, and leaves out views that change nothing.

    `origin` is stamped on each node made; set it before lowering an ONNX node. Faulty arguments raise ValueError or TypeError.
    """

    origin: str = ""
    _interned: dict[tuple[object, ...], Node] = field(default_factory=dict)
    _bounds: int = 0

    def _intern(self, key: tuple[object, ...], node: Node) -> Node:
        return self._interned.setdefault(key, node)

    def input(self, name: str, dtype: DType, shape: Shape) -> Input:
        node = self._intern(("input", name), Input(name, dtype, shape, self.origin))
        assert isinstance(node, Input)
        return node

    def constant(self, data: npt.ArrayLike, name: str = "") -> Constant:
        """A constant of `data`: itself where it is an array that nobody can change any more, else a private, read-only copy."""
        array = data if isinstance(data, np.ndarray) and _settled(data) else np.array(data, order="C", copy=True)
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
        if math.prod(map(int, shape)) != math.prod(map(int, source.shape)):
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
        if isinstance(source, Permute):
            order = tuple([source.order[axis] for axis in order])
            source = source.source
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
            last, count = start + step * (int(extent) - 1), int(size)
            if step == 0 or (int(extent) > 0 and not (0 <= start < count and 0 <= last < count)):
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
        if not 0 <= axis < len(source.shape) or min(size, stride, dilation) < 1 or int(node.shape[axis]) < 1:
            raise ValueError(f"window of {size} by {stride}, dilation {dilation}, on axis {axis} of {source.shape}")
        if size == stride == 1:
            return self.reshape(source, node.shape)
        return self._intern(("window", id(source), axis, size, stride, dilation), node)

    def gather(self, source: Node, coordinates: tuple[Node, ...], shape: Shape) -> Node:
        if len(coordinates) != len(source.shape) or any(c.shape != shape for c in coordinates):
            raise ValueError(f"gather of {source.shape} at {[c.shape for c in coordinates]}")
        if any(not c.dtype.is_integer for c in coordinates):
            raise TypeError("gather coordinates are integers")
        key = ("gather", id(source), tuple(map(id, coordinates)), shape)
        return self._intern(key, Gather(source, coordinates, shape, self.origin))

    def concat(self, srcs: tuple[Node, ...], axis: int) -> Node:
        kept = tuple(s for s in srcs if s.shape[axis] != 0) or srcs[:1]
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

    def bound(self, dtype: DType, shape: Shape) -> Bound:
        """A new tensor for a scan to bind."""
        return self.keep_bound(Bound(self._bounds, dtype, shape, self.origin))

    def keep_bound(self, made: Bound) -> Bound:
        """`made`, a bound tensor of another graph, under its own number."""
        self._bounds = max(self._bounds, made.number + 1)
        node = self._intern(("bound", made.number, made.dtype.name, made.shape), made)
        assert isinstance(node, Bound)
        return node

    def scan_result(self, scan: Scan, position: int) -> Node:
        """A result of `scan`, which is taken as it is; `tgc.ir.scan` checks one, and leaves out loops of one iteration."""
        return self._intern(("scan", scan, position), ScanResult(scan, position, self.origin))


def _settled(array: npt.NDArray[np.generic]) -> bool:
    """Whether `array` is contiguous and read-only, and so is what it is a view of: an array, or bytes."""
    base: object = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return (base is None or isinstance(base, bytes)) and array.flags.c_contiguous and array.flags.aligned
