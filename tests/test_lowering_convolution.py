"""Convolutions are contractions over views, in the one order of axes, and right for every attribute."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper
from single_operator import Array, agrees, counts, normal, single

from tgc.errors import ModelError
from tgc.frontend_onnx import import_model
from tgc.ir.graph import Graph, Reduce


def reduction(graph: Graph) -> Reduce:
    (found,) = (node for node in graph.nodes() if isinstance(node, Reduce))
    return found


CONVOLUTIONS = [
    ((1, 3, 9, 8), (4, 3, 3, 3), {}),
    ((2, 3, 9, 8), (4, 3, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ((1, 4, 9, 8), (6, 2, 3, 3), {"group": 2, "dilations": [2, 1]}),
    ((1, 4, 9, 8), (4, 1, 3, 3), {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 4, 9, 8), (8, 1, 3, 3), {"group": 4, "auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    ((1, 4, 9, 8), (8, 4, 1, 1), {"strides": [2, 2]}),
    ((2, 4, 19), (8, 4, 5), {"pads": [4, 0], "dilations": [2]}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"auto_pad": "VALID", "strides": [1, 2, 2]}),
]


@pytest.mark.parametrize(("x", "w", "attributes"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, object], bias: bool) -> None:
    weights = [normal(*w), normal(w[0])] if bias else [normal(*w)]
    graph = agrees(single("Conv", {"x": normal(*x)}, weights, **attributes), {"x": normal(*x)})
    assert counts(graph)["Gather"] == counts(graph)["Concat"] == 0


def test_the_iteration_space_of_a_plain_convolution() -> None:
    graph = import_model(single("Conv", {"x": normal(2, 3, 9, 8)}, [normal(4, 3, 3, 5)]))
    assert reduction(graph).source.shape == (2, 4, 7, 4, 3, 5, 3)
    assert reduction(graph).axes == (4, 5, 6)


def test_the_iteration_space_of_a_grouped_convolution() -> None:
    graph = import_model(single("Conv", {"x": normal(2, 6, 9, 8)}, [normal(4, 3, 3, 5)], group=2))
    assert reduction(graph).source.shape == (2, 2, 2, 7, 4, 3, 5, 3)
    assert reduction(graph).axes == (5, 6, 7)


def test_the_iteration_space_of_a_depthwise_convolution() -> None:
    graph = import_model(single("Conv", {"x": normal(2, 6, 9, 8)}, [normal(6, 1, 3, 5)], group=6))
    assert reduction(graph).source.shape == (2, 6, 7, 4, 3, 5)
    assert reduction(graph).axes == (4, 5)


TRANSPOSED = [
    ((1, 3, 5, 4), (3, 4, 3, 3), {}),
    ((2, 3, 5, 4), (3, 4, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 3, 5, 4), (3, 4, 3, 2), {"strides": [2, 3], "pads": [1, 0, 0, 1]}),
    ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [3, 2], "output_padding": [1, 1]}),
    ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "output_shape": [10, 8]}),
    ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "output_shape": [10, 8], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 5, 4), (3, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 3, 5, 4), (3, 4, 3, 3), {"dilations": [2, 3]}),
    ((1, 3, 5, 4), (3, 4, 3, 3), {"dilations": [2, 2], "strides": [2, 3], "pads": [2, 1, 1, 2]}),
    ((1, 4, 5, 4), (4, 3, 3, 3), {"group": 2, "strides": [2, 2]}),
    ((1, 4, 5, 4), (4, 1, 4, 4), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 2, 7), (2, 3, 9), {"strides": [4], "pads": [7, 6]}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), {"strides": [2, 1, 2]}),
    ((1, 2, 4), (2, 2, 2), {"strides": [5]}),
]


@pytest.mark.parametrize(("x", "w", "attributes"), TRANSPOSED)
def test_conv_transpose(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, object]) -> None:
    weights = [normal(*w), normal(w[1] * int(str(attributes.get("group", 1))))]
    agrees(single("ConvTranspose", {"x": normal(*x)}, weights, **attributes), {"x": normal(*x)})


def test_a_transposed_convolution_multiplies_no_inserted_zeros() -> None:
    """Kernel 4, stride 2: 2 x 2 taps for each output element, in all as many products as a scatter would have."""
    graph = import_model(single("ConvTranspose", {"x": normal(1, 3, 8, 8)}, [normal(3, 5, 4, 4)], strides=[2, 2], pads=[1, 1, 1, 1]))
    products = int(np.prod(reduction(graph).source.shape))
    assert products <= 3 * 5 * 4 * 4 * 9 * 9


BAD: list[tuple[str, Array, Array, dict[str, object]]] = [
    ("in 1 groups", normal(1, 3, 5, 5), normal(4, 2, 3, 3), {}),
    ("strides is", normal(1, 3, 5, 5), normal(4, 3, 3, 3), {"strides": [1]}),
    ("a window of 7 elements over 5", normal(1, 3, 5, 5), normal(4, 3, 7, 7), {}),
]


@pytest.mark.parametrize(("message", "x", "w", "attributes"), BAD)
def test_operands_that_do_not_fit(message: str, x: Array, w: Array, attributes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=message):
        import_model(single("Conv", {"x": x}, [w], **attributes))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("w_zero", [0, 3])
@pytest.mark.parametrize("pads", [[0] * 4, [1, 0, 2, 1]])
def test_integers_whose_zero_point_is_known_at_run_time_only(group: int, w_zero: int, pads: list[int]) -> None:
    """What quantising weights, but not activations, leaves: padding stands for a zero point that each input has of its own."""
    w = np.random.default_rng(1).integers(0, 7, (4, 4 // group, 3, 3), dtype=np.uint8)
    made = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]> g (float[1, 4, 6, 5] x) => (int32[N, C, H, W] y) {{
        stored, scale, zero = DynamicQuantizeLinear(x)
        y = ConvInteger<group = {group}, pads = {pads}> (stored, w, zero, w_zero)
    }}""")
    made.graph.initializer.extend([numpy_helper.from_array(w, "w"), numpy_helper.from_array(np.array(w_zero, np.uint8), "w_zero")])
    agrees(made, {"x": normal(1, 4, 6, 5)})
