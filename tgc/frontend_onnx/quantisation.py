"""How quantised tensors stand for numbers: number = (stored - zero point) * scale."""

from __future__ import annotations

from dataclasses import dataclass

from tgc.ir.dtypes import DType
from tgc.ir.graph import Node


@dataclass(frozen=True, slots=True)
class Steps:
    """How stored integers stand for numbers. `scale` and `zero` (None: 0) broadcast to the tensor; `dtype` is the stored type."""

    scale: Node
    zero: Node | None
    dtype: DType


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of numbers that is known to be `x` in `steps`."""

    x: Node
    steps: Steps
