"""Stores that interleave: vectors of which each is stored with a stride, next to each other, become vectors without one.

    out[0, 3, 6, ..] = a      out[1, 4, 7, ..] = b      out[2, 5, 8, ..] = c      ->      out[0 .. 3 n] = a0 b0 c0 a1 b1 c1 ..

With a longer stride and as many vectors as lanes they are the rows of a square, and its columns are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tgc.backends.llvm.addresses import linear
from tgc.backends.llvm.expressions import address, as_memory, value, widen
from tgc.backends.llvm.function import Function
from tgc.backends.llvm.values import memory_type, vector
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Load, Ramp, index
from tgc.ir.kernel import Statement, Store
from tgc.ir.rewrite import walk

MOST = 8  # vectors that are no power of two


def runs(body: tuple[Statement, ...]) -> Iterator[tuple[Statement, ...]]:
    """`body` in pieces, in order: stores that interleave together, everything else alone."""
    position = 0
    while position < len(body):
        count = interleaved(body[position:])
        yield body[position : position + count]
        position += count


def interleaved(body: tuple[Statement, ...]) -> int:
    """How many stores at the beginning of `body` interleave, one element further each; 1 where there is no such thing."""
    first = body[0]
    if not (isinstance(first, Store) and isinstance(first.index, Ramp)):
        return 1
    stride, lanes = first.index.stride, first.index.lanes
    counts = [stride] if 2 <= stride <= MOST else []
    counts += [lanes] if lanes <= stride else []
    return next((count for count in counts if lanes & (lanes - 1) == 0 and _in_turn(body[:count], count)), 1)


def _in_turn(stores: tuple[Statement, ...], count: int) -> bool:
    """Whether these are `count` stores of vectors with one stride into one buffer, which none of them reads, an element further each."""
    first = stores[0]
    assert isinstance(first, Store)
    assert isinstance(first.index, Ramp)
    start = linear(first.index.base)
    for number, other in enumerate(stores):
        if not (isinstance(other, Store) and other.buffer == first.buffer and isinstance(other.index, Ramp)):
            return False
        at = linear(other.index.base)
        fits = (other.index.stride, other.index.lanes, other.value.lanes) == (first.index.stride, first.index.lanes, first.index.lanes)
        reads = any(isinstance(expr, Load) and expr.buffer == first.buffer for expr in walk(other.value, other.index))
        if not fits or reads or dict(at.terms) != dict(start.terms) or at.constant != start.constant + number:
            return False
    return len(stores) == count


def store_interleaved(fn: Function, stores: Sequence[Store]) -> None:
    """The stores of one run; what was read from the buffer before is forgotten."""
    buffer, lanes, count, ramp = stores[0].buffer, stores[0].value.lanes, len(stores), stores[0].index
    assert isinstance(ramp, Ramp)
    vectors: list[str] = []
    for store in stores:
        value(fn, store.value)
        vectors.append(as_memory(fn, buffer, widen(fn, store.value, lanes), lanes))
    element = memory_type(buffer.dtype, fn.machine)
    if count & (count - 1):
        vectors, width = [_mixed(fn, vectors, element, lanes)], lanes * count
    else:
        vectors, width = _riffled(fn, vectors, element, lanes), lanes
    for number, text in enumerate(vectors):
        step = width if ramp.stride == count else ramp.stride
        pointer, alignment = address(fn, buffer, Apply(ops.ADD, (ramp.base, index(number * step)), INDEX))
        fn.line(f"store {vector(element, width)} {text}, ptr {pointer.text}, align {alignment}")
    fn.forget(buffer)


def _riffled(fn: Function, vectors: list[str], element: str, lanes: int) -> list[str]:
    """A power of two of vectors, interleaved: those of the first half with those of the second, as often as that takes."""
    kind, put, half = vector(element, lanes), fn.put(fn.innermost), len(vectors) // 2
    masks = [", ".join(f"i32 {lane // 2 + lane % 2 * lanes}" for lane in range(first, first + lanes)) for first in (0, lanes)]
    for _ in range(half.bit_length()):
        vectors = [
            put(f"shufflevector {kind} {vectors[number]}, {kind} {vectors[number + half]}, <{lanes} x i32> <{mask}>")
            for number in range(half)
            for mask in masks
        ]
    return vectors


def _mixed(fn: Function, vectors: list[str], element: str, lanes: int) -> str:
    """Any number of vectors, interleaved into one. A shuffle takes two of equal length, so the shorter one is filled up first."""
    put, text, single = fn.put(fn.innermost), vectors[0], vector(element, lanes)
    for count, other in enumerate(vectors[1:], 1):
        long = lanes * count
        filling = ", ".join(f"i32 {lane}" if lane < lanes else "i32 poison" for lane in range(long))
        filled = put(f"shufflevector {single} {other}, {single} poison, <{long} x i32> <{filling}>") if count > 1 else other
        order = ", ".join(f"i32 {lane}" for lane in range(long + lanes))
        text = put(f"shufflevector <{long} x {element}> {text}, <{long} x {element}> {filled}, <{long + lanes} x i32> <{order}>")
    whole, total = vector(element, lanes * len(vectors)), lanes * len(vectors)
    order = ", ".join(f"i32 {number * lanes + lane}" for lane in range(lanes) for number in range(len(vectors)))
    return put(f"shufflevector {whole} {text}, {whole} poison, <{total} x i32> <{order}>")
