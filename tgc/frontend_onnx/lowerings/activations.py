"""Activation functions. Each is one expression of its input, so it fuses into whatever made that."""

from __future__ import annotations

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.registry import lowers
from tgc.ir import scalar
from tgc.ir.expr import Expr
from tgc.ir.graph import Node


@lowers("Relu", since=(6, 13, 14))
def relu(b: LoweringBuilder, x: Node) -> Node:
    """max(x, 0)."""
    return b.elementwise(lambda a: scalar.maximum(a, 0), x)


@lowers("LeakyRelu", since=(6, 16))
def leaky_relu(b: LoweringBuilder, x: Node, *, alpha: float = 0.01) -> Node:
    """alpha * x below 0, else x: for alpha in 0 .. 1 the larger of the two."""
    if 0 <= alpha <= 1:
        return b.elementwise(lambda a: scalar.maximum(a, scalar.mul(a, alpha)), x)
    return b.elementwise(lambda a: scalar.where(scalar.lt(a, 0), scalar.mul(a, alpha), a), x)


@lowers("ThresholdedRelu", since=(10, 22))
def thresholded_relu(b: LoweringBuilder, x: Node, *, alpha: float = 1.0) -> Node:
    """x above alpha, else 0."""
    return b.elementwise(lambda a: scalar.where(scalar.gt(a, alpha), a, 0), x)


@lowers("Sigmoid", since=(6, 13))
def sigmoid(b: LoweringBuilder, x: Node) -> Node:
    """1 / (1 + exp(-x))."""
    return b.elementwise(scalar.sigmoid, x)


@lowers("Tanh", since=(6, 13))
def tanh(b: LoweringBuilder, x: Node) -> Node:
    """The hyperbolic tangent."""
    return b.elementwise(scalar.tanh, x)


@lowers("HardSigmoid", since=(6, 22))
def hard_sigmoid(b: LoweringBuilder, x: Node, *, alpha: float = 0.2, beta: float = 0.5) -> Node:
    """alpha * x + beta, limited to 0 .. 1."""
    return b.elementwise(lambda a: _ramp(a, alpha, beta), x)


def _ramp(x: Expr, alpha: float, beta: float) -> Expr:
    return scalar.clip(scalar.add(scalar.mul(x, alpha), beta), 0, 1)


@lowers("HardSwish", since=(14, 22))
def hard_swish(b: LoweringBuilder, x: Node) -> Node:
    """x * hard_sigmoid(x), slope 1/6."""
    return b.elementwise(lambda a: scalar.mul(a, _ramp(a, 1 / 6, 0.5)), x)


@lowers("Swish", since=24)
def swish(b: LoweringBuilder, x: Node, *, alpha: float = 1.0) -> Node:
    """x * sigmoid(alpha * x)."""
    return b.elementwise(lambda a: scalar.mul(a, scalar.sigmoid(a if alpha == 1 else scalar.mul(a, alpha))), x)


@lowers("Gelu", since=20)
def gelu(b: LoweringBuilder, x: Node, *, approximate: str = "none") -> Node:
    """x times the normal distribution's integral at x, exactly or by a tanh."""
    if approximate not in ("none", "tanh"):
        raise b.invalid(f"approximate is {approximate!r}")
    return b.elementwise(scalar.gelu_tanh if approximate == "tanh" else scalar.gelu, x)


@lowers("Elu", since=(6, 22))
def elu(b: LoweringBuilder, x: Node, *, alpha: float = 1.0) -> Node:
    """alpha * (exp(x) - 1) below 0, else x."""
    return b.elementwise(lambda a: _exponential_below(a, alpha), x)


def _exponential_below(x: Expr, alpha: float) -> Expr:
    # exp sees no positive argument, so that nothing overflows where the branch is not taken.
    below = scalar.mul(scalar.expm1(scalar.minimum(x, 0)), alpha)
    return scalar.where(scalar.lt(x, 0), below, x)


@lowers("Selu", since=(6, 22))
def selu(b: LoweringBuilder, x: Node, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> Node:
    """gamma * elu(x)."""
    return b.elementwise(lambda a: scalar.mul(_exponential_below(a, alpha), gamma), x)


@lowers("Celu", since=(12, 28))
def celu(b: LoweringBuilder, x: Node, *, alpha: float = 1.0) -> Node:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""

    def function(a: Expr) -> Expr:
        below = scalar.mul(scalar.expm1(scalar.div(scalar.minimum(a, 0), alpha)), alpha)
        return scalar.where(scalar.lt(a, 0), below, a)

    if alpha <= 0:
        raise b.unsupported(f"alpha is {alpha}")
    return b.elementwise(function, x)


@lowers("Softplus", since=(1, 22))
def softplus(b: LoweringBuilder, x: Node) -> Node:
    """log(1 + exp(x))."""
    return b.elementwise(scalar.softplus, x)


@lowers("Softsign", since=(1, 22))
def softsign(b: LoweringBuilder, x: Node) -> Node:
    """x / (1 + |x|)."""
    return b.elementwise(lambda a: scalar.div(a, scalar.add(scalar.abs(a), 1)), x)


@lowers("Mish", since=(18, 22))
def mish(b: LoweringBuilder, x: Node) -> Node:
    """x * tanh(softplus(x))."""
    return b.elementwise(lambda a: scalar.mul(a, scalar.tanh(scalar.softplus(a))), x)


@lowers("Shrink", since=9)
def shrink(b: LoweringBuilder, x: Node, *, bias: float = 0.0, lambd: float = 0.5) -> Node:
    """x + bias below -lambd, x - bias above lambd, else 0."""

    def function(a: Expr) -> Expr:
        above = scalar.where(scalar.gt(a, lambd), scalar.sub(a, bias), 0)
        return scalar.where(scalar.lt(a, -lambd), scalar.add(a, bias), above)

    return b.elementwise(function, x)
