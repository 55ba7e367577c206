"""ai.onnx.ml: support vector machines, and what they say about classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.machine_learning import ML, labels, require_numbers, rows_of, second_class, transformed
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import BOOL, F32, I32
from tgc.ir.graph import Node, Scan
from tgc.ir.scan import scan_results

Array = npt.NDArray[np.generic]
Floats = tuple[float, ...]
ITERATIONS = 100
"""Most rounds of the iteration for class probabilities."""


@lowers("SVMRegressor", since=1, domain=ML)
def svm_regressor(
    b: LoweringBuilder,
    x: Node,
    *,
    coefficients: Floats | None = None,
    kernel_params: Floats | None = None,
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Floats | None = None,
    support_vectors: Floats | None = None,
) -> Node:
    """x [N, features] -> [N, 1], f32: the sum over support vectors of coefficient * kernel, plus rho; its sign where `one_class`."""
    wide = rows_of(b, x)
    numbers = np.array(coefficients or (), np.float32)
    near = wide
    if n_supports:
        vectors = np.array(support_vectors or (), np.float32).reshape(n_supports, -1)
        near = _kernel(b, wide, vectors, kernel_type, kernel_params or (0.0, 0.0, 0.0))
    out = b.matmul(near, b.constant(numbers.reshape(-1, 1)))
    shifted = out if not rho else b.add(out, b.scalar(rho[0], F32))
    if one_class:
        return b.elementwise(lambda a: scalar.where(scalar.gt(a, 0), scalar.lit(1, a), scalar.lit(-1, a)), shifted)
    return transformed(b, shifted, post_transform)


def _kernel(b: LoweringBuilder, x: Node, vectors: Array, kind: str, numbers: Sequence[float]) -> Node:
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


@lowers("SVMClassifier", since=1, domain=ML)
def svm_classifier(
    b: LoweringBuilder,
    x: Node,
    *,
    classlabels_ints: tuple[int, ...] | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
    coefficients: Floats = (),
    kernel_params: Floats | None = None,
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Floats | None = None,
    prob_b: Floats | None = None,
    rho: Floats = (0.0,),
    support_vectors: Floats | None = None,
    vectors_per_class: tuple[int, ...] | None = None,
) -> tuple[Node, Node]:
    """x [N, features] -> the class [N], i64, and scores: of each class [N, classes], or of each pair of more than two [N, pairs].

    Without support vectors each class has a row of coefficients. With them, each pair of classes votes for one.
    """
    classes = require_numbers(b, classlabels_ints, classlabels_strings)
    wide = rows_of(b, x)
    if not vectors_per_class or not sum(vectors_per_class):
        return _linear_scores(b, wide, classes, coefficients, rho[0], post_transform)
    vectors = np.array(support_vectors or (), np.float32).reshape(sum(vectors_per_class), -1)
    near = _kernel(b, wide, vectors, kernel_type, kernel_params or (0.0, 0.0, 0.0))
    table = _pairwise(np.array(coefficients, np.float32).reshape(len(classes) - 1, -1), vectors_per_class)
    pairs = table.shape[1]
    duels = b.add(b.matmul(near, b.constant(table)), b.constant(np.array(rho[:pairs], np.float32)))
    chosen = labels(b, _votes(b, duels, len(classes)), classes)
    if prob_a and prob_b:
        chances = _probabilities(b, duels, len(classes), prob_a[:pairs], prob_b[:pairs])
        return chosen, transformed(b, chances, post_transform)
    if len(classes) == 2:
        return chosen, second_class(b, duels, post_transform, signed=post_transform == "NONE")
    return chosen, transformed(b, duels, post_transform)


def _linear_scores(
    b: LoweringBuilder, x: Node, classes: Sequence[int], coefficients: Floats, shift: float, post_transform: str
) -> tuple[Node, Node]:
    """Of two classes the second wins as soon as one score is positive (with coefficients that are all positive: 0.5), as in
    ONNX Runtime, which carries this over from models that have one score for both."""
    weights = np.array(coefficients, np.float32).reshape(len(classes), -1).T
    scores = b.elementwise(lambda s: scalar.add(s, shift), b.matmul(x, b.constant(np.ascontiguousarray(weights))))
    chosen = labels(b, scores, classes)
    if len(classes) == 2:
        least = scalar.ge if min(coefficients) >= 0 else scalar.gt
        threshold = 0.5 if min(coefficients) >= 0 else 0.0
        positive = b.elementwise(lambda s: least(s, scalar.lit(threshold, s)), b.reduce(ops.MAX, scores, (1,), keepdims=False))
        chosen = b.where_(positive, b.scalar(classes[1], chosen.dtype), chosen)
    return chosen, transformed(b, scores, post_transform) if len(classes) > 1 else scores


def _pairwise(coefficients: Array, counts: Sequence[int]) -> Array:
    """From coefficients [classes - 1, vectors] the weights [vectors, pairs] of the duels (0, 1), (0, 2), .., (1, 2), ..

    The vectors of class i count with row j - 1 against class j > i; those of j with row i.
    """
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int).tolist()
    columns = []
    for i, j in combinations(range(len(counts)), 2):
        column = np.zeros(coefficients.shape[1], np.float32)
        first, second = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        column[first], column[second] = coefficients[j - 1, first], coefficients[i, second]
        columns.append(column)
    return np.stack(columns, axis=1)


def _votes(b: LoweringBuilder, duels: Node, count: int) -> Node:
    """How many duels [N, pairs] each class has won, [N, classes], i32: the first of a pair where the score is positive."""
    won, lost = np.zeros((2, duels.shape[1], count), np.int32)
    for pair, (i, j) in enumerate(combinations(range(count), 2)):
        won[pair, i], lost[pair, j] = 1, 1
    positive = b.elementwise(lambda s: ex.cast(scalar.gt(s, 0), I32), duels)
    return b.add(b.matmul(positive, b.constant(won - lost)), b.constant(lost.sum(axis=0, dtype=np.int32)))


def _probabilities(b: LoweringBuilder, duels: Node, count: int, first: Floats, second: Floats) -> Node:
    """Probabilities [N, classes] of classes whose pairwise probabilities are 1 / (1 + exp(a * score + b)).

    T.-F. Wu, C.-J. Lin and R. C. Weng, Probability Estimates for Multi-class Classification by Pairwise Coupling, 2004,
    algorithm 2, at most 100 rounds.
    """
    weights = b.constant(np.array(first, np.float32)), b.constant(np.array(second, np.float32))
    single = b.elementwise(
        lambda s, p, q: scalar.clip(scalar.sigmoid(scalar.neg(scalar.add(scalar.mul(s, p), q))), 1e-7, 1 - 1e-7), duels, *weights
    )
    quadratic = _quadratic(b, single, count)
    rows = duels.shape[0]
    shares, done = b.graph.bound(F32, (rows, count)), b.graph.bound(BOOL, (rows, 1))
    following, settled = _round(b, quadratic, shares, done)
    initial = (b.full((rows, count), 1 / count, F32), b.full((rows, 1), False, BOOL))
    scan = Scan((shares, done), (), initial, (), (following, settled), (), ITERATIONS, False)
    return scan_results(b.graph, scan)[0]


def _quadratic(b: LoweringBuilder, single: Node, count: int) -> Node:
    """The matrix Q [N, classes, classes] of the paper's equation: Q[t, t] = sum of r[j, t]^2 over j, Q[t, j] = -r[j, t] r[t, j]."""
    place = np.zeros((count, count), np.int32)
    for pair, (i, j) in enumerate(combinations(range(count), 2)):
        place[i, j] = place[j, i] = pair
    shape = (single.shape[0], count, count)
    both = b.gather(single, [b.coordinate(shape, 0, I32), b.constant(place)], shape)
    upper = b.constant(np.triu(np.ones((count, count), np.bool_), 1))
    apart = b.constant(~np.eye(count, dtype=np.bool_))
    ratio = b.where_(upper, both, b.elementwise(lambda r: scalar.sub(1.0, r), both))
    kept = b.where_(apart, ratio, b.scalar(0.0, F32))
    squares = b.reduce(ops.ADD, b.mul(kept, kept), (1,), keepdims=False)
    crossed = b.elementwise(lambda p, q: scalar.neg(scalar.mul(p, q)), kept, b.swap(kept, 1, 2))
    return b.where_(apart, crossed, b.unsqueeze(squares, (2,)))


