"""Bounds of index expressions, to know which loads are inside their buffers whatever a condition says."""

from __future__ import annotations

from collections.abc import Mapping

from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Broadcast, Expr, Lit, Load, Ramp, Var
from tgc.ir.rewrite import walk

Range = tuple[float, float]
ANY: Range = (float("-inf"), float("inf"))


def bounds(root: Expr, extents: Mapping[str, int], memo: dict[Expr, Range]) -> Range:
    """The least and greatest value that `root`, an integer, can take while each loop variable is in [0, extent)."""
    for expr in walk(root):
        if expr not in memo:
            memo[expr] = _bounds(expr, extents, memo)
    return memo[root]


def inside(load: Load, extents: Mapping[str, int], memo: dict[Expr, Range]) -> bool:
    """Whether `load` is proved to stay inside its buffer."""
    low, high = bounds(load.index, extents, memo)
    return low >= 0 and high < load.buffer.size


def _bounds(expr: Expr, extents: Mapping[str, int], memo: dict[Expr, Range]) -> Range:
    match expr:
        case Lit(value, dtype) if not dtype.is_float:
            return int(value), int(value)
        case Var(name) if name in extents:
            return 0, extents[name] - 1
        case Ramp(base, stride, lanes):
            low, high = memo[base]
            step = stride * (lanes - 1)
            return low + min(0, step), high + max(0, step)
        case Broadcast(value):
            return memo[value]
        case Apply(op, args, dtype) if not dtype.is_float:
            low, high = _apply(op.name, args, memo)
            fits = dtype == INDEX or (low >= dtype.lowest and high <= dtype.lowest + (1 << dtype.bits) - 1)
            return (low, high) if fits else ANY  # a narrow integer may have wrapped
        case _:
            return ANY


def _apply(op: str, args: tuple[Expr, ...], memo: Mapping[Expr, Range]) -> Range:
    ranges = [memo[arg] for arg in args]
    match op:
        case "ADD":
            return ranges[0][0] + ranges[1][0], ranges[0][1] + ranges[1][1]
        case "MUL":
            products = [_times(a, b) for a in ranges[0] for b in ranges[1]]
            return min(products), max(products)
        case "DIV" if isinstance(args[1], Lit) and args[1].value > 0 and ranges[0] != ANY and float("inf") not in map(abs, ranges[0]):
            low, high = (int(abs(end) // args[1].value) * (1 if end >= 0 else -1) for end in ranges[0])
            return low, high
        case "MAX":
            return max(ranges[0][0], ranges[1][0]), max(ranges[0][1], ranges[1][1])
        case "WHERE":
            return _where(args, memo)
        case "CAST" if not args[0].dtype.is_float and args[0].dtype.kind != "bool":
            return ranges[0]
        case _:
            return ANY


def _where(args: tuple[Expr, ...], memo: Mapping[Expr, Range]) -> Range:
    """Both arms joined; `a < b ? a : b`, which is how a minimum is written, is at most the lesser of both."""
    condition, yes, no = args
    (low, high), (other_low, other_high) = memo[yes], memo[no]
    match condition:
        case Apply(op, (left, right)) if op.name == "LT" and (left, right) == (yes, no):
            return min(low, other_low), min(high, other_high)
        case Apply(op, (left, right)) if op.name == "LT" and (left, right) == (no, yes):
            return max(low, other_low), max(high, other_high)
    return min(low, other_low), max(high, other_high)


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b
