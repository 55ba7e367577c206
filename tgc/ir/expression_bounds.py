"""Intervals that hold every value of an integer expression."""

from __future__ import annotations

from collections.abc import Mapping

from tgc.ir import ops
from tgc.ir.dtypes import INDEX, DType
from tgc.ir.expr import Apply, Expr, Lit, Var

Bounds = tuple[int, int]
UNBOUNDED: Bounds = (-(1 << 62), (1 << 62))


def expression_bounds(expr: Expr, extents: Mapping[Var, int]) -> Bounds:
    """An interval that holds every value of the scalar integer expression `expr`, which wraps where its type does."""
    low, high = _unwrapped_bounds(expr, extents)
    lowest, highest = UNBOUNDED if expr.dtype == INDEX else type_bounds(expr.dtype)
    return (low, high) if lowest <= low and high <= highest else (lowest, highest)


def type_bounds(dtype: DType) -> Bounds:
    """The least and the greatest value of an integer type, or of bool."""
    bits = 1 if dtype.kind == "bool" else dtype.bits - (dtype.kind == "int")
    return (-(1 << bits) if dtype.kind == "int" else 0, (1 << bits) - 1)


def _unwrapped_bounds(expr: Expr, extents: Mapping[Var, int]) -> Bounds:
    match expr:
        case Lit(value):
            return (int(value), int(value))
        case Var():
            return (0, max(0, extents[expr] - 1)) if expr in extents else UNBOUNDED
        case Apply(op, (a, b)) if op is ops.ADD or op is ops.MAX:
            (a0, a1), (b0, b1) = expression_bounds(a, extents), expression_bounds(b, extents)
            return (a0 + b0, a1 + b1) if op is ops.ADD else (max(a0, b0), max(a1, b1))
        case Apply(op, (a, b)) if op is ops.MUL:
            (a0, a1), (b0, b1) = expression_bounds(a, extents), expression_bounds(b, extents)
            corners = (a0 * b0, a0 * b1, a1 * b0, a1 * b1)
            return (min(corners), max(corners))
        case Apply(op, (a, Lit(value))) if op is ops.DIV and int(value) > 0:
            a0, a1 = expression_bounds(a, extents)
            return (_truncate(a0, int(value)), _truncate(a1, int(value)))
        case Apply(op, (condition, a, b)) if op is ops.WHERE:
            return _choice_bounds(condition, a, b, extents)
        case Apply(op, (a,)) if op is ops.CAST and not a.dtype.is_float:
            return expression_bounds(a, extents)
    return type_bounds(expr.dtype)


def _choice_bounds(condition: Expr, a: Expr, b: Expr, extents: Mapping[Var, int]) -> Bounds:
    (a0, a1), (b0, b1) = expression_bounds(a, extents), expression_bounds(b, extents)
    match condition:
        case Apply(op, (x, y)) if op is ops.LT and (x, y) == (a, b):  # the smaller of the two
            return (min(a0, b0), min(a1, b1))
    return (min(a0, b0), max(a1, b1))


def _truncate(value: int, divisor: int) -> int:
    return -(-value // divisor) if value < 0 else value // divisor
