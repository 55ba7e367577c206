"""Conditions moved to the loads that they guard.

`WHERE(c, f(x[i]), y)` may only read x[i] where c holds, yet value numbering computes f before it chooses. Rewritten as
`WHERE(c, f(WHERE(c, x[i], 0)), y)` everything but the load itself may be computed always, and the printer has one
form to care about: a load that is directly an arm.
"""

from __future__ import annotations

from collections.abc import Callable

from tgc.ir import ops
from tgc.ir.dtypes import BOOL
from tgc.ir.expr import Apply, Broadcast, Expr, Lit, Load, apply, children, with_children
from tgc.ir.rewrite import rewrite, walk

Safe = Callable[[Load], bool]


def guard_loads(root: Expr, safe: Safe) -> Expr:
    """`root` with each load in an arm of a WHERE, that `safe` does not allow always, made an arm itself."""
    return rewrite(root, lambda expr: _guarded(expr, safe))


def _guarded(expr: Expr, safe: Safe) -> Expr | None:
    if not _is_where(expr):
        return None
    condition, yes, no = children(expr)
    if not any(isinstance(part, Load) and not safe(part) for part in walk(yes, no)):
        return None
    opposite = apply(ops.EQ, condition, _constant(False, condition))
    return with_children(expr, (condition, _arm(condition, yes, safe), _arm(opposite, no, safe)))


def _arm(condition: Expr, arm: Expr, safe: Safe) -> Expr:
    memo: dict[Expr, Expr] = {}
    if isinstance(arm, Load):
        return Load(arm.buffer, _inner(condition, arm.index, safe, memo))
    return _inner(condition, arm, safe, memo)


def _inner(condition: Expr, root: Expr, safe: Safe, memo: dict[Expr, Expr]) -> Expr:
    """`root` with its unsafe loads made only where `condition` holds as well."""
    if root not in memo:
        memo[root] = _changed(condition, root, safe, memo)
    return memo[root]


def _changed(condition: Expr, root: Expr, safe: Safe, memo: dict[Expr, Expr]) -> Expr:
    if isinstance(root, Load) and not safe(root):
        load = Load(root.buffer, _inner(condition, root.index, safe, memo))
        return apply(ops.WHERE, fitted(condition, load.lanes), load, _constant(0, load))
    if isinstance(root, Broadcast) and condition.lanes > 1 and not isinstance(condition, Broadcast) and _has_unsafe(root, safe):
        return _inner(condition, _lifted(root), safe, memo)
    if _is_where(root):
        inner, yes, no = children(root)
        inner = _inner(condition, inner, safe, memo)
        if isinstance(yes, Load) and not safe(yes):
            inner = apply(ops.MUL, fitted(condition, inner.lanes), inner)
        if isinstance(no, Load) and not safe(no):
            opposite = apply(ops.EQ, condition, _constant(False, condition))
            inner = apply(ops.MAX, fitted(opposite, inner.lanes), inner)
        arms = (Load(arm.buffer, _inner(condition, arm.index, safe, memo)) if isinstance(arm, Load) else _inner(condition, arm, safe, memo)
                for arm in (yes, no))  # fmt: skip
        return with_children(root, (inner, *arms))
    return with_children(root, tuple(_inner(condition, child, safe, memo) for child in children(root)))


def _lifted(expr: Broadcast) -> Expr:
    """The same vector with the broadcast one operation further in: of a load's index, or of an operation's arguments."""
    match expr.value:
        case Apply(op, args, dtype):
            return Apply(op, tuple(Broadcast(arg, expr.lanes) for arg in args), dtype)
        case Load(buffer, index):
            return Load(buffer, Broadcast(index, expr.lanes))
        case _:
            return expr


def fitted(condition: Expr, lanes: int) -> Expr:
    """`condition` for a value of `lanes` lanes."""
    assert condition.dtype == BOOL
    if condition.lanes == lanes:
        return condition
    if isinstance(condition, Broadcast):
        return fitted(condition.value, lanes)
    assert condition.lanes == 1, "a scalar load under a vector condition is lifted first"
    return Broadcast(condition, lanes)


def _has_unsafe(root: Expr, safe: Safe) -> bool:
    return any(isinstance(part, Load) and not safe(part) for part in walk(root))


def _is_where(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op is ops.WHERE


def _constant(value: int, like: Expr) -> Expr:
    number = Lit(float(value) if like.dtype.is_float else value if like.dtype.is_integer else bool(value), like.dtype)
    return number if like.lanes == 1 else Broadcast(number, like.lanes)
