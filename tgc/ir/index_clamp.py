"""Forcing computed integers into the range of an axis."""

from __future__ import annotations

from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Expr, Lit
from tgc.ir.expression_bounds import type_bounds
from tgc.ir.index import ZERO, Index, opaque


def clamp(expr: Expr, extent: int) -> Index:
    """The integer expression `expr` forced into 0 .. extent - 1, in its own type, so that an INDEX of few bits holds it."""
    if extent == 1:
        return ZERO
    dtype = expr.dtype
    at_least = ex.apply(ops.MAX, expr, Lit(0, dtype)) if dtype.kind == "int" else expr
    last = Lit(extent - 1, dtype)
    fits = dtype != INDEX and type_bounds(dtype)[1] < extent
    inside = at_least if fits else ex.apply(ops.WHERE, ex.apply(ops.LT, at_least, last), at_least, last)
    return opaque(ex.cast(inside, INDEX), 0, extent - 1)
