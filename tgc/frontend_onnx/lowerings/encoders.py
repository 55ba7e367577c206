"""ai.onnx.ml: tables from numbers to numbers, missing values, features side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.machine_learning import ML
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I32, I64
from tgc.ir.expr import Coordinate, Expr
from tgc.ir.graph import Node

Array = npt.NDArray[np.generic]
Floats = tuple[float, ...]
Integers = tuple[int, ...]
Words = tuple[str, ...]


@lowers("LabelEncoder", since=2, domain=ML)
def label_encoder_2(
    b: LoweringBuilder,
    x: Node,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    keys_floats: Floats | None = None,
    keys_int64s: Integers | None = None,
    keys_strings: Words | None = None,
    values_floats: Floats | None = None,
    values_int64s: Integers | None = None,
    values_strings: Words | None = None,
) -> Node:
    """The value beside the key that x equals, else the default."""
    return label_encoder(
        b, x, default_float=default_float, default_int64=default_int64, keys_floats=keys_floats, keys_int64s=keys_int64s,
        keys_strings=keys_strings, values_floats=values_floats, values_int64s=values_int64s, values_strings=values_strings,
    )  # fmt: skip


@lowers("LabelEncoder", since=4, domain=ML)
def label_encoder(
    b: LoweringBuilder,
    x: Node,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: Array | None = None,
    keys_floats: Floats | None = None,
    keys_int64s: Integers | None = None,
    keys_strings: Words | None = None,
    keys_tensor: Array | None = None,
    values_floats: Floats | None = None,
    values_int64s: Integers | None = None,
    values_strings: Words | None = None,
    values_tensor: Array | None = None,
) -> Node:
    """The value beside the key that x equals, else the default."""
    if keys_strings is not None or values_strings is not None:
        raise b.unsupported("keys or values that are strings")
    keys = _given(keys_tensor, keys_floats, keys_int64s)
    values = _given(values_tensor, values_floats, values_int64s)
    if keys is None or values is None or len(keys) != len(values):
        raise b.invalid("keys and values that do not come in pairs")
    default: Array = np.asarray(default_float if values.dtype.kind == "f" else default_int64, values.dtype)
    if values_tensor is not None and default_tensor is not None:
        default = default_tensor.reshape(-1)[:1].astype(values.dtype)
    return table_lookup(b, x, keys.astype(x.dtype.numpy), values, default)


def _given(tensor: Array | None, floats: Floats | None, integers: Integers | None) -> Array | None:
    if tensor is not None:
        return tensor.reshape(-1)
    if floats is not None:
        return np.array(floats, np.float32)
    return None if integers is None else np.array(integers, np.int64)


def table_lookup(b: LoweringBuilder, x: Node, keys: Array, values: Array, default: Array) -> Node:
    """values[n] for the first n with keys[n] equal to x (NaN equals NaN), else `default`."""
    if not len(keys):
        return b.broadcast_to(b.constant(default.reshape(())), x.shape)
    place = scalar.sub(len(keys), ex.cast(Coordinate(len(x.shape)), I32))

    def hit(a: Expr, key: Expr) -> Expr:
        same = scalar.eq(a, key)
        if x.dtype.is_float and np.isnan(keys.astype(np.float64)).any():
            same = scalar.logical_or(same, scalar.logical_and(scalar.is_nan(a), scalar.is_nan(key)))
        return scalar.where(same, place, 0)

    found = b.reduce(ops.MAX, b.elementwise(hit, b.unsqueeze(x, (-1,)), b.constant(keys)), (-1,), keepdims=False)
    table = np.concatenate([default.reshape(1), values[::-1]])
    return b.gather(b.constant(table), [found], x.shape)


@lowers("OneHotEncoder", since=1, domain=ML)
def one_hot_encoder(
    b: LoweringBuilder, x: Node, *, cats_int64s: Integers | None = None, cats_strings: Words | None = None, zeros: int = 1
) -> Node:
    """A new last axis with 1 at the category that x is, f32. Where x is none of them all are 0, also where that is called an error."""
    if cats_int64s is None:
        raise b.unsupported("categories that are strings")
    return b.elementwise(
        lambda a, c: ex.cast(scalar.eq(a, c), F32), b.cast(b.unsqueeze(x, (-1,)), I64), b.constant(np.array(cats_int64s, np.int64))
    )


@lowers("Imputer", since=1, domain=ML)
def imputer(
    b: LoweringBuilder,
    x: Node,
    *,
    imputed_value_floats: Floats | None = None,
    imputed_value_int64s: Integers | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Node:
    """x with the elements that equal the replaced value (or are NaN where that is) replaced, by one value or one for each feature."""
    values: Sequence[float] | None = imputed_value_floats if x.dtype.is_float else imputed_value_int64s
    if not values:
        raise b.invalid("no value to impute")
    if len(values) not in (1, x.shape[-1]):
        raise b.invalid(f"{len(values)} values for {x.shape[-1]} features")
    replaced: float = replaced_value_float if x.dtype.is_float else replaced_value_int64

    def missing(a: Expr) -> Expr:
        return scalar.is_nan(a) if np.isnan(replaced) else scalar.eq(a, scalar.lit(replaced, a))

    return b.where_(b.elementwise(missing, x), b.constant(np.array(values, x.dtype.numpy)), x)


@lowers("FeatureVectorizer", since=1, domain=ML)
def feature_vectorizer(b: LoweringBuilder, *xs: Node, inputdimensions: Integers | None = None) -> Node:
    """The rows [N, features] of all inputs side by side, f32, each cut or filled with 0 to its number of features."""
    rows = [x if len(x.shape) == 2 else b.reshape(x, (prod(x.shape), 1)) for x in xs]
    wanted = inputdimensions or tuple(x.shape[1] for x in rows)
    if len(wanted) != len(xs):
        raise b.invalid(f"{len(wanted)} numbers of features for {len(xs)} inputs")
    return b.concat([b.pad(b.cast(x, F32), (0, 0), (0, n - x.shape[1])) for x, n in zip(rows, wanted, strict=True)], 1)
