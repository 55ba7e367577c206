"""Walking and rewriting, once for all passes. Shared subexpressions are visited once and stay shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tgc.ir.expr import Expr, Load, children, with_children
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Statement, Store

Rule = Callable[[Expr], Expr | None]


def walk(*roots: Expr, below: Callable[[Expr], tuple[Expr, ...]] = children) -> Iterator[Expr]:
    """Every distinct subexpression of `roots` that `below` (by default: all children) leads to, children before parents."""
    done: set[Expr] = set()
    seen: set[int] = set()  # those that are done by identity, for most that are equal are the same: asking for a hash takes longer
    stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        expr, expanded = stack.pop()
        if id(expr) in seen:
            continue
        parts = () if expanded else below(expr)
        if parts:
            stack.append((expr, True))
            stack += [(child, False) for child in reversed(parts) if id(child) not in seen]
            continue
        seen.add(id(expr))
        count = len(done)
        done.add(expr)
        if len(done) > count:
            yield expr


def rewrite(root: Expr, rule: Rule, memo: dict[Expr, Expr] | None = None) -> Expr:
    """`root` rebuilt from the leaves up; where `rule` answers something for a rebuilt node, that takes its place.

    The rule sees each distinct node once and its answer is not rewritten again. Pass `memo` to share work between roots.
    """
    seen: dict[Expr, Expr] = {} if memo is None else memo
    stack: list[tuple[Expr, tuple[Expr, ...]]] = [(root, ())]  # a node, and its children once they are under way
    while stack:
        expr, below = stack.pop()
        if expr in seen:
            continue
        if not below and (below := children(expr)):
            stack.append((expr, below))
            stack += [(child, ()) for child in below if child not in seen]
            continue
        rebuilt = with_children(expr, tuple([seen[child] for child in below])) if below else expr
        answer = rule(rebuilt)
        seen[expr] = rebuilt if answer is None else answer
    return seen[root]


def substitute(root: Expr, replacements: Mapping[Expr, Expr]) -> Expr:
    """`root` with each key (usually a leaf) replaced by its value, which is not looked at again."""
    return substitution(replacements)(root)


def substitution(replacements: Mapping[Expr, Expr]) -> Callable[[Expr], Expr]:
    """`substitute` for many roots, which shares the work on what they share."""
    memo: dict[Expr, Expr] = dict(replacements)
    return lambda root: rewrite(root, lambda _: None, memo)


def expressions(statement: Statement) -> Iterator[Expr]:
    """The root expressions of `statement`, in order: conditions, indices and values."""
    match statement:
        case Block(body):
            for part in body:
                yield from expressions(part)
        case For(_, _, body):
            yield from expressions(body)
        case If(condition, body):
            yield condition
            yield from expressions(body)
        case Store(_, index, value):
            yield index
            yield value
        case Alloc() | Barrier():
            return


def map_expressions(statement: Statement, change: Callable[[Expr], Expr]) -> Statement:
    """`statement` with `change` applied to each of its root expressions."""
    match statement:
        case Block(body):
            return Block(tuple(map_expressions(part, change) for part in body))
        case For(var, extent, body, kind):
            return For(var, extent, map_expressions(body, change), kind)
        case If(condition, body):
            return If(change(condition), map_expressions(body, change))
        case Store(buffer, index, value):
            return Store(buffer, change(index), change(value))
        case Alloc() | Barrier():
            return statement


def statements(statement: Statement) -> Iterator[Statement]:
    """`statement` and every statement in it, outer before inner."""
    yield statement
    match statement:
        case Block(body):
            for part in body:
                yield from statements(part)
        case For(_, _, body) | If(_, body):
            yield from statements(body)
        case Store() | Alloc() | Barrier():
            return


def loads(kernel: Kernel) -> Iterator[Load]:
    """Every distinct load of `kernel`, in the order in which it first occurs."""
    for expr in walk(*expressions(kernel.body)):
        if isinstance(expr, Load):
            yield expr
