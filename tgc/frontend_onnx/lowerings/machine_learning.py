"""ai.onnx.ml on numbers: scaling, linear models, support vectors."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, prod

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.indexing import counted
from tgc.frontend_onnx.lowerings.normalization import softmax
from tgc.frontend_onnx.lowerings.reductions import largest_index
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I32, I64
from tgc.ir.expr import Expr
from tgc.ir.graph import Node

ML = "ai.onnx.ml"


@lowers("Scaler", since=1, domain=ML)
def scaler(b: LoweringBuilder, x: Node, *, offset: tuple[float, ...] | None = None, scale: tuple[float, ...] | None = None) -> Node:
    """(x - offset) * scale along the last axis, f32."""
    out = b.cast(x, F32)
    if offset is not None:
        out = b.sub(out, b.constant(np.array(offset, np.float32)))
    return out if scale is None else b.mul(out, b.constant(np.array(scale, np.float32)))


@lowers("Binarizer", since=1, domain=ML)
def binarizer(b: LoweringBuilder, x: Node, *, threshold: float = 0.0) -> Node:
    """1 above the threshold, else 0, in the type of x."""
    return b.elementwise(lambda a: scalar.where(scalar.gt(a, scalar.lit(threshold, a)), scalar.lit(1, a), scalar.lit(0, a)), x)


@lowers("ArrayFeatureExtractor", since=1, domain=ML)
def array_feature_extractor(b: LoweringBuilder, x: Node, indices: Node) -> Node:
    """Elements along the last axis of x."""
    count = prod(indices.shape)
    lead = x.shape[:-1] or (1,)
    shape = (*lead, count)
    index = b.reshape(counted(b, indices, x.shape[-1]), (count,))
    source = b.reshape(x, (*lead, x.shape[-1]))
    return b.gather(source, [*(b.coordinate(shape, d, I32) for d in range(len(lead))), index], shape)


@lowers("Normalizer", since=1, domain=ML)
def normalizer(b: LoweringBuilder, x: Node, *, norm: str = "MAX") -> Node:
    """x over the largest element, the sum of magnitudes or the length of its rows [.., features], f32; rows of length 0 stay."""
    wide = b.cast(x, F32)
    last = (len(x.shape) - 1,)
    match norm:
        case "MAX":
            size = b.reduce(ops.MAX, wide, last)
        case "L1":
            size = b.reduce(ops.ADD, b.elementwise(scalar.abs, wide), last)
        case "L2":
            size = b.elementwise(scalar.sqrt, b.reduce(ops.ADD, b.mul(wide, wide), last))
        case _:
            raise b.invalid(f"norm is {norm!r}")
    return b.elementwise(lambda a, n: scalar.where(scalar.eq(n, 0), a, scalar.div(a, n)), wide, size)


def transformed(b: LoweringBuilder, scores: Node, name: str) -> Node:
    """What `post_transform` says is done to scores [N, classes]."""
    match name:
        case "NONE":
            return scores
        case "LOGISTIC":
            return b.elementwise(scalar.sigmoid, scores)
        case "SOFTMAX":
            return softmax(b, scores, axis=-1)
        case "SOFTMAX_ZERO":
            zero = b.elementwise(lambda s: scalar.eq(s, 0), scores)
            shown = b.where_(zero, b.scalar(float("-inf"), scores.dtype), scores)
            return b.where_(zero, b.scalar(0.0, scores.dtype), softmax(b, shown, axis=-1))
        case "PROBIT":
            return b.elementwise(_probit, scores)
    raise b.invalid(f"post_transform is {name!r}")


def _probit(chance: Expr) -> Expr:
    """The inverse of the normal distribution, to about 2e-3, with the approximation of erf's inverse that ONNX's reference has.

    S. Winitzki, A handy approximation for the error function and its inverse, 2008, equation 7, with a = 0.147.
    """
    x = scalar.sub(scalar.mul(chance, 2.0), 1.0)
    logarithm = scalar.log(scalar.mul(scalar.sub(1.0, x), scalar.add(x, 1.0)))
    half = scalar.add(scalar.mul(logarithm, 0.5), 2 / (pi * 0.147))
    root = scalar.sqrt(scalar.sub(scalar.mul(half, half), scalar.mul(logarithm, 1 / 0.147)))
    size = scalar.sqrt(scalar.mul(scalar.sub(root, half), 2.0))
    return scalar.where(scalar.lt(x, 0.0), scalar.neg(size), size)


def second_class(b: LoweringBuilder, scores: Node, post_transform: str, signed: bool = False) -> Node:
    """Scores [N, 2] of two classes from those [N, 1] of the second: [1 - s, s], or [-s, s] where they are `signed`.

    As in ONNX Runtime, LOGISTIC is taken of -s and s, and SOFTMAX of neither.
    """
    if post_transform == "PROBIT":
        raise b.unsupported("post_transform 'PROBIT' of one score for two classes")
    if signed or post_transform == "LOGISTIC":
        both = b.concat([b.elementwise(scalar.neg, scores), scores], 1)
        return transformed(b, both, "LOGISTIC") if post_transform == "LOGISTIC" else both
    return b.concat([b.elementwise(lambda s: scalar.sub(1.0, s), scores), scores], 1)


def of_two(b: LoweringBuilder, scores: Node, classes: Sequence[int], threshold: float = 0.0) -> Node:
    """The second of two classes, or 1, where its score, in the last column of [N, 1 or 2], is above `threshold`; else the first, or 0."""
    low, high = classes if len(classes) == 2 else (0, 1)
    own = b.squeeze(b.narrow(scores, 1, scores.shape[1] - 1, 1), (1,))
    return b.elementwise(lambda s: scalar.where(scalar.gt(s, threshold), scalar.lit(high, I64), scalar.lit(low, I64)), own)


def rows_of(b: LoweringBuilder, x: Node) -> Node:
    """x [N, features], or one row [features], as f32 [N, features]."""
    return b.cast(b.reshape(x, (1, *x.shape)) if len(x.shape) == 1 else x, F32)


def require_numbers(b: LoweringBuilder, numbers: Sequence[int] | None, words: Sequence[str] | None) -> Sequence[int]:
    """The classes. Raises UnsupportedError where they are strings."""
    if not numbers or words:
        raise b.unsupported("classes that are strings", "export the model with integer labels")
    return numbers


def _linear(b: LoweringBuilder, x: Node, coefficients: Sequence[float], intercepts: Sequence[float] | None, rows: int) -> Node:
    """x [N, features] times coefficients [rows, features] transposed, plus intercepts, f32."""
    wide = rows_of(b, x)
    if len(coefficients) != rows * wide.shape[1]:
        raise b.invalid(f"{len(coefficients)} coefficients for {rows} rows of {wide.shape[1]} features")
    weights = np.array(coefficients, np.float32).reshape(rows, -1).T
    out = b.matmul(wide, b.constant(weights))
    return out if not intercepts else b.add(out, b.constant(np.array(intercepts, np.float32)))


@lowers("LinearRegressor", since=1, domain=ML)
def linear_regressor(
    b: LoweringBuilder,
    x: Node,
    *,
    coefficients: tuple[float, ...] | None = None,
    intercepts: tuple[float, ...] | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Node:
    """x [N, features] -> [N, targets], f32."""
    return transformed(b, _linear(b, x, coefficients or (), intercepts, targets), post_transform)


@lowers("LinearClassifier", since=1, domain=ML)
def linear_classifier(
    b: LoweringBuilder,
    x: Node,
    *,
    classlabels_ints: tuple[int, ...] | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
    coefficients: tuple[float, ...],
    intercepts: tuple[float, ...] | None = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Node, Node]:
    """x [N, features] -> the class of the highest score [N], i64, and the scores [N, classes].

    One row of coefficients is for the second of two classes, which wins above 0.
    """
    classes = require_numbers(b, classlabels_ints, classlabels_strings)
    rows, rest = divmod(len(coefficients), x.shape[-1])
    if rest or rows not in (1, len(classes)):
        raise b.invalid(f"{len(coefficients)} coefficients for {x.shape[-1]} features and {len(classes)} classes")
    scores = _linear(b, x, coefficients, intercepts, rows)
    if rows > 1:
        return labels(b, scores, classes), transformed(b, scores, post_transform)
    chosen = of_two(b, scores, classes)
    if len(classes) == 2:
        return chosen, second_class(b, scores, post_transform)
    return chosen, transformed(b, scores, post_transform) if post_transform == "PROBIT" else scores


def labels(b: LoweringBuilder, scores: Node, classes: Sequence[int]) -> Node:
    """The class with the highest of scores [N, classes], the first of several: [N], i64."""
    best = b.squeeze(largest_index(b, scores, 1), (1,))
    return b.gather(b.constant(np.array(classes, np.int64)), [best], best.shape)
