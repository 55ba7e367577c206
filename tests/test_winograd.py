"""Convolutions of 3x3 in tiles: recognised by their indices, equal to the plain sum, and fast because their cases are written out."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from single_operator import single
from test_backend_opencl import device

from tgc.driver import compile as compile_model
from tgc.errors import OptionError
from tgc.frontend_onnx import import_model
from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg, apply
from tgc.ir.graph import Graph, Reduce
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import run_graph
from tgc.ir.text import print_kernel
from tgc.ir.verify import verify_graph
from tgc.passes import compile_graph
from tgc.passes.fold import fold
from tgc.passes.winograd import launched, recognise, winograd
from tgc.passes.winograd_transforms import OUTPUT, SOURCE, WEIGHTS
from tgc.run import load
from tgc.targets import X86_V3, Winograd, find, with_winograd

EXPECTED = {"2": 1e-6, "4": 1e-5}  # of the largest result; docs/accuracy.md


def conv(x: tuple[int, ...], w: tuple[int, ...], **attributes: object) -> tuple[onnx.ModelProto, npt.NDArray[np.float32]]:
    """A model of one convolution with bias, and an input for it."""
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal(w) / np.sqrt(np.prod(w[1:]))).astype(np.float32)
    given = rng.standard_normal(x).astype(np.float32)
    return single("Conv", {"x": given}, [weights, rng.standard_normal(w[0]).astype(np.float32)], **attributes), given


def imported(model: onnx.ModelProto) -> Graph:
    return fold(import_model(model))


@pytest.mark.parametrize("m", [2, 4])
def test_the_matrices_are_a_convolution_of_integers(m: int) -> None:
    rng = np.random.default_rng(m)
    d, g = rng.integers(-9, 9, m + 2), rng.integers(-9, 9, 3)
    tiled = np.array(OUTPUT[m]) @ ((np.array(WEIGHTS[m]) @ g) * (np.array(SOURCE[m]) @ d))
    np.testing.assert_allclose(tiled, [d[i : i + 3] @ g for i in range(m)], atol=1e-12)


@pytest.mark.parametrize("choice", ["2", "4"])
@pytest.mark.parametrize("shape", [(1, 16, 8, 8), (2, 16, 9, 14), (1, 16, 5, 30)])
@pytest.mark.parametrize("pad", [0, 1])
def test_tiles_agree_with_the_plain_sum(choice: Winograd, shape: tuple[int, ...], pad: int) -> None:
    model, x = conv(shape, (20, shape[1], 3, 3), pads=[pad] * 4)
    graph = imported(model)
    tiled = winograd(graph, choice, 1 << 20)
    verify_graph(tiled)
    assert tiled is not graph
    (expected,), (found,) = run_graph(graph, {"x": x}).values(), run_graph(tiled, {"x": x}).values()
    assert np.abs(found - expected).max() <= EXPECTED[choice] * np.abs(expected).max()


@pytest.mark.parametrize(
    ("w", "attributes"),
    [
        ((16, 16, 3, 3), {"strides": [2, 2]}),
        ((16, 16, 3, 3), {"dilations": [2, 2]}),
        ((16, 1, 3, 3), {"group": 16}),
        ((16, 8, 3, 3), {"group": 2}),
        ((16, 16, 5, 5), {}),
        ((16, 16, 1, 1), {}),
    ],
)
def test_other_convolutions_are_left_alone(w: tuple[int, ...], attributes: dict[str, object]) -> None:
    model, _ = conv((1, 16, 12, 12), w, **attributes)
    assert not any(recognise(node) for node in imported(model).nodes() if isinstance(node, Reduce))


@pytest.mark.parametrize("cut", ["image", "weights"])
def test_parts_of_an_image_or_of_weights_are_left_alone(cut: str) -> None:
    b = GraphBuilder()
    x = b.input("x", F32, (1, 32 if cut == "image" else 16, 12, 12))
    w = b.constant(np.ones((16 if cut == "image" else 32, 16, 3, 3), np.float32))
    image = b.slice(x, (0, 0, 0, 0), (1, 1, 1, 1), (1, 16, 12, 12))
    weights = b.slice(w, (0, 0, 0, 0), (1, 1, 1, 1), (16, 16, 3, 3))
    whole = (1, 16, 16, 10, 10, 3, 3)
    windows = b.window(b.window(image, 2, 3), 3, 3)
    left = b.expand(b.reshape(windows, (1, 1, 16, 10, 10, 3, 3)), whole)
    right = b.expand(b.reshape(weights, (1, 16, 16, 1, 1, 3, 3)), whole)
    product = b.map(apply(ops.MUL, Arg(0, F32), Arg(1, F32)), left, right)
    total = b.reduce(ops.ADD, product, (2, 5, 6))
    assert isinstance(total, Reduce)
    assert recognise(total) is None


def test_the_model_chooses_by_shape() -> None:
    small = imported(conv((1, 3, 20, 20), (8, 3, 3, 3))[0])
    large = imported(conv((1, 64, 28, 28), (64, 64, 3, 3))[0])
    assert len(winograd(small, "auto", 1 << 20).nodes()) == len(small.nodes()), "too few channels for the transforms"
    assert len(winograd(large, "auto", 1 << 20).nodes()) > len(large.nodes())
    assert winograd(large, "off", 1 << 20) is large


def test_cases_are_written_out_and_their_parts_shared() -> None:
    model, _ = conv((1, 32, 16, 16), (32, 32, 3, 3), pads=[1] * 4)
    program = compile_graph(import_model(model), with_winograd(X86_V3, "4"))
    assert not any(" == " in print_kernel(kernel) for kernel in program.kernels)
    assert any(print_kernel(k).count("out[") == 36 for k in program.kernels if k.parameters[0].buffer.size == 36 * 16 * 32)


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_edges_that_no_tile_divides(target: str, tmp_path: Path) -> None:
    model, x = conv((1, 24, 7, 14), (40, 24, 3, 3), pads=[1] * 4)
    compile_model(model, target, tmp_path / "a", name="tiles", winograd="4", check_passes=True)
    (found,) = load(tmp_path / "a").run({"x": x}).values()
    (expected,) = run_graph(import_model(model), {"x": x}).values()
    assert np.abs(found - expected).max() <= EXPECTED["4"] * np.abs(expected).max()


def test_a_choice_that_there_is_not() -> None:
    with pytest.raises(OptionError, match="no size of Winograd's tiles"):
        with_winograd(X86_V3, "3")


def test_an_adreno_takes_tiles_where_they_cost_less(tmp_path: Path) -> None:
    """Points stored in half are scaled down, so that images of thousands do not overflow."""
    device()
    qcom, small = find("qcom"), imported(conv((1, 16, 8, 8), (16, 16, 3, 3), pads=[1] * 4)[0])
    assert len(compile_graph(small, qcom).calls) == len(compile_graph(small, with_winograd(qcom, "off")).calls)
    model, image = conv((1, 32, 28, 28), (32, 32, 3, 3), pads=[1] * 4)
    large = imported(model)
    assert len(compile_graph(large, qcom).calls) > len(compile_graph(large, with_winograd(qcom, "off")).calls)
    compile_model(model, "qcom", tmp_path)
    (expected,), (found,) = run_graph(large, {"x": 2000 * image}).values(), load(tmp_path).run({"x": 2000 * image}).values()
    assert np.abs(found - expected).max() <= 6e-3 * np.abs(expected).max()


def test_an_adreno_s_model_weighs_products_against_transforms_and_launches() -> None:
    costs = {m: launched(m, 64, 64, 56, 56) for m in (0, 2, 4)}
    assert costs[4] < costs[2] < costs[0]
    assert launched(0, 16, 16, 8, 8) < launched(4, 16, 16, 8, 8)
