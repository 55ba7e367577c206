"""Begun sums: a sum to which a constant is added begins with it.

    acc = 0;  for k: acc = acc + a[k] * b[k];  out = f(acc + c)      ->      acc = c;  for k: acc = acc + a[k] * b[k];  out = f(acc)

A bias costs nothing then: registers are set before a sum in any case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tgc.ir import ops
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, children
from tgc.ir.kernel import Alloc, Block, For, If, Kernel, Statement, Store
from tgc.ir.rewrite import rewrite, statements, walk

Place = tuple[Buffer, Expr]


def begun_sums(kernel: Kernel) -> Kernel:
    """`kernel` with sums that begin with what is added to them."""
    return replace(kernel, body=_begun(kernel.body, frozenset()))


def _begun(statement: Statement, known: frozenset[Var]) -> Statement:
    """`statement`, in loops over the variables `known`: those of a block's registers that are sums begin with what is added to them."""
    match statement:
        case For(var, extent, body, kind):
            return For(var, extent, _begun(body, known | {var}), kind)
        case If(condition, body):
            return If(condition, _begun(body, known))
        case Block(body):
            begins = {place: term for place, term in _terms(statement).items() if _is_known(term, known)}
            return Block(tuple(_begun(_replaced(part, begins), known) for part in body))
        case _:
            return statement


def _terms(block: Block) -> dict[Place, Expr]:
    """What is added to the sums in registers of `block`, wherever they are used. They begin with 0 there and are only added to."""
    own = {part.buffer for part in block.body if isinstance(part, Alloc) and part.buffer.space == "register"}
    begun = {(part.buffer, part.index) for part in block.body if isinstance(part, Store) and part.buffer in own and _is_zero(part.value)}
    terms: dict[Place, list[Expr | None]] = defaultdict(list)
    for part in statements(block):
        if isinstance(part, If):
            for place, _ in _uses(part.condition, own):
                terms[place].append(None)
        if not isinstance(part, Store):
            continue
        place = (part.buffer, part.index)
        if part.buffer in own and not _is_zero(part.value) and not _is_sum(part):
            terms[place].append(None)
        terms_of = [] if part.buffer in own and _is_sum(part) else _uses(part.value, own)
        for used, term in terms_of:
            terms[used].append(term)
    odd = {place[0] for place in (*terms, *begun) if place not in begun or not _is_fixed(place[1])}
    same = {place: found[0] for place, found in terms.items() if place[0] not in odd and all(term == found[0] for term in found)}
    return {place: term for place, term in same.items() if term is not None}


def _uses(value: Expr, own: set[Buffer]) -> Iterator[tuple[Place, Expr | None]]:
    """The places of `own` that `value` reads, each with what is added to it there; None for any other use."""
    if isinstance(value, Load) and value.buffer in own:
        yield (value.buffer, value.index), None
    for node in walk(value):
        for child in children(node):
            if isinstance(child, Load) and child.buffer in own:
                adds = isinstance(node, Apply) and node.op is ops.ADD and node.args[0] != node.args[1]
                yield (
                    (child.buffer, child.index),
                    next(arg for arg in node.args if arg != child) if adds and isinstance(node, Apply) else None,
                )


def _is_sum(store: Store) -> bool:
    """Whether something is added to what is stored, that has nothing to do with it."""
    value, own = store.value, Load(store.buffer, store.index)
    if not isinstance(value, Apply) or value.op is not ops.ADD or own not in value.args:
        return False
    other = value.args[1] if value.args[0] == own else value.args[0]
    return not any(isinstance(e, Load) and e.buffer == store.buffer for e in walk(other))


def _is_zero(value: Expr) -> bool:
    inner = value.value if isinstance(value, Broadcast) else value
    return isinstance(inner, Lit) and inner.value == 0


def _is_fixed(index: Expr) -> bool:
    return isinstance(index.base if isinstance(index, Ramp) else index, Lit)


def _is_known(term: Expr, known: frozenset[Var]) -> bool:
    """Whether `term` is read from images at places that are known in loops over `known`."""
    return all(e in known if isinstance(e, Var) else e.buffer.space == "image" for e in walk(term) if isinstance(e, (Var, Load)))


def _replaced(statement: Statement, begins: Mapping[Place, Expr]) -> Statement:
    """`statement` with the sums of `begins` begun with their terms, which are added nowhere else."""
    if not begins:
        return statement

    def without(expr: Expr) -> Expr | None:
        if not isinstance(expr, Apply) or expr.op is not ops.ADD:
            return None
        for own, term in (expr.args, expr.args[::-1]):
            if isinstance(own, Load) and begins.get((own.buffer, own.index)) == term:
                return own
        return None

    match statement:
        case Store(buffer, index, value) if (buffer, index) in begins:
            return Store(buffer, index, begins[buffer, index]) if _is_zero(value) else statement
        case Store(buffer, index, value):
            return Store(buffer, index, rewrite(value, without))
        case For(var, extent, body, kind):
            return For(var, extent, _replaced(body, begins), kind)
        case If(condition, body):
            return If(condition, _replaced(body, begins))
        case Block(body):
            return Block(tuple(_replaced(part, begins) for part in body))
        case _:
            return statement
