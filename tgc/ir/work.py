"""How much a kernel does, counted from its loop nest: arithmetic, and the bytes that it cannot do without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Expr, Load
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Statement, Store
from tgc.ir.rewrite import walk

_ARITHMETIC = frozenset(op.name for op in (ops.ADD, ops.MUL, ops.DIV, ops.MAX, ops.EXP2, ops.LOG2, ops.SIN, ops.SQRT))


@dataclass(frozen=True, slots=True)
class Work:
    """One launch. flop: operations on floats, a multiply-add being two; integer: on whole numbers, those of indices left out.

    read, written: bytes of parameters, each element counted once, as if a cache of any size held it. What stands under an If is
    counted as if it were always done, and what overlapping tiles do twice is counted twice.
    """

    flop: int
    integer: int
    read: int
    written: int

    @property
    def bytes(self) -> int:
        return self.read + self.written


def work_of(kernel: Kernel) -> Work:
    """The work of one launch of `kernel`."""
    flop = integer = 0
    loaded: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    for times, roots, store in executed(kernel.body, 1):
        for expr in walk(*roots):
            match expr:
                case Load(buffer):
                    loaded[buffer.name] += times * expr.lanes
                case Apply():
                    count = times * _operations(expr)
                    flop, integer = (flop + count, integer) if expr.dtype.is_float else (flop, integer + count)
                case _:
                    pass
        if store is not None:
            stored[store.buffer.name] += times * store.index.lanes
    sizes = {p.buffer.name: (p.buffer.size, p.buffer.dtype.bytes) for p in kernel.parameters}
    read, written = (sum(min(sizes[n][0], c) * sizes[n][1] for n, c in each.items() if n in sizes) for each in (loaded, stored))
    return Work(flop, integer, read, written)


def operations(*roots: Expr) -> int:
    """Scalar operations on values that `roots` are made of, each once, indices left out."""
    return sum(1 for expr in walk(*roots) if isinstance(expr, Apply) and expr.dtype != INDEX)


def _operations(expr: Apply) -> int:
    if expr.op in ops.NATIVE_OPS:
        return (4 if expr.op is ops.DOT2 else 8) * expr.lanes
    return expr.lanes if expr.op.name in _ARITHMETIC and expr.dtype != INDEX and expr.dtype.kind != "bool" else 0


def executed(statement: Statement, times: int) -> Iterator[tuple[int, tuple[Expr, ...], Store | None]]:
    """How often each statement runs, its expressions, and itself if it is a Store."""
    match statement:
        case Block(body):
            for part in body:
                yield from executed(part, times)
        case For(_, extent, body):
            yield from executed(body, times * extent)
        case If(condition, body):
            yield times, (condition,), None
            yield from executed(body, times)
        case Store(_, index, value):
            yield times, (index, value), statement
        case Alloc() | Barrier():
            return
