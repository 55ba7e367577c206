"""Texels: four elements that lie next to each other, read as one. Which of them an index names, where that can be told.

4 * x          -> texel x, element 0
a + b          -> where both are whole texels; a constant that is left over is the element
c ? a : b      -> where both are
"""

from __future__ import annotations

from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.expr import Apply, Expr, Lit, Ramp

TEXEL = 4
"""Elements of a texel."""


def texel_of(index: Expr) -> tuple[Expr, int] | None:
    """The texel that holds the element at the scalar `index`, and which of its elements that is; None where that varies."""
    match index:
        case Lit(value):
            return ex.index(int(value) // TEXEL), int(value) % TEXEL
        case Apply(op, (left, right)) if op is ops.ADD:
            a, b = texel_of(left), texel_of(right)
            if a is None or b is None:
                return None
            carry, element = divmod(a[1] + b[1], TEXEL)
            return _plus(_plus(a[0], b[0]), ex.index(carry)), element
        case Apply(op, (inner, Lit(factor))) if op is ops.MUL:
            if int(factor) % TEXEL == 0:
                return _times(inner, int(factor) // TEXEL), 0
            whole = texel_of(inner)
            return (_times(whole[0], int(factor)), 0) if whole is not None and whole[1] == 0 else None
        case Apply(op, (condition, yes, no)) if op is ops.WHERE:
            a, b = texel_of(yes), texel_of(no)
            same = a is not None and b is not None and a[1] == b[1]
            return (ex.apply(ops.WHERE, condition, a[0], b[0]), a[1]) if same and a is not None and b is not None else None
        case _:
            return None


def texel_at(index: Expr) -> Expr | None:
    """The texel that the vector `index` names as a whole; None where it is anything else."""
    if not isinstance(index, Ramp) or index.lanes != TEXEL or index.stride != 1:
        return None
    found = texel_of(index.base)
    return found[0] if found is not None and found[1] == 0 else None


def _plus(a: Expr, b: Expr) -> Expr:
    if isinstance(b, Lit) and b.value == 0:
        return a
    if isinstance(a, Lit):
        return ex.index(int(a.value) + int(b.value)) if isinstance(b, Lit) else b if a.value == 0 else ex.apply(ops.ADD, b, a)
    match a:
        case Apply(op, (rest, Lit(first))) if op is ops.ADD and isinstance(b, Lit):
            return _plus(rest, ex.index(int(first) + int(b.value)))
    return ex.apply(ops.ADD, a, b)


def _times(a: Expr, factor: int) -> Expr:
    if isinstance(a, Lit):
        return ex.index(int(a.value) * factor)
    return a if factor == 1 else ex.apply(ops.MUL, a, ex.index(factor))
