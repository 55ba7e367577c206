"""Movement is views: right as ONNX Runtime has it, and without a copy wherever the places form a pattern."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from single_operator import ABSENT, Array, agrees, counts, integers, normal, single

from tgc.errors import ModelError
from tgc.frontend_onnx import import_model
from tgc.frontend_onnx.lowerings.taking import repeats, runs

MOVING = {"Gather", "Concat", "Map", "Reduce"}
VIEWS: list[tuple[str, tuple[int, ...], Sequence[Array], dict[str, object]]] = [
    ("Reshape", (2, 3, 4), [integers(0, -1)], {}),
    ("Reshape", (0, 3), [integers(3, 0)], {"allowzero": 1}),
    ("Transpose", (2, 3, 4), [], {}),
    ("Transpose", (2, 3, 4), [], {"perm": [1, 2, 0]}),
    ("Flatten", (2, 3, 4), [], {"axis": 2}),
    ("Flatten", (2, 3, 4), [], {"axis": -3}),
    ("Squeeze", (1, 3, 1), [], {}),
    ("Squeeze", (1, 3, 1), [integers(-1)], {}),
    ("Unsqueeze", (3, 4), [integers(0, -1)], {}),
    ("Expand", (3, 1), [integers(2, 1, 4)], {}),
    ("Tile", (2, 3), [integers(2, 3)], {}),
    ("Slice", (5, 6), [integers(1), integers(-1), integers(1), integers(2)], {}),
    ("Slice", (5, 6), [integers(10, -1), integers(-100, -100), integers(0, 1), integers(-1, -2)], {}),
    ("Slice", (5, 6), [integers(4), integers(2)], {}),
    ("DepthToSpace", (1, 12, 2, 3), [], {"blocksize": 2}),
    ("DepthToSpace", (1, 12, 2, 3), [], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", (1, 3, 4, 6), [], {"blocksize": 2}),
    ("Gather", (5, 6), [np.array(-2, np.int64)], {"axis": 1}),
    ("Gather", (5, 6), [np.array([[0, 2], [4, 6]]) // 2], {"axis": 1}),
    ("Gather", (5, 6), [np.array([4, 3, 2, 1, 0])], {}),
    ("Gather", (5, 6), [np.array([1, 1, 1, 3, 3, 3])], {"axis": 1}),
    ("Pad", (3, 4), [integers(1, 0, 2, 3)], {}),
    ("Pad", (3, 4), [integers(-1, 1, 0, -2), np.array(5, np.float32)], {}),
    ("Upsample", (1, 2, 3, 4), [np.array([1, 1, 2, 3], np.float32)], {}),
]


@pytest.mark.parametrize(("op_type", "shape", "weights", "attributes"), VIEWS)
def test_views(op_type: str, shape: tuple[int, ...], weights: Sequence[Array], attributes: dict[str, object]) -> None:
    x = {"x": normal(*shape)}
    graph = agrees(single(op_type, x, weights, opset=9 if op_type == "Upsample" else 18, **attributes), x)
    assert not MOVING & set(counts(graph))


GATHERED = [
    (np.array([0, 3, 1]), 0),
    (np.array([[0, 3], [-1, 2]]), 1),
]


@pytest.mark.parametrize(("indices", "axis"), GATHERED)
def test_gather_at_places_without_a_pattern(indices: Array, axis: int) -> None:
    x = {"x": normal(4, 5, 3)}
    agrees(single("Gather", x, [indices], axis=axis), x)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_at_places_that_are_data(axis: int) -> None:
    feeds = {"x": normal(4, 5, 3), "i": np.array([[0, 2], [-1, 1]])}
    agrees(single("Gather", feeds, axis=axis), feeds)


def test_a_known_index_out_of_range_is_an_error() -> None:
    with pytest.raises(ModelError, match="index 4 on an axis of 4 elements"):
        import_model(single("Gather", {"x": normal(4, 5)}, [np.array([4])]))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(1, 2, 2, 0), (0, 3, 2, 3)])
def test_pads_with_elements_of_the_tensor_are_slices_side_by_side(mode: str, pads: tuple[int, ...]) -> None:
    x = {"x": normal(3, 4)}
    graph = agrees(single("Pad", x, [integers(*pads)], opset=19, mode=mode), x)
    assert counts(graph)["Gather"] == 0


def test_pad_with_a_value_that_is_data() -> None:
    feeds = {"x": normal(3, 4)}
    model = single("Pad", {**feeds, "pads": integers(1, 0, 2, 3), "value": np.array(7, np.float32)})
    model.graph.initializer.append(single("Pad", feeds, [integers(1, 0, 2, 3)]).graph.initializer[0])
    model.graph.initializer[0].name = "pads"
    model.graph.input.pop(1)
    agrees(model, {**feeds, "value": np.array(7, np.float32)})


@pytest.mark.parametrize(("axes", "pads"), [(integers(1), integers(2, 1)), (integers(-1, 0), integers(1, 0, 0, 2))])
def test_pad_along_some_axes(axes: Array, pads: Array) -> None:
    x = {"x": normal(3, 4)}
    agrees(single("Pad", x, [pads, ABSENT, axes], opset=18), x)


@pytest.mark.parametrize(("weights", "attributes", "parts"), [([integers(1, 4)], {}, 2), ([], {"num_outputs": 3}, 3)])
def test_split(weights: Sequence[Array], attributes: dict[str, object], parts: int) -> None:
    x = {"x": normal(5, 4)}
    agrees(single("Split", x, weights, types=(np.float32,) * parts, **attributes), x)


def test_progressions() -> None:
    assert runs([0, 1, 2, 5, 4, 3]) == [(0, 1, 3), (5, -1, 3)]
    assert runs([3, 3, 3]) == [(3, 0, 3)]
    assert repeats([0, 0, 1, 1]) == 2
    assert repeats([0, 0, 1]) == 1
