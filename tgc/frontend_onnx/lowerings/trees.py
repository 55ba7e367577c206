"""Ensembles of decision trees: all trees at once, one step down a round, by tables.

A tree is rows of tables: which feature, compared how with what, and which row comes next. A leaf is followed by itself. After as
many rounds as the deepest tree has levels, every example stands at a leaf of every tree, and the leaves' weights are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.lowerings.machine_learning import ML, transformed
from tgc.frontend_onnx.lowerings.reductions import smallest
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.dtypes import BOOL, I32
from tgc.ir.expr import Expr
from tgc.ir.graph import Node

Array = npt.NDArray[np.generic]
LEAF, MEMBER = "LEAF", "BRANCH_MEMBER"
_COMPARE: dict[str, Callable[[Expr, Expr], Expr]] = {
    "BRANCH_LEQ": scalar.le, "BRANCH_LT": scalar.lt, "BRANCH_GTE": scalar.ge, "BRANCH_GT": scalar.gt, "BRANCH_EQ": scalar.eq,
    "BRANCH_NEQ": scalar.ne,
}  # fmt: skip
_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", MEMBER)


@dataclass(frozen=True, slots=True)
class Forest:
    """Tables with a row a node: modes, features, splits (in the type of x), the next rows, and whether NaN goes the true way.

    roots: a row for each tree. weights: [rows, targets], 0 where there is no leaf. members: [rows, n] for set membership, NaN beyond.
    """

    modes: tuple[str, ...]
    features: Array
    splits: Array
    yes: Array
    no: Array
    missing: Array
    roots: Array
    weights: Array
    members: Array | None = None

    def depth(self) -> int:
        """Steps from the roots to the deepest leaf; -1 where the nodes make a cycle."""
        level, depth = {int(r) for r in self.roots.tolist()}, 0
        while any(self.modes[row] != LEAF for row in level):
            level = {int(n) for row in level if self.modes[row] != LEAF for n in (self.yes[row], self.no[row])}
            depth += 1
            if depth > len(self.modes):
                return -1
        return depth


def leaves(b: LoweringBuilder, x: Node, forest: Forest) -> Node:
    """The row of the leaf that each example of x [N, features] comes to in each tree: [N, trees], i32."""
    depth = forest.depth()
    if depth < 0:
        raise b.invalid("the nodes of a tree make a cycle")
    shape = (x.shape[0], len(forest.roots))
    here = b.expand(b.constant(forest.roots.astype(np.int32)[None]), shape)
    for _ in range(depth):
        here = _step(b, x, forest, here)
    return here


def _step(b: LoweringBuilder, x: Node, forest: Forest, here: Node) -> Node:
    def looked_up(table: Array) -> Node:
        return b.gather(b.constant(table), [here], here.shape)

    feature = looked_up(forest.features.astype(np.int32))
    value = b.gather(x, [b.coordinate(here.shape, 0, I32), feature], here.shape)
    split = looked_up(forest.splits)
    used = [mode for mode in _MODES if mode in forest.modes]
    chosen = b.full(here.shape, False, BOOL)
    kinds = looked_up(np.array([used.index(m) if m in used else 0 for m in forest.modes], np.int32))
    for number, mode in enumerate(used):
        hit = _is_member(b, forest, here, value) if mode == MEMBER else b.elementwise(_COMPARE[mode], value, split)
        chosen = hit if number == 0 else b.elementwise(lambda k, h, c, n=number: scalar.where(scalar.eq(k, n), h, c), kinds, hit, chosen)
    if np.any(forest.missing):
        tracked = looked_up(forest.missing.astype(np.bool_))
        chosen = b.elementwise(lambda c, v, t: scalar.logical_or(c, scalar.logical_and(t, scalar.is_nan(v))), chosen, value, tracked)
    return b.where_(chosen, looked_up(forest.yes.astype(np.int32)), looked_up(forest.no.astype(np.int32)))


def _is_member(b: LoweringBuilder, forest: Forest, here: Node, value: Node) -> Node:
    assert forest.members is not None
    shape = (*here.shape, forest.members.shape[1])
    sets = b.gather(b.constant(forest.members), [b.unsqueeze(here, (-1,)), b.coordinate(shape, 2, I32)], shape)
    return b.reduce(ops.MAX, b.elementwise(scalar.eq, sets, b.unsqueeze(value, (-1,))), (2,), keepdims=False)


def scores(b: LoweringBuilder, x: Node, forest: Forest, how: str) -> Node:
    """The weights of the leaves, combined over the trees: [N, targets]. Summed in the type of x."""
    at = leaves(b, x, forest)
    shape = (*at.shape, forest.weights.shape[1])
    each = b.gather(b.constant(forest.weights.astype(x.dtype.numpy)), [b.unsqueeze(at, (-1,)), b.coordinate(shape, 2, I32)], shape)
    match how:
        case "SUM":
            return b.reduce(ops.ADD, each, (1,), keepdims=False)
        case "AVERAGE":
            return b.mul(b.reduce(ops.ADD, each, (1,), keepdims=False), b.scalar(1 / len(forest.roots), x.dtype))
        case "MIN":
            return b.squeeze(smallest(b, each, (1,)), (1,))
        case "MAX":
            return b.reduce(ops.MAX, each, (1,), keepdims=False)
    raise b.invalid(f"aggregate_function is {how!r}")


@lowers("TreeEnsemble", since=5, domain=ML)
def tree_ensemble(
    b: LoweringBuilder,
    x: Node,
    *,
    aggregate_function: int = 1,
    leaf_targetids: tuple[int, ...],
    leaf_weights: Array,
    membership_values: Array | None = None,
    n_targets: int | None = None,
    nodes_falseleafs: tuple[int, ...],
    nodes_falsenodeids: tuple[int, ...],
    nodes_featureids: tuple[int, ...],
    nodes_hitrates: Array | None = None,
    nodes_missing_value_tracks_true: tuple[int, ...] | None = None,
    nodes_modes: Array,
    nodes_splits: Array,
    nodes_trueleafs: tuple[int, ...],
    nodes_truenodeids: tuple[int, ...],
    post_transform: int = 0,
    tree_roots: tuple[int, ...],
) -> Node:
    """x [N, features] -> [N, n_targets]. Leaves follow the nodes in the tables."""
    count, tips = len(nodes_featureids), len(leaf_targetids)
    targets = n_targets if n_targets is not None else max(leaf_targetids) + 1
    weights = np.zeros((count + tips, targets), x.dtype.numpy)
    weights[np.arange(count, count + tips), list(leaf_targetids)] = np.asarray(leaf_weights).reshape(-1)
    own = np.arange(count, count + tips)

    def following(rows: Sequence[int], to_leaf: Sequence[int]) -> Array:
        return np.concatenate([[row + count if tip else row for row, tip in zip(rows, to_leaf, strict=True)], own]).astype(np.int64)

    modes = tuple(_MODES[int(m)] for m in np.asarray(nodes_modes).reshape(-1)) + (LEAF,) * tips
    missing = np.array([*(nodes_missing_value_tracks_true or (0,) * count), *(0,) * tips])
    forest = Forest(
        modes, np.array([*nodes_featureids, *(0,) * tips]),
        np.concatenate([np.asarray(nodes_splits).reshape(-1), np.zeros(tips)]).astype(x.dtype.numpy),
        following(nodes_truenodeids, nodes_trueleafs), following(nodes_falsenodeids, nodes_falseleafs), missing,
        np.array(tree_roots), weights, _members(modes, membership_values, x),
    )  # fmt: skip
    names = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    return transformed(b, scores(b, x, forest, ("AVERAGE", "SUM", "MIN", "MAX")[aggregate_function]), names[post_transform])


def _members(modes: Sequence[str], values: Array | None, x: Node) -> Array | None:
    """The sets of nodes that test for membership, in the order of the nodes, each ended by NaN in `values`."""
    if values is None or MEMBER not in modes:
        return None
    sets: list[list[float]] = [[]]
    for value in np.asarray(values, np.float64).reshape(-1).tolist():
        if np.isnan(value):
            sets.append([])
        else:
            sets[-1].append(value)
    table = np.full((len(modes), max(map(len, sets))), np.nan)
    given = iter(sets)
    for row, mode in enumerate(modes):
        if mode == MEMBER:
            members = next(given)
            table[row, : len(members)] = members
    return table.astype(x.dtype.numpy)
