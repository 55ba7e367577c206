"""Geometry of sliding windows: what `kernel_shape`, `strides`, `pads`, `auto_pad`, `dilations` and `ceil_mode` come to.

One `Sliding` for each spatial axis, all numbers in elements. Shared by convolution and pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tgc.errors import ModelError
from tgc.ir.lengths import larger, smaller


@dataclass(frozen=True, slots=True)
class Windows:
    """The attributes of Conv, which many operators share: for each spatial axis one value, of `pads` two. None: as ONNX has it."""

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] | None = None
    group: int = 1
    kernel_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    def over(self, extents: Sequence[int], kernel: Sequence[int]) -> tuple[Sliding, ...]:
        """Where windows of `kernel` go, for each axis of `extents`. Raises ModelError as `sliding` does."""
        return sliding(extents, kernel, auto_pad=self.auto_pad, strides=self.strides, pads=self.pads, dilations=self.dilations)


WINDOWS = Windows()
"""Without attributes."""


@dataclass(frozen=True, slots=True)
class PoolWindows:
    """The attributes that pooling operators share; `kernel_shape` has to be there."""

    kernel_shape: tuple[int, ...] = ()
    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    def over(self, extents: Sequence[int]) -> tuple[Sliding, ...]:
        """Where the windows go, for each axis of `extents`. Raises ModelError as `sliding` does."""
        return sliding(
            extents, self.kernel_shape, auto_pad=self.auto_pad, strides=self.strides, pads=self.pads, dilations=self.dilations,
            ceil_mode=bool(self.ceil_mode),
        )  # fmt: skip


POOL_WINDOWS = PoolWindows()


@dataclass(frozen=True, slots=True)
class Sliding:
    """Windows of `size` taps, `dilation` apart, every `stride` elements over an axis of `extent` with `low` and `high` more around it.

    low, high: padding that the model asks for. count: windows. Where rounding up made a window reach past the padding,
    `overhang` is how many more elements are needed at the end.
    """

    extent: int
    size: int
    stride: int
    dilation: int
    low: int
    high: int
    count: int

    @property
    def reach(self) -> int:
        """Elements from the first tap of a window to its last."""
        return (self.size - 1) * self.dilation + 1

    @property
    def overhang(self) -> int:
        return larger(0, (self.count - 1) * self.stride + self.reach - (self.low + self.extent + self.high))

    def taps(self, position: int, first: int, end: int) -> int:
        """How many taps of window `position` fall on elements first <= i < end, counted from the first real element."""
        start = position * self.stride - self.low
        return sum(first <= start + tap * self.dilation < end for tap in range(self.size))


def sliding(
    extents: Sequence[int],
    kernel: Sequence[int],
    *,
    auto_pad: str = "NOTSET",
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> tuple[Sliding, ...]:
    """One `Sliding` for each spatial axis; absent attributes take the defaults of the ONNX specification.

    Raises ModelError where an attribute does not have one value (`pads`: two) for each axis, or no window fits.
    """
    rank = len(extents)
    strides, dilations, pads = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * (2 * rank)
    for name, values, wanted in (
        ("kernel_shape", kernel, rank), ("strides", strides, rank), ("dilations", dilations, rank), ("pads", pads, 2 * rank)
    ):  # fmt: skip
        if len(values) != wanted:
            raise ModelError(f"{name} is {list(values)} for {rank} spatial axes")
    if min((*kernel, *strides, *dilations)) < 1 or min(pads) < 0:
        raise ModelError(f"kernel_shape {list(kernel)}, strides {list(strides)}, dilations {list(dilations)}, pads {list(pads)}")
    return tuple(_axis(extents[d], kernel[d], strides[d], dilations[d], pads[d], pads[d + rank], auto_pad, ceil_mode) for d in range(rank))


def _axis(extent: int, size: int, stride: int, dilation: int, low: int, high: int, auto_pad: str, ceil_mode: bool) -> Sliding:
    reach = (size - 1) * dilation + 1
    match auto_pad:
        case "SAME_UPPER" | "SAME_LOWER":
            count = -(-extent // stride)
            total = larger(0, (count - 1) * stride + reach - extent)
            low = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            return Sliding(extent, size, stride, dilation, low, total - low, count)
        case "VALID":
            low = high = 0
        case "NOTSET" | "":
            pass
        case _:
            raise ModelError(f"auto_pad is {auto_pad!r}")
    room = low + extent + high - reach
    if room < 0 and not (ceil_mode and room > -stride):
        raise ModelError(f"a window of {reach} elements over {extent} with padding {low} and {high}")
    count = -(-room // stride) + 1 if ceil_mode else room // stride + 1
    if ceil_mode:  # one window that starts in the padding after the end is left out
        count = smaller(count, larger(count - 1, -(-(extent + low) // stride)))
    return Sliding(extent, size, stride, dilation, low, high, count)
