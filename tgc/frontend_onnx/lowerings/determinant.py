"""Determinants, by elimination. The steps are written out, so it is for small matrices."""

from __future__ import annotations

from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.precision import in_single
from tgc.frontend_onnx.lowerings.reductions import largest_index
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import I32
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node

LARGEST = 64


@lowers("Det", since=(11, 22))
def det(b: LoweringBuilder, x: Node) -> Node:
    """The determinant of each matrix [.., N, N], by elimination with the largest element of each column."""
    size = x.shape[-1] if len(x.shape) >= 2 else 0
    if len(x.shape) < 2 or x.shape[-2] != size:
        raise b.invalid(f"shape {list(x.shape)}, which has no square matrices")
    if size > LARGEST:
        raise b.unsupported(f"the determinant of a matrix of {size} rows; at most {LARGEST}")
    lead = x.shape[:-2]
    return in_single(b, lambda wide: b.reshape(_determinant(b, b.reshape(wide, (prod(lead), size, size))), lead), x)


def _determinant(b: LoweringBuilder, x: Node) -> Node:
    """x [B, N, N] -> [B, 1, 1]."""
    out = b.full((x.shape[0], 1, 1), 1, x.dtype)
    while x.shape[2] > 0:
        factor, x = _step(b, x)
        out = b.mul(out, factor)
    return out


def _step(b: LoweringBuilder, x: Node) -> tuple[Node, Node]:
    """The pivot of x [B, n, n], negated where two rows changed places, and what is left, [B, n - 1, n - 1]."""
    batch, size = x.shape[:2]
    best = largest_index(b, b.elementwise(scalar.abs, b.narrow(x, 2, 0, 1)), 1)
    shape = (batch, 1, size)
    row = b.gather(x, [b.coordinate(shape, 0, I32), best, b.coordinate(shape, 2, I32)], shape)
    pivot = b.narrow(row, 2, 0, 1)
    factor = b.elementwise(lambda p, at: scalar.where(scalar.eq(at, 0), p, scalar.neg(p)), pivot, best)
    if size == 1:
        return factor, b.narrow(x, 2, 0, 0)
    rest = (batch, size - 1, size)
    swapped = b.elementwise(
        lambda own, first, at: scalar.where(scalar.eq(scalar.add(ex.cast(Coordinate(1), I32), 1), at), first, own),
        b.narrow(x, 1, 1, size - 1), b.expand(b.narrow(x, 1, 0, 1), rest), b.expand(best, (batch, 1, 1)),
    )  # fmt: skip
    return factor, b.narrow(b.elementwise(_eliminated, swapped, b.narrow(swapped, 2, 0, 1), row, pivot), 2, 1, size - 1)


def _eliminated(own: Expr, first: Expr, pivot_row: Expr, pivot: Expr) -> Expr:
    """own - first / pivot * pivot_row; a pivot of 0 makes the determinant 0 whatever is left."""
    safe = scalar.where(scalar.eq(pivot, 0), 1, pivot)
    return scalar.sub(own, scalar.mul(scalar.div(first, safe), pivot_row))
