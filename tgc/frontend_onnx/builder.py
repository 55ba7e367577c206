"""What a lowering builds with: numpy's broadcasting, views and contractions over the graph builder.

Every method takes and gives nodes of the graph; none looks at data, except `known`, which needs a value while compiling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx import live
from tgc.frontend_onnx.folding import fold, in_loop, inputs_of
from tgc.frontend_onnx.quantisation import Stored
from tgc.frontend_onnx.shape_values import numbers_of
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import DType
from tgc.ir.expr import Arg, Coordinate, Expr, Lit
from tgc.ir.graph import Constant, Node, Shape
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.lengths import Length, Symbol, UndecidedError
from tgc.ir.ops import Op

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Site:
    """The ONNX node that is being lowered, for versions and messages.

    name: the node's origin. op_type, opset: which operator, in which opset. inputs, outputs: the names of its values in the
    model; "" for one left out. A lowering whose result depends on how many outputs are asked for counts `outputs`.
    """

    name: str = ""
    op_type: str = ""
    opset: int = 0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(slots=True)
class LoweringBuilder:
    """Makes nodes for one ONNX node after the other; the importer sets `site` and `values` before each.

    graph: the builder underneath, for what has no method here. values: the node of each input, for messages.
    stored: tensors of numbers that quantised ones stand for, so that products of two can be taken in integers.
    block: how many channels ONNX Runtime put into a block; 0 where nothing says so. symbols: the scalar i64 nodes of open extents.
    """

    graph: GraphBuilder = field(default_factory=GraphBuilder)
    site: Site = field(default_factory=Site)
    values: tuple[Node | None, ...] = ()
    stored: dict[Node, Stored] = field(default_factory=dict)
    block: int = 0
    symbols: dict[Symbol, Node] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """The opset that the operator comes from."""
        return self.site.opset

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that the model asks for; "" for one that it leaves out."""
        return self.site.outputs

    # Errors: raise what these answer.

    def invalid(self, what: str, hint: str = "") -> ModelError:
        """The model contradicts the operator's specification."""
        return ModelError(what, self.where, hint)

    def unsupported(self, what: str, hint: str = "") -> UnsupportedError:
        """The model is right, but tgc does not do this."""
        return UnsupportedError(what, self.where, hint)

    @property
    def where(self) -> str:
        """The ONNX node in words."""
        return f"{self.site.op_type} {self.site.name!r}"

    def name_of(self, node: Node) -> str:
        """The model's name for `node` where it is an input of the ONNX node; else ""."""
        return next((n for n, v in zip(self.site.inputs, self.values, strict=False) if v is node), "")

    def known(self, node: Node, what: str, hint: str = "") -> Array:
        """The value of `node` while compiling, such as axes or a shape. `what` names the value in the message.

        Raises ModelError, naming the value and the model's inputs that it depends on, where it is only known at run time.
        """
        value = fold(node)
        if value is not None:
            return value
        if in_loop(node):
            raise ModelError(f"{what} must be known while compiling, but changes in every iteration of a loop", self.where, hint)
        name, inputs = self.name_of(node), ", ".join(repr(i.name) for i in inputs_of(node))
        raise ModelError(
            f"{what}{f' ({name!r})' if name else ''} must be known while compiling, but depends on input {inputs}",
            self.where,
            hint or f"compile {inputs} in with --const, or pin its shape with --shape if only that matters",
        )

    def known_ints(self, node: Node, what: str, hint: str = "") -> tuple[int, ...]:
        """`known` for a scalar or 1-D integer tensor, as a tuple."""
        return tuple(int(v) for v in self.known(node, what, hint).reshape(-1))

    def extents(self, node: Node, what: str) -> tuple[int, ...]:
        """`known_ints` where numbers may also be open: arithmetic on extents that are only known at run time."""
        found = self._numbers(node)
        return self.known_ints(node, what) if found is None else tuple(found.reshape(-1).tolist())

    def decided(self, condition: Node) -> bool | None:
        """A condition of one element that is known while compiling, or has one answer for all that open extents can be; else None."""
        value = fold(condition)
        if value is None:
            value = self._numbers(condition)
        return None if value is None or isinstance(value.reshape(-1)[0], Length) else bool(value.reshape(-1)[0])

    def _numbers(self, node: Node) -> npt.NDArray[np.object_] | None:
        return numbers_of(node, {scalar: symbol for symbol, scalar in self.symbols.items()}) if self.symbols else None

    # Leaves.

    def constant(self, data: npt.ArrayLike) -> Node:
        """A tensor known at compile time."""
        return self.graph.constant(data)

    def scalar(self, value: float | bool, dtype: DType) -> Node:
        """A constant of shape (); an open extent is a scalar too."""
        if isinstance(value, Length):
            return self.cast(live.length_node(self, value), dtype)
        return self.graph.constant(np.array(value, dtype=dtype.numpy))

    def extent(self, size: int) -> Node:
        """An extent, open or not, as a scalar i64."""
        return live.length_node(self, size)

    def full(self, shape: Shape, value: float | bool, dtype: DType) -> Node:
        """`value` everywhere, without memory."""
        return self.graph.map(literal(value, dtype), shape=shape)

    def coordinate(self, shape: Shape, axis: int, dtype: DType) -> Node:
        """The index along `axis`, in `dtype`."""
        return self.graph.map(ex.cast(Coordinate(axis), dtype), shape=shape)

    # Pointwise work, with numpy's broadcasting.

    def elementwise(self, function: Callable[..., Expr], *xs: Node) -> Node:
        """`function` on the elements of `xs`, broadcast together. Constants of one element become literals of the expression."""
        shape = self.broadcast_shape(*xs)
        arguments: list[Expr] = []
        srcs: list[Node] = []
        for x in xs:
            if isinstance(x, Constant) and x.data.size == 1:
                arguments.append(literal(x.data.item(), x.dtype))
                continue
            wide = self.broadcast_to(x, shape)
            if wide not in srcs:
                srcs.append(wide)
            arguments.append(Arg(srcs.index(wide), x.dtype))
        return self.graph.map(function(*arguments), *srcs, shape=shape)

    def apply(self, op: Op, *xs: Node) -> Node:
        """One of the scalar operations, elementwise."""
        return self.elementwise(lambda *args: ex.apply(op, *args), *xs)

    def add(self, x: Node, y: Node) -> Node:
        return self.apply(ops.ADD, x, y)

    def sub(self, x: Node, y: Node) -> Node:
        return self.elementwise(scalar.sub, x, y)

    def mul(self, x: Node, y: Node) -> Node:
        return self.apply(ops.MUL, x, y)

    def div(self, x: Node, y: Node) -> Node:
        """x / y; integers truncate toward zero."""
        return self.apply(ops.DIV, x, y)

    def maximum(self, x: Node, y: Node) -> Node:
        return self.apply(ops.MAX, x, y)

    def minimum(self, x: Node, y: Node) -> Node:
        return self.elementwise(scalar.minimum, x, y)

    def where_(self, condition: Node, x: Node, y: Node) -> Node:
        """x where the bool `condition` holds, else y."""
        return self.apply(ops.WHERE, condition, x, y)

    def cast(self, x: Node, dtype: DType) -> Node:
        """The values of `x` in another type."""
        return x if x.dtype == dtype else self.elementwise(lambda a: ex.cast(a, dtype), x)

    # Views. Negative axes count from the end everywhere.

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front. Raises ModelError where a tensor of `rank` has no such axis."""
        if not -rank <= axis < rank:
            raise self.invalid(f"axis {axis} of a tensor with {rank} axes")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """`axes` counted from the front, in the order given. Raises ModelError for one that repeats or does not exist."""
        found = tuple(self.axis(a, rank) for a in axes)
        if len(set(found)) != len(found):
            raise self.invalid(f"axes {tuple(axes)} name one axis of {rank} twice")
        return found

    def broadcast_shape(self, *xs: Node) -> Shape:
        """The shape of `xs` broadcast together. Raises ModelError where they do not fit."""
        try:
            return broadcast_shapes(*(x.shape for x in xs))
        except ValueError:
            hint = live.MIXED if any(live.is_open(x.shape) for x in xs) else ""
            raise self.invalid(f"shapes {', '.join(str(list(x.shape)) for x in xs)} do not broadcast", hint) from None

    def broadcast_to(self, x: Node, shape: Shape) -> Node:
        """`x` repeated to `shape`, as numpy.broadcast_to does."""
        missing = len(shape) - len(x.shape)
        if missing < 0 or broadcast_shapes(x.shape, shape) != shape:
            raise self.invalid(f"shape {list(x.shape)} does not broadcast to {list(shape)}")
        return self.expand(self.reshape(x, (1,) * missing + x.shape), shape)

    def reshape(self, x: Node, shape: Shape) -> Node:
        return live.reshaped(self, x, shape) if live.is_open((*x.shape, *shape)) else self.graph.reshape(x, shape)

    def permute(self, x: Node, order: Sequence[int]) -> Node:
        """Output axis d is axis order[d] of `x`."""
        return self.graph.permute(x, self.axes(order, len(x.shape)))

    def swap(self, x: Node, first: int, second: int) -> Node:
        """`x` with two axes exchanged."""
        order = list(range(len(x.shape)))
        a, b = self.axis(first, len(order)), self.axis(second, len(order))
        order[a], order[b] = b, a
        return self.graph.permute(x, tuple(order))

    def expand(self, x: Node, shape: Shape) -> Node:
        """Axes of extent 1 repeated to `shape`, which has the same rank."""
        return self.graph.expand(x, shape)

    def squeeze(self, x: Node, axes: Sequence[int]) -> Node:
        """`x` without `axes`, each of extent 1."""
        gone = self.axes(axes, len(x.shape))
        if any(x.shape[a] != 1 for a in gone):
            raise self.invalid(f"axes {list(gone)} of shape {list(x.shape)} are not all of extent 1")
        return self.reshape(x, tuple(s for a, s in enumerate(x.shape) if a not in gone))

    def unsqueeze(self, x: Node, axes: Sequence[int]) -> Node:
        """`x` with new axes of extent 1; `axes` are positions in the result."""
        rank = len(x.shape) + len(axes)
        new = self.axes(axes, rank)
        rest = iter(x.shape)
        return self.reshape(x, tuple(1 if a in new else next(rest) for a in range(rank)))

    def slice(self, x: Node, starts: Sequence[int], steps: Sequence[int], shape: Sequence[int]) -> Node:
        """`out[i] = x[starts + i * steps]` for i in `shape`, one entry an axis, every index in range."""
        for size, start, step, extent in zip(x.shape, starts, steps, shape, strict=True):
            if isinstance(size, Length) and not (extent == size and step == 1 and start == 0) and live.is_open((start, extent)):
                raise self.unsupported(f"a part of an axis of {size} elements")
        return self.graph.slice(x, tuple(starts), tuple(steps), tuple(shape))

    def narrow(self, x: Node, axis: int, start: int, length: int, step: int = 1) -> Node:
        """`length` elements of `x` along one axis: start, start + step, ..."""
        a = self.axis(axis, len(x.shape))
        return self.slice(
            x,
            [start if d == a else 0 for d in range(len(x.shape))],
            [step if d == a else 1 for d in range(len(x.shape))],
            [length if d == a else size for d, size in enumerate(x.shape)],
        )

    def pad(self, x: Node, low: Sequence[int], high: Sequence[int], value: float | bool = 0) -> Node:
        """`low` and `high` elements of `value` at the ends of each axis; a negative number crops."""
        if live.is_open((*low, *high)):
            for axis, (before, after) in enumerate(zip(low, high, strict=True)):
                if live.is_open((before, after)):
                    x = live.padded(self, x, axis, before, after, literal(value, x.dtype))
            done = [live.is_open(ends) for ends in zip(low, high, strict=True)]
            low, high = ([0 if gone else n for n, gone in zip(ends, done, strict=True)] for ends in (low, high))
        if live.is_open(x.shape):
            return self._pad_open(x, low, high, literal(value, x.dtype))
        starts = [max(0, -a) for a in low]
        extents = [s - c - max(0, -b) for s, c, b in zip(x.shape, starts, high, strict=True)]
        if min(extents, default=0) < 0:
            raise self.invalid(f"padding of {list(low)} and {list(high)} on shape {list(x.shape)}")
        cropped = self.slice(x, starts, [1] * len(starts), extents)
        return self.graph.pad(cropped, tuple(max(0, a) for a in low), tuple(max(0, b) for b in high), literal(value, x.dtype))

    def _pad_open(self, x: Node, low: Sequence[int], high: Sequence[int], value: Lit) -> Node:
        """Beyond the live part there is padding too, so that it need not move."""
        for axis, (before, after) in enumerate(zip(low, high, strict=True)):
            start, size = max(0, -before), x.shape[axis]
            if start or after < 0:
                x = live.cut(self, x, axis, start, size - start - max(0, -after), 1)
        x = live.masked(self, x, [d for d in range(len(x.shape)) if low[d] > 0 or high[d] > 0], value)
        return self.graph.pad(x, tuple(max(0, a) for a in low), tuple(max(0, b) for b in high), value)

    def window(self, x: Node, axis: int, size: int, stride: int = 1, dilation: int = 1) -> Node:
        """Sliding windows along `axis`; the position in the window is a new last axis of extent `size`."""
        return self.graph.window(x, self.axis(axis, len(x.shape)), size, stride, dilation)

    def concat(self, xs: Sequence[Node], axis: int) -> Node:
        """`xs` one after the other along `axis`."""
        along = self.axis(axis, len(xs[0].shape))
        if any(live.is_open(x.shape) for x in xs):
            return live.concatenated(self, xs, along)
        return self.graph.concat(tuple(xs), along)

    def stack(self, xs: Sequence[Node], axis: int) -> Node:
        """`xs`, all of one shape, along a new axis."""
        return self.concat([self.unsqueeze(x, (axis,)) for x in xs], self.axis(axis, len(xs[0].shape) + 1))

    def gather(self, x: Node, coordinates: Sequence[Node], shape: Shape) -> Node:
        """`out[i] = x[coordinates[0][i], coordinates[1][i], ...]`, each coordinate broadcast to `shape`."""
        return self.graph.gather(x, tuple(self.broadcast_to(c, shape) for c in coordinates), shape)

    # Reductions.

    def reduce(self, op: Op, x: Node, axes: Sequence[int], keepdims: bool = True) -> Node:
        """ADD, MUL or MAX over `axes`, which stay with extent 1 or vanish."""
        gone = self.axes(axes, len(x.shape))
        out = self.graph.reduce(op, live.masked(self, x, gone, ex.identity(op, x.dtype)), gone)
        return out if keepdims else self.squeeze(out, gone)

    def contract(self, x: Node, y: Node, count: int, dtype: DType | None = None) -> Node:
        """The sum of x * y, broadcast together, over the last `count` axes, which vanish: the one form of every convolution
        and matrix product. Both have the same rank. Multiplied and summed in `dtype`, by default the type of both."""
        kind = x.dtype if dtype is None else dtype
        last = range(len(x.shape) - count, len(x.shape))
        x, y = (live.masked(self, operand, last, literal(0, operand.dtype)) for operand in (x, y))
        product = self.elementwise(lambda p, q: scalar.mul(ex.cast(p, kind), ex.cast(q, kind)), x, y)
        rank = len(product.shape)
        axes = tuple(range(rank - count, rank))
        return self.squeeze(self.graph.reduce(ops.ADD, product, axes), axes)

    def matmul(self, x: Node, y: Node, dtype: DType | None = None) -> Node:
        """numpy.matmul: [.., M, K] x [.., K, N] -> [.., M, N], with batch axes broadcast and vectors as matrices of one row or column.
        Multiplied and summed in `dtype`, by default the type of both."""
        if not x.shape or not y.shape:
            raise self.invalid("a matrix product with a scalar")
        left = self.unsqueeze(x, (0,)) if len(x.shape) == 1 else x
        right = self.unsqueeze(y, (1,)) if len(y.shape) == 1 else y
        if left.shape[-1] != right.shape[-2]:
            raise self.invalid(f"a matrix product of shapes {list(x.shape)} and {list(y.shape)}")
        rows = self.unsqueeze(left, (-2,))
        columns = self.unsqueeze(self.swap(right, -1, -2), (-3,))
        rank = max(len(rows.shape), len(columns.shape))
        lift = [self.reshape(n, (1,) * (rank - len(n.shape)) + n.shape) for n in (rows, columns)]
        out = self.contract(lift[0], lift[1], 1, dtype)
        dropped = [-2] * (len(x.shape) == 1) + [-1] * (len(y.shape) == 1)
        return self.squeeze(out, dropped)


def literal(value: object, dtype: DType) -> Lit:
    """A literal of `dtype` with `value`, a Python or numpy number."""
    if isinstance(value, Length):
        raise UndecidedError(f"{value} as a number")
    number = np.asarray(value).item()
    if dtype.kind == "bool":
        return Lit(bool(number), dtype)
    return Lit(float(number), dtype) if dtype.is_float else Lit(int(number), dtype)


def broadcast_shapes(*shapes: Shape) -> Shape:
    """numpy.broadcast_shapes without its limit on rank and size. Raises ValueError where the shapes do not fit."""
    rank = max((len(s) for s in shapes), default=0)
    out = []
    for sizes in zip(*((1,) * (rank - len(s)) + s for s in shapes), strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise ValueError(f"shapes {shapes} do not broadcast")
        out.append(wide.pop() if wide else 1)
    return tuple(out)