def _round(b: LoweringBuilder, quadratic: Node, shares: Node, done: Node) -> tuple[Node, Node]:
    """One round of the iteration: the shares [N, classes] after it, and which rows [N, 1] need no further one."""
    count = shares.shape[1]

    def summed(product: Node) -> Node:
        return b.reduce(ops.ADD, product, (1,))

    slopes = b.squeeze(b.matmul(quadratic, b.unsqueeze(shares, (2,))), (2,))
    value = summed(b.mul(shares, slopes))
    error = b.reduce(ops.MAX, b.elementwise(scalar.abs, b.sub(slopes, value)), (1,))
    settled = b.elementwise(lambda d, e: scalar.logical_or(d, scalar.lt(e, 0.005 / count)), done, error)
    new = shares
    for t in range(count):
        row = b.reshape(b.narrow(quadratic, 1, t, 1), shares.shape)
        own, slope = b.narrow(row, 1, t, 1), b.narrow(slopes, 1, t, 1)
        step = b.div(b.sub(value, slope), own)
        grown = b.elementwise(lambda d: scalar.add(d, 1.0), step)
        moved = b.add(new, b.mul(step, b.constant(np.eye(count, dtype=np.float32)[t])))
        value = b.div(b.div(b.add(value, b.mul(step, b.add(b.mul(step, own), b.add(slope, slope)))), grown), grown)
        slopes = b.div(b.add(slopes, b.mul(step, row)), grown)
        new = b.div(moved, grown)
    return b.where_(settled, shares, new), settled
