"""Squares: four vectors that each take every n-th element, beginning next to each other, are four whole vectors, turned.

a[x], a[x + n], ..    a[x + 1], a[x + n + 1], ..    ..      ->      u = a[x .. x + 4], v = a[x + n .. x + n + 4], ..
                                                                    (u0, v0, ..)  (u1, v1, ..)  ..
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.dtypes import BOOL
from tgc.ir.expr import Buffer, Expr, Load, Ramp
from tgc.ir.kernel import Statement
from tgc.ir.rewrite import expressions, walk
from tgc.ir.texels import TEXEL, texel_of

Square = tuple[Buffer, Expr, int]
"""Of a buffer: four elements, counted in fours, and how far the next four are."""


def squares(body: Statement) -> dict[Square, Expr]:
    """The squares of which `body` loads every element, and where each begins."""
    found: defaultdict[Square, dict[int, Expr]] = defaultdict(dict)
    for expr in walk(*expressions(body)):
        if isinstance(expr, Load) and isinstance(expr.index, Ramp) and (place := _place(expr)) is not None:
            found[place[0]][place[1]] = expr.index.base
    return {square: columns[0] for square, columns in found.items() if len(columns) == TEXEL}


def _place(load: Load) -> tuple[Square, int] | None:
    """The square in which `load` is a column, and which."""
    index = load.index
    if not isinstance(index, Ramp) or index.lanes != TEXEL or index.stride % TEXEL or load.dtype == BOOL or load.buffer.space != "global":
        return None
    found = texel_of(index.base)
    return None if found is None else ((load.buffer, found[0], index.stride), found[1])


def column(load: Load, known: Mapping[Square, Expr]) -> tuple[tuple[Load, ...], int] | None:
    """The rows of the square in which `load` is a column, and which column it is; None where it is in none of `known`."""
    place = _place(load)
    if place is None or place[0] not in known:
        return None
    (buffer, _, stride), number = place
    first = known[place[0]]
    bases = [ex.apply(ops.ADD, first, ex.index(row * stride)) if row else first for row in range(TEXEL)]
    return tuple(Load(buffer, Ramp(base, 1, TEXEL)) for base in bases), number
