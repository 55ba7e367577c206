"""ai.onnx.ml operators against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import helper
from single_operator import Array, agrees, normal, single

ML = "ai.onnx.ml"


def model(op_type: str, x: Array, types: Sequence[type], attributes: dict[str, object]) -> onnx.ModelProto:
    made = single(op_type, {"x": x}, types=types, opset=17, domain=ML, **attributes)
    made.opset_import.append(helper.make_opsetid(ML, 3))
    return made


NUMBERS = [float(v) for v in normal(12)]
FEW = [float(v) for v in normal(3)]
SUPPORT: dict[str, object] = {"coefficients": FEW, "support_vectors": NUMBERS, "n_supports": 3, "rho": [0.5]}
CASES: list[tuple[str, dict[str, object]]] = [
    ("Scaler", {"offset": [float(v) for v in normal(4)], "scale": NUMBERS[:4]}),
    ("Normalizer", {"norm": "MAX"}),
    ("Normalizer", {"norm": "L1"}),
    ("Normalizer", {"norm": "L2"}),
    ("Binarizer", {"threshold": 0.25}),
    ("LinearRegressor", {"coefficients": NUMBERS, "intercepts": FEW, "targets": 3}),
    ("LinearRegressor", {"coefficients": NUMBERS[:4]}),
    ("SVMRegressor", {**SUPPORT, "kernel_type": "RBF", "kernel_params": [0.3, 0.0, 3.0]}),
    ("SVMRegressor", {**SUPPORT, "kernel_type": "SIGMOID", "kernel_params": [0.3, 0.1, 3.0]}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "attributes"), CASES)
def test_agrees_with_onnx_runtime(op_type: str, attributes: dict[str, object]) -> None:
    x = np.abs(normal(5, 4)) if attributes.get("norm") == "MAX" else normal(5, 4)
    agrees(model(op_type, x, (np.float32,), attributes), {"x": x}, rtol=1e-4)


@pytest.mark.parametrize("post_transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_classes(post_transform: str) -> None:
    x = normal(6, 4)
    attributes = {"coefficients": NUMBERS, "intercepts": FEW, "classlabels_ints": [3, 5, 9], "post_transform": post_transform}
    agrees(model("LinearClassifier", x, (np.int64, np.float32), attributes), {"x": x}, rtol=1e-4)


TREES: dict[str, object] = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1, 1, 1], "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2], "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_values": [0.1, -0.2, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0],
    "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0], "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
}  # fmt: skip
WEIGHTS = [0.5, -1.5, 2.0, 3.0, -0.25]


@pytest.mark.parametrize("how", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_trees_that_count(how: str) -> None:
    x = normal(9, 3)
    targets = {"target_treeids": [0, 0, 0, 1, 1], "target_nodeids": [2, 3, 4, 1, 2], "target_ids": [0] * 5, "target_weights": WEIGHTS}
    agrees(model("TreeEnsembleRegressor", x, (np.float32,), {**TREES, **targets, "n_targets": 1, "aggregate_function": how}), {"x": x})


def test_trees_that_vote() -> None:
    x = normal(9, 3)
    classes = {"class_treeids": [0, 0, 0, 1, 1], "class_nodeids": [2, 3, 4, 1, 2], "class_ids": [0, 1, 2, 1, 2]}
    attributes = {**TREES, **classes, "class_weights": WEIGHTS, "classlabels_int64s": [10, 20, 30]}
    agrees(model("TreeEnsembleClassifier", x, (np.int64, np.float32), attributes), {"x": x})
