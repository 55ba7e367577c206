"""Updates at indices that are data. Negative indices count from the end."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder, literal
from tgc.frontend_onnx.lowerings.indexing import counted
from tgc.frontend_onnx.lowerings.reductions import flipped
from tgc.frontend_onnx.open_axes import refusal
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import BOOL, I32, I64
from tgc.ir.expr import Coordinate, Lit
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Length
from tgc.ir.ops import Op

_OPS: dict[str, Op | None] = {"none": None, "add": ops.ADD, "mul": ops.MUL, "max": ops.MAX}


def scattered(b: LoweringBuilder, x: Node, coordinates: Sequence[Node], updates: Node, reduction: str = "none") -> Node:
    """`x` with each update combined with what is at its place, in order; each coordinate is broadcast to the updates' shape."""
    if reduction == "min":
        return flipped(b, scattered(b, flipped(b, x), coordinates, flipped(b, updates), "max"))
    if reduction not in _OPS:
        raise b.invalid(f"reduction is {reduction!r}")
    if x.dtype == BOOL and reduction == "add":
        raise b.invalid("a sum of bool")
    places = tuple(b.broadcast_to(c, updates.shape) for c in coordinates)
    if live.is_open((*x.shape, *updates.shape)):
        return _scattered_open(b, x, places, updates, _OPS[reduction])
    return b.graph.scatter(x, places, updates, _OPS[reduction])


def _scattered_open(b: LoweringBuilder, x: Node, places: Sequence[Node], updates: Node, op: Op | None) -> Node:
    """Updates beyond the live part go to one more slab at the end of `x`, which is then left out."""
    size, rest = int(x.shape[0]), len(x.shape) - 1
    first = live.masked(b, places[0], range(len(updates.shape)), Lit(size, places[0].dtype))
    wide = b.graph.pad(live.settled(b, x), (0,) * (rest + 1), (1, *(0,) * rest), literal(0, x.dtype))
    settled = tuple(live.settled(b, place) for place in (first, *places[1:]))
    whole = b.graph.scatter(wide, settled, live.settled(b, updates), op)
    return live.opened(b, b.narrow(whole, 0, 0, size), x.shape)


def _elements(b: LoweringBuilder, x: Node, indices: Node, updates: Node, axis: int, reduction: str) -> Node:
    along = b.axis(axis, len(x.shape))
    if len(indices.shape) != len(x.shape) or indices.shape != updates.shape:
        raise b.invalid(f"updates {list(updates.shape)} at indices {list(indices.shape)} in data {list(x.shape)}")
    if any(n > size for d, (n, size) in enumerate(zip(indices.shape, x.shape, strict=True)) if d != along):
        raise b.invalid(f"indices of shape {list(indices.shape)}, which is larger than data {list(x.shape)}")
    index = counted(b, indices, x.shape[along])
    places = [index if d == along else b.coordinate(indices.shape, d, I32) for d in range(len(x.shape))]
    return scattered(b, x, places, updates, reduction)


@lowers("Scatter", since=(9, 11))
@lowers("ScatterElements", since=(11, 13))
def scatter_elements_11(b: LoweringBuilder, x: Node, indices: Node, updates: Node, *, axis: int = 0) -> Node:
    """out[i, indices[i, j, k], k] = updates[i, j, k] for axis 1, and so on; `x` elsewhere."""
    return _elements(b, x, indices, updates, axis, "none")


@lowers("ScatterElements", since=(16, 18))
def scatter_elements(b: LoweringBuilder, x: Node, indices: Node, updates: Node, *, axis: int = 0, reduction: str = "none") -> Node:
    """The same, each update combined by `reduction` with what is there."""
    return _elements(b, x, indices, updates, axis, reduction)


@lowers("ScatterND", since=(11, 13))
def scatter_nd_11(b: LoweringBuilder, x: Node, indices: Node, updates: Node) -> Node:
    """`x` with slices replaced at the tuples along the last axis of `indices`."""
    return scatter_nd(b, x, indices, updates)


@lowers("ScatterND", since=(16, 18))
def scatter_nd(b: LoweringBuilder, x: Node, indices: Node, updates: Node, *, reduction: str = "none") -> Node:
    """The same, each slice combined by `reduction` with what is there."""
    if not indices.shape or indices.shape[-1] > len(x.shape):
        raise b.invalid(f"indices of shape {list(indices.shape)} for data of shape {list(x.shape)}")
    if isinstance(indices.shape[-1], Length):
        raise refusal(b, indices.shape[-1])
    lead, depth = indices.shape[:-1], indices.shape[-1]
    rest = x.shape[depth:]
    shape = (*lead, *rest)
    if updates.shape != shape:
        raise b.invalid(f"updates of shape {list(updates.shape)}, not {list(shape)}")
    places = [_component(b, indices, d, x.shape[d], rest) for d in range(depth)]
    places += [b.coordinate(shape, len(lead) + d, I32) for d in range(len(rest))]
    return scattered(b, x, places, updates, reduction)


