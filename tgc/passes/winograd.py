"""Winograd: convolutions of 3x3 at stride 1 by fewer products.

A tile of m x m results needs (m + 2)^2 products a channel where the sum over the window takes 9 m^2: 2.25 times fewer for m = 2,
4 times for m = 4 (A. Lavin and S. Gray, Fast algorithms for convolutional neural networks, 2016):

    Y = A^T [ (G g G^T) * (B^T d B) ] A        summed over the channels before A is applied

All of it is maps, views and one batched contraction, and the weights' part is computed here:

    V[p, n, y, x, c] = B^T d B      p counts the (m + 2)^2 points, (y, x) the tiles, whose windows overlap by 2
    M[p, n, y, x, o] = sum over c of V[p, n, y, x, c] * U[p, o, c]
    Y[n, o, h, w]    = A^T M A      at (h, w) inside its tile

Where V is stored in half it is taken 1/16 of for m = 4 (and U times 16), so that it is at most twice as large as d.

V and Y are maps whose expression is chosen by a coordinate: point p, or the place in the tile. Schedules write such loops out.

What it costs: errors of the largest result, over 128 channels of random numbers, are about 2e-6 for m = 4, 4e-7 for m = 2 and 7e-7 for
the plain sum; and an infinity or NaN spreads over its tile. A convolution is recognised by the index structure of its contraction alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg, Coordinate, Expr, Var
from tgc.ir.graph import Constant, Expand, Graph, Map, Node, Pad, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.views import Vector, source_index
from tgc.passes.contractions import is_contraction, product_operands
from tgc.passes.fold import rebuilt
from tgc.passes.winograd_transforms import output_places, source_points, weights_at_points
from tgc.targets import Winograd

TRANSFORMS = {2: (84, 254), 4: (300, 217)}
"""Instructions on an Adreno for a tile's channel into points, and for an output's points into a tile."""
LAUNCH = 520_000
"""Instructions that an Adreno carries out while it launches a kernel."""


@dataclass(frozen=True, slots=True)
class Conv3x3:
    """A contraction [N, O, H, W] = sum of source[n, c, h + r, w + s] * weights[o, c, r, s], by its parts.

    source: axes (batch, channel, height, width) of `image` are `axes`; the extents of the result are `count`.
    """

    image: Node
    axes: tuple[int, int, int, int]
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    results: tuple[int, int, int, int]  # the contraction's axes that are n, o, h, w


def winograd(graph: Graph, choice: Winograd, cache_bytes: int, pairs: bool = False, launches: bool = False) -> Graph:
    """`graph` with the convolutions of 3x3 for which it pays computed so; `choice` forces the tile's size, or forbids it.

    pairs: the plain sum is of bf16, two products at once. Tiles stay in f32, for their transforms would multiply the error.
    launches: on a device where each kernel is one, and the tiles may be stored in half.
    """
    if choice == "off":
        return graph
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        parts = tuple(made[source] for source in sources(node))
        found = recognise(node) if isinstance(node, Reduce) else None
        cost = launched if launches else partial(streamed, cache_bytes=cache_bytes, pairs=pairs)
        tile = tile_for(found, node.shape, choice, cost) if found is not None else 0
        if found is not None and tile:
            assert isinstance(node, Reduce)
            builder.origin = node.origin
            made[node] = _Tiled(builder, found, made[found.image], node, tile, launches).result()
        else:
            made[node] = rebuild(builder, node, parts)
    return rebuilt(graph, made)


def recognise(node: Reduce) -> Conv3x3 | None:
    """`node` as a convolution of 3x3 at stride 1 in f32 with constant weights and no groups; None where it is anything else."""
    if node.dtype != F32 or not is_contraction(node) or not isinstance(node.source, Map):
        return None
    if product_operands(node.source.expr) is None or len(node.source.sources) != 2:
        return None
    at = tuple(ix.axis(Var(f"{'k' if axis in node.axes else 'i'}{axis}"), size) for axis, size in enumerate(node.source.shape))
    (image, where), (weights, of) = (_base(source, at) for source in node.source.sources)
    if isinstance(image, Constant):
        image, where, weights, of = weights, of, image, where
    if not isinstance(weights, Constant) or isinstance(image, Constant):
        return None
    return _matched(node, image, where, weights, of)


def _base(node: Node, at: Vector) -> tuple[Node, Vector]:
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)):
        at = source_index(node, at)
        node = node.source
    return node, at


def _matched(node: Reduce, image: Node, where: Vector, weights: Constant, of: Vector) -> Conv3x3 | None:
    """The convolution that reads `image` at `where` and `weights` at `of`, if that is what it does."""
    taps = [_plain(component) for component in of]
    slid = {axis: pair for axis, component in enumerate(where) if (pair := _sum_of_two(component)) is not None}
    if len(where) != 4 or len(slid) != 2 or any(tap is None for tap in taps):
        return None
    (h, (ih, kh)), (w, (iw, kw)) = sorted(slid.items())
    others = [axis for axis in range(4) if axis not in slid]
    channel = [axis for axis in others if (v := _plain(where[axis])) is not None and v in node.axes]
    batch = [axis for axis in others if axis not in channel]
    if len(channel) != 1 or len(batch) != 1:
        return None
    c, n = _plain(where[channel[0]]), _plain(where[batch[0]])
    if c is None or c == -1 or n is None:
        return None
    wanted = {kh, kw, c}
    summed = {axis for axis in node.axes if node.source.shape[axis] != 1}
    features = [t for t in taps if t is not None and t != -1 and t not in node.axes]
    if summed != wanted or len(features) != 1 or not wanted <= set(taps):
        return None
    kept = {axis for axis, size in enumerate(node.shape) if size != 1}
    o = features[0]
    if not kept <= {n, o, ih, iw} or {node.source.shape[kh], node.source.shape[kw]} != {3} or o in (n, ih, iw):
        return None
    order = [taps.index(axis) for axis in (o, c, kh, kw)]
    rest = [axis for axis in range(len(taps)) if axis not in order]
    data = np.transpose(weights.data, (*order, *rest)).reshape([weights.shape[axis] for axis in order])
    batches, channels = image.shape[batch[0]], image.shape[channel[0]]
    if data.shape != (node.shape[o], channels, 3, 3) or channels != node.source.shape[c] or batches != (1 if n == -1 else node.shape[n]):
        return None  # a part of the image or of the weights
    return Conv3x3(image, (batch[0], channel[0], h, w), data.astype(np.float32, copy=False), (n, o, ih, iw))


def _plain(component: ix.Index) -> int | None:
    """The axis that `component` is the variable of; -1 where it is always 0; None where it is anything else."""
    if not component.terms and component.offset == 0:
        return -1
    if len(component.terms) != 1 or component.offset:
        return None
    atom, factor = component.terms[0]
    return int(atom.var.name[1:]) if isinstance(atom, ix.Axis) and factor == 1 else None


def _sum_of_two(component: ix.Index) -> tuple[int, int] | None:
    """(i, k) where `component` is the sum of a kept axis i and a summed axis k; None where it is anything else."""
    if component.offset or len(component.terms) != 2:
        return None
    found: dict[str, int] = {}
    for atom, factor in component.terms:
        if not isinstance(atom, ix.Axis) or factor != 1:
            return None
        found[atom.var.name[0]] = int(atom.var.name[1:])
    return (found["i"], found["k"]) if len(found) == 2 else None


Cost = Callable[[int, int, int, int, int], float]
"""Of tiles of m x m, or of the plain sum where m is 0, by m, outputs, channels, rows and columns of the result."""


def tile_for(conv: Conv3x3, shape: tuple[int, ...], choice: Winograd, cost: Cost) -> int:
    """The tile's size m that costs least by a model, 0 where the plain sum does."""
    outputs, channels = conv.weights.shape[:2]
    rows, columns = shape[conv.results[2]], shape[conv.results[3]]
    if min(outputs, channels) < 16 or min(rows, columns) < 4:
        return 0
    if choice in ("2", "4"):
        return int(choice)
    return min((0, 2, 4), key=lambda m: cost(m, outputs, channels, rows, columns))


