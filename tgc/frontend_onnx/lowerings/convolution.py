"""Convolution: a contraction over padded, windowed input. Nothing below the front end knows that it was one.

A transposed convolution is an ordinary one too. Output element p = q * stride + r takes part in taps k = r + stride * t
only, so each phase r is a convolution of stride 1 with every stride-th weight, reversed. The phases are more output channels;
putting them in their places is a permutation (W. Shi et al., Is the deconvolution layer the same as a convolutional
layer?, 2016). No zero is ever multiplied, but for those that fill a kernel up to a multiple of the stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder, literal
from tgc.frontend_onnx.lowerings.contraction import check, checked_windows, convolve, with_bias
from tgc.frontend_onnx.lowerings.integer_products import quantised_conv
from tgc.frontend_onnx.lowerings.spatial import WINDOWS, Sliding, Windows
from tgc.frontend_onnx.registry import lowers
from tgc.ir.graph import Node


@lowers("Conv", since=(1, 11, 22))
def conv(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    bias: Node | None = None,
    *,
    windows: Windows = WINDOWS,
) -> Node:
    """X [N, G*I, *spatial], W [G*O, I, *kernel], B [G*O] -> [N, G*O, *out]."""
    exact = quantised_conv(b, x, w, bias, windows)
    if exact is not None:
        return exact
    axes = checked_windows(b, x, w, windows)
    padded = b.pad(x, (0, 0, *(a.low for a in axes)), (0, 0, *(a.high for a in axes)))
    return with_bias(b, convolve(b, padded, w, axes, windows.group), bias)


@dataclass(frozen=True, slots=True)
class _Phases:
    """One axis of a transposed convolution: windows `first` to `first + count - 1` of `taps` taps give `out` elements from `skip` on.

    low, high: elements around the source that the windows need; negative ones are not needed.
    """

    stride: int
    taps: int
    dilation: int
    low: int
    high: int
    count: int
    skip: int
    out: int


def _phases(extent: int, size: int, stride: int, dilation: int, crop: int, out: int) -> _Phases:
    """An axis whose full result is cropped by `crop` elements at the start, to `out`; dilation is 1 where stride is not."""
    taps = -(-size // stride)
    first, last = crop // stride, (crop + out - 1) // stride
    low, high = (taps - 1) * dilation - first, last - (extent - 1)
    return _Phases(stride, taps, dilation, low, high, last - first + 1, crop - first * stride, out)


@lowers("ConvTranspose", since=(1, 11, 22))
def conv_transpose(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    bias: Node | None = None,
    *,
    output_padding: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    windows: Windows = WINDOWS,
) -> Node:
    """X [N, G*I, *spatial], W [G*I, O, *kernel], B [G*O] -> [N, G*O, *out]. What is beyond the live part of an open axis counts as 0."""
    check(b, x, w, windows, w.shape[0])
    rank = len(x.shape) - 2
    steps, gaps = windows.strides or (1,) * rank, windows.dilations or (1,) * rank
    if live.is_open(x.shape) and not live.is_open(w.shape):
        _, open_outs = _extents(b, x, w, windows, output_padding or (0,) * rank, output_shape)
        largest = live.settled(b, live.masked(b, x, range(2, rank + 2), literal(0, x.dtype)))
        made = conv_transpose(b, largest, w, bias, output_padding=output_padding, output_shape=output_shape, windows=windows)
        return live.opened(b, made, (x.shape[0], made.shape[1], *open_outs))
    crops, outs = _extents(b, x, w, windows, output_padding or (0,) * rank, output_shape)
    for d in range(rank):
        if steps[d] > 1 and gaps[d] > 1:
            w = _dilated(b, w, 2 + d, gaps[d])
    axes = [_phases(x.shape[2 + d], w.shape[2 + d], steps[d], gaps[d] if steps[d] == 1 else 1, crops[d], outs[d]) for d in range(rank)]
    padded = b.pad(x, (0, 0, *(a.low for a in axes)), (0, 0, *(a.high for a in axes)))
    plain = [Sliding(0, a.taps, 1, a.dilation, 0, 0, a.count) for a in axes]
    phases = convolve(b, padded, _phase_weights(b, w, axes, windows.group), plain, windows.group)
    return with_bias(b, _interleaved(b, phases, axes), bias)


def _extents(
    b: LoweringBuilder,
    x: Node,
    w: Node,
    windows: Windows,
    output_padding: tuple[int, ...],
    output_shape: tuple[int, ...] | None,
) -> tuple[list[int], list[int]]:
    """For each axis, how much of the full result is cropped at the start, and the output's extent."""
    rank = len(x.shape) - 2
    strides, dilations, pads = windows.strides or (1,) * rank, windows.dilations or (1,) * rank, windows.pads
    if any(len(v) != n for v, n in ((strides, rank), (dilations, rank), (pads or (0,) * 2 * rank, 2 * rank), (output_padding, rank))):
        raise b.invalid(f"strides {strides}, dilations {dilations}, pads {pads}, output_padding {output_padding} for {rank} axes")
    if output_shape is not None and len(output_shape) < rank:
        raise b.invalid(f"output_shape {output_shape} for {rank} axes")
    auto_pad = windows.auto_pad
    if auto_pad not in ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise b.invalid(f"auto_pad is {auto_pad!r}")
    full = [(x.shape[2 + d] - 1) * strides[d] + (w.shape[2 + d] - 1) * dilations[d] + 1 + output_padding[d] for d in range(rank)]
    if output_shape is None and auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        around = pads if pads and auto_pad != "VALID" else (0,) * 2 * rank
        return list(around[:rank]), [full[d] - around[d] - around[d + rank] for d in range(rank)]
    wanted = [x.shape[2 + d] * strides[d] for d in range(rank)] if output_shape is None else list(output_shape)[-rank:]
    totals = [max(0, full[d] - wanted[d]) for d in range(rank)]
    return [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in totals], wanted


