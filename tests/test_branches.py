"""Sums of convolutions of one tensor, of the tensor scaled and of constants are one convolution, with the same results."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from tgc import targets
from tgc.frontend_onnx import import_model
from tgc.ir import ops
from tgc.ir.expr import Apply
from tgc.ir.graph import Graph, Map, Reduce
from tgc.ir.interpret import run_graph
from tgc.ir.verify import verify_graph
from tgc.passes import compile_graph
from tgc.passes.branches import branches
from tgc.passes.fold import fold

Array = npt.NDArray[np.float32]
CHANNELS, SIDE = 8, 10


class Net:
    """An ONNX model of nodes over x [N, 8, 10, 10]."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(self.rng.uniform(0.5, 1.5, shape).astype(np.float32), name))
        return name

    def size(self, *extents: int) -> str:
        self.constants.append(numpy_helper.from_array(np.array(extents, np.int64), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def conv(self, x: str, outputs: int, kernel: tuple[int, int], group: int = 1, stride: int = 1) -> str:
        around = [kernel[0] // 2, kernel[1] // 2] * 2
        weights = [self.constant(outputs, CHANNELS // group, *kernel), self.constant(outputs)]
        return self.node("Conv", [x, *weights], pads=around, group=group, strides=[stride] * 2)

    def normalised(self, x: str) -> str:
        return self.node("BatchNormalization", [x, *(self.constant(CHANNELS) for _ in range(4))])

    def graph(self, *results: str, batch: int = 1) -> Graph:
        value = lambda name, shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)  # noqa: E731
        outputs = [value(name, None) for name in results]
        made = helper.make_graph(self.nodes, "g", [value("x", [batch, CHANNELS, SIDE, SIDE])], outputs, self.constants)
        return fold(import_model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)))


def sums(graph: Graph) -> int:
    return sum(isinstance(node, Reduce) for node in graph.nodes())


def same(graph: Graph) -> Graph:
    """`graph` after the pass, which has the same results."""
    after = branches(graph)
    verify_graph(after)
    x = np.random.default_rng(1).standard_normal(graph.inputs[0].shape).astype(np.float32)
    found = run_graph(after, {"x": x})
    for name, expected in run_graph(graph, {"x": x}).items():
        assert np.abs(found[name] - expected).max() <= 2e-6 * np.abs(expected).max()
    return after


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("outputs", "group"), [(CHANNELS, CHANNELS), (2 * CHANNELS, CHANNELS), (12, 1), (12, 2)])
def test_windows_of_three_sizes_are_one(outputs: int, group: int, stride: int, batch: int) -> None:
    net = Net()
    parts = [net.conv("x", outputs, kernel, group, stride) for kernel in ((5, 5), (1, 1), (3, 1))]
    graph = net.graph(net.node("Add", [parts[0], net.node("Sub", [parts[1], parts[2]])]), batch=batch)
    assert sums(same(graph)) == 1


@pytest.mark.parametrize("group", [1, 2, CHANNELS])
def test_what_is_normalised_and_the_tensor_itself_join(group: int) -> None:
    net = Net()
    y = net.node("Add", [net.normalised("x"), net.conv("x", CHANNELS, (3, 3), group)])
    scaled = net.node("Mul", [net.node("Sub", [y, net.normalised("x")]), net.constant(CHANNELS, 1, 1)])
    graph = net.graph(net.node("Add", ["x", scaled]))
    after = same(graph)
    assert sums(after) == 1
    assert len(after.nodes()) < len(graph.nodes())


def test_groups_of_several_sizes_join_the_largest() -> None:
    net = Net()
    graph = net.graph(net.node("Add", [net.conv("x", CHANNELS, (3, 3), 1), net.conv("x", CHANNELS, (3, 3), 4)]))
    assert sums(same(graph)) == 1


def test_a_part_of_the_weights_is_no_convolution_of_more_channels() -> None:
    """A transposed convolution of one pixel with a stride is made of four, of which one is left."""
    net = Net()
    pixel = net.node("GlobalAveragePool", ["x"])
    same(net.graph(net.node("ConvTranspose", [pixel, net.constant(CHANNELS, 6, 1, 1)], strides=[2, 2])))


def test_windows_that_only_a_larger_one_holds_stay_apart() -> None:
    net = Net()
    graph = net.graph(net.node("Add", [net.conv("x", CHANNELS, (1, 5)), net.conv("x", CHANNELS, (5, 1))]))
    assert branches(graph) is graph


def test_what_others_read_too_stays() -> None:
    net = Net()
    part = net.conv("x", CHANNELS, (3, 3))
    graph = net.graph(net.node("Add", [part, net.conv("x", CHANNELS, (1, 1))]), net.node("Exp", [part]))
    assert branches(graph) is graph


@pytest.mark.parametrize("other", ["stride", "tensor", "product"])
def test_what_is_no_sum_over_one_tensor_stays(other: str) -> None:
    net = Net()
    first = net.conv("x", CHANNELS, (3, 3))
    if other == "stride":
        second = net.node("Resize", [net.conv("x", CHANNELS, (3, 3), stride=2), "", "", net.size(1, CHANNELS, SIDE, SIDE)])
    else:
        second = net.conv(net.node("Relu", ["x"]) if other == "tensor" else "x", CHANNELS, (1, 1))
    graph = net.graph(net.node("Mul" if other == "product" else "Add", [first, second]))
    assert branches(graph) is graph


def test_a_tensor_that_is_a_sum_itself_is_convolved_as_it_is() -> None:
    """x -> y = A x + B x -> y + C y: two convolutions, of x and of y."""
    net = Net()
    y = net.node("Add", [net.conv("x", CHANNELS, (3, 3)), net.conv("x", CHANNELS, (1, 1))])
    graph = net.graph(net.node("Add", [y, net.conv(y, CHANNELS, (3, 3))]))
    assert sums(same(graph)) == 2


def test_qcom_launches_the_sum_once() -> None:
    net = Net()
    parts = [net.conv("x", CHANNELS, (3, 3), CHANNELS), net.conv("x", CHANNELS, (1, 1), CHANNELS), net.normalised("x")]
    graph = net.graph(net.node("Add", [net.node("Add", parts[:2]), parts[2]]))
    net.nodes = net.nodes[:1]
    alone = net.graph("t0")
    counts = [len(compile_graph(each, targets.find("qcom")).calls) for each in (graph, alone)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("group", [1, CHANNELS])
def test_what_scales_a_convolution_is_in_its_weights(group: int) -> None:
    """A batch normalisation after a convolution leaves one product of weights and a bias."""
    net = Net()
    made = same(net.graph(net.node("Elu", [net.normalised(net.conv("x", CHANNELS, (3, 3), group))])))
    products = [node for node in made.nodes() if isinstance(node, Map) and isinstance(node.expr, Apply) and node.expr.op is ops.MUL]
    assert sums(made) == len(products) == 1
    assert len({node.origin for node in made.nodes() if isinstance(node, (Map, Reduce))}) == 3  # the convolution, what scales it, ELU


@pytest.mark.parametrize("scale", [1e-5, 1e6])
def test_weights_that_halves_could_not_hold_are_not_scaled(scale: float) -> None:
    """What scales a branch of a residual network is often 1e-5."""
    net = Net()
    first = net.conv("x", CHANNELS, (3, 3))
    net.constants.append(numpy_helper.from_array(np.full((CHANNELS, 1, 1), scale, np.float32), "small"))
    graph = net.graph(net.node("Mul", [first, "small"]))
    assert branches(graph) is graph


def test_what_comes_before_a_small_scale_is_in_the_weights_all_the_same() -> None:
    net = Net()
    normal = net.normalised(net.conv("x", CHANNELS, (3, 3)))
    net.constants.append(numpy_helper.from_array(np.full((CHANNELS, 1, 1), 1e-5, np.float32), "small"))
    made = same(net.graph(net.node("Mul", [normal, "small"])))
    products = [node for node in made.nodes() if isinstance(node, Map) and isinstance(node.expr, Apply) and node.expr.op is ops.MUL]
    assert (sums(made), len(products)) == (1, 2)


def test_a_convolution_that_is_read_elsewhere_keeps_its_weights() -> None:
    net = Net()
    first = net.conv("x", CHANNELS, (3, 3))
    graph = net.graph(net.normalised(first), first)
    assert branches(graph) is graph
