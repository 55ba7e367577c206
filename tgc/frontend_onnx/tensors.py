"""TensorProto into arrays. Sizes are compared before memory is taken, so a file cannot ask for more than it holds."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx.external import read_external
from tgc.ir import dtypes
from tgc.ir.dtypes import DType
from tgc.ir.packing import from_stored, stored_bytes

Array = npt.NDArray[np.generic]

_DTYPES: dict[int, DType] = {
    TensorProto.BOOL: dtypes.BOOL, TensorProto.INT8: dtypes.I8, TensorProto.INT16: dtypes.I16, TensorProto.INT32: dtypes.I32,
    TensorProto.INT64: dtypes.I64, TensorProto.UINT8: dtypes.U8, TensorProto.UINT16: dtypes.U16, TensorProto.UINT32: dtypes.U32,
    TensorProto.UINT64: dtypes.U64, TensorProto.FLOAT16: dtypes.F16, TensorProto.BFLOAT16: dtypes.BF16,
    TensorProto.FLOAT: dtypes.F32, TensorProto.DOUBLE: dtypes.F64, TensorProto.FLOAT8E4M3FN: dtypes.F8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ: dtypes.F8E4M3FNUZ, TensorProto.FLOAT8E5M2: dtypes.F8E5M2, TensorProto.FLOAT8E5M2FNUZ: dtypes.F8E5M2FNUZ,
    TensorProto.FLOAT8E8M0: dtypes.F8E8M0, TensorProto.FLOAT4E2M1: dtypes.F4E2M1, TensorProto.INT4: dtypes.I4,
    TensorProto.UINT4: dtypes.U4, TensorProto.INT2: dtypes.I2, TensorProto.UINT2: dtypes.U2,
}  # fmt: skip

_TYPED_FIELD: dict[str, str] = {"f32": "float_data", "f64": "double_data", "i64": "int64_data", "u32": "uint64_data", "u64": "uint64_data"}


def dtype_of(data_type: int) -> DType | None:
    """The element type that ONNX numbers `data_type`; None where tgc has none."""
    return _DTYPES.get(data_type)


def onnx_type(dtype: DType) -> int:
    """ONNX's number for `dtype`."""
    return next(number for number, row in _DTYPES.items() if row == dtype)


def type_name(data_type: int) -> str:
    """ONNX's name for element type `data_type`, in words that also fit a number that means nothing."""
    known = data_type in TensorProto.DataType.values() and data_type != TensorProto.UNDEFINED
    return TensorProto.DataType.Name(data_type).lower() if known else f"number {data_type}, which ONNX does not define"


def require_dtype(data_type: int, where: str) -> DType:
    """The element type. Raises UnsupportedError."""
    found = dtype_of(data_type)
    if found is None:
        raise UnsupportedError(f"element type {type_name(data_type)}", where)
    return found


def tensor_array(tensor: onnx.TensorProto, folder: Path | None, where: str) -> Array:
    """The tensor's value.

    folder: where the model lies, for weights kept outside; None for a model in memory. where: the tensor in words.
    Raises ModelError where the bytes and the shape disagree, UnsupportedError for an element type that tgc has not.
    """
    dtype = require_dtype(tensor.data_type, where)
    shape = tuple(tensor.dims)
    if min(shape, default=0) < 0:
        raise ModelError(f"has the shape {list(shape)}", where)
    count = prod(shape)
    size = stored_bytes(dtype, shape)
    if tensor.data_location == TensorProto.EXTERNAL:
        data = read_external(tensor, folder, size, where)
        if dtype.bits < 8:
            return from_stored(data, dtype, shape)
        return data.view(np.dtype(dtype.numpy).newbyteorder("<")).astype(dtype.numpy, copy=False).reshape(shape)
    if tensor.HasField("raw_data"):
        held, wanted, unit = len(tensor.raw_data), size, "bytes"
    else:
        held, wanted, unit = len(getattr(tensor, _TYPED_FIELD.get(dtype.name, "int32_data"))), size if dtype.bits < 8 else count, "elements"
    if held != wanted:
        raise ModelError(f"shape {list(shape)} of {dtype} takes {wanted} {unit}, but the file holds {held}", where)
    return np.asarray(numpy_helper.to_array(tensor))
