"""ai.onnx.ml on numbers: scaling, linear models, support vectors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.indexing import counted
from tgc.frontend_onnx.lowerings.normalization import softmax
from tgc.frontend_onnx.lowerings.reductions import largest_index
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32, I32
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
    raise b.unsupported(f"post_transform {name!r}")


def _linear(b: LoweringBuilder, x: Node, coefficients: Sequence[float], intercepts: Sequence[float] | None, rows: int) -> Node:
    """x [N, features] times coefficients [rows, features] transposed, plus intercepts, f32."""
    wide = b.cast(b.reshape(x, (1, *x.shape)) if len(x.shape) == 1 else x, F32)
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
    """x [N, features] -> the class of the highest score [N], i64, and the scores [N, classes]."""
    if classlabels_ints is None or classlabels_strings is not None:
        raise b.unsupported("classes that are strings")
    features = x.shape[-1]
    if len(coefficients) != features * len(classlabels_ints):
        raise b.unsupported(f"{len(coefficients)} coefficients for {features} features and {len(classlabels_ints)} classes")
    scores = _linear(b, x, coefficients, intercepts, len(classlabels_ints))
    return labels(b, scores, classlabels_ints), transformed(b, scores, post_transform)


def labels(b: LoweringBuilder, scores: Node, classes: Sequence[int]) -> Node:
    """The class with the highest of scores [N, classes], the first of several: [N], i64."""
    best = b.squeeze(largest_index(b, scores, 1), (1,))
    return b.gather(b.constant(np.array(classes, np.int64)), [best], best.shape)


@lowers("SVMRegressor", since=1, domain=ML)
def svm_regressor(
    b: LoweringBuilder,
    x: Node,
    *,
    coefficients: tuple[float, ...] | None = None,
    kernel_params: tuple[float, ...] | None = None,
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: tuple[float, ...] | None = None,
    support_vectors: tuple[float, ...] | None = None,
) -> Node:
    """x [N, features] -> [N, 1], f32: the sum over support vectors of coefficient * kernel, plus rho; its sign where `one_class`."""
    wide = b.cast(x, F32)
    numbers = np.array(coefficients or (), np.float32)
    if n_supports:
        vectors = np.array(support_vectors or (), np.float32).reshape(n_supports, -1)
        near = _kernel(b, wide, vectors, kernel_type, kernel_params or (0.0, 0.0, 0.0))
        out = b.matmul(near, b.constant(numbers.reshape(-1, 1)))
    else:
        out = b.matmul(wide, b.constant(numbers.reshape(-1, 1)))
    shifted = out if not rho else b.add(out, b.scalar(rho[0], F32))
    if one_class:
        return b.elementwise(lambda a: scalar.where(scalar.gt(a, 0), scalar.lit(1, a), scalar.lit(-1, a)), shifted)
    return transformed(b, shifted, post_transform)


def _kernel(b: LoweringBuilder, x: Node, vectors: np.ndarray, kind: str, numbers: Sequence[float]) -> Node:
    """[N, vectors]; numbers: gamma, coef0, degree."""
    gamma, shift, degree = numbers
    if kind == "RBF":
        apart = b.sub(b.unsqueeze(x, (1,)), b.constant(vectors[None]))
        squares = b.reduce(ops.ADD, b.mul(apart, apart), (2,), keepdims=False)
        return b.elementwise(lambda d: scalar.exp(scalar.mul(d, -gamma)), squares)
    dot = b.matmul(x, b.constant(np.ascontiguousarray(vectors.T)))
    moved = b.elementwise(lambda d: scalar.add(scalar.mul(d, gamma), shift), dot)
    match kind:
        case "LINEAR":
            return dot
        case "POLY":
            return b.elementwise(lambda d: scalar.pow(d, scalar.lit(degree, d)), moved)
        case "SIGMOID":
            return b.elementwise(scalar.tanh, moved)
    raise b.invalid(f"kernel_type is {kind!r}")
