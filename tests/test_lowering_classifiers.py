"""ai.onnx.ml classifiers and encoders against ONNX Runtime."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx
import pytest
from onnx import helper
from single_operator import Array, agrees, normal, single
from test_lowering_machine_learning import TREES, WEIGHTS

from tgc.errors import UnsupportedError
from tgc.frontend_onnx import import_model

ML = "ai.onnx.ml"
BOTH = (np.int64, np.float32)


def model(op_type: str, x: Array, types: tuple[type, ...], attributes: dict[str, object], version: int = 3) -> onnx.ModelProto:
    made = single(op_type, {"x": x}, types=types, opset=17, domain=ML, **attributes)
    made.opset_import.append(helper.make_opsetid(ML, version))
    return made


def numbers(*shape: int, seed: int = 0) -> list[float]:
    return [float(v) for v in np.random.default_rng(seed).normal(size=shape).reshape(-1).astype(np.float32)]


def machine(classes: int, **more: object) -> dict[str, object]:
    """Support vectors of `classes` classes, 1, 2, .. of each, with 4 features."""
    counts = [n + 1 for n in range(classes)]
    pairs = len(list(combinations(range(classes), 2)))
    return {
        "classlabels_ints": [10 * n for n in range(classes)], "coefficients": numbers(classes - 1, sum(counts)),
        "support_vectors": numbers(sum(counts), 4, seed=1), "vectors_per_class": counts, "rho": numbers(pairs, seed=2),
        "kernel_type": "RBF", "kernel_params": [0.3, 0.1, 3.0], **more,
    }  # fmt: skip


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_support_vectors_vote(classes: int, kernel: str) -> None:
    x = normal(7, 4)
    agrees(model("SVMClassifier", x, BOTH, machine(classes, kernel_type=kernel)), {"x": x}, rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_of_support_vectors(classes: int) -> None:
    x = normal(7, 4)
    pairs = len(list(combinations(range(classes), 2)))
    chances = {"prob_a": [-abs(v) for v in numbers(pairs, seed=3)], "prob_b": numbers(pairs, seed=4)}
    agrees(model("SVMClassifier", x, BOTH, machine(classes, **chances)), {"x": x}, rtol=1e-4)


@pytest.mark.parametrize("post_transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("classes", [2, 3])
def test_transformed_scores(classes: int, post_transform: str) -> None:
    x = normal(7, 4)
    agrees(model("SVMClassifier", x, BOTH, machine(classes, post_transform=post_transform)), {"x": x}, rtol=1e-4)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_machines(classes: int, positive: bool) -> None:
    x = normal(9, 4)
    weights = [abs(v) if positive else v for v in numbers(classes, 4)]
    attributes = {"classlabels_ints": [5, 3, 9][:classes], "coefficients": weights, "rho": [0.25], "kernel_params": [0.0, 0.0, 0.0]}
    agrees(model("SVMClassifier", x, BOTH, attributes), {"x": x}, rtol=1e-4)


@pytest.mark.parametrize("post_transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_one_row_for_two_classes(post_transform: str) -> None:
    x = normal(9, 4)
    attributes = {"classlabels_ints": [4, 2], "coefficients": numbers(4), "intercepts": [0.1], "post_transform": post_transform}
    agrees(model("LinearClassifier", x, BOTH, attributes), {"x": x}, rtol=1e-4)


def test_probit() -> None:
    x = np.random.default_rng(0).uniform(0.05, 0.2, (6, 4)).astype(np.float32)
    attributes = {"coefficients": [1.0] * 8, "targets": 2, "post_transform": "PROBIT"}
    agrees(model("LinearRegressor", x, (np.float32,), attributes), {"x": x}, rtol=1e-4)


@pytest.mark.parametrize(("keys", "values", "x"), [
    ({"keys_int64s": [3, 1, 7, 3]}, {"values_floats": [0.5, 1.5, 2.5, 9.0], "default_float": -2.0}, np.array([[1, 3], [7, 4]])),
    ({"keys_floats": [0.5, 1.5]}, {"values_int64s": [4, 8], "default_int64": 6}, np.array([0.5, 1.5, 2.0, np.nan], np.float32)),
    ({"keys_int64s": [3, 1, 7]}, {"values_int64s": [30, 10, 70]}, np.array([1, 2, 3])),
])  # fmt: skip
def test_labels_by_table(keys: dict[str, object], values: dict[str, object], x: Array) -> None:
    kind = np.float32 if "values_floats" in values else np.int64
    agrees(model("LabelEncoder", x, (kind,), {**keys, **values}), {"x": x})


def test_labels_by_table_of_another_type() -> None:
    from onnx import numpy_helper

    x = np.array([[3, 1], [5, 2]], np.int64)
    table = {
        "keys_tensor": numpy_helper.from_array(np.array([1, 2, 3], np.int64)),
        "values_tensor": numpy_helper.from_array(np.array([10, 20, 30], np.int64)),
        "default_tensor": numpy_helper.from_array(np.array([-7], np.int64)),
    }
    agrees(model("LabelEncoder", x, (np.int64,), table, version=4), {"x": x})


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_one_hot(dtype: type) -> None:
    x = np.array([[3, 1], [5, 2]], dtype)
    agrees(model("OneHotEncoder", x, (np.float32,), {"cats_int64s": [1, 2, 3], "zeros": 1}), {"x": x})


@pytest.mark.parametrize("replaced", [1.5, float("nan")])
def test_missing_values(replaced: float) -> None:
    x = np.array([[1.5, 2, np.nan], [np.nan, 1.5, 4]], np.float32)
    for values in ([7.0], [7.0, 8.0, 9.0]):
        attributes = {"imputed_value_floats": values, "replaced_value_float": replaced}
        agrees(model("Imputer", x, (np.float32,), attributes), {"x": x})


def test_features_side_by_side() -> None:
    feeds = {"x": normal(3, 2), "y": normal(3, 4), "z": normal(3, 1)}
    made = single("FeatureVectorizer", feeds, types=(np.float32,), opset=17, domain=ML, inputdimensions=[2, 4, 1])
    made.opset_import.append(helper.make_opsetid(ML, 3))
    agrees(made, feeds)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("low", "high", "skip"), [(1, 1, 0), (1, 2, 0), (1, 2, 3), (2, 2, 5), (2, 3, 1)])
def test_sequences_of_numbers(mode: str, low: int, high: int, skip: int) -> None:
    x = np.random.default_rng(low + skip).integers(0, 4, (3, 12))
    pool = {"pool_int64s": [2, 3, 0, 1, 2, 2, 3, 0, 1, 2, 3], "ngram_counts": [0, 2, 8], "ngram_indexes": [0, 4, 1, 2, 3, 5]}
    attributes = {**pool, "mode": mode, "min_gram_length": low, "max_gram_length": high, "max_skip_count": skip}
    made = single("TfIdfVectorizer", {"x": x}, **attributes)
    agrees(made, {"x": x})
    made.graph.node[0].attribute.append(helper.make_attribute("weights", [0.5, 1.5, 2.0, 3.0, 4.0, 5.0]))
    agrees(made, {"x": x})


@pytest.mark.parametrize("post_transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("column", [0, 1])
def test_trees_with_one_score_for_two_classes(column: int, positive: bool, post_transform: str) -> None:
    x = normal(9, 3)
    weights = [0.1, 0.3, 0.2, 0.4, 0.05] if positive else WEIGHTS
    classes = {"class_treeids": [0, 0, 0, 1, 1], "class_nodeids": [2, 3, 4, 1, 2], "class_ids": [column] * 5}
    attributes = {**TREES, **classes, "class_weights": weights, "classlabels_int64s": [10, 20], "post_transform": post_transform}
    agrees(model("TreeEnsembleClassifier", x, BOTH, attributes), {"x": x})


def test_classes_that_are_strings_are_refused() -> None:
    attributes = {"classlabels_strings": ["a", "b"], "coefficients": numbers(8)}
    with pytest.raises(UnsupportedError, match="strings"):
        import_model(model("LinearClassifier", normal(2, 4), BOTH, attributes))
