"""Recognising contractions: sums of products that use some operand more than once."""

from __future__ import annotations

from tgc.ir import ops
from tgc.ir.expr import Apply, Arg, Expr
from tgc.ir.graph import Expand, Map, Node, Permute, Reduce, Reshape, Slice, Window


def is_contraction(node: Reduce) -> bool:
    """Whether `node` is a sum of products, some operand of which is used more than once."""
    source = node.source
    if node.op is not ops.ADD or not isinstance(source, Map) or product_operands(source.expr) is None:
        return False
    return any(_repeats(operand) for operand in source.sources)


def product_operands(expr: Expr) -> tuple[Expr, Expr] | None:
    """The two different arguments that `expr` multiplies, casts looked through; None where it is anything else."""
    plain = _through_casts(expr)
    if not isinstance(plain, Apply) or plain.op is not ops.MUL:
        return None
    a, b = (_through_casts(arg) for arg in plain.args)
    return (a, b) if isinstance(a, Arg) and isinstance(b, Arg) and a != b else None


def _through_casts(expr: Expr) -> Expr:
    while isinstance(expr, Apply) and expr.op is ops.CAST:
        expr = expr.args[0]
    return expr


def _repeats(node: Node) -> bool:
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)):
        if isinstance(node, (Expand, Window)):
            return True
        node = node.source
    return False
