"""Inputs that are compiled in: what the caller promises to pass, always, becomes a constant of the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from tgc.errors import OptionError
from tgc.frontend_onnx.tensors import require_dtype


def fix_inputs(model: onnx.ModelProto, values: Mapping[str, npt.ArrayLike]) -> onnx.ModelProto:
    """`model`, or a copy of it in which the inputs that `values` names are initializers instead.

    A value is cast to the input's type; numbers in a row take the shape that the model declares where it declares one.
    Raises OptionError for names that are no inputs and values that do not fit.
    """
    if not values:
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    inputs = {value.name: value for value in fixed.graph.input}
    for name, value in values.items():
        if name not in inputs:
            raise OptionError(f"there is no input {name!r}", "--const", f"inputs: {', '.join(inputs)}")
        fixed.graph.input.remove(inputs[name])
        fixed.graph.initializer.append(_tensor(inputs[name], value))
    return fixed


def _tensor(declared: onnx.ValueInfoProto, value: npt.ArrayLike) -> onnx.TensorProto:
    kind = declared.type.tensor_type
    dtype = require_dtype(kind.elem_type, f"input {declared.name!r}")
    given = np.asarray(value)
    array = given.astype(dtype.numpy)
    if not np.array_equal(array.astype(given.dtype), given) and not dtype.is_float:
        raise OptionError(f"{given.tolist()} is no {dtype}", f"--const {declared.name}")
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
    if kind.HasField("shape") and given.ndim < 2 and dims.count(-1) < 2:
        try:
            array = array.reshape(dims)
        except ValueError as error:
            raise OptionError(f"{given.size} numbers for shape {dims}", f"--const {declared.name}") from error
    return numpy_helper.from_array(array, declared.name)
