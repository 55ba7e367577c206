"""Arrays of any allowed size for a program whose buffers have the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tgc.errors import OptionError
from tgc.ir.dtypes import DType
from tgc.ir.open_shapes import Dimension, OpenShapes, Sum

Array = npt.NDArray[np.generic]
Shape = tuple[int, ...]


def sizes_of(open_shapes: OpenShapes, names: Sequence[str], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The dimensions that the shapes of some inputs say. Raises OptionError where two contradict, or one is out of range."""
    found: dict[str, tuple[int, str]] = {}
    for name, axes in zip(names, open_shapes.inputs, strict=True):
        for axis, number in enumerate(axes):
            if number is None or name not in shapes or number >= len(open_shapes.dimensions):
                continue
            dim, size = open_shapes.dimensions[number], shapes[name][axis]
            first, where = found.setdefault(dim.name, (size, name))
            if first != size:
                raise OptionError(f"dimension {dim.name!r} is {first} in input {where!r} and {size} in input {name!r}")
            _require_allowed(dim, size, f"input {name!r}")
    sizes = {name: size for name, (size, _) in found.items()}
    _require_sums(open_shapes, names, shapes, sizes)
    return sizes


def _require_sums(open_shapes: OpenShapes, names: Sequence[str], shapes: Mapping[str, Shape], sizes: Mapping[str, int]) -> None:
    """Raises OptionError where an axis that is a sum of dimensions has another extent than they say."""
    if not open_shapes.sums:
        return
    numbers = open_shapes.extents(allowed(open_shapes, sizes))
    for name, axes in zip(names, open_shapes.inputs, strict=True):
        for axis, number in enumerate(axes):
            if number is not None and name in shapes and shapes[name][axis] != numbers[number]:
                raise OptionError(f"axis {axis} of input {name!r} is {shapes[name][axis]}, where the dimensions say {numbers[number]}")


def allowed(open_shapes: OpenShapes | None, sizes: Mapping[str, int]) -> dict[str, int]:
    """`sizes` by dimension, the largest where it says nothing. Raises OptionError for an unknown one or one that is out of range."""
    dims = open_shapes.dimensions if open_shapes else ()
    for name, size in sizes.items():
        known = next((dim for dim in dims if dim.name == name), None)
        if known is None:
            raise OptionError(f"no dimension {name!r} is open", hint=f"open dimensions: {', '.join(d.name for d in dims) or 'none'}")
        _require_allowed(known, size, "")
    return {dim.name: sizes.get(dim.name, dim.high) for dim in dims}


def _require_allowed(dim: Dimension, size: int, where: str) -> None:
    if not dim.allows(size):
        raise OptionError(f"dimension {dim.name!r} is {size}, not {dim}", where)


def shape_at(shape: Shape, axes: Sequence[int | None], numbers: Sequence[int]) -> Shape:
    """`shape` with the open ones of its `axes` as `numbers` say."""
    return tuple(size if number is None else int(numbers[number]) for size, number in zip(shape, axes, strict=True))


def raw_inputs(open_shapes: OpenShapes | None, tensors: Sequence[Shaped], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the program is passed for `inputs`, which fit: buffers of the largest size, and the dimensions.

    tensors: all of the program's inputs, those that are passed dimensions last.
    """
    if open_shapes is None:
        return dict(inputs)
    names = [tensor.name for tensor in tensors[: len(open_shapes.inputs)]]
    sizes = allowed(open_shapes, sizes_of(open_shapes, names, {name: inputs[name].shape for name in names}))
    passed = {tensor.name: in_buffer(inputs[tensor.name], tensor.shape) for tensor in tensors[: len(names)]}
    return {**passed, **{dim.input: np.array(sizes[dim.name], np.int64) for dim in open_shapes.dimensions}}


def in_buffer(array: Array, shape: Shape) -> Array:
    """`array`, at the beginning of one of the largest shape where it is smaller."""
    if array.shape == shape:
        return array
    buffer = np.zeros(prod(shape), array.dtype)
    buffer[: array.size] = array.reshape(-1)
    return buffer.reshape(shape)


def live(open_shapes: OpenShapes | None, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The program's outputs, in order, in their true shapes."""
    if open_shapes is None:
        return dict(outputs)
    lengths: Any = outputs[open_shapes.lengths] if open_shapes.lengths else ()
    found: dict[str, Array] = {}
    for (name, value), axes in zip(outputs.items(), open_shapes.outputs, strict=False):
        shape = shape_at(value.shape, axes, lengths)
        found[name] = value if shape == value.shape else value.reshape(-1)[: prod(shape)].reshape(shape).copy()
    return found


def read_open_shapes(entry: Any) -> OpenShapes | None:
    """What a manifest says under "open". Raises KeyError or TypeError where it is damaged."""
    if entry is None:
        return None
    dims = tuple(
        Dimension(str(d["name"]), int(d["low"]), int(d["high"]), str(d["input"]), int(d.get("step", 1))) for d in entry["dimensions"]
    )
    rows = [tuple(tuple(axes) for axes in entry[kind]) for kind in ("inputs", "outputs")]
    sums = tuple(Sum(int(s["constant"]), tuple((int(n), int(f)) for n, f in s["terms"])) for s in entry.get("sums", ()))
    return OpenShapes(dims, rows[0], rows[1], entry["lengths"], sums)


class Shaped(Protocol):
    """An input of a graph or of a loaded model."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> Shape: ...


@dataclass(frozen=True, slots=True)
class Sized:
    """An input as it is for some sizes of the dimensions."""

    name: str
    dtype: DType
    shape: Shape


def inputs_at(open_shapes: OpenShapes | None, tensors: Sequence[Shaped], sizes: Mapping[str, int]) -> tuple[Sized, ...]:
    """The inputs that a caller sees where open dimensions have `sizes`, by default the largest. tensors: all of the program's, or those.

    Raises OptionError for sizes that cannot be.
    """
    numbers = open_shapes.extents(allowed(open_shapes, sizes)) if open_shapes else tuple(allowed(None, sizes).values())
    rows = open_shapes.inputs if open_shapes else tuple((None,) * len(tensor.shape) for tensor in tensors)
    return tuple(Sized(t.name, t.dtype, shape_at(t.shape, axes, numbers)) for t, axes in zip(tensors, rows, strict=False))
