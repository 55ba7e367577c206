"""Divide: which loop of a scheduled kernel threads share.

The outermost loops of a kernel stand directly in each other, and their iterations are independent: any of them may be shared. What
decides is how evenly it divides. A loop whose last block overlaps the one before stays whole, for two threads would store the
same elements.
"""

from __future__ import annotations

from tgc.ir import index as ix
from tgc.ir.expr import Expr, Load, Ramp, Var
from tgc.ir.index import Opaque, Quotient
from tgc.ir.kernel import For, Statement, Store
from tgc.ir.rewrite import statements
from tgc.ir.schedule import Bind, Step
from tgc.passes.nest import chain, work
from tgc.passes.schedule.loops import carried_buffers, extents_of

LEAST_WORK = 1 << 17  # scalar operations that are worth waking a thread for
EVEN = 0.9  # of the threads' time that a loop may use to be preferred to a more even one inside it


def divide(plain: Statement, scheduled: Statement, threads: int) -> tuple[Step, ...]:
    """The step that shares a loop of `scheduled`, which was `plain`, among `threads` threads; none where it does not pay."""
    if not isinstance(scheduled, For) or _operations(plain) < LEAST_WORK:
        return ()
    loops, _ = chain(scheduled)
    found = [loop for loop in loops if loop.kind == "serial" and loop.extent > 1 and _is_divisible(scheduled, loop)]
    if not found:
        return ()
    even = [loop for loop in found if _evenness(loop, threads) >= EVEN]
    best = even[0] if even else max(found, key=lambda loop: _evenness(loop, threads))
    return (Bind(best.var.name, "parallel"),)


def _evenness(loop: For, threads: int) -> float:
    """The share of the threads' time that is used when the loop's iterations are shared out."""
    return loop.extent / (-(-loop.extent // threads) * threads)


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
            case _:
                for part in getattr(statement, "body", ()):
                    count(part, times)

    count(plain, 1)
    return total


def _is_divisible(body: Statement, loop: For) -> bool:
    """Whether no iteration of `loop` sees or stores what another one stores."""
    if carried_buffers(loop):
        return False
    extents = extents_of(body)
    stores = [inner for inner in statements(loop.body) if isinstance(inner, Store) and inner.buffer.space != "register"]
    return all(_moves_apart(store.index, loop, extents) for store in stores)


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
