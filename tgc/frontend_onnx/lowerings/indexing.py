"""Elements at indices that are data. Negative ones count from the end; what is still out of range is clamped, never read."""

from __future__ import annotations

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.taking import take
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import I32, I64
from tgc.ir.expr import Coordinate
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Length


@lowers("Gather", since=(1, 11, 13))
def gather(b: LoweringBuilder, x: Node, indices: Node, *, axis: int = 0) -> Node:
    """The slices of `x` along `axis` at `indices`, whose axes take the place of that one."""
    along = b.axis(axis, len(x.shape))
    before, after = x.shape[:along], x.shape[along + 1 :]
    known = fold(indices)
    if known is not None and not isinstance(x.shape[along], Length):
        places = [place_in(b, int(i), x.shape[along]) for i in known.reshape(-1).tolist()]
        return b.reshape(take(b, x, along, places), (*before, *indices.shape, *after))
    shape = (*before, *indices.shape, *after)
    spread = b.reshape(counted(b, indices, x.shape[along]), (*indices.shape, *(1,) * len(after)))
    shift = len(indices.shape) - 1
    places_ = [spread if d == along else _coordinate(b, shape, d if d < along else d + shift) for d in range(len(x.shape))]
    return b.gather(x, places_, shape)


def place_in(b: LoweringBuilder, index: int, size: int) -> int:
    """A known index counted from the front. Raises ModelError where the axis of `size` elements has no such place."""
    if not -size <= index < size:
        raise b.invalid(f"index {index} on an axis of {size} elements")
    return index % size


def counted(b: LoweringBuilder, indices: Node, size: int) -> Node:
    """Indices into an axis of `size` elements, counted from the front."""
    if indices.dtype.kind == "uint":
        return indices
    if isinstance(size, Length):
        wide = b.cast(indices, I64)
        return b.elementwise(lambda i, n: scalar.where(scalar.lt(i, 0), scalar.add(i, n), i), wide, b.extent(size))
    return b.elementwise(lambda i: scalar.where(scalar.lt(i, 0), scalar.add(i, size), i), indices)


def _coordinate(b: LoweringBuilder, shape: Shape, axis: int) -> Node:
    return b.coordinate(shape, axis, I32)


@lowers("GatherElements", since=(11, 13))
def gather_elements(b: LoweringBuilder, x: Node, indices: Node, *, axis: int = 0) -> Node:
    """out[i, j, k] = x[i, indices[i, j, k], k] for axis 1, and so on."""
    along = b.axis(axis, len(x.shape))
    if len(indices.shape) != len(x.shape):
        raise b.invalid(f"indices of shape {list(indices.shape)} for data of shape {list(x.shape)}")
    index = counted(b, indices, x.shape[along])
    places = [index if d == along else _coordinate(b, indices.shape, d) for d in range(len(x.shape))]
    return b.gather(x, places, indices.shape)


@lowers("GatherND", since=11)
def gather_nd_11(b: LoweringBuilder, x: Node, indices: Node) -> Node:
    """The slices of `x` at the tuples along the last axis of `indices`."""
    return gather_nd(b, x, indices)


@lowers("GatherND", since=(12, 13))
def gather_nd(b: LoweringBuilder, x: Node, indices: Node, *, batch_dims: int = 0) -> Node:
    """The same for each of the leading `batch_dims` axes, which both have."""
    if not indices.shape or batch_dims + indices.shape[-1] > len(x.shape):
        raise b.invalid(f"indices of shape {list(indices.shape)} for data of shape {list(x.shape)}, batch_dims {batch_dims}")
    if isinstance(indices.shape[-1], Length):
        raise b.unsupported(f"indices of {indices.shape[-1]} numbers each")
    lead, depth = indices.shape[:-1], indices.shape[-1]
    rest = x.shape[batch_dims + depth :]
    shape = (*lead, *rest)
    places = [_coordinate(b, shape, d) for d in range(batch_dims)]
    for d in range(depth):
        index = counted(b, b.narrow(indices, -1, d, 1), x.shape[batch_dims + d])
        places.append(b.reshape(index, (*lead, *(1,) * len(rest))))
    places += [_coordinate(b, shape, len(lead) + d) for d in range(len(rest))]
    return b.gather(x, places, shape)


@lowers("ReverseSequence", since=(10, 28))
def reverse_sequence(b: LoweringBuilder, x: Node, sequence_lens: Node, *, batch_axis: int = 1, time_axis: int = 0) -> Node:
    """For each sequence its first `sequence_lens` steps in reverse, the others as they are."""
    batch, time = b.axis(batch_axis, len(x.shape)), b.axis(time_axis, len(x.shape))
    if {batch, time} != {0, 1}:
        raise b.invalid(f"batch_axis {batch_axis} and time_axis {time_axis}, which are not 0 and 1")
    step = ex.cast(Coordinate(time), I64)
    lengths = b.reshape(b.cast(sequence_lens, I64), tuple(n if d == batch else 1 for d, n in enumerate(x.shape)))
    index = b.elementwise(
        lambda n: scalar.where(scalar.lt(step, n), scalar.sub(scalar.sub(n, 1), step), step), b.broadcast_to(lengths, x.shape)
    )
    return b.gather(x, [index if d == time else _coordinate(b, x.shape, d) for d in range(len(x.shape))], x.shape)
