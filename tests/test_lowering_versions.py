"""Operators in the versions of older opsets, whose inputs or meaning differ from today's; ONNX's node tests cover the newest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from single_operator import Array, agrees, counts, integers, normal, single

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx import import_model

F32 = (np.float32,)
OLD: list[tuple[str, int, tuple[int, ...], Sequence[Array], dict[str, object]]] = [
    ("Softmax", 11, (2, 3, 4), [], {}),
    ("Softmax", 11, (2, 3, 4), [], {"axis": 2}),
    ("Softmax", 7, (2, 3, 4), [], {"axis": 0}),
    ("Softmax", 13, (2, 3, 4), [], {"axis": 1}),
    ("LogSoftmax", 11, (2, 3, 4), [], {}),
    ("LogSoftmax", 13, (2, 3, 4), [], {"axis": 1}),
    ("Hardmax", 11, (2, 3, 4), [], {"axis": 1}),
    ("Hardmax", 13, (2, 3, 4), [], {"axis": 1}),
    ("Clip", 7, (3, 4), [], {"min": -0.5, "max": 0.25}),
    ("Clip", 7, (3, 4), [], {"min": -0.5}),
    ("Dropout", 7, (3, 4), [], {"ratio": 0.4}),
    ("Reshape", 7, (3, 4), [integers(2, -1)], {}),
    ("Squeeze", 11, (1, 3, 1), [], {"axes": [-1]}),
    ("Unsqueeze", 11, (3, 4), [], {"axes": [0, 3]}),
    ("Slice", 9, (5, 6), [], {"starts": [-3], "ends": [1000], "axes": [1]}),
    ("Pad", 10, (3, 4), [], {"pads": [1, 0, 0, 2], "value": 2.5}),
    ("Pad", 10, (3, 4), [], {"pads": [1, 2, 0, 3], "mode": "reflect"}),
    ("ReduceSum", 12, (2, 3, 4), [], {"axes": [1], "keepdims": 0}),
    ("ReduceMean", 11, (2, 3, 4), [], {"axes": [-1]}),
    ("ReduceMax", 11, (2, 3, 4), [], {}),
    ("ReduceMin", 12, (2, 3, 4), [], {"axes": [0, 2]}),
    ("ReduceLogSumExp", 11, (2, 3, 4), [], {"axes": [1]}),
    ("LRN", 9, (2, 7, 3, 4), [], {"size": 5, "alpha": 0.1, "bias": 2.0}),
    ("LRN", 9, (1, 6, 2, 2), [], {"size": 3, "beta": 0.6}),
    ("InstanceNormalization", 9, (2, 3, 4, 5), [normal(3), normal(3)], {}),
    ("BatchNormalization", 7, (2, 3, 4), [normal(3), normal(3), normal(3), np.abs(normal(3))], {}),
    ("BatchNormalization", 9, (2, 3, 4), [normal(3), normal(3), normal(3), np.abs(normal(3))], {"epsilon": 0.01}),
    ("LpNormalization", 9, (2, 3, 4), [], {"axis": 1, "p": 1}),
    ("Upsample", 7, (1, 2, 3, 4), [], {"scales": [1.0, 1.0, 2.0, 2.0]}),
    ("Upsample", 9, (1, 2, 3, 4), [np.array([1, 1, 2, 3], np.float32)], {"mode": "linear"}),
    ("Resize", 10, (1, 2, 6, 4), [np.array([1, 1, 0.5, 2], np.float32)], {}),
    ("Gemm", 7, (3, 4), [normal(5, 4), normal(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", 11, (4, 3), [normal(4, 5)], {"transA": 1}),
    ("MeanVarianceNormalization", 9, (2, 3, 4, 5), [], {}),
]


@pytest.mark.parametrize(("op_type", "opset", "shape", "weights", "attributes"), OLD)
def test_versions(op_type: str, opset: int, shape: tuple[int, ...], weights: Sequence[Array], attributes: dict[str, object]) -> None:
    x = {"x": normal(*shape)}
    agrees(single(op_type, x, weights, opset=opset, **attributes), x)


@pytest.mark.parametrize("opset", [11, 12, 13])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_the_first_of_equal_elements(op_type: str, opset: int) -> None:
    x = {"x": np.array([[2, 5, 5, 1, 1], [3, 3, 3, 3, 3]], np.float32)}
    agrees(single(op_type, x, opset=opset, types=(np.int64,), axis=1), x)
    if opset > 11:
        agrees(single(op_type, x, opset=opset, types=(np.int64,), axis=1, keepdims=0, select_last_index=1), x)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.int8])
def test_the_smallest_of_integers(dtype: type) -> None:
    info = np.iinfo(dtype)
    x = {"x": np.array([[info.min, 0, info.max], [3, 2, 7]], dtype)}
    agrees(single("ReduceMin", x, opset=13, types=(dtype,), axes=[1]), x)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 0.5, -1, -2, -0.5, 2.7])
def test_powers(exponent: float) -> None:
    x = {"x": np.abs(normal(3, 4)) + 0.1}
    graph = agrees(single("Pow", x, [np.array(exponent, np.float32)]), x)
    assert counts(graph)["Map"] <= 1


def test_statistics_of_training_are_refused() -> None:
    weights = [normal(3), normal(3), normal(3), np.abs(normal(3))]
    with pytest.raises(UnsupportedError, match="outputs of training"):
        import_model(single("BatchNormalization", {"x": normal(2, 3, 4)}, weights, opset=9, types=F32 * 5))


def test_axes_that_are_data_are_refused_by_name() -> None:
    model = single("Squeeze", {"x": normal(1, 3), "which": integers(0)})
    with pytest.raises(ModelError, match="axes \\('which'\\) must be known while compiling"):
        import_model(model)


def test_an_axis_that_does_not_exist() -> None:
    with pytest.raises(ModelError, match="axis 3 of a tensor with 2 axes"):
        import_model(single("Concat", {"x": normal(1, 3)}, axis=3))


@pytest.mark.parametrize(("largest", "axis"), [(1, 0), (0, 1), (1, -1)])
def test_the_first_k_elements_in_order(largest: int, axis: int) -> None:
    x = {"x": np.round(normal(4, 6, 5))}
    agrees(single("TopK", x, [integers(3)], types=(np.float32, np.int64), largest=largest, axis=axis), x)
