"""Operators that work element by element, inputs broadcast together as in numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.registry import Function, lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import BF16, F16, F32, F64
from tgc.ir.expr import Expr
from tgc.ir.graph import Constant, Node

Unary = Callable[[Expr], Expr]
Binary = Callable[[Expr, Expr], Expr]
Versions = tuple[int, ...]


def _unary(op_type: str, since: Versions, function: Unary) -> Function:
    @lowers(op_type, since=since)
    def lower(b: LoweringBuilder, x: Node) -> Node:
        return b.elementwise(function, x)

    return lower


def _binary(op_type: str, since: Versions, function: Binary) -> Function:
    @lowers(op_type, since=since)
    def lower(b: LoweringBuilder, x: Node, y: Node) -> Node:
        if x.dtype != y.dtype:
            raise b.invalid(f"operands of type {x.dtype} and {y.dtype}")
        return b.elementwise(function, x, y)

    return lower


def _divided(x: Expr, y: Expr) -> Expr:
    return scalar.div(x, y) if x.dtype.is_float else scalar.int_div(x, y)


_UNARY: tuple[tuple[str, Versions, Unary], ...] = (
    ("Abs", (6, 13), scalar.abs),
    ("Acos", (7, 22), scalar.acos),
    ("Acosh", (9, 22), scalar.acosh),
    ("Asin", (7, 22), scalar.asin),
    ("Asinh", (9, 22), scalar.asinh),
    ("Atan", (7, 22), scalar.atan),
    ("Atanh", (9, 22), scalar.atanh),
    ("BitwiseNot", (18,), scalar.bit_not),
    ("Ceil", (6, 13), scalar.ceil),
    ("Cos", (7, 22), scalar.cos),
    ("Cosh", (9, 22), scalar.cosh),
    ("Erf", (9, 13), scalar.erf),
    ("Exp", (6, 13), scalar.exp),
    ("Floor", (6, 13), scalar.floor),
    ("IsNaN", (9, 13, 20), scalar.is_nan),
    ("Log", (6, 13), scalar.log),
    ("Neg", (6, 13), scalar.neg),
    ("Not", (1,), scalar.logical_not),
    ("Reciprocal", (6, 13), scalar.reciprocal),
    ("Round", (11, 22), scalar.round_half_even),
    ("Sign", (9, 13), scalar.sign),
    ("Sin", (7, 22), scalar.sin),
    ("Sinh", (9, 22), scalar.sinh),
    ("Sqrt", (6, 13), scalar.sqrt),
    ("Tan", (7, 22), scalar.tan),
)
_BINARY: tuple[tuple[str, Versions, Binary], ...] = (
    ("Add", (7, 13, 14), scalar.add),
    ("And", (7,), scalar.logical_and),
    ("BitwiseAnd", (18,), scalar.bit_and),
    ("BitwiseOr", (18,), scalar.bit_or),
    ("BitwiseXor", (18,), scalar.bit_xor),
    ("Div", (7, 13, 14), _divided),
    ("Equal", (7, 11, 13, 19), scalar.eq),
    ("Greater", (7, 9, 13), scalar.gt),
    ("GreaterOrEqual", (12, 16), scalar.ge),
    ("Less", (7, 9, 13), scalar.lt),
    ("LessOrEqual", (12, 16), scalar.le),
    ("Mul", (7, 13, 14), scalar.mul),
    ("Or", (7,), scalar.logical_or),
    ("PRelu", (7, 9, 16), lambda x, slope: scalar.where(scalar.lt(x, 0), scalar.mul(x, slope), x)),
    ("Sub", (7, 13, 14), scalar.sub),
    ("Xor", (7,), scalar.logical_xor),
)
UNARY = tuple(_unary(*row) for row in _UNARY)
BINARY = tuple(_binary(*row) for row in _BINARY)


def _variadic(op_type: str, since: Versions, function: Binary, mean: bool = False) -> Function:
    @lowers(op_type, since=since)
    def lower(b: LoweringBuilder, *xs: Node) -> Node:
        if not xs:
            raise b.invalid("no inputs")

        def combined(*elements: Expr) -> Expr:
            whole = reduce(function, elements)
            return scalar.mul(whole, 1 / len(elements)) if mean else whole

        return b.elementwise(combined, *xs)

    return lower


VARIADIC = (
    _variadic("Max", (6, 8, 12, 13), scalar.maximum),
    _variadic("Min", (6, 8, 12, 13), scalar.minimum),
    _variadic("Sum", (6, 8, 13), scalar.add),
    _variadic("Mean", (6, 8, 13), scalar.add, mean=True),
)


@lowers("Where", since=(9, 16))
def where(b: LoweringBuilder, condition: Node, x: Node, y: Node) -> Node:
    """x where the condition holds, else y."""
    return b.where_(condition, x, y)


@lowers("IsInf", since=(10, 20))
def is_inf(b: LoweringBuilder, x: Node, *, detect_negative: int = 1, detect_positive: int = 1) -> Node:
    """Whether the element is one of the chosen infinities."""
    return b.elementwise(lambda a: scalar.is_inf(a, bool(detect_negative), bool(detect_positive)), x)


@lowers("Mod", since=(10, 13, 28))
def mod(b: LoweringBuilder, x: Node, y: Node, *, fmod: int = 0) -> Node:
    """The remainder: with the sign of `y`, or, where `fmod` is set, of `x`."""
    return b.elementwise(scalar.fmod if fmod else scalar.mod, x, y)


@lowers("BitShift", since=(11, 28))
def bit_shift(b: LoweringBuilder, x: Node, y: Node, *, direction: str) -> Node:
    """x shifted by y bits to the LEFT or the RIGHT."""
    if direction not in ("LEFT", "RIGHT"):
        raise b.invalid(f"direction is {direction!r}")
    return b.elementwise(scalar.shift_left if direction == "LEFT" else scalar.shift_right, x, y)


@lowers("Pow", since=(7, 12, 13, 15))
def pow_(b: LoweringBuilder, x: Node, y: Node) -> Node:
    """x to the y, in the type of x. A small constant exponent becomes products and square roots."""
    if isinstance(y, Constant) and y.data.size == 1 and len(y.shape) <= len(x.shape):
        exponent = float(y.data.item())
        short = _by_products(exponent, x.dtype.is_float)
        if short is not None:
            return b.reshape(b.elementwise(short, x), b.broadcast_shape(x, y))
    return b.elementwise(_power, x, y)


def _by_products(exponent: float, inexact: bool) -> Unary | None:
    """x to `exponent` as at most three operations; None where that cannot be. `inexact`: x is a float."""
    whole: dict[float, Unary] = {
        0.0: lambda a: scalar.lit(1, a),
        1.0: lambda a: a,
        2.0: lambda a: scalar.mul(a, a),
        3.0: lambda a: scalar.mul(scalar.mul(a, a), a),
        4.0: lambda a: scalar.mul(scalar.mul(a, a), scalar.mul(a, a)),
    }
    fractions: dict[float, Unary] = {
        -2.0: lambda a: scalar.reciprocal(scalar.mul(a, a)),
        -1.0: scalar.reciprocal,
        0.5: scalar.sqrt,
        -0.5: scalar.rsqrt,
    }
    return whole.get(exponent) or (fractions.get(exponent) if inexact else None)


def _power(x: Expr, y: Expr) -> Expr:
    """x to the y. Integer bases compute in f64 and round, exact while the result has at most 52 bits."""
    if x.dtype in (F16, BF16):
        return ex.cast(scalar.pow(ex.cast(x, F32), ex.cast(y, F32)), x.dtype)
    if x.dtype.is_float:
        return scalar.pow(x, ex.cast(y, x.dtype))
    return ex.cast(scalar.round_half_even(scalar.pow(ex.cast(x, F64), ex.cast(y, F64))), x.dtype)


_F32_MAX = 3.4028234663852886e38


@lowers("Clip", since=6)
def clip_6(b: LoweringBuilder, x: Node, *, max: float = _F32_MAX, min: float = -_F32_MAX) -> Node:
    """x limited to `min` .. `max`; infinities too, for which the defaults are finite."""
    return b.elementwise(lambda a: scalar.clip(a, min, max), x)


@lowers("Clip", since=(11, 12, 13))
def clip(b: LoweringBuilder, x: Node, min: Node | None = None, max: Node | None = None) -> Node:
    """x limited to `min` .. `max`, scalars, where they are given; `max` where they contradict."""
    out = x if min is None else b.elementwise(scalar.maximum, x, _scalar(b, min))
    return out if max is None else b.elementwise(scalar.minimum, out, _scalar(b, max))


def _scalar(b: LoweringBuilder, bound: Node) -> Node:
    """A bound as a scalar; exporters also write [1]."""
    if any(size != 1 for size in bound.shape):
        raise b.invalid(f"a bound of shape {list(bound.shape)}, not a scalar")
    return b.reshape(bound, ())