def _component(b: LoweringBuilder, indices: Node, d: int, size: int, rest: Shape) -> Node:
    index = counted(b, b.narrow(indices, -1, d, 1), size)
    return b.reshape(index, (*indices.shape[:-1], *(1,) * len(rest)))


@lowers("TensorScatter", since=24)
def tensor_scatter(
    b: LoweringBuilder, past: Node, update: Node, write_indices: Node | None = None, *, axis: int = -2, mode: str = "linear"
) -> Node:
    """A cache [batch, .., length, ..] with `update` written from write_indices[batch] on along `axis`; "circular" wraps around."""
    along = b.axis(axis, len(past.shape))
    if mode not in ("linear", "circular"):
        raise b.invalid(f"mode is {mode!r}")
    step = b.coordinate(update.shape, along, I64)
    if write_indices is not None:
        step = b.add(step, b.reshape(b.cast(write_indices, I64), (update.shape[0], *(1,) * (len(update.shape) - 1))))
    if mode == "circular":
        step = b.elementwise(lambda n: scalar.mod(n, past.shape[along]), step)
    places = [step if d == along else b.coordinate(update.shape, d, I32) for d in range(len(past.shape))]
    return scattered(b, past, places, update)


@lowers("MaxUnpool", since=(9, 11, 22))
def max_unpool(
    b: LoweringBuilder,
    x: Node,
    indices: Node,
    output_shape: Node | None = None,
    *,
    kernel_shape: tuple[int, ...],
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Node:
    """X [N, C, *pooled] back to where it was pooled from, 0 elsewhere. `indices` are flat in the tensor that was pooled."""
    rank = len(kernel_shape)
    steps, around = strides or (1,) * rank, pads or (0,) * 2 * rank
    spatial = tuple((n - 1) * steps[d] - around[d] - around[d + rank] + kernel_shape[d] for d, n in enumerate(x.shape[2:]))
    natural = (*x.shape[:2], *spatial)
    wanted = natural if output_shape is None else b.extents(output_shape, "output_shape")
    count, room = int(prod(x.shape)), int(prod(natural))
    # What lies beyond the live part goes to a place after the last.
    places = live.settled(b, live.masked(b, indices, range(rank + 2), scalar.lit(room, indices.dtype)))
    size = room + live.is_open(x.shape)
    flat = scattered(b, b.full((size,), 0, x.dtype), [b.reshape(places, (count,))], b.reshape(live.settled(b, x), (count,)))
    whole = b.reshape(live.opened(b, b.narrow(flat, 0, 0, room), (prod(natural),)), natural)
    if wanted == natural:
        return whole
    return b.pad(whole, (0,) * len(natural), tuple(w - n for w, n in zip(wanted, natural, strict=True)))


@lowers("Col2Im", since=18)
def col2im(
    b: LoweringBuilder,
    x: Node,
    image_shape: Node,
    block_shape: Node,
    *,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Node:
    """Columns [N, C * prod(block), windows] added up in an image [N, C, *image] at the places they were cut from."""
    image, block = b.known_ints(image_shape, "image_shape"), b.known_ints(block_shape, "block_shape")
    rank = len(image)
    gaps, around, steps = dilations or (1,) * rank, pads or (0,) * 2 * rank, strides or (1,) * rank
    counts = tuple((image[d] + around[d] + around[d + rank] - gaps[d] * (block[d] - 1) - 1) // steps[d] + 1 for d in range(rank))
    channels = x.shape[1] // prod(block)
    if x.shape != (x.shape[0], channels * prod(block), prod(counts)):
        raise b.invalid(f"columns of shape {list(x.shape)} for image {list(image)} and block {list(block)}")
    columns = b.reshape(x, (x.shape[0], channels, *block, *counts))
    padded = tuple(image[d] + around[d] + around[d + rank] for d in range(rank))
    places = [b.coordinate(columns.shape, d, I32) for d in range(2)]
    for d in range(rank):
        tap, window = (ex.cast(Coordinate(2 + d + shift), I32) for shift in (0, rank))
        place = scalar.add(scalar.mul(tap, gaps[d]), scalar.mul(window, steps[d]))
        places.append(b.graph.map(place, shape=columns.shape))
    zero = b.full((x.shape[0], channels, *padded), 0, x.dtype)
    out = scattered(b, zero, places, columns, "add")
    return b.slice(out, (0, 0, *around[:rank]), (1,) * (rank + 2), (x.shape[0], channels, *image))
