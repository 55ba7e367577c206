"""com.microsoft: forms of standard operators that older exporters and ONNX Runtime's own training write."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.convolution import conv_transpose
from tgc.frontend_onnx.lowerings.cutting import padded
from tgc.frontend_onnx.lowerings.grid_sample import grid_sample_16
from tgc.frontend_onnx.lowerings.indexing import gather_nd_11
from tgc.frontend_onnx.lowerings.microsoft_quantised import MICROSOFT
from tgc.frontend_onnx.lowerings.normalization import group_normalization, softmax
from tgc.frontend_onnx.lowerings.spatial import WINDOWS, Windows
from tgc.frontend_onnx.lowerings.values import known_axis, range_11, trilu
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import BOOL, I32
from tgc.ir.graph import Node


@lowers("Trilu", since=1, domain=MICROSOFT)
def trilu_1(b: LoweringBuilder, x: Node, k: Node | None = None, *, upper: int = 1) -> Node:
    """The last two axes as matrices: 0 below diagonal `k`, or above it where `upper` is 0."""
    return trilu(b, x, k, upper=upper)


@lowers("GatherND", since=1, domain=MICROSOFT)
def gather_nd_1(b: LoweringBuilder, x: Node, indices: Node) -> Node:
    """x at the tuples of indices along the last axis."""
    return gather_nd_11(b, x, indices)


@lowers("Range", since=1, domain=MICROSOFT)
def range_1(b: LoweringBuilder, start: Node, limit: Node, delta: Node | None = None) -> Node:
    """start, start + delta, ... before limit; delta is 1 by default."""
    return range_11(b, start, limit, b.scalar(1, start.dtype) if delta is None else delta)


@lowers("Pad", since=1, domain=MICROSOFT)
def pad_1(b: LoweringBuilder, x: Node, pads: Node, value: Node | None = None, *, mode: str = "constant") -> Node:
    """Padding by numbers that are an input, [2 * rank] or [1, 2 * rank]."""
    return padded(b, x, b.known_ints(pads, "pads"), mode, value, None)


@lowers("ExpandDims", since=1, domain=MICROSOFT)
def expand_dims(b: LoweringBuilder, x: Node, axis: Node) -> Node:
    """A new axis of extent 1."""
    return b.unsqueeze(x, (known_axis(b, axis, len(x.shape) + 1),))


@lowers("GridSample", since=1, domain=MICROSOFT)
def grid_sample_1(
    b: LoweringBuilder, x: Node, grid: Node, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Node:
    """X [N, C, H, W] at grid [N, H', W', 2]."""
    return grid_sample_16(b, x, grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@lowers("ConvTransposeWithDynamicPads", since=1, domain=MICROSOFT)
def conv_transpose_with_dynamic_pads(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    pads: Node | None = None,
    bias: Node | None = None,
    *,
    output_padding: tuple[int, ...] | None = None,
    windows: Windows = WINDOWS,
) -> Node:
    """ConvTranspose whose pads are an input, known while compiling."""
    known = windows if pads is None else replace(windows, pads=b.known_ints(pads, "pads"))
    return conv_transpose(b, x, w, bias, output_padding=output_padding, windows=known)


@lowers("MatMulInteger16", since=1, domain=MICROSOFT)
def mat_mul_integer_16(b: LoweringBuilder, x: Node, y: Node) -> Node:
    """The product of 16-bit integers, i32."""
    return b.matmul(x, y, I32)


@lowers("CDist", since=1, domain=MICROSOFT)
def c_dist(b: LoweringBuilder, x: Node, y: Node, *, metric: str = "sqeuclidean") -> Node:
    """Distances [M, K] between the rows of x [M, N] and y [K, N], squared or not."""
    if metric not in ("sqeuclidean", "euclidean"):
        raise b.unsupported(f"metric {metric!r}")
    apart = b.sub(b.unsqueeze(x, (1,)), b.unsqueeze(y, (0,)))
    squares = b.reduce(ops.ADD, b.mul(apart, apart), (2,), keepdims=False)
    return squares if metric == "sqeuclidean" else b.elementwise(scalar.sqrt, squares)


@lowers("UnfoldTensor", since=1, domain=MICROSOFT)
def unfold_tensor(b: LoweringBuilder, x: Node, *, dim: int = -1, size: int, step: int = 1) -> Node:
    """Windows of `size` along an axis, `step` apart, their elements along a new last axis."""
    return b.window(x, dim, size, step)


@lowers("IsAllFinite", since=1, domain=MICROSOFT)
def is_all_finite(b: LoweringBuilder, *xs: Node, isinf_only: int = 0, isnan_only: int = 0) -> Node:
    """Whether no element of any tensor is infinite or NaN, [1] bool."""
    found = scalar.is_inf if isinf_only else scalar.is_nan if isnan_only else lambda a: scalar.logical_not(scalar.is_finite(a))
    some = [b.reduce(ops.MAX, b.reshape(b.elementwise(found, x), (prod(x.shape),)), (0,)) for x in xs]
    every = b.reduce(ops.MAX, b.concat(some, 0), (0,)) if some else b.full((1,), False, BOOL)
    return b.elementwise(scalar.logical_not, every)


@lowers("BiasSoftmax", since=1, domain=MICROSOFT)
def bias_softmax(b: LoweringBuilder, x: Node, bias: Node, *, axis: int = 1, is_inner_broadcast: int) -> Node:
    """Softmax over `axis` and all axes after it of x plus a bias, whose batch axes broadcast from the inside or the outside."""
    first = b.axis(axis, len(x.shape))
    if not is_inner_broadcast:
        rows = prod(bias.shape[:first])
        times = prod(x.shape[:first]) // max(1, rows)
        wide = b.expand(b.reshape(bias, (rows, 1, prod(bias.shape[first:]))), (rows, times, prod(bias.shape[first:])))
        bias = b.reshape(wide, x.shape)
    total = b.add(x, bias)
    flat = b.reshape(total, (prod(x.shape[:first]), prod(x.shape[first:])))
    return b.reshape(softmax(b, flat, axis=-1), x.shape)


@lowers("BiasAdd", since=1, domain=MICROSOFT)
def bias_add(b: LoweringBuilder, x: Node, bias: Node, skip: Node) -> Node:
    """x + bias + skip."""
    return b.add(b.add(x, bias), skip)


@lowers("BiasSplitGelu", since=1, domain=MICROSOFT)
def bias_split_gelu(b: LoweringBuilder, x: Node, bias: Node) -> Node:
    """The left half of x plus a bias, times Gelu of the right half."""
    total = b.add(x, bias)
    half = x.shape[-1] // 2
    left, right = b.narrow(total, -1, 0, half), b.narrow(total, -1, half, half)
    return b.mul(left, b.elementwise(scalar.gelu, right))


@lowers("GroupNorm", since=1, domain=MICROSOFT)
def group_norm(
    b: LoweringBuilder, x: Node, gamma: Node, beta: Node, *, activation: int, channels_last: int = 1, epsilon: float = 1e-5, groups: int
) -> Node:
    """GroupNormalization of X [N, *spatial, C], or [N, C, *spatial], then x * sigmoid(x) where `activation` is 1."""
    return _group_norm(b, x, gamma, beta, bool(activation), bool(channels_last), epsilon, groups)


@lowers("SkipGroupNorm", since=1, domain=MICROSOFT)
def skip_group_norm(
    b: LoweringBuilder,
    x: Node,
    gamma: Node,
    beta: Node,
    skip: Node,
    bias: Node | None = None,
    *,
    activation: int,
    channels_last: int = 1,
    epsilon: float = 1e-5,
    groups: int,
) -> tuple[Node, Node]:
    """GroupNorm of X + skip + bias, and that sum. skip may be [N, C]."""
    rank = len(x.shape)
    spread = skip if len(skip.shape) == rank else b.reshape(skip, (x.shape[0], *(1,) * (rank - 2), x.shape[-1]))
    total = b.add(x, spread) if bias is None else b.add(b.add(x, spread), bias)
    return _group_norm(b, total, gamma, beta, bool(activation), bool(channels_last), epsilon, groups), total


def _group_norm(b: LoweringBuilder, x: Node, gamma: Node, beta: Node, silu: bool, last: bool, epsilon: float, groups: int) -> Node:
    rank = len(x.shape)
    front = b.permute(x, [0, rank - 1, *range(1, rank - 1)]) if last else x
    scale, shift = (b.cast(v, x.dtype) for v in (gamma, beta))
    out = group_normalization(b, front, scale, shift, epsilon=epsilon, num_groups=groups)
    back = b.permute(out, [0, *range(2, rank), 1]) if last else out
    return b.elementwise(lambda a: scalar.mul(a, scalar.sigmoid(a)), back) if silu else back


@lowers("CropAndResize", since=1, domain=MICROSOFT)
def crop_and_resize(
    b: LoweringBuilder,
    x: Node,
    rois: Node,
    batch_indices: Node,
    crop_size: Node,
    *,
    extrapolation_value: float = 0.0,
    mode: str = "bilinear",
) -> Node:
    """Regions [R, 4] (top, left, bottom, right, as shares of the image) of X [N, C, H, W], each sampled at `crop_size` points."""
    height, width = b.known_ints(crop_size, "crop_size")
    places = [_crop_places(b, rois, d, n, x.shape[2 + d]) for d, n in ((0, height), (1, width))]
    shape = (rois.shape[0], x.shape[1], height, width)
    rows = b.reshape(batch_indices, (shape[0], 1, 1, 1))
    grid = [b.reshape(p, (shape[0], 1, *(p.shape[1] if d == e else 1 for e in range(2)))) for d, p in enumerate(places)]
    inside = b.elementwise(
        lambda *p: scalar.logical_and(*(scalar.logical_and(scalar.ge(a, 0), scalar.le(a, x.shape[2 + d] - 1.0)) for d, a in enumerate(p))),
        *grid,
    )
    if mode not in ("bilinear", "nearest"):
        raise b.invalid(f"mode is {mode!r}")
    total = None
    for corner in range(4 if mode == "bilinear" else 1):
        index, weight = [rows, b.coordinate(shape, 1, I32)], None
        for d, place in enumerate(grid):
            upper = bool(corner >> d & 1)
            base = b.elementwise(scalar.round_half_even if mode == "nearest" else scalar.ceil if upper else scalar.floor, place)
            index.append(b.cast(base, I32))
            share = b.elementwise(
                lambda p, u=upper: scalar.sub(p, scalar.floor(p)) if u else scalar.sub(1.0, scalar.sub(p, scalar.floor(p))), place
            )
            weight = share if weight is None else b.mul(weight, share)
        value = b.gather(x, index, shape)
        part = value if mode == "nearest" or weight is None else b.mul(value, weight)
        total = part if total is None else b.add(total, part)
    assert total is not None
    return b.where_(inside, total, b.scalar(extrapolation_value, x.dtype))


def _crop_places(b: LoweringBuilder, rois: Node, d: int, count: int, size: int) -> Node:
    """Where the samples of each region fall along spatial axis d, in elements: [R, count]."""
    start, end = (b.expand(b.narrow(rois, 1, d + n, 1), (rois.shape[0], count)) for n in (0, 2))

    def place(s: ex.Expr, e: ex.Expr) -> ex.Expr:
        if count == 1:
            return scalar.mul(scalar.add(s, e), 0.5 * (size - 1))
        step = scalar.div(scalar.mul(scalar.sub(e, s), size - 1.0), count - 1.0)
        return scalar.add(scalar.mul(s, size - 1.0), scalar.mul(ex.cast(ex.Coordinate(1), s.dtype), step))

    return b.elementwise(place, start, end)
