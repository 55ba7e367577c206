"""Places in images, as sums in the order of the loops that their terms change with.

    4 * i + k + 2 * j + start + 1    ->    (((start + 4 * i) + 2 * j) + k) + 1        for loops i, j, k, from the outside in

What the outer loops add is then one value, which the printer names outside of the inner ones, and reads that differ by a constant
share all but their last addition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce

from tgc.backends.cfamily.uses import depth_of
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.expr import Apply, Expr, Lit

INNERMOST = 1 << 30


def in_order(place: Expr, first: Expr, depths: Mapping[str, int], memo: dict[Expr, tuple[int, int]]) -> Expr:
    """`first` + `place`, its terms by the depth of the scope in which their last variable lives, constants last."""
    constant = 0
    found: list[tuple[int, Expr]] = []
    for term, factor in terms(place, 1):
        if isinstance(term, Lit):
            constant += int(term.value) * factor
        else:
            depth = depth_of(term, depths, memo)[0]
            found.append((depth if depth >= 0 else INNERMOST, _times(term, factor)))
    ordered = [scaled for _, scaled in sorted(found, key=lambda entry: entry[0])]
    if constant:
        ordered.append(ex.index(constant))
    return reduce(lambda total, scaled: ex.apply(ops.ADD, total, scaled), ordered, first)


def _times(term: Expr, factor: int) -> Expr:
    return term if factor == 1 else ex.apply(ops.MUL, term, ex.index(factor))


def terms(place: Expr, factor: int) -> Iterator[tuple[Expr, int]]:
    """The terms of a sum of multiples, each with what it is multiplied by."""
    match place:
        case Apply(op, (left, right)) if op is ops.ADD:
            yield from terms(left, factor)
            yield from terms(right, factor)
        case Apply(op, (inner, Lit(value))) if op is ops.MUL:
            yield from terms(inner, factor * int(value))
        case _:
            yield place, factor
