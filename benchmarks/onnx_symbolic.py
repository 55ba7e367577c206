"""Models of the ONNX suite with open dimensions: every extent of their inputs a name, from 1 to its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import tgc
from tgc.errors import TgcError, UnsupportedError

Array = npt.NDArray[np.generic]
Ranges = dict[str, tuple[int, int]]
Inputs = dict[str, Array]


def opened(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Ranges]:
    """`model` with a name for each extent above 1 of its inputs, equal ones alike, and nothing said about its results."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    ranges: Ranges = {}
    for value in copy.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value > 1:
                name = f"d{dim.dim_value}"
                ranges[name] = (1, dim.dim_value)
                dim.dim_param = name
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy, ranges


def fixed(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> onnx.ModelProto:
    """`model` with its integer inputs of up to one axis as initializers: axes, shapes, counts."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in list(copy.graph.input):
        array = inputs.get(value.name)
        if array is not None and array.ndim < 2 and array.dtype == np.int64:
            copy.graph.input.remove(value)
            copy.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return copy


def smaller(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[Inputs, list[Array]] | None:
    """Inputs with every open dimension one smaller, and what the reference makes of them; None where it can make nothing."""
    cropped = {value.name: _cropped(inputs[value.name], value.type.tensor_type.shape.dim)
               for value in model.graph.input if value.name in inputs}  # fmt: skip
    least = min(dim for array in cropped.values() for dim in array.shape or (1,))
    for name, array in cropped.items():
        if array.dtype in (np.int32, np.int64):
            cropped[name] = np.clip(array, -least, max(0, least - 1))  # indices stay in range
    try:
        with np.errstate(all="ignore"):
            return cropped, [np.asarray(value) for value in ReferenceEvaluator(model).run(None, cropped)]
    except Exception:  # the operator makes no sense then
        return None


def _cropped(array: Array, dims: Sequence[onnx.TensorShapeProto.Dimension]) -> Array:
    return array[tuple(slice(0, -1) if dim.dim_param else slice(None) for dim in dims)].copy()


def runs(
    model: onnx.ModelProto, inputs: Mapping[str, Array], expected: Sequence[Array], target: str
) -> Iterator[tuple[list[Array], list[Array]]]:
    """What one artifact for all sizes answers, and what is expected: at the recorded size, and at the next smaller one.

    Where integer inputs of one axis decide shapes, they are compiled in. Raises UnsupportedError for models without a dimension to
    open, and for those that tgc refuses.
    """
    why = "no input has a dimension to open"
    for candidate in (model, fixed(model, inputs)):
        symbolic, ranges = opened(candidate)
        mine = {value.name: inputs[value.name] for value in candidate.graph.input if value.name in inputs}
        if not ranges:
            continue
        with TemporaryDirectory(prefix="tgc-") as folder:
            try:
                tgc.compile(symbolic, target, folder, dims=dict(ranges), name="model")
            except TgcError as error:
                why = f"{error.what} ({error.where})"
                continue
            compiled = tgc.load(folder)
            names = [value.name for value in symbolic.graph.output]
            found = compiled.run(mine)
            yield [found[name] for name in names], list(expected)
            if (other := smaller(symbolic, mine)) is not None:
                found = compiled.run(other[0])
                yield [found[name] for name in names], other[1]
            return
    raise UnsupportedError(why)
