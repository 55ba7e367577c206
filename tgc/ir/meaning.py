"""What the scalar operations mean, in numpy. Arguments are arrays that broadcast; the result has the operation's dtype.

Floats follow IEEE 754 in their own type, without traps. Integers wrap.
CAST: to bool is `value != 0` (a NaN is true). Float to integer drops the fraction; a value that then does not fit is outside
what the IR defines, and here it is taken modulo `2**bits` up to a magnitude of `2**63`, and NaN gives 0, so that a run can
be repeated. Integer to integer wraps; to float rounds to the nearest. To the small floats: `tgc.ir.small_floats`; integers go
there by way of f32.
BITCAST reads the same bits in another type of the same width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tgc.ir import ops
from tgc.ir.dtypes import F8E8M0, SMALL, DType, from_numpy
from tgc.ir.expr import Lit
from tgc.ir.ops import Op
from tgc.ir.small_floats import SMALL_FLOATS, encode, encode_exponent

Array = npt.NDArray[np.generic]


def apply(op: Op, dtype: DType, args: list[Array]) -> Array:
    """`op` on `args`; `dtype` is the result's type. Lanes and shapes broadcast as in numpy."""
    with np.errstate(all="ignore"):
        match op.name:
            case "CAST":
                return cast(args[0], dtype)
            case "BITCAST":
                return args[0].view(dtype.numpy)
            case name:
                return np.asarray(ops.NUMPY[name](*args), dtype=dtype.numpy)


def literal(lit: Lit) -> Array:
    """The constant as an array of rank 0."""
    with np.errstate(all="ignore"):
        return np.asarray(lit.value).astype(lit.dtype.numpy) if lit.dtype.is_float else np.asarray(lit.value, dtype=lit.dtype.numpy)


def cast(value: Array, dtype: DType) -> Array:
    """`value` in another type, by the rules at the top of this file."""
    with np.errstate(all="ignore"):
        if dtype.kind == "bool":
            return np.asarray(value != 0)
        if dtype.is_integer and from_numpy(value.dtype).is_float:
            return _float_to_integer(value).astype(dtype.numpy)
        if dtype == F8E8M0:
            return encode_exponent(value.astype(np.float32)).view(dtype.numpy)
        if dtype in SMALL_FLOATS:
            wide = value if from_numpy(value.dtype).is_float else value.astype(np.float32)
            return encode(wide.astype(np.float64), SMALL_FLOATS[dtype]).view(dtype.numpy)
        if dtype in SMALL and value.dtype.kind == "V":
            value = value.astype(np.int8)  # ml_dtypes casts none of its integers to another
        return value.astype(dtype.numpy)


def _float_to_integer(value: Array) -> npt.NDArray[np.int64]:
    whole = np.trunc(np.nan_to_num(value.astype(np.float64), nan=0.0, posinf=2.0**64, neginf=-(2.0**63)))
    limited = np.clip(whole, -(2.0**63), np.nextafter(2.0**64, 0.0))
    return np.where(limited >= 2.0**63, limited - 2.0**64, limited).astype(np.int64)
