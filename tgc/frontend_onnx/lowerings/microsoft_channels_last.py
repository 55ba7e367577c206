"""com.microsoft and com.ms.internal.nhwc: convolutions and pools of X [N, *spatial, C]. Weights keep ONNX's order of axes."""

from __future__ import annotations

from collections.abc import Callable

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.convolution import conv
from tgc.frontend_onnx.lowerings.integer_products import qlinear_conv
from tgc.frontend_onnx.lowerings.microsoft_fused import fused_conv
from tgc.frontend_onnx.lowerings.microsoft_quantised import MICROSOFT, channels_to_end, channels_to_front
from tgc.frontend_onnx.lowerings.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from tgc.frontend_onnx.lowerings.spatial import POOL_WINDOWS, WINDOWS, PoolWindows, Windows
from tgc.frontend_onnx.registry import lowers
from tgc.ir.graph import Node

NHWC = "com.ms.internal.nhwc"
Integers = tuple[int, ...]


def _last(b: LoweringBuilder, function: Callable[[Node], Node | tuple[Node, ...]], x: Node) -> Node:
    """`function`, which wants channels second, of x with channels last."""
    out = function(channels_to_front(b, x))
    return channels_to_end(b, out[0] if isinstance(out, tuple) else out)


@lowers("NhwcMaxPool", since=1, domain=MICROSOFT)
@lowers("MaxPool", since=1, domain=NHWC)
def nhwc_max_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    storage_order: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node:
    """MaxPool of X [N, *spatial, C]."""

    def function(v: Node) -> Node | tuple[Node, ...]:
        return max_pool(b, v, windows=windows)

    return _last(b, function, x)


@lowers("AveragePool", since=1, domain=NHWC)
def nhwc_average_pool(
    b: LoweringBuilder,
    x: Node,
    *,
    count_include_pad: int = 0,
    windows: PoolWindows = POOL_WINDOWS,
) -> Node:
    """AveragePool of X [N, *spatial, C]."""

    def function(v: Node) -> Node:
        return average_pool(
            b, v, count_include_pad=count_include_pad,windows=windows,
        )  # fmt: skip

    return _last(b, function, x)


@lowers("GlobalAveragePool", since=1, domain=NHWC)
def nhwc_global_average_pool(b: LoweringBuilder, x: Node) -> Node:
    """The mean over the spatial axes of X [N, *spatial, C]."""
    return _last(b, lambda v: global_average_pool(b, v), x)


@lowers("GlobalMaxPool", since=1, domain=NHWC)
def nhwc_global_max_pool(b: LoweringBuilder, x: Node) -> Node:
    """The largest element over the spatial axes of X [N, *spatial, C]."""
    return _last(b, lambda v: global_max_pool(b, v), x)


@lowers("Conv", since=1, domain=NHWC)
def nhwc_conv(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    bias: Node | None = None,
    *,
    windows: Windows = WINDOWS,
) -> Node:
    """Conv of X [N, *spatial, C] and W [O, C / group, *kernel]."""

    def function(v: Node) -> Node:
        return conv(b, v, w, bias, windows=windows)

    return _last(b, function, x)


@lowers("NhwcFusedConv", since=1, domain=MICROSOFT)
def nhwc_fused_conv(
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
    """Conv of X [N, *spatial, C], plus a tensor of the result's shape, then an activation."""

    def function(v: Node) -> Node:
        return fused_conv(
            b, v, w, bias, None if added is None else channels_to_front(b, added), activation=activation,
            activation_params=activation_params, windows=windows,
        )  # fmt: skip

    return _last(b, function, x)


@lowers("QLinearConv", since=1, domain=MICROSOFT)
def qlinear_conv_either(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    w: Node,
    w_scale: Node,
    w_zero_point: Node,
    y_scale: Node,
    y_zero_point: Node,
    bias: Node | None = None,
    *,
    channels_last: int = 0,
    windows: Windows = WINDOWS,
) -> Node:
    """QLinearConv of X [N, C, *spatial], or [N, *spatial, C] where `channels_last` is set."""

    def function(v: Node) -> Node:
        return qlinear_conv(b, v, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias, windows=windows)

    return _last(b, function, x) if channels_last else function(x)


@lowers("QLinearConv", since=10, domain=NHWC)
def nhwc_qlinear_conv(
    b: LoweringBuilder,
    x: Node,
    x_scale: Node,
    x_zero_point: Node,
    w: Node,
    w_scale: Node,
    w_zero_point: Node,
    y_scale: Node,
    y_zero_point: Node,
    bias: Node | None = None,
    *,
    windows: Windows = WINDOWS,
) -> Node:
    """QLinearConv of X [N, *spatial, C]."""
    return qlinear_conv_either(
        b, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias, channels_last=1, windows=windows,
    )  # fmt: skip
