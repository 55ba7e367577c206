"""Divide: which loop of a scheduled kernel threads share.

The outermost loops of a kernel stand directly in each other, and their iterations are independent: any of them may be shared. What
decides is how evenly it divides, and whether threads store into the same cache lines, which then travel between cores: in channels that
are interleaved group by group they do for groups, and not for rows. Where a loop's last block overlaps the one before, one thread
does both, for two would store the same elements.
"""

from __future__ import annotations

from tgc.ir import index as ix
from tgc.ir.expr import Apply, Expr, Lit, Load, Ramp, Var
from tgc.ir.index import Opaque, Quotient
from tgc.ir.kernel import Block, For, If, LoopKind, Statement, Store
from tgc.ir.ops import LT, WHERE
from tgc.ir.rewrite import rewrite, statements
from tgc.ir.schedule import Bind, Step
from tgc.passes.nest import chain, work
from tgc.passes.schedule.loops import carried_buffers, extents_of

LEAST_WORK = 1 << 17  # scalar operations that are worth waking a thread for
WELL_USED = 0.9  # share of the threads' time from which on a loop is preferred to better ones inside it
SHARED_LINES = 0.5  # share of the threads' time that is left where most of what they store are each other's lines
OWN_BYTES = 256  # in a row that a thread stores, from which on the lines at both ends count for little


def divide(plain: Statement, scheduled: Statement, threads: int) -> tuple[Step, ...]:
    """The step that shares a loop of `scheduled`, which was `plain`, among `threads` threads; none where it does not pay."""
    if not isinstance(scheduled, For) or _operations(plain) < LEAST_WORK:
        return ()
    loops, _ = chain(scheduled)
    kinds = {loop: _kind(scheduled, loop) for loop in loops if loop.kind == "serial" and loop.extent > 1}
    used = {loop: _used(scheduled, loop, kind, threads) for loop, kind in kinds.items() if kind is not None}
    if not used:
        return ()
    best = next((loop for loop in used if used[loop] >= WELL_USED), max(used, key=lambda loop: used[loop]))
    kind = kinds[best]
    return (Bind(best.var.name, kind),) if kind is not None and used[best] > 1 / threads else ()


def _used(body: Statement, loop: For, kind: LoopKind, threads: int) -> float:
    """The share of the threads' time that is used when the loop's iterations are shared out."""
    units, last = (loop.extent - 1, 1) if kind == "tailed" else (loop.extent, 0)
    most = max((part + 1) * units // threads - part * units // threads + last * (part + 1 == threads) for part in range(threads))
    even = loop.extent / (most * threads)
    return even * SHARED_LINES if _shares_lines(body, loop, threads) else even


def _shares_lines(body: Statement, loop: For, threads: int) -> bool:
    """Whether what a thread stores lies in short pieces between those of other threads: other loops move on in larger steps."""
    extents, memo = extents_of(body), dict[Expr, Expr]()
    for store in _stores(loop):
        index = rewrite(store.index, lambda expr: _untailed(expr, loop), memo)
        place = ix.from_expr(index.base if isinstance(index, Ramp) else index, extents)
        step = ix.coefficient(place, loop.var)
        repeated = step is not None and any(abs(ix.coefficient(place, var) or 0) > abs(step) for var in extents)
        if step is not None and repeated and abs(step) * store.buffer.dtype.bytes * loop.extent < OWN_BYTES * threads:
            return True
    return False


def _stores(loop: For) -> list[Store]:
    """What `loop` stores to the kernel's parameters."""
    return [inner for inner in statements(loop.body) if isinstance(inner, Store) and inner.buffer.space not in ("register", "local")]


def _operations(plain: Statement) -> int:
    """Scalar operations of the whole nest, each store counted as one more; memory costs about as much as eight."""
    total = 0

    def count(statement: Statement, times: int) -> None:
        nonlocal total
        match statement:
            case For(_, extent, body):
                count(body, times * extent)
            case Store(buffer):
                total += times * (work(statement) + (1 if buffer.space == "register" else 8))
            case Block(body):
                for part in body:
                    count(part, times)
            case If(_, body):
                count(body, times)
            case _:
                return

    count(plain, 1)
    return total


def _kind(body: Statement, loop: For) -> LoopKind | None:
    """How iterations of `loop` can be shared: none sees or stores what another one stores, but for the last two at most."""
    if carried_buffers(loop):
        return None
    extents, places = extents_of(body), [store.index for store in _stores(loop)]
    if all(_moves_apart(place, loop, extents) for place in places):
        return "parallel"
    memo: dict[Expr, Expr] = {}
    untailed = [rewrite(place, lambda expr: _untailed(expr, loop), memo) for place in places]
    return "tailed" if all(_moves_apart(place, loop, extents) for place in untailed) else None


def _untailed(expr: Expr, loop: For) -> Expr | None:
    """Where the blocks of `loop` start, but for the last, which starts inside the one before: min(i * size, start) as i * size."""
    match expr:
        case Apply(op, (Apply(test, (x, Lit(start))), a, Lit(again))) if op is WHERE and test is LT and x == a and start == again:
            block = ix.from_expr(x, {loop.var: loop.extent})
            size = ix.coefficient(block, loop.var) or 0
            inside = (loop.extent - 2) * size < int(start) - block.offset <= (loop.extent - 1) * size
            return x if ix.variables(block) == {loop.var} and inside else None
        case _:
            return None


def _moves_apart(index: Expr, loop: For, extents: dict[Var, int]) -> bool:
    """Whether a store's place is different in every iteration: it moves on by a constant, or by the loop's parts."""
    first = index.base if isinstance(index, Ramp) else index
    if first.lanes > 1 or isinstance(first, Load):
        return False
    place = ix.from_expr(first, extents)
    blurred = any(isinstance(atom, Opaque) and loop.var in ix.variables(ix.Index(((atom, 1),))) for atom, _ in place.terms)
    nested = any(isinstance(atom, Quotient) and _has_opaque(atom, loop) for atom, _ in place.terms)
    return not blurred and not nested and loop.var in ix.variables(place)


def _has_opaque(atom: Quotient, loop: For) -> bool:
    return any(isinstance(inner, Opaque) and loop.var in ix.variables(ix.Index(((inner, 1),))) for inner, _ in atom.dividend.terms)
