"""TreeEnsembleRegressor and TreeEnsembleClassifier: trees whose nodes are named by a tree and a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.machine_learning import ML, labels, of_two, require_numbers, second_class, transformed
from tgc.frontend_onnx.lowerings.trees import LEAF, Forest, scores
from tgc.frontend_onnx.registry import lowers
from tgc.ir.dtypes import F32, F64
from tgc.ir.graph import Node

Array = npt.NDArray[np.generic]
Integers = tuple[int, ...]
Floats = tuple[float, ...]
Names = tuple[tuple[int, int], ...]


def _rows(b: LoweringBuilder, trees: Integers | None, nodes: Integers | None) -> dict[tuple[int, int], int]:
    if not trees or not nodes or len(trees) != len(nodes):
        raise b.invalid("an ensemble without nodes")
    return {name: row for row, name in enumerate(zip(trees, nodes, strict=True))}


def _forest(
    b: LoweringBuilder,
    x: Node,
    trees: Integers | None,
    nodes: Integers | None,
    columns: tuple[Sequence[str], Integers, Floats | Array, Integers, Integers, Integers | None],
    weights: tuple[Integers, Integers, Integers, Floats | Array],
    targets: int,
) -> Forest:
    """columns: modes, features, splits, true and false nodes, missing values. weights: tree, node, target and weight of each."""
    rows = _rows(b, trees, nodes)
    names = list(rows)
    modes, features, splits, yes, no, missing = columns
    own = list(range(len(names)))
    leaf = [mode == LEAF for mode in modes]
    following = [[own[row] if leaf[row] else rows[names[row][0], way[row]] for row in own] for way in (yes, no)]
    table = np.zeros((len(names), targets), x.dtype.numpy)
    for tree, node, target, weight in zip(*weights[:3], np.asarray(weights[3]).reshape(-1).tolist(), strict=True):
        table[rows[tree, node], target] += weight
    roots = [rows[name] for name in {tree: (tree, node) for tree, node in reversed(names)}.values()]
    return Forest(
        tuple(modes), np.array(features), np.asarray(splits).reshape(-1).astype(x.dtype.numpy), np.array(following[0]),
        np.array(following[1]), np.array(missing or (0,) * len(names)), np.array(sorted(roots)), table,
    )  # fmt: skip


def _present(b: LoweringBuilder, numbers: Floats | None, tensor: Array | None) -> Floats | Array:
    found = tensor if numbers is None else numbers
    if found is None:
        raise b.invalid("an ensemble without values or weights")
    return found


def _with_base(b: LoweringBuilder, out: Node, base: Floats | Array | None) -> Node:
    return out if base is None else b.add(out, b.constant(np.asarray(base).reshape(-1).astype(out.dtype.numpy)))


def _input(b: LoweringBuilder, x: Node) -> Node:
    """x [N, features] as f32, or f64 where it is that."""
    return b.cast(b.reshape(x, (1, *x.shape)) if len(x.shape) == 1 else x, F64 if x.dtype == F64 else F32)


@lowers("TreeEnsembleRegressor", since=(1, 3), domain=ML)
def tree_ensemble_regressor(
    b: LoweringBuilder,
    x: Node,
    *,
    aggregate_function: str = "SUM",
    base_values: Floats | None = None,
    base_values_as_tensor: Array | None = None,
    n_targets: int = 1,
    nodes_falsenodeids: Integers = (),
    nodes_featureids: Integers = (),
    nodes_hitrates: Floats | None = None,
    nodes_hitrates_as_tensor: Array | None = None,
    nodes_missing_value_tracks_true: Integers | None = None,
    nodes_modes: tuple[str, ...] = (),
    nodes_nodeids: Integers | None = None,
    nodes_treeids: Integers | None = None,
    nodes_truenodeids: Integers = (),
    nodes_values: Floats | None = None,
    nodes_values_as_tensor: Array | None = None,
    post_transform: str = "NONE",
    target_ids: Integers = (),
    target_nodeids: Integers = (),
    target_treeids: Integers = (),
    target_weights: Floats | None = None,
    target_weights_as_tensor: Array | None = None,
) -> Node:
    """x [N, features] -> [N, n_targets], f32."""
    wide = _input(b, x)
    splits, given = _present(b, nodes_values, nodes_values_as_tensor), _present(b, target_weights, target_weights_as_tensor)
    columns = (nodes_modes, nodes_featureids, splits, nodes_truenodeids, nodes_falsenodeids, nodes_missing_value_tracks_true)
    forest = _forest(b, wide, nodes_treeids, nodes_nodeids, columns, (target_treeids, target_nodeids, target_ids, given), n_targets)
    out = _with_base(b, scores(b, wide, forest, aggregate_function), base_values_as_tensor if base_values is None else base_values)
    return b.cast(transformed(b, out, post_transform), F32)


@lowers("TreeEnsembleClassifier", since=(1, 3), domain=ML)
def tree_ensemble_classifier(
    b: LoweringBuilder,
    x: Node,
    *,
    base_values: Floats | None = None,
    base_values_as_tensor: Array | None = None,
    class_ids: Integers = (),
    class_nodeids: Integers = (),
    class_treeids: Integers = (),
    class_weights: Floats | None = None,
    class_weights_as_tensor: Array | None = None,
    classlabels_int64s: Integers | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
    nodes_falsenodeids: Integers = (),
    nodes_featureids: Integers = (),
    nodes_hitrates: Floats | None = None,
    nodes_hitrates_as_tensor: Array | None = None,
    nodes_missing_value_tracks_true: Integers | None = None,
    nodes_modes: tuple[str, ...] = (),
    nodes_nodeids: Integers | None = None,
    nodes_treeids: Integers | None = None,
    nodes_truenodeids: Integers = (),
    nodes_values: Floats | None = None,
    nodes_values_as_tensor: Array | None = None,
    post_transform: str = "NONE",
) -> tuple[Node, Node]:
    """x [N, features] -> the class of the highest score [N], i64, and the scores [N, classes], f32.
    Leaves about one of two classes: the second wins above 0, above 0.5 where all weights are positive, as in ONNX Runtime."""
    wide, classes = _input(b, x), require_numbers(b, classlabels_int64s, classlabels_strings)
    splits, given = _present(b, nodes_values, nodes_values_as_tensor), _present(b, class_weights, class_weights_as_tensor)
    single = len(classes) <= 2 and len(set(class_ids)) == 1
    columns = (nodes_modes, nodes_featureids, splits, nodes_truenodeids, nodes_falsenodeids, nodes_missing_value_tracks_true)
    ids, base = (0,) * len(class_ids) if single else class_ids, base_values_as_tensor if base_values is None else base_values
    weights = (class_treeids, class_nodeids, ids, given)
    forest = _forest(b, wide, nodes_treeids, nodes_nodeids, columns, weights, max(1, len(classes) * (not single)))
    if single and np.size(base if base is not None else 0) > 1:
        raise b.unsupported("base values of two classes with one score")
    out = _with_base(b, scores(b, wide, forest, "SUM"), base)
    if not single:
        return labels(b, out, classes), b.cast(transformed(b, out, post_transform), F32)
    return _one_score(b, out, classes, class_ids[0], post_transform, bool(np.all(np.asarray(given) >= 0)))


def _one_score(
    b: LoweringBuilder, score: Node, classes: Sequence[int], column: int, post_transform: str, positive: bool
) -> tuple[Node, Node]:
    """The class, and the scores of `classes`, where the leaves give one, [N, 1], for the class in `column`."""
    chosen = of_two(b, score, classes, 0.5 if positive and len(classes) == 2 else 0.0)
    if len(classes) == 1:
        return chosen, b.cast(transformed(b, score, post_transform) if post_transform == "PROBIT" else score, F32)
    if column == 0:
        return chosen, b.cast(second_class(b, score, post_transform, signed=not positive), F32)
    return chosen, b.cast(transformed(b, b.pad(score, (0, 1), (0, 0)), post_transform), F32)
