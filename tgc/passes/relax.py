"""Relax: where results are stored in half, functions that cost less and are as good as half can tell.

    erf(x)  ~  2 / (1 + 2^(-x P(min(x^2, 16)))) - 1           one exponential in place of the quotient of two polynomials
    erf(x)  ~  c P(c^2),  c = x limited to -2.9 .. 2.9        one polynomial, where an exponential is many instructions

The worst errors are 3.7e-5 and 5.7e-5, a tenth of what half can tell at 1. GELU after a convolution has it in every result, and there the
rest is short too: constants cancel (`tidied`).

    e^x - 1          =  2^(x log2 e) - 1                        without the polynomial near 0
    ELU(x)           =  max(x, e^-|x| - 1)                      for e^x - 1 >= x, and a sign costs nothing
    tanh(x)          =  1 - 2 / (e^2x + 1)                      without the polynomial near 0
    ln(1 + e^x)      =  max(x, 0) + ln(1 + e^-|x|)              without the factor that repairs 1 + e^-|x|

These are off by about 1e-7 where the exact forms keep more of a small result; halves lie 6e-8 apart next to 0, and farther from 6e-5 on.

    (x + c) - c  ->  x        (x * (a / b)) * c  ->  x * (a c / b)        |c| <= 1
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import e, log2

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
LOGARITHM = (3.2551326, 0.30031903, -0.0051571359)
"""log2((1 + erf x) / (1 - erf x)) / x, by powers of x^2; least squares, weighted until all errors of erf are equal (C. L. Lawson, 1961)."""
LOGARITHM_LIMIT = 16.0  # of x^2, from where on erf rounds to 1 and the polynomial turns
ERF = (1.1280336, -0.37392932, 0.10871654, -0.023305042, 0.0035131602, -0.0003469447, 1.9876637e-05, -4.9614414e-07)
"""erf(x) / x, by powers of x^2; found in the same way."""
ERF_LIMIT = 2.9


def erf_by_exponential(x: Expr) -> Expr:
    """The error function to 4e-5: 8 operations, two of them special functions."""
    exponent = s.mul(x, polynomial(s.minimum(s.mul(x, x), LOGARITHM_LIMIT), LOGARITHM))
    return s.add(s.div(2.0, s.add(s.exp2(s.neg(exponent)), 1.0)), -1.0)


def erf_by_polynomial(x: Expr) -> Expr:
    """The error function to 6e-5: 12 operations."""
    limited = s.clip(x, -ERF_LIMIT, ERF_LIMIT)
    return s.mul(limited, polynomial(s.mul(limited, limited), ERF))


def expm1_by_exponential(x: Expr) -> Expr:
    """e^x - 1 to 1e-7: 3 operations."""
    return s.add(s.exp(x), -1.0)


def elu(x: Expr) -> Expr:
    """x, or 1 (e^x - 1) below 0: the front end's form, once `expm1` is replaced."""
    return s.where(s.lt(x, 0.0), s.mul(expm1_by_exponential(s.minimum(x, 0.0)), 1.0), x)


def elu_by_maximum(x: Expr) -> Expr:
    """x, or e^x - 1 below 0: 4 operations, for a product takes the magnitude of what it multiplies."""
    return s.maximum(x, s.add(s.exp2(s.mul(s.abs(x), -log2(e))), -1.0))


def tanh_by_exponential(x: Expr) -> Expr:
    """The hyperbolic tangent to 1e-7: 5 operations, two of them special functions."""
    return s.add(s.div(-2.0, s.add(s.exp(s.mul(x, 2.0)), 1.0)), 1.0)


def softplus_by_logarithm(x: Expr) -> Expr:
    """ln(1 + e^x) to 1e-7: 7 operations, two of them special functions."""
    return s.add(s.maximum(x, 0.0), s.log(s.add(s.exp(s.neg(s.abs(x))), 1.0)))


Rough = tuple[tuple[Expr, Callable[[Expr], Expr]], ...]
"""Expressions of X, and what takes their place."""
WITH_SPECIAL_FUNCTIONS: Rough = (
    (s.erf(X), erf_by_exponential),
    (s.expm1(X), expm1_by_exponential),
    (elu(X), elu_by_maximum),
    (s.tanh(X), tanh_by_exponential),
    (s.softplus(X), softplus_by_logarithm),
)
WITHOUT: Rough = ((s.erf(X), erf_by_polynomial),)


def relax(graph: Graph, rough: Rough) -> Graph:
    """`graph` with the functions of `rough` in f32 computed the other way."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        new = tuple(made[source] for source in sources(node))
        expr = rewrite(node.expr, partial(_rougher, rough)) if isinstance(node, Map) else None
        if isinstance(node, Map) and expr is not None and expr != node.expr:
            builder.origin = node.origin
            made[node] = builder.map(expr, *new, shape=node.shape)
        else:
            made[node] = rebuild(builder, node, new)
    inputs = tuple(builder.input(node.name, node.dtype, node.shape) for node in graph.inputs)
    return Graph(graph.name, inputs, tuple((name, made[node]) for name, node in graph.outputs), graph.open)


def _rougher(rough: Rough, expr: Expr) -> Expr | None:
    for pattern, other in rough:
        bound: dict[Expr, Expr] = {}
        if isinstance(expr, Apply) and expr.dtype == F32 and _matches(pattern, expr, bound):
            return other(bound[X])
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
