"""Small integer tensors computed from open extents: targets of Reshape, ends of Slice, and what else is arithmetic on a shape.

They are evaluated with Lengths for numbers, through the same nodes that compute them at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import cast

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.folding import fold
from tgc.ir import ops
from tgc.ir.expr import Apply, Arg, Coordinate, Expr, Lit
from tgc.ir.graph import Concat, Constant, Expand, Gather, Map, Node, Permute, Reduce, Reshape, Slice
from tgc.ir.lengths import Length, Symbol, UndecidedError, larger, of_symbol, polynomial

Numbers = npt.NDArray[np.object_]
MOST = 256
"""Elements of a tensor that is taken for arithmetic on shapes."""


def numbers_of(node: Node, symbols: Mapping[Node, Symbol]) -> Numbers | None:
    """The elements of `node`, plain or open; None where they are something else. symbols: by the scalars that hold them."""
    try:
        return _Evaluation(symbols).of(node)
    except (_ElsewhereError, UndecidedError):
        return None


class _ElsewhereError(Exception):
    """The value is no arithmetic on shapes."""


class _Evaluation:
    def __init__(self, symbols: Mapping[Node, Symbol]) -> None:
        self.symbols = symbols
        self.known: dict[int, Numbers] = {}

    def of(self, node: Node) -> Numbers:
        if id(node) not in self.known:
            self.known[id(node)] = self._evaluate(node)
        return self.known[id(node)]

    def _evaluate(self, node: Node) -> Numbers:
        if node in self.symbols:
            return _array(of_symbol(self.symbols[node]), ())
        if any(isinstance(size, Length) for size in node.shape) or prod(node.shape) > MOST or node.dtype.is_float:
            raise _ElsewhereError
        match node:
            case Constant(data):
                return data.astype(object)
            case Reshape(source, shape):
                return self.of(source).reshape(shape)
            case Permute(source, order):
                return self.of(source).transpose(order)
            case Expand(source, shape):
                return np.broadcast_to(self.of(source), shape)
            case Slice(source, starts, steps, shape):
                places = np.ix_(*(np.arange(n) * step + start for start, step, n in zip(starts, steps, shape, strict=True)))
                return self.of(source)[places]
            case Concat(sources, axis):
                return np.concatenate([self.of(source) for source in sources], axis)
            case Gather(source, coordinates):
                where = [np.clip(_plain(fold(c)), 0, size - 1) for c, size in zip(coordinates, source.shape, strict=True)]
                return self.of(source)[tuple(where)]
            case Reduce(op, source, axes):
                return self._reduced(self.of(source), op.name, axes)
            case Map():
                return self._mapped(node)
        raise _ElsewhereError

    def _reduced(self, values: Numbers, op: str, axes: tuple[int, ...]) -> Numbers:
        if op not in ("ADD", "MUL") or not values.size:
            raise _ElsewhereError
        function = np.add if op == "ADD" else np.multiply
        return cast("Numbers", function.reduce(values, axis=axes, keepdims=True))

    def _mapped(self, node: Map) -> Numbers:
        sources = [self.of(source) for source in node.sources]
        out = np.empty(node.shape, object)
        for at in np.ndindex(*node.shape):
            out[at] = _value(node.expr, [cast(int, source[at]) for source in sources], at, {})
        return out


def _array(value: int, shape: tuple[int, ...]) -> Numbers:
    made = np.empty(shape, object)
    made[...] = value
    return made


def _plain(found: npt.NDArray[np.generic] | None) -> npt.NDArray[np.int64]:
    if found is None:
        raise _ElsewhereError
    return found.astype(np.int64)


def _value(expr: Expr, arguments: list[int], at: tuple[int, ...], memo: dict[Expr, int]) -> int:
    """The value of an integer expression."""
    if expr not in memo:
        memo[expr] = _computed(expr, arguments, at, memo)
    return memo[expr]


def _computed(expr: Expr, arguments: list[int], at: tuple[int, ...], memo: dict[Expr, int]) -> int:
    match expr:
        case Arg(index):
            return arguments[index]
        case Coordinate(axis):
            return at[axis]
        case Lit(value) if not expr.dtype.is_float:
            return int(value)
        case Apply(op, (condition, yes, no)) if op is ops.WHERE:
            return _value(yes if _value(condition, arguments, at, memo) else no, arguments, at, memo)
        case Apply(op, (inner,)) if op is ops.CAST:
            return _value(inner, arguments, at, memo)
        case Apply(op, (first, second)):
            x, y = (_value(part, arguments, at, memo) for part in (first, second))
            return _applied(op.name, x, y)
    raise _ElsewhereError


def _applied(op: str, x: int, y: int) -> int:
    match op:
        case "ADD":
            return x + y
        case "MUL":
            return x * y
        case "MAX":
            return larger(x, y)
        case "LT":
            return int(x < y)
        case "EQ":
            return _equal(x, y)
        case "DIV" if y > 0 and x >= 0:
            return x // y
    raise _ElsewhereError


def _equal(x: int, y: int) -> int:
    """Whether two numbers are equal, where that is the same for every value."""
    if polynomial(x) == polynomial(y):
        return 1
    difference = x - y
    return int(difference == 0) if not isinstance(difference, Length) else int(not (difference < 0 or difference > 0))
