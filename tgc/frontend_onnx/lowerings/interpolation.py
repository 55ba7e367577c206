"""Elements between the elements of a tensor, at positions that are data: each is a weighted sum of taps, an axis of its own a tap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import I32
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node

Mode = Literal["nearest", "linear", "cubic"]
Padding = Literal["zeros", "border", "reflection"]
TAPS: dict[Mode, int] = {"nearest": 1, "linear": 2, "cubic": 4}
_CUBIC_A = -0.75
_SHORT = 2.0**-20
"""The span of an axis of one element, mirrored at its centre: too short to leave it, and nothing is divided by 0."""


@dataclass(frozen=True, slots=True)
class Between:
    """How to sample. edge: how far beyond the centres of the outermost elements reflection turns around."""

    mode: Mode
    padding: Padding
    edge: float = 0.0


def weighted(b: LoweringBuilder, x: Node, rows: Node | None, positions: Sequence[Node], how: Between) -> tuple[Node, int]:
    """The taps of each sample, weighted: [R, C, *out, *taps], and how many axes of taps there are, one for each position.

    x: [N, C, *spatial]. positions: for each spatial axis, in elements, [R, 1, *out], floats, in which is computed. rows: for each
    of R samples the row of x, [R]; by default the same. Summed over the taps this is the interpolated tensor.
    """
    count, taps = len(positions), TAPS[how.mode]
    out = positions[0].shape[2:]
    shape = (positions[0].shape[0], x.shape[1], *out, *(taps,) * count)
    rank = len(shape)
    batch = b.coordinate(shape, 0, I32) if rows is None else b.reshape(rows, (shape[0], *(1,) * (rank - 1)))
    coordinates, weights = [batch, b.coordinate(shape, 1, I32)], []
    for number, position in enumerate(positions):
        axis = 2 + len(out) + number
        own = (*position.shape, *(taps if d == number else 1 for d in range(count)))
        wide = b.expand(b.reshape(position, (*position.shape, *(1,) * count)), own)
        index, weight = _tap(b, wide, axis, b.scalar(x.shape[2 + number], position.dtype), how)
        coordinates.append(index)
        weights.append(weight)
    values = b.cast(b.gather(x, coordinates, shape), positions[0].dtype)
    for weight in weights:
        values = b.mul(values, b.broadcast_to(weight, shape))
    return values, count


def interpolated(b: LoweringBuilder, x: Node, rows: Node | None, positions: Sequence[Node], how: Between) -> Node:
    """`x` [N, C, *spatial] at `positions`: [R, C, *out], in the type of the positions."""
    values, count = weighted(b, x, rows, positions, how)
    rank = len(values.shape)
    return b.reduce(ops.ADD, values, range(rank - count, rank), keepdims=False)


def _tap(b: LoweringBuilder, position: Node, axis: int, extent: Node, how: Between) -> tuple[Node, Node]:
    """Where each tap along `axis` falls on a spatial axis of `extent` elements, a scalar of the type of `position`, and its weight."""
    first = -1 if how.mode == "cubic" else 0

    def limited(place: Expr, size: Expr) -> Expr:
        at = scalar.round_half_even(place) if how.mode == "nearest" else place
        match how.padding:
            case "border" if how.mode != "cubic":
                return scalar.clip(at, 0.0, scalar.sub(size, 1.0))
            case "zeros" | "border":  # where all taps are outside; a cubic is drawn through repeated edges, as PyTorch draws it
                return scalar.clip(at, -4.0, scalar.add(size, 3.0))
            case "reflection":
                return reflected(at, how.edge, size)

    def tap(place: Expr, size: Expr) -> Expr:
        return scalar.add(scalar.floor(limited(place, size)), ex.cast(scalar.add(ex.cast(Coordinate(axis), I32), first), place.dtype))

    def index(place: Expr, size: Expr) -> Expr:
        at = reflected(tap(place, size), how.edge, size) if how.padding == "reflection" else tap(place, size)
        return ex.cast(scalar.clip(at, 0.0, scalar.sub(size, 1.0)), I32)

    def weight(place: Expr, size: Expr) -> Expr:
        at = tap(place, size)
        share = _weight(scalar.abs(scalar.sub(limited(place, size), at)), how.mode)
        if how.padding != "zeros":
            return share
        inside = scalar.logical_and(scalar.ge(at, 0), scalar.lt(at, size))
        return scalar.where(inside, share, 0)

    return b.elementwise(index, position, extent), b.elementwise(weight, position, extent)


def _weight(distance: Expr, mode: Mode) -> Expr:
    """Of a tap at `distance` >= 0. Cubic: R. G. Keys, 1981, equation 4, with a = -0.75."""
    match mode:
        case "nearest":
            return scalar.lit(1, distance)
        case "linear":
            return scalar.sub(1, distance)
        case "cubic":
            a = _CUBIC_A
            square = scalar.mul(distance, distance)
            near = scalar.add(scalar.mul(scalar.sub(scalar.mul(distance, a + 2), a + 3), square), 1)
            far = scalar.mul(scalar.add(scalar.mul(scalar.sub(scalar.mul(distance, a), 5 * a), distance), 8 * a), distance)
            return scalar.where(scalar.le(distance, 1), near, scalar.sub(far, 4 * a))


def reflected(place: Expr, edge: float, size: Expr) -> Expr:
    """`place` mirrored at -edge and at size - 1 + edge until it is between them."""
    low, span = -edge, scalar.maximum(scalar.add(size, 2 * edge - 1.0), _SHORT)
    distance = scalar.abs(scalar.sub(place, low))
    laps = scalar.floor(scalar.div(distance, span))
    rest = scalar.sub(distance, scalar.mul(laps, span))
    odd = scalar.ne(scalar.mul(scalar.floor(scalar.mul(laps, 0.5)), 2), laps)
    return scalar.where(odd, scalar.sub(scalar.add(span, low), rest), scalar.add(rest, low))
