"""com.microsoft.nchwc: what ONNX Runtime makes of convolutions and pools for processors, tensors in blocks of channels.

Logically the tensors stay [N, C, H, W], their channels filled up with 0 to whole blocks. Only weights are constants of the
model, and so lie in the file in their physical order, which is undone here.
"""

from __future__ import annotations

import numpy as np

from tgc.frontend_onnx.blocking import BLOCKED
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.microsoft_channels_last import Integers
from tgc.frontend_onnx.lowerings.microsoft_fused import fused_conv
from tgc.frontend_onnx.lowerings.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from tgc.frontend_onnx.lowerings.resize import resize_11
from tgc.frontend_onnx.lowerings.spatial import POOL_WINDOWS, WINDOWS, PoolWindows, Windows
from tgc.frontend_onnx.registry import lowers
from tgc.ir.dtypes import F32
from tgc.ir.graph import Node


def _block(b: LoweringBuilder) -> int:
    if not b.block:
        raise b.unsupported(
            "weights in blocks of 8 or 16 channels, the model does not show which",
            'let ONNX Runtime save it with optimisations at level "extended" instead of "all"',
        )
    return b.block


@lowers("ReorderInput", since=1, domain=BLOCKED)
def reorder_input(b: LoweringBuilder, x: Node, *, channels_last: int = 0) -> Node:
    """X [N, C, *spatial], or [N, *spatial, C], with channels filled up to whole blocks."""
    rank = len(x.shape)
    front = b.permute(x, [0, rank - 1, *range(1, rank - 1)]) if channels_last else x
    return _widened(b, front, -(-front.shape[1] // _block(b)) * _block(b))


def _widened(b: LoweringBuilder, x: Node, channels: int) -> Node:
    """X [N, C, ..] with 0 in further channels."""
    return b.pad(x, [0] * len(x.shape), [channels - size if axis == 1 else 0 for axis, size in enumerate(x.shape)])


@lowers("ReorderOutput", since=1, domain=BLOCKED)
def reorder_output(b: LoweringBuilder, x: Node, *, channels: int, channels_last: int = 0) -> Node:
    """The first `channels` channels, second or last."""
    kept = b.narrow(x, 1, 0, channels)
    return b.permute(kept, [0, *range(2, len(x.shape)), 1]) if channels_last else kept


@lowers("Conv", since=1, domain=BLOCKED)
def blocked_conv(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    bias: Node | None = None,
    added: Node | None = None,
    *,
    activation: str = "",
    activation_params: tuple[float, ...] = (),
    windows: Windows = WINDOWS,
) -> Node:
    """Conv, plus a tensor, then an activation. Blocks of output channels are the last axis of W in memory; where there are as many
    input channels, blocks of these are the axis before."""
    weights = _in_order(b, w, _block(b))
    wide = _widened(b, x, weights.shape[1] * windows.group)
    return fused_conv(b, wide, weights, bias, added, activation=activation, activation_params=activation_params, windows=windows)


def _in_order(b: LoweringBuilder, w: Node, block: int) -> Node:
    """W [O, I, *kernel] from its order in memory, [O / block, I, *kernel, block] or [O / block, I / block, *kernel, block, block]."""
    outer, inner, *kernel = w.shape
    rank = len(kernel)
    if inner < block:
        stored = b.reshape(w, (outer // block, inner, *kernel, block))
        return b.reshape(b.permute(stored, [0, 2 + rank, 1, *range(2, 2 + rank)]), w.shape)
    stored = b.reshape(w, (outer // block, inner // block, *kernel, block, block))
    return b.reshape(b.permute(stored, [0, 3 + rank, 1, 2 + rank, *range(2, 2 + rank)]), w.shape)


@lowers("MaxPool", since=1, domain=BLOCKED)
def blocked_max_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    storage_order: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node | tuple[Node, ...]:
    """MaxPool."""
    return max_pool(b, x, windows=windows)


@lowers("AveragePool", since=1, domain=BLOCKED)
def blocked_average_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    count_include_pad: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node:
    """AveragePool."""
    return average_pool(
        b, x, count_include_pad=count_include_pad,windows=windows,
    )  # fmt: skip


@lowers("GlobalAveragePool", since=1, domain=BLOCKED)
def blocked_global_average_pool(b: LoweringBuilder, x: Node) -> Node:
    """The mean over the spatial axes."""
    return global_average_pool(b, x)


@lowers("GlobalMaxPool", since=1, domain=BLOCKED)
def blocked_global_max_pool(b: LoweringBuilder, x: Node) -> Node:
    """The largest element over the spatial axes."""
    return global_max_pool(b, x)


@lowers("Upsample", since=1, domain=BLOCKED)
def blocked_upsample(
    b: LoweringBuilder, x: Node, *, scales: Integers, coordinate_transformation_mode: str = "asymmetric", mode: str = "nearest"
) -> Node:
    """Resize by whole factors; the nearest element is that at or below."""
    factors = b.constant(np.array(scales, np.float32))
    return resize_11(
        b, x, b.full((0,), 0, F32), factors, None, coordinate_transformation_mode=coordinate_transformation_mode, mode=mode,
        nearest_mode="floor",
    )  # fmt: skip
