"""Operators that move elements without computing: all of them views, or nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.rounding import ROUND_MODES, narrowed, power_of_two
from tgc.frontend_onnx.registry import lowers
from tgc.frontend_onnx.tensors import require_dtype
from tgc.ir import scalar
from tgc.ir.dtypes import BOOL, F8E8M0, F32, SMALL, DType
from tgc.ir.graph import Node, Shape
from tgc.ir.small_floats import SMALL_FLOATS

_REVISED = (21, 23, 24, 25)
"""Opsets that gave an operator nothing but more element types."""


@lowers("Identity", since=(1, 13, 14, 16, 19, *_REVISED))
def identity(b: LoweringBuilder, x: Node) -> Node:
    """The input."""
    return x


@lowers("Cast", since=(6, 9, 13))
def cast_6(b: LoweringBuilder, x: Node, *, to: int) -> Node:
    """The elements in the type that ONNX numbers `to`."""
    return converted(b, x, require_dtype(to, b.where))


@lowers("Cast", since=(19, 21, 23))
def cast_19(b: LoweringBuilder, x: Node, *, to: int, saturate: int = 1) -> Node:
    """saturate: what is too large for an 8-bit float becomes the largest one, not infinity or NaN."""
    return converted(b, x, require_dtype(to, b.where), bool(saturate))


@lowers("Cast", since=(24, 25, 28))
def cast(b: LoweringBuilder, x: Node, *, to: int, round_mode: str = "up", saturate: int = 1) -> Node:
    """The same; `round_mode` is for powers of two, FLOAT8E8M0."""
    return converted(b, x, require_dtype(to, b.where), bool(saturate), round_mode)


@lowers("CastLike", since=15)
def cast_like_15(b: LoweringBuilder, x: Node, like: Node) -> Node:
    """The elements of `x` in the type of `like`."""
    return converted(b, x, like.dtype)


@lowers("CastLike", since=(19, 21, 23))
def cast_like_19(b: LoweringBuilder, x: Node, like: Node, *, saturate: int = 1) -> Node:
    """The elements of `x` in the type of `like`."""
    return converted(b, x, like.dtype, bool(saturate))


@lowers("CastLike", since=(24, 25))
def cast_like(b: LoweringBuilder, x: Node, like: Node, *, round_mode: str = "up", saturate: int = 1) -> Node:
    """The elements of `x` in the type of `like`."""
    return converted(b, x, like.dtype, bool(saturate), round_mode)


def converted(b: LoweringBuilder, x: Node, dtype: DType, saturate: bool = True, round_mode: str = "up") -> Node:
    """The elements of `x` in `dtype`; whatever is not 0 is true. Raises ModelError for an unknown rounding."""
    if dtype == BOOL:
        return b.elementwise(scalar.truth, b.cast(x, F32) if x.dtype in SMALL else x)
    if dtype == F8E8M0 and x.dtype != dtype:
        if round_mode not in ROUND_MODES:
            raise b.invalid(f"round_mode is {round_mode!r}; ONNX has {', '.join(ROUND_MODES)}")
        return b.elementwise(lambda a: power_of_two(a, saturate, round_mode), x)
    return b.elementwise(lambda a: narrowed(a, dtype, saturate), x) if dtype in SMALL_FLOATS else b.cast(x, dtype)


@lowers("BitCast", since=26)
def bit_cast(b: LoweringBuilder, x: Node, *, to: int) -> Node:
    """The same bits read as another type of the same width."""
    dtype = require_dtype(to, b.where)
    if dtype.bits != x.dtype.bits:
        raise b.unsupported(f"the bits of {x.dtype} as {dtype}")
    if BOOL in (dtype, x.dtype):
        return converted(b, x, dtype)  # a bool is a byte that is 0 or 1
    return b.elementwise(lambda a: scalar.bitcast(a, dtype), x)


@lowers("Reshape", since=(5, 13))
def reshape_5(b: LoweringBuilder, x: Node, shape: Node) -> Node:
    """The elements in another shape: 0 keeps an extent, -1 is what remains."""
    return reshaped(b, x, b.extents(shape, "shape"), False)


@lowers("Reshape", since=(14, 19, *_REVISED))
def reshape(b: LoweringBuilder, x: Node, shape: Node, *, allowzero: int = 0) -> Node:
    """The same; with `allowzero`, 0 is an extent of 0."""
    return reshaped(b, x, b.extents(shape, "shape"), bool(allowzero))


def reshaped(b: LoweringBuilder, x: Node, wanted: Sequence[int], allow_zero: bool) -> Node:
    """`x` in the shape that ONNX writes as `wanted`. Raises ModelError where the elements do not fit."""
    if not allow_zero and any(size == 0 and d >= len(x.shape) for d, size in enumerate(wanted)):
        raise b.invalid(f"shape {list(wanted)} keeps an axis that {list(x.shape)} does not have")
    sizes = [x.shape[d] if size == 0 and not allow_zero else size for d, size in enumerate(wanted)]
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise b.invalid(f"the shape {list(wanted)}")
    count, rest = prod(x.shape), prod(s for s in sizes if s != -1)
    if -1 in sizes:
        sizes[sizes.index(-1)] = count // rest if rest else 0
    if prod(sizes) != count:
        raise b.invalid(f"{count} elements of shape {list(x.shape)} in shape {list(wanted)}")
    return b.reshape(x, tuple(sizes))


@lowers("Flatten", since=(1, 9, 11, 13, *_REVISED))
def flatten(b: LoweringBuilder, x: Node, *, axis: int = 1) -> Node:
    """A matrix: the axes before `axis`, and those from it on."""
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise b.invalid(f"axis {axis} of a tensor with {rank} axes")
    split = axis + rank if axis < 0 else axis
    return b.reshape(x, (prod(x.shape[:split]), prod(x.shape[split:])))


@lowers("Transpose", since=(1, 13, *_REVISED))
def transpose(b: LoweringBuilder, x: Node, *, perm: tuple[int, ...] | None = None) -> Node:
    """The axes in the order `perm`; reversed by default."""
    order = tuple(reversed(range(len(x.shape)))) if perm is None else perm
    if len(order) != len(x.shape):
        raise b.invalid(f"perm {list(order)} for a tensor with {len(x.shape)} axes")
    return b.permute(x, order)


@lowers("Squeeze", since=(1, 11))
def squeeze_1(b: LoweringBuilder, x: Node, *, axes: tuple[int, ...] | None = None) -> Node:
    """Without `axes`, each of extent 1; by default without every such axis."""
    return b.squeeze(x, [d for d, size in enumerate(x.shape) if size == 1] if axes is None else axes)


@lowers("Squeeze", since=(13, *_REVISED))
def squeeze(b: LoweringBuilder, x: Node, axes: Node | None = None) -> Node:
    """Without `axes`, each of extent 1; by default without every such axis."""
    return squeeze_1(b, x, axes=None if axes is None else b.known_ints(axes, "axes"))


@lowers("Unsqueeze", since=(1, 11))
def unsqueeze_1(b: LoweringBuilder, x: Node, *, axes: tuple[int, ...]) -> Node:
    """With new axes of extent 1 at the positions `axes` of the result."""
    return b.unsqueeze(x, axes)


@lowers("Unsqueeze", since=(13, *_REVISED))
def unsqueeze(b: LoweringBuilder, x: Node, axes: Node) -> Node:
    """With new axes of extent 1 at the positions `axes` of the result."""
    return b.unsqueeze(x, b.known_ints(axes, "axes"))


@lowers("Concat", since=(4, 11, 13))
def concat(b: LoweringBuilder, *xs: Node, axis: int) -> Node:
    """The inputs one after the other along `axis`."""
    along = b.axis(axis, len(xs[0].shape))
    rest = {(*x.shape[:along], *x.shape[along + 1 :], len(x.shape), x.dtype.name) for x in xs}
    if len(rest) != 1:
        raise b.invalid(f"shapes {', '.join(str(list(x.shape)) for x in xs)} one after the other on axis {axis}")
    return b.concat(xs, along)


@lowers("Expand", since=(8, 13))
def expand(b: LoweringBuilder, x: Node, shape: Node) -> Node:
    """`x` broadcast against `shape`, in both directions."""
    wanted = b.extents(shape, "shape")
    return b.broadcast_to(x, b.broadcast_shape(x, b.full(tuple(wanted), 0, x.dtype)))


@lowers("Tile", since=(6, 13))
def tile(b: LoweringBuilder, x: Node, repeats: Node) -> Node:
    """`x` repeated along each axis."""
    times = b.extents(repeats, "repeats")
    if len(times) != len(x.shape) or any(count < 0 for count in times):
        raise b.invalid(f"repeats {list(times)} of shape {list(x.shape)}")
    apart: Shape = tuple(n for size in x.shape for n in (1, size))
    wide: Shape = tuple(n for size, count in zip(x.shape, times, strict=True) for n in (count, size))
    return b.reshape(b.expand(b.reshape(x, apart), wide), tuple(s * t for s, t in zip(x.shape, times, strict=True)))


@lowers("DepthToSpace", since=1)
def depth_to_space_1(b: LoweringBuilder, x: Node, *, blocksize: int) -> Node:
    """[N, r*r*C, H, W] -> [N, C, H*r, W*r]."""
    return depth_to_space(b, x, blocksize=blocksize)


@lowers("DepthToSpace", since=(11, 13, 28))
def depth_to_space(b: LoweringBuilder, x: Node, *, blocksize: int, mode: str = "DCR") -> Node:
    """[N, r*r*C, H, W] -> [N, C, H*r, W*r]; the channels are (r, r, C) in mode DCR, (C, r, r) in CRD."""
    n, channels, height, width = _image(b, x)
    depth = channels // (blocksize * blocksize)
    if blocksize < 1 or channels % (blocksize * blocksize) or mode not in ("DCR", "CRD"):
        raise b.invalid(f"blocksize {blocksize}, mode {mode!r} on shape {list(x.shape)}")
    if mode == "DCR":
        split, order = (n, blocksize, blocksize, depth, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, depth, blocksize, blocksize, height, width), (0, 1, 4, 2, 5, 3)
    return b.reshape(b.permute(b.reshape(x, split), order), (n, depth, height * blocksize, width * blocksize))


@lowers("SpaceToDepth", since=(1, 13))
def space_to_depth_1(b: LoweringBuilder, x: Node, *, blocksize: int) -> Node:
    """[N, C, H*r, W*r] -> [N, r*r*C, H, W]."""
    return space_to_depth(b, x, blocksize=blocksize)


@lowers("SpaceToDepth", since=28)
def space_to_depth(b: LoweringBuilder, x: Node, *, blocksize: int, mode: str = "DCR") -> Node:
    """[N, C, H*r, W*r] -> [N, r*r*C, H, W]; the new channels are (r, r, C) in mode DCR, (C, r, r) in CRD."""
    n, depth, height, width = _image(b, x)
    if blocksize < 1 or height % blocksize or width % blocksize or mode not in ("DCR", "CRD"):
        raise b.invalid(f"blocksize {blocksize}, mode {mode!r} on shape {list(x.shape)}")
    rows, columns = height // blocksize, width // blocksize
    split = b.reshape(x, (n, depth, rows, blocksize, columns, blocksize))
    moved = b.permute(split, (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
    return b.reshape(moved, (n, depth * blocksize * blocksize, rows, columns))


def _image(b: LoweringBuilder, x: Node) -> Shape:
    if len(x.shape) != 4:
        raise b.invalid(f"shape {list(x.shape)}, which does not have four axes")
    return x.shape
