"""Half-precision tensors: stored narrow, computed in single precision where sums or quotients would lose or overflow."""

from __future__ import annotations

from collections.abc import Callable

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.ir.dtypes import BF16, F16, F32
from tgc.ir.graph import Node


def in_single(b: LoweringBuilder, function: Callable[..., Node], *xs: Node) -> Node:
    """`function(*xs)`, computed in f32 and rounded once where the first of `xs` is f16 or bf16."""
    dtype = xs[0].dtype
    if dtype not in (F16, BF16):
        return function(*xs)
    return b.cast(function(*(b.cast(x, F32) for x in xs)), dtype)