def _dilated(b: LoweringBuilder, w: Node, axis: int, dilation: int) -> Node:
    """`w` with dilation - 1 zeros between neighbours along `axis`."""
    size = w.shape[axis]
    apart = b.unsqueeze(w, (axis + 1,))
    high = [dilation - 1 if d == axis + 1 else 0 for d in range(len(apart.shape))]
    spread = b.reshape(b.pad(apart, [0] * len(high), high), (*w.shape[:axis], size * dilation, *w.shape[axis + 1 :]))
    return b.narrow(spread, axis, 0, (size - 1) * dilation + 1)


def _phase_weights(b: LoweringBuilder, w: Node, axes: Sequence[_Phases], group: int) -> Node:
    """Weights [G*I, O, *kernel] -> [G*O*phases, I, *taps]: the phases of all axes in order, taps reversed."""
    rank = len(axes)
    filled = b.pad(w, [0] * (rank + 2), [0, 0, *(a.taps * a.stride - size for a, size in zip(axes, w.shape[2:], strict=True))])
    channels = w.shape[0] // group
    parts = [n for a in axes for n in (a.taps, a.stride)]
    split = b.reshape(filled, (group, channels, w.shape[1], *parts))
    for number, axis in enumerate(axes):
        split = b.narrow(split, 3 + 2 * number, axis.taps - 1, axis.taps, -1)
    phase_axes, tap_axes = [4 + 2 * d for d in range(rank)], [3 + 2 * d for d in range(rank)]
    ordered = b.permute(split, [0, 2, *phase_axes, 1, *tap_axes])
    count = group * w.shape[1]
    for axis in axes:
        count *= axis.stride
    return b.reshape(ordered, (count, channels, *(a.taps for a in axes)))


def _interleaved(b: LoweringBuilder, x: Node, axes: Sequence[_Phases]) -> Node:
    """[N, C*phases, *count] -> [N, C, *out]: each phase to its places, then cropped."""
    rank = len(axes)
    channels = x.shape[1]
    for axis in axes:
        channels //= axis.stride
    split = b.reshape(x, (x.shape[0], channels, *(a.stride for a in axes), *x.shape[2:]))
    woven = b.permute(split, [0, 1, *(n for d in range(rank) for n in (2 + rank + d, 2 + d))])
    whole = b.reshape(woven, (x.shape[0], channels, *(a.count * a.stride for a in axes)))
    return b.slice(whole, (0, 0, *(a.skip for a in axes)), (1,) * (rank + 2), (x.shape[0], channels, *(a.out for a in axes)))
