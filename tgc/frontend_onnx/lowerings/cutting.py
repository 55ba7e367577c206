"""Slice, Split and Pad: which part of a tensor, and what goes around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.live import cut, is_open, mirrored
from tgc.frontend_onnx.lowerings.taking import take
from tgc.frontend_onnx.registry import lowers
from tgc.ir.dtypes import BOOL
from tgc.ir.graph import Node
from tgc.ir.lengths import larger, polynomial, smaller


@lowers("Slice", since=1)
def slice_1(b: LoweringBuilder, x: Node, *, ends: tuple[int, ...], starts: tuple[int, ...], axes: tuple[int, ...] | None = None) -> Node:
    """x[start:end] along each of `axes`, as numpy slices."""
    return sliced(b, x, starts, ends, axes, None)


@lowers("Slice", since=(10, 11, 13))
def slice_(b: LoweringBuilder, x: Node, starts: Node, ends: Node, axes: Node | None = None, steps: Node | None = None) -> Node:
    """x[start:end:step] along each of `axes`, as numpy slices."""
    return sliced(
        b, x, b.extents(starts, "starts"), b.extents(ends, "ends"),
        None if axes is None else b.known_ints(axes, "axes"), None if steps is None else b.known_ints(steps, "steps"),
    )  # fmt: skip


def sliced(
    b: LoweringBuilder, x: Node, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] | None, steps: Sequence[int] | None
) -> Node:
    """`x` cut along each of `axes` (by default the first ones), bounds clamped to the tensor."""
    chosen = b.axes(range(len(starts)) if axes is None else axes, len(x.shape))
    strides = (1,) * len(starts) if steps is None else tuple(steps)
    if not len(starts) == len(ends) == len(chosen) == len(strides) or 0 in strides:
        raise b.invalid(f"starts {list(starts)}, ends {list(ends)}, axes {list(chosen)}, steps {list(strides)}")
    if is_open((*x.shape, *starts, *ends)):
        for axis, start, end, stride in zip(chosen, starts, ends, strides, strict=True):
            x = _open_slice(b, x, axis, start, end, stride)
        return x
    first, step, extent = [0] * len(x.shape), [1] * len(x.shape), list(x.shape)
    for axis, start, end, stride in zip(chosen, starts, ends, strides, strict=True):
        places = range(*slice(start, end, stride).indices(x.shape[axis]))
        first[axis], step[axis], extent[axis] = (places[0] if places else 0), stride, len(places)
    return b.slice(x, first, step, extent)


def _open_slice(b: LoweringBuilder, x: Node, axis: int, start: int, end: int, step: int) -> Node:
    """`x[start:end:step]` along one axis, bounds counted from its live end and clamped to it."""
    size = x.shape[axis]
    least, most = (0, size) if step > 0 else (-1, size - 1)
    first, last = (smaller(larger(_from_front(bound, size), least), most) for bound in (start, end))
    distance = last - first if step > 0 else first - last
    return cut(b, x, axis, first, larger(-(-distance // abs(step)), 0), step)


def _from_front(bound: int, size: int) -> int:
    return bound + size if bound < 0 else bound


@lowers("Split", since=(2, 11))
def split_2(b: LoweringBuilder, x: Node, *, axis: int = 0, split: tuple[int, ...] | None = None) -> tuple[Node, ...]:
    """Parts of `x` along `axis`, of the sizes `split`, or equal."""
    return _parts(b, x, axis, split, None)


@lowers("Split", since=13)
def split_13(b: LoweringBuilder, x: Node, split: Node | None = None, *, axis: int = 0) -> tuple[Node, ...]:
    """Parts of `x` along `axis`, of the sizes `split`, or equal."""
    return _parts(b, x, axis, None if split is None else b.known_ints(split, "split"), None)


@lowers("Split", since=18)
def split(b: LoweringBuilder, x: Node, split: Node | None = None, *, axis: int = 0, num_outputs: int | None = None) -> tuple[Node, ...]:
    """Parts of `x` along `axis`, of the sizes `split`, or equal but for the last."""
    return _parts(b, x, axis, None if split is None else b.known_ints(split, "split"), num_outputs)


def _parts(b: LoweringBuilder, x: Node, axis: int, sizes: Sequence[int] | None, count: int | None) -> tuple[Node, ...]:
    along = b.axis(axis, len(x.shape))
    whole, parts = x.shape[along], count or len(b.outputs)
    if sizes is None and count and is_open([whole - -(-whole // count) * count]):
        return _open_parts(b, x, along, count)
    if sizes is None:
        each = -(-whole // parts)
        sizes = [max(0, min(each, whole - n * each)) for n in range(parts)]
    if sum(sizes) != whole or len(sizes) < len(b.outputs):
        raise b.invalid(f"{whole} elements on axis {along} in {len(b.outputs)} parts of sizes {list(sizes)}")
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return tuple(b.narrow(x, along, start if size else 0, size) for start, size in zip(starts, sizes, strict=True))


def _open_parts(b: LoweringBuilder, x: Node, axis: int, count: int) -> tuple[Node, ...]:
    """`count` parts of an axis that is only known at run time, equal but for the last, which may be shorter, as may those before it
    where there are few elements."""
    whole = x.shape[axis]
    each = -(-whole // count)
    edges = [smaller(n * each, whole) for n in range(count + 1)]
    return tuple(cut(b, x, axis, start, larger(end - start, 0), 1) for start, end in pairwise(edges))


@lowers("Pad", since=2)
def pad_2(b: LoweringBuilder, x: Node, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Node:
    """`x` with `pads` elements around it: before along each axis, then after along each."""
    return padded(b, x, pads, mode, b.scalar(value, x.dtype) if x.dtype.is_float else b.scalar(int(value), x.dtype), None)


@lowers("Pad", since=(11, 13))
def pad_11(b: LoweringBuilder, x: Node, pads: Node, constant_value: Node | None = None, *, mode: str = "constant") -> Node:
    """`x` with `pads` elements around it: before along each axis, then after along each."""
    return padded(b, x, b.extents(pads, "pads"), mode, constant_value, None)


@lowers("Pad", since=(18, 19, 21, 23, 24, 25))
def pad(
    b: LoweringBuilder, x: Node, pads: Node, constant_value: Node | None = None, axes: Node | None = None, *, mode: str = "constant"
) -> Node:
    """The same along `axes` only."""
    return padded(b, x, b.extents(pads, "pads"), mode, constant_value, None if axes is None else b.known_ints(axes, "axes"))


def padded(b: LoweringBuilder, x: Node, pads: Sequence[int], mode: str, value: Node | None, axes: Sequence[int] | None) -> Node:
    """`x` with `pads` elements around it along `axes`; a negative number crops."""
    chosen = b.axes(range(len(x.shape)) if axes is None else axes, len(x.shape))
    if len(pads) != 2 * len(chosen):
        raise b.invalid(f"pads {list(pads)} for {len(chosen)} axes")
    low, high = [0] * len(x.shape), [0] * len(x.shape)
    for number, axis in enumerate(chosen):
        low[axis], high[axis] = pads[number], pads[number + len(chosen)]
    match mode:
        case "constant":
            return _surrounded(b, x, low, high, value)
        case "reflect" | "edge" | "wrap":
            for axis in chosen:
                x = _mirrored(b, x, axis, low[axis], high[axis], mode)
            return x
        case _:
            raise b.invalid(f"mode is {mode!r}")


def _surrounded(b: LoweringBuilder, x: Node, low: list[int], high: list[int], value: Node | None) -> Node:
    """`x` among `value`, a scalar that need not be known while compiling."""
    if value is None:
        return b.pad(x, low, high)
    known = fold(value)
    if known is not None:
        return b.pad(x, low, high, known.reshape(-1)[0].item())
    inside = b.pad(b.full(x.shape, True, BOOL), low, high, False)
    return b.where_(inside, b.pad(x, low, high), b.reshape(value, ()))


def _mirrored(b: LoweringBuilder, x: Node, axis: int, low: int, high: int, mode: str) -> Node:
    """`x` with copies of its own elements around it along `axis`: cropped first, then filled as numpy.pad does."""
    if is_open((x.shape[axis], low, high)):
        return _mirrored_open(b, x, axis, low, high, mode)
    start, end = max(0, -low), x.shape[axis] - max(0, -high)
    if end <= start:
        raise b.invalid(f"padding of {low} and {high} on an axis of {x.shape[axis]} elements with mode {mode!r}")
    kept = np.arange(start, end)
    places = np.pad(kept, (max(0, low), max(0, high)), mode=mode)  # type: ignore[call-overload]
    return take(b, x, axis, places.tolist(), most_runs=3)


def _mirrored_open(b: LoweringBuilder, x: Node, axis: int, low: int, high: int, mode: str) -> Node:
    """`_mirrored` where one of the three numbers is open."""
    start, end = larger(-low, 0), x.shape[axis] - larger(-high, 0)
    if is_open((start,)) or start or polynomial(end) != polynomial(x.shape[axis]):
        x = cut(b, x, axis, start, larger(end - start, 0), 1)
    before, after = larger(low, 0), larger(high, 0)
    return x if polynomial(before + after) == () else mirrored(b, x, axis, before, after, mode)
