"""ai.onnx.preview.training: one step of an optimiser on any number of tensors."""

from __future__ import annotations

from collections.abc import Sequence

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import I64
from tgc.ir.graph import Node

TRAINING = "ai.onnx.preview.training"


def _groups(b: LoweringBuilder, inputs: Sequence[Node], kinds: int) -> list[tuple[Node, ...]]:
    """The inputs, which come kind by kind, tensor by tensor."""
    if not inputs or len(inputs) % kinds:
        raise b.invalid(f"{len(inputs)} tensors, not {kinds} of each kind")
    count = len(inputs) // kinds
    return [tuple(inputs[n + kind * count] for kind in range(kinds)) for n in range(count)]


def _outputs(results: Sequence[tuple[Node, ...]]) -> tuple[Node, ...]:
    return tuple(tensor for kind in zip(*results, strict=True) for tensor in kind)


@lowers("Adagrad", since=1, domain=TRAINING)
def adagrad(
    b: LoweringBuilder,
    rate: Node,
    step: Node,
    *inputs: Node,
    decay_factor: float = 0.0,
    epsilon: float = 9.999999974752427e-07,
    norm_coefficient: float = 0.0,
) -> tuple[Node, ...]:
    """Inputs: learning rate, step, then tensors, gradients, sums of squares; outputs: new tensors and sums.

    J. Duchi et al., Adaptive Subgradient Methods, 2011.
    """
    rate, step = (b.reshape(n, ()) for n in (rate, step))
    slower = b.elementwise(lambda r, t: scalar.div(r, scalar.add(scalar.mul(ex.cast(t, r.dtype), decay_factor), 1)), rate, step)
    results = []
    for x, gradient, total in _groups(b, inputs, 3):
        slope = b.elementwise(lambda g, v: scalar.add(g, scalar.mul(v, norm_coefficient)), gradient, x)
        summed = b.elementwise(lambda h, g: scalar.add(h, scalar.mul(g, g)), total, slope)
        moved = b.elementwise(
            lambda v, r, g, h: scalar.sub(v, scalar.mul(r, scalar.div(g, scalar.add(scalar.sqrt(h), epsilon)))), x, slower, slope, summed
        )
        results.append((moved, summed))
    return _outputs(results)


@lowers("Adam", since=1, domain=TRAINING)
def adam(
    b: LoweringBuilder,
    rate: Node,
    step: Node,
    *inputs: Node,
    alpha: float = 0.8999999761581421,
    beta: float = 0.9990000128746033,
    epsilon: float = 9.999999974752427e-07,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Node, ...]:
    """Inputs: learning rate, step, then tensors, gradients, means, means of squares; outputs: new tensors and means.

    D. Kingma and J. Ba, Adam, 2015.
    """
    rate, step = (b.reshape(n, ()) for n in (rate, step))

    def corrected(r: ex.Expr, t: ex.Expr) -> ex.Expr:
        first, second = (scalar.sub(1, scalar.pow(scalar.lit(base, r), ex.cast(t, r.dtype))) for base in (alpha, beta))
        return scalar.where(scalar.eq(t, 0), r, scalar.mul(r, scalar.div(scalar.sqrt(second), first)))

    slower = b.elementwise(corrected, rate, step)
    results = []
    for x, gradient, mean, square in _groups(b, inputs, 4):
        slope = b.elementwise(lambda g, v: scalar.add(g, scalar.mul(v, norm_coefficient)), gradient, x)
        first = b.elementwise(lambda m, g: scalar.add(scalar.mul(m, alpha), scalar.mul(g, 1 - alpha)), mean, slope)
        second = b.elementwise(lambda m, g: scalar.add(scalar.mul(m, beta), scalar.mul(scalar.mul(g, g), 1 - beta)), square, slope)
        moved = b.elementwise(
            lambda v, r, m, s: scalar.sub(v, scalar.mul(r, scalar.div(m, scalar.add(scalar.sqrt(s), epsilon)))), x, slower, first, second
        )
        results.append((b.elementwise(lambda v: scalar.mul(v, 1 - norm_coefficient_post), moved), first, second))
    return _outputs(results)


@lowers("Momentum", since=1, domain=TRAINING)
def momentum(
    b: LoweringBuilder, rate: Node, step: Node, *inputs: Node, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> tuple[Node, ...]:
    """Inputs: learning rate, step, then tensors, gradients, momenta; outputs: new tensors and momenta. mode: standard or nesterov."""
    if mode not in ("standard", "nesterov"):
        raise b.invalid(f"mode is {mode!r}")
    rate, step = (b.reshape(n, ()) for n in (rate, step))
    results = []
    for x, gradient, past in _groups(b, inputs, 3):
        slope = b.elementwise(lambda g, v: scalar.add(g, scalar.mul(v, norm_coefficient)), gradient, x)
        share = b.elementwise(lambda t, k=x.dtype: scalar.where(scalar.gt(t, 0), scalar.lit(beta, k), scalar.lit(1, k)), b.cast(step, I64))
        now = b.elementwise(lambda v, g, s: scalar.add(scalar.mul(v, alpha), scalar.mul(g, s)), past, slope, share)
        way = now if mode == "standard" else b.elementwise(lambda g, v: scalar.add(g, scalar.mul(v, alpha)), slope, now)
        results.append((b.elementwise(lambda v, r, m: scalar.sub(v, scalar.mul(r, m)), x, rate, way), now))
    return _outputs(results)
