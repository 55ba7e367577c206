"""Keep: what two loops compute alike is computed once, in a loop before them, and kept in local memory."""

from __future__ import annotations

from tgc.errors import InvalidIrError
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Buffer, Expr, Load, Var, children
from tgc.ir.kernel import Alloc, Block, For, If, Statement, Store, block
from tgc.ir.rewrite import map_expressions, statements, substitute, substitution, walk
from tgc.ir.schedule import Keep
from tgc.ir.work import operations


def keep(body: Statement, step: Keep) -> Statement:
    """Carries out `Keep`. Raises InvalidIrError where the loops are not in one block, or compute nothing alike."""
    made = _kept_in(body, step)
    if made is None:
        raise InvalidIrError(f"{step.var} and {step.again} are not loops one after the other")
    return made


def alike(first: For, again: For, between: tuple[Statement, ...] = ()) -> Expr | None:
    """What `first` computes most operations for and `again`, some time after it, computes too; None where there is nothing of the kind.

    between: the statements from the first to the second; what these two and they store is not the same in both.
    """
    if first.extent != again.extent or not (isinstance(first.body, Store) and isinstance(again.body, Store)):
        return None
    changed = {inner.buffer for each in (first, *between, again) for inner in statements(each) if isinstance(inner, Store)}
    there, renamed = set(walk(again.body.value)), substitution({first.var: again.var})
    moves: dict[Expr, bool] = {}
    fixed: dict[Expr, bool] = {}
    for expr in walk(first.body.value):
        moves[expr] = expr == first.var or any(moves[child] for child in children(expr))
        fixed[expr] = not (isinstance(expr, Load) and expr.buffer in changed) and all(fixed[child] for child in children(expr))
    whole: list[Expr] = []
    parts: set[Expr] = set()
    for expr in reversed(fixed):  # before what it is made of
        if expr not in parts and isinstance(expr, Apply) and expr.dtype != INDEX and moves[expr] and fixed[expr] and renamed(expr) in there:
            whole.append(expr)
        if expr in parts or expr in whole[-1:]:
            parts.update(children(expr))
    return max(whole, key=operations, default=None)


def _kept_in(statement: Statement, step: Keep) -> Statement | None:
    """`statement` after `step`; None where it does not hold both loops."""
    match statement:
        case For(var, extent, body, kind):
            inner = _kept_in(body, step)
            return None if inner is None else For(var, extent, inner, kind)
        case If(condition, body):
            inner = _kept_in(body, step)
            return None if inner is None else If(condition, inner)
        case Block(body):
            names = [part.var.name if isinstance(part, For) else "" for part in body]
            if step.again in names and step.var in names[: names.index(step.again)]:
                return _kept(body, names.index(step.var), names.index(step.again))
            for position, part in enumerate(body):
                inner = _kept_in(part, step)
                if inner is not None:
                    return block(*body[:position], inner, *body[position + 1 :])
    return None


def _kept(body: tuple[Statement, ...], position: int, later: int) -> Statement:
    first, again = body[position], body[later]
    assert isinstance(first, For)
    assert isinstance(again, For)
    value = alike(first, again, body[position + 1 : later])
    if value is None:
        raise InvalidIrError(f"{first.var.name} and {again.var.name} compute nothing alike")
    kept, var = Buffer(f"kept_{first.var.name}", value.dtype, first.extent, "local"), Var(f"{first.var.name}_kept")
    renamed = substitute(value, {first.var: again.var})
    reads = map_expressions(first, substitution({value: Load(kept, first.var)}))
    reads_again = map_expressions(again, substitution({renamed: Load(kept, again.var)}))
    computes = For(var, first.extent, Store(kept, var, substitute(value, {first.var: var})))
    return block(*body[:position], Alloc(kept), computes, reads, *body[position + 1 : later], reads_again, *body[later + 1 :])