def streamed(m: int, outputs: int, channels: int, rows: int, columns: int, cache_bytes: int, pairs: bool) -> float:
    """Cost on a CPU, in products of one vector lane: those that are summed, the transforms (about 5 operations a point and channel), and
    bytes of weights beyond what the cache holds."""
    if m == 0:
        at_once = 2 if pairs else 1
        plain = _stream(9 * outputs * channels * 4 // at_once, cache_bytes)
        return max(rows * columns * 9.0 * outputs * channels / at_once, plain) + 0.3 * plain
    points = (m + 2) ** 2
    tiles = -(-rows // m) * -(-columns // m)
    weights = _stream(points * outputs * channels * 4, cache_bytes)
    return max(points * tiles * outputs * channels, weights) + 0.3 * weights + 7 * points * tiles * (outputs + channels)


def launched(m: int, outputs: int, channels: int, rows: int, columns: int) -> float:
    """Cost on an Adreno, in instructions: 1.2 for each product, those of the transforms as Mesa compiles them, and two launches more."""
    if m == 0:
        return 1.2 * rows * columns * 9 * outputs * channels
    tiles = -(-rows // m) * -(-columns // m)
    there, back = TRANSFORMS[m]
    return 1.2 * (m + 2) ** 2 * tiles * outputs * channels + tiles * (there * channels + back * outputs) + 2 * LAUNCH


def _stream(size: int, cache_bytes: int) -> float:
    """Products that could be made while `size` bytes of weights come from beyond the cache."""
    return 3.0 * size if size > cache_bytes // 2 else 0.0


@dataclass(frozen=True, slots=True)
class _Tiled:
    """One convolution being written in tiles of m x m."""

    b: GraphBuilder
    conv: Conv3x3
    image: Node
    node: Reduce
    m: int
    halves: bool = False

    @property
    def scale(self) -> float:
        """What the points are multiplied with, and the weights divided by, so that points in half are hardly larger than the image."""
        return 0.0625 if self.halves and self.m == 4 else 1.0

    def result(self) -> Node:
        n, o, h, w = (self.node.shape[axis] for axis in self.conv.results)
        tiles = (-(-h // self.m), -(-w // self.m))
        products = self.contracted(self.points(tiles))
        flat = self.b.reshape(self.from_points(products), (n, tiles[0] * self.m, tiles[1] * self.m, o))
        cropped = self.b.permute(self.b.slice(flat, (0,) * 4, (1,) * 4, (n, h, w, o)), (0, 3, 1, 2))
        order = sorted(range(4), key=lambda position: self.conv.results[position])
        return self.b.reshape(self.b.permute(cropped, tuple(order)), self.node.shape)

    def points(self, tiles: tuple[int, int]) -> Node:
        """V [points, n, y, x, c]."""
        a = self.m + 2
        ordered = self.b.permute(self.padded(tiles), tuple(self.conv.axes[axis] for axis in (0, 2, 3, 1)))
        n, _, _, c = ordered.shape
        flat = self.b.reshape(ordered, (1, *ordered.shape))
        whole = (a * a, n, *tiles, c)
        parts: list[Node] = []
        for at in range(a * a):
            cut = self.b.slice(flat, (0, 0, at // a, at % a, 0), (1, 1, self.m, self.m, 1), (1, n, *tiles, c))
            parts.append(self.b.expand(cut, whole))
        return self.b.map(points_by_number(self.m, self.scale), *parts)

    def padded(self, tiles: tuple[int, int]) -> Node:
        """The image with so many rows and columns that whole tiles fit."""
        image = self.image
        high = [0] * 4
        for axis, count in zip(self.conv.axes[2:], tiles, strict=True):
            high[axis] = max(0, count * self.m + 2 - image.shape[axis])
        if isinstance(image, Pad) and image.value == s.lit(0.0, F32):
            together = tuple(a + b for a, b in zip(image.high, high, strict=True))
            return self.b.pad(image.source, image.low, together, image.value)
        return self.b.pad(image, (0,) * 4, tuple(high), s.lit(0.0, F32))

    def contracted(self, points: Node) -> Node:
        """M [points, n, y, x, o]."""
        o, c = self.conv.weights.shape[:2]
        u = weights_at_points(self.conv.weights, self.m)
        u = u if self.scale == 1 else u * np.float32(1 / self.scale)
        count, n, y, x, _ = points.shape
        whole = (count, n, y, x, o, c)
        left = self.b.expand(self.b.reshape(points, (count, n, y, x, 1, c)), whole)
        right = self.b.expand(self.b.reshape(self.b.constant(u), (count, 1, 1, 1, o, c)), whole)
        product = self.b.map(s.mul(Arg(0, F32), Arg(1, F32)), left, right)
        return self.b.reshape(self.b.reduce(ops.ADD, product, (5,)), whole[:5])

    def from_points(self, products: Node) -> Node:
        """Y [1, n, y, m, x, m, o]."""
        count, n, y, x, o = products.shape
        m = self.m
        ordered = self.b.reshape(products, (count, n, y, 1, x, 1, o))
        parts: list[Node] = []
        for at in range(count):
            cut = self.b.slice(ordered, (at, 0, 0, 0, 0, 0, 0), (1,) * 7, (1, n, y, 1, x, 1, o))
            parts.append(self.b.expand(cut, (1, n, y, m, x, m, o)))
        return self.b.map(places_by_number(m), *parts)


@cache
def points_by_number(m: int, scale: float = 1.0) -> Expr:
    """The element of B^T d B that coordinate 0 counts, times `scale`."""
    return _chosen(Coordinate(0), [point if scale == 1 else s.mul(point, s.lit(scale, F32)) for point in source_points(m)])


@cache
def places_by_number(m: int) -> Expr:
    """The element of A^T M A at coordinates 3 and 5."""
    values = output_places(m)
    return _chosen(Coordinate(3), [_chosen(Coordinate(5), values[row * m : row * m + m]) for row in range(m)])


def _chosen(by: Expr, values: Sequence[Expr]) -> Expr:
    """values[by]"""
    chosen = values[-1]
    for number in reversed(range(len(values) - 1)):
        chosen = ex.apply(ops.WHERE, ex.apply(ops.EQ, by, ex.index(number)), values[number], chosen)
    return chosen
