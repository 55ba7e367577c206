"""Dropout: nothing in inference; in training a random mask, drawn as `random` draws."""

from __future__ import annotations

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.random import uniform
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import BOOL, F32, DType
from tgc.ir.expr import Expr
from tgc.ir.graph import Node


@lowers("Dropout", since=(7, 10))
def dropout_7(b: LoweringBuilder, x: Node, *, ratio: float = 0.5) -> Node | tuple[Node, ...]:
    """The input, as in inference; the mask keeps everything."""
    return _kept(b, x, BOOL if b.opset >= 10 else x.dtype)


@lowers("Dropout", since=(12, 13, 22))
def dropout(
    b: LoweringBuilder, x: Node, ratio: Node | None = None, training_mode: Node | None = None, *, seed: int | None = None
) -> Node | tuple[Node, ...]:
    """x, and a mask that keeps everything; in training elements are kept with probability 1 - ratio, and divided by it."""
    if training_mode is None or not b.known(training_mode, "training_mode").reshape(-1)[0]:
        return _kept(b, x, BOOL)
    share = b.scalar(0.5, F32) if ratio is None else b.reshape(b.cast(ratio, F32), ())
    mask = b.elementwise(scalar.ge, uniform(b, x.shape, None if seed is None else float(seed)), share)

    def kept(keep: Expr, value: Expr, left_out: Expr) -> Expr:
        scale = scalar.div(1.0, scalar.sub(1.0, left_out))
        return scalar.where(keep, ex.cast(scalar.mul(ex.cast(value, F32), scale), value.dtype), scalar.lit(0, value))

    out = b.elementwise(kept, mask, x, share)
    return (out, mask) if len(b.outputs) > 1 else out


def _kept(b: LoweringBuilder, x: Node, mask: DType) -> Node | tuple[Node, ...]:
    return (x, b.full(x.shape, True, mask)) if len(b.outputs) > 1 else x
