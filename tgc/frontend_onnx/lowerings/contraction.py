"""The contraction that convolutions are, over padded, windowed input.

The iteration space always has the same order of axes, which is all that the scheduler goes by:

    plain      [N, O,    *out | *kernel, I]   source [N, 1, *out, *kernel, I]     weights [1, O, 1.., *kernel, I]
    grouped    [N, G, O, *out | *kernel, I]   source [N, G, 1, *out, *kernel, I]  weights [1, G, O, 1.., *kernel, I]
    depthwise  [N, C,    *out | *kernel]      source [N, C, *out, *kernel]        weights [1, C, 1.., *kernel]

with the reduced axes after the bar; G groups of I input and O output channels; depthwise is I = O = 1, its group axis the
channel. Source and weights are views: pad, window, reshape, permute.
"""

from __future__ import annotations

from collections.abc import Sequence

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.spatial import Sliding, Windows
from tgc.frontend_onnx.open_axes import refusal
from tgc.ir.dtypes import DType
from tgc.ir.graph import Node
from tgc.ir.lengths import Length


def checked_windows(b: LoweringBuilder, x: Node, w: Node, windows: Windows) -> tuple[Sliding, ...]:
    """The windows of x [N, G*I, *spatial] under weights [G*O, I, *kernel]. Raises ModelError where they do not fit together."""
    check(b, x, w, windows, w.shape[1] * windows.group)
    if w.shape[0] % windows.group:
        raise b.invalid(f"{w.shape[0]} output channels in {windows.group} groups")
    return windows.over(x.shape[2:], w.shape[2:])


def check(b: LoweringBuilder, x: Node, w: Node, windows: Windows, channels: int) -> None:
    """Raises ModelError where the operands do not fit together; `channels`: of x, as the weights have it."""
    kernel_shape, group = windows.kernel_shape, windows.group
    for size in (size for size in w.shape[2:] if isinstance(size, Length)):
        raise refusal(b, size)
    if len(x.shape) < 3 or len(x.shape) != len(w.shape):
        raise b.invalid(f"input of shape {list(x.shape)} with weights of shape {list(w.shape)}")
    if kernel_shape is not None and tuple(kernel_shape) != w.shape[2:]:
        raise b.invalid(f"kernel_shape {list(kernel_shape)} with weights of shape {list(w.shape)}")
    if group < 1 or x.shape[1] != channels or channels % group:
        raise b.invalid(f"{x.shape[1]} input channels in {group} groups with weights of shape {list(w.shape)}")


def with_bias(b: LoweringBuilder, x: Node, bias: Node | None) -> Node:
    """`x` [N, C, *spatial] plus `bias` [C]."""
    return x if bias is None else b.add(x, b.reshape(bias, (1, x.shape[1], *(1,) * (len(x.shape) - 2))))


def convolve(b: LoweringBuilder, x: Node, w: Node, axes: Sequence[Sliding], group: int, dtype: DType | None = None) -> Node:
    """Padded x [N, G*I, *spatial] with w [G*O, I, *kernel] -> [N, G*O, *out]; of `axes`, size, stride and dilation count.

    Multiplied and summed in `dtype`, by default the type of both.
    """
    rank = len(axes)
    out_channels, inner = w.shape[:2]
    if inner == 1 and out_channels == group:
        windows = windowed(b, x, axes, 2)
        weights = b.reshape(w, (1, group, *(1,) * rank, *w.shape[2:]))
        return b.contract(windows, weights, rank, dtype)
    if group == 1:
        windows = _channels_last(b, windowed(b, x, axes, 2), 1)
        weights = b.reshape(_channels_last(b, w, 1), (1, out_channels, *(1,) * rank, *w.shape[2:], inner))
        return b.contract(b.unsqueeze(windows, (1,)), weights, rank + 1, dtype)
    split = b.reshape(x, (x.shape[0], group, inner, *x.shape[2:]))
    windows = b.unsqueeze(_channels_last(b, windowed(b, split, axes, 3), 2), (2,))
    weights = b.reshape(_channels_last(b, w, 1), (1, group, out_channels // group, *(1,) * rank, *w.shape[2:], inner))
    out = b.contract(windows, weights, rank + 1, dtype)
    return b.reshape(out, (x.shape[0], out_channels, *out.shape[3:]))


def windowed(b: LoweringBuilder, x: Node, axes: Sequence[Sliding], first: int) -> Node:
    """Windows along the axes from `first` on: [.., *spatial] -> [.., *out, *kernel]."""
    for number, axis in enumerate(axes):
        x = b.window(x, first + number, axis.size, axis.stride, axis.dilation)
    return x


def _channels_last(b: LoweringBuilder, x: Node, axis: int) -> Node:
    return b.permute(x, [d for d in range(len(x.shape)) if d != axis] + [axis])
