"""Relax: where results are stored in half, functions that cost less and are as good as half can tell.

    erf(x)  ~  2 / (1 + 2^(-x P(min(x^2, 16)))) - 1           one exponential in place of the quotient of two polynomials

The worst error is 3.7e-5, a tenth of what half can tell at 1. GELU after a convolution has it in every result, and there the rest is
short too: constants cancel (`tidied`).

    (x + c) - c  ->  x        (x * (a / b)) * c  ->  x * (a c / b)        |c| <= 1
"""

from __future__ import annotations

from collections.abc import Callable

from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Apply, Arg, Expr, Lit, children
from tgc.ir.graph import Graph, Map, Node, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.rewrite import rewrite
from tgc.ir.scalar_exponential import polynomial

X = Arg(0, F32)
ERF = (3.2551326, 0.30031903, -0.0051571359)
"""log2((1 + erf x) / (1 - erf x)) / x, by powers of x^2; least squares, weighted until all errors of erf are equal (C. L. Lawson, 1961)."""
ERF_LIMIT = 16.0  # of x^2, from where on erf rounds to 1 and the polynomial turns


def rough_erf(x: Expr) -> Expr:
    """The error function to 4e-5: 8 operations, two of them special functions."""
    exponent = s.mul(x, polynomial(s.minimum(s.mul(x, x), ERF_LIMIT), ERF))
    return s.add(s.div(2.0, s.add(s.exp2(s.neg(exponent)), 1.0)), -1.0)


ROUGH: tuple[tuple[Expr, Callable[[Expr], Expr]], ...] = ((s.erf(X), rough_erf),)
"""Expressions of X, and what takes their place."""


def relax(graph: Graph) -> Graph:
    """`graph` with the functions of ROUGH in f32 computed the other way."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        new = tuple(made[source] for source in sources(node))
        expr = rewrite(node.expr, _rougher) if isinstance(node, Map) else None
        if isinstance(node, Map) and expr is not None and expr != node.expr:
            builder.origin = node.origin
            made[node] = builder.map(expr, *new, shape=node.shape)
        else:
            made[node] = rebuild(builder, node, new)
    inputs = tuple(builder.input(node.name, node.dtype, node.shape) for node in graph.inputs)
    return Graph(graph.name, inputs, tuple((name, made[node]) for name, node in graph.outputs), graph.open)


def _rougher(expr: Expr) -> Expr | None:
    for pattern, rough in ROUGH:
        bound: dict[Expr, Expr] = {}
        if isinstance(expr, Apply) and expr.dtype == F32 and _matches(pattern, expr, bound):
            return rough(bound[X])
    return None


def _matches(pattern: Expr, expr: Expr, bound: dict[Expr, Expr]) -> bool:
    """Whether `expr` is `pattern` with one expression for X. bound: parts of the pattern and what they are, filled in."""
    if pattern in bound:
        return bound[pattern] == expr
    bound[pattern] = expr
    if pattern == X or not children(pattern):
        return pattern in (X, expr)
    if not (isinstance(pattern, Apply) and isinstance(expr, Apply)) or pattern.op is not expr.op or len(pattern.args) != len(expr.args):
        return False
    return all(_matches(part, other, bound) for part, other in zip(pattern.args, expr.args, strict=True))


def tidied(expr: Expr) -> Expr | None:
    """What `expr`, whose parts are so already, is without constants that cancel; None where none does."""
    match expr:
        case Apply(op, (Apply(inner, (x, Lit(first))), Lit(second)), dtype) if op is inner is ops.ADD and dtype == F32:
            return x if first == -second and abs(first) <= 1 else None
        case Apply(op, (product, Lit(factor)), dtype) if op is ops.MUL and dtype == F32 and abs(factor) <= 1:
            return _scaled(product, float(factor))
        case _:
            return None


def _scaled(product: Expr, factor: float) -> Expr | None:
    """`product` times `factor`, where it is a product with a quotient of a constant: that takes the factor."""
    if not isinstance(product, Apply) or product.op is not ops.MUL:
        return None
    for own, other in (product.args, product.args[::-1]):
        match own:
            case Apply(op, (Lit(above), below)) if op is ops.DIV:
                return s.mul(other, s.div(s.lit(above * factor, F32), below))
    return None
