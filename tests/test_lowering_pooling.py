"""Pooling against ONNX Runtime, for every attribute."""

from __future__ import annotations

import numpy as np
import pytest
from single_operator import agrees, counts, normal, single

from tgc.frontend_onnx import import_model
from tgc.ir.graph import Reduce

WINDOWS: list[dict[str, object]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1], "ceil_mode": 1},
    {"kernel_shape": [5, 4], "pads": [2, 1, 2, 2]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"kernel_shape": [2, 4], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 3], "auto_pad": "VALID", "strides": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1},
]
DILATED: list[dict[str, object]] = [{"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 1, 1, 1]}]


@pytest.mark.parametrize("attributes", WINDOWS + DILATED)
def test_max_pool(attributes: dict[str, object]) -> None:
    x = {"x": normal(2, 3, 11, 10)}
    agrees(single("MaxPool", x, opset=12, **attributes), x)


@pytest.mark.parametrize("attributes", WINDOWS)
def test_max_pool_answers_the_indices_of_the_first_largest_elements(attributes: dict[str, object]) -> None:
    x = {"x": np.round(normal(2, 3, 11, 10))}  # rounded, so that elements are equal
    agrees(single("MaxPool", x, opset=12, types=(np.float32, np.int64), **attributes), x)


def test_max_pool_indices_in_column_major_order() -> None:
    x = {"x": np.random.default_rng(0).permutation(60).astype(np.float32).reshape(1, 2, 5, 6)}
    agrees(single("MaxPool", x, opset=12, types=(np.float32, np.int64), kernel_shape=[2, 2], storage_order=1), x)


def test_max_pool_of_bytes_ignores_the_padding() -> None:
    x = {"x": np.full((1, 1, 4, 4), -100, np.int8)}
    agrees(single("MaxPool", x, opset=12, types=(np.int8,), kernel_shape=[3, 3], pads=[1, 1, 1, 1]), x)


def test_a_large_window_is_reduced_one_axis_after_the_other() -> None:
    graph = import_model(single("MaxPool", {"x": normal(1, 1, 20, 20)}, kernel_shape=[13, 13], pads=[6, 6, 6, 6]))
    assert [node.source.shape[-1] for node in graph.nodes() if isinstance(node, Reduce)] == [13, 13]


@pytest.mark.parametrize("attributes", WINDOWS)
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool(attributes: dict[str, object], count_include_pad: int) -> None:
    x = {"x": normal(2, 3, 11, 10)}
    graph = agrees(single("AveragePool", x, opset=19, count_include_pad=count_include_pad, **attributes), x)
    assert counts(graph)["Gather"] == 0


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("op_type", ["LpPool", "GlobalLpPool"])
def test_norms(op_type: str, p: int) -> None:
    x = {"x": normal(2, 3, 9, 8)}
    attributes = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]} if op_type == "LpPool" else {}
    agrees(single(op_type, x, opset=11, p=p, **attributes), x)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_global_pools(op_type: str, shape: tuple[int, ...]) -> None:
    x = {"x": normal(*shape)}
    agrees(single(op_type, x), x)
