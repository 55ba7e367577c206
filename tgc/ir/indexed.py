"""The nodes of the graph whose indices are data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tgc.ir.dtypes import DType
from tgc.ir.ops import Op

if TYPE_CHECKING:
    from tgc.ir.graph import Node, Shape


@dataclass(frozen=True, eq=False)
class Gather:
    """`out[i] = source[coordinates[0][i], coordinates[1][i], ...]`: one integer tensor of the output's shape for each source axis.

    A coordinate out of range is clamped to the nearest element, so that no data can make a kernel read elsewhere.
    """

    source: Node
    coordinates: tuple[Node, ...]
    shape: Shape
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype


@dataclass(frozen=True, eq=False)
class Scatter:
    """`source` with `out[c0[u], c1[u], ..] op= updates[u]` done for every index u of `updates`, in row-major order.

    coordinates: one integer tensor of the updates' shape for each axis; out of range, the nearest element is meant. op: ADD, MUL or
    MAX with what is there, or None: the update takes its place, so that of several for one element the last wins.
    """

    source: Node
    coordinates: tuple[Node, ...]
    updates: Node
    op: Op | None = None
    origin: str = ""

    @cached_property
    def dtype(self) -> DType:
        return self.source.dtype

    @cached_property
    def shape(self) -> Shape:
        return self.source.shape
