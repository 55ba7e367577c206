"""Operators that look at positions in a tensor whose extents are open, against ONNX Runtime at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from onnx import parser

import tgc
from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live, raw_inputs

Array = npt.NDArray[np.generic]
Dims = dict[str, tuple[int, int]]
HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
IMAGE: Dims = {"n": (1, 2), "h": (2, 7), "w": (3, 6), "m": (1, 5)}
SIZES = ({"n": 2, "h": 7, "w": 6, "m": 5}, {"n": 1, "h": 2, "w": 3, "m": 1}, {"n": 2, "h": 5, "w": 4, "m": 3})


def agrees(text: str, dims: Dims, made: Callable[[Mapping[str, int]], dict[str, Array]], sizes: tuple[dict[str, int], ...] = SIZES) -> None:
    """One graph for all sizes answers as ONNX Runtime does, whatever lies beyond the live parts."""
    model = parser.parse_model(HEAD + text)
    named = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim}
    graph = import_model(model, dims={name: size for name, size in dims.items() if name in named})
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in sizes:
        inputs = made(size)
        raw = raw_inputs(graph.open, graph.inputs, inputs)
        for name, value in inputs.items():
            if value.dtype == np.float32:
                raw[name].reshape(-1)[value.size :] = np.nan
        with np.errstate(all="ignore"):
            found = live(graph.open, run_graph(graph, raw))
        for (name, result), expected in zip(found.items(), engine.run(None, inputs), strict=True):
            np.testing.assert_allclose(result, expected, atol=2e-5, err_msg=f"{name} of {size}")


def noise(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    how = f'mode="{mode}", padding_mode="{padding}", align_corners={corners}'
    text = f"g (float[n, 2, h, w] x, float[n, m, 3, 2] grid) => (float[n, 2, a, b] y) {{ y = GridSample<{how}>(x, grid) }}"
    agrees(text, IMAGE, lambda s: {"x": noise(s["n"], 2, s["h"], s["w"]), "grid": noise(s["n"], s["m"], 3, 2)})


@pytest.mark.parametrize("corners", [0, 1])
def test_affine_grid(corners: int) -> None:
    """From a batch of one on, which ONNX's function body does not make."""
    text = f"""g (float[n, 2, h, w] x, float[n, 2, 3] theta) => (float[n, a, b, 2] grid) {{
      size = Shape(x)
      grid = AffineGrid<align_corners={corners}>(theta, size)
    }}"""
    agrees(text, IMAGE, lambda s: {"x": noise(s["n"], 2, s["h"], s["w"]), "theta": noise(s["n"], 2, 3)})


@pytest.mark.parametrize("how", ["sampling_ratio=2", "sampling_ratio=0", 'sampling_ratio=2, mode="max"'])
def test_roi_align(how: str) -> None:
    text = f"""g (float[n, 2, h, w] x, float[m, 4] rois, int64[m] rows) => (float[m, 2, 2, 3] y) {{
      y = RoiAlign<output_height=2, output_width=3, spatial_scale=0.5, {how}>(x, rois, rows)
    }}"""

    def made(s: Mapping[str, int]) -> dict[str, Array]:
        corners = np.sort(np.abs(noise(s["m"], 2, 2)) * 8, axis=1).reshape(s["m"], 4)
        return {"x": np.abs(noise(s["n"], 2, s["h"], s["w"])), "rois": corners, "rows": np.arange(s["m"]) % s["n"]}

    agrees(text, IMAGE, made)


def test_deform_conv() -> None:
    text = """g (float[n, 4, h, w] x, float[2, 4, 3, 3] k, float[n, 18, h, w] offset, float[n, 9, h, w] mask) => (float[n, 2, h, w] y) {
      y = DeformConv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, k, offset, , mask)
    }"""

    def made(s: Mapping[str, int]) -> dict[str, Array]:
        n, image = s["n"], (s["h"], s["w"])
        return {"x": noise(n, 4, *image), "k": noise(2, 4, 3, 3), "offset": noise(n, 18, *image), "mask": noise(n, 9, *image)}

    agrees(text, IMAGE, made)


@pytest.mark.parametrize("how", ["", ", storage_order=1", ", ceil_mode=1"])
def test_max_pool_with_indices_and_back(how: str) -> None:
    """ONNX Runtime's MaxUnpool wants a batch of one where the output's shape is given, and none here is."""
    text = f"""g (float[n, 2, h, w] x) => (float[n, 2, a, b] y, int64[n, 2, a, b] i) {{
      y, i = MaxPool<kernel_shape=[2, 2], strides=[2, 2]{how}>(x)
    }}"""
    agrees(text, IMAGE, lambda s: {"x": noise(s["n"], 2, s["h"], s["w"])})
    if how:
        return
    text = """g (float[n, 2, h, w] x) => (float[n, 2, a, b] z) {
      y, i = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(x)
      z = MaxUnpool<kernel_shape=[2, 2], strides=[2, 2]>(y, i)
    }"""
    even = tuple({**s, "h": s["h"] // 2 * 2, "w": s["w"] // 2 * 2 + 2 * (s["w"] < 4)} for s in SIZES)
    agrees(text, IMAGE, lambda s: {"x": noise(s["n"], 2, s["h"], s["w"])}, even)


@pytest.mark.parametrize("how", ['auto_pad="SAME_UPPER"', 'auto_pad="SAME_LOWER"'])
def test_convolution_and_pooling_that_keep_the_size(how: str) -> None:
    """How much padding there is depends on the size."""
    text = f"""g (float[n, 2, h, w] x, float[3, 2, 3, 3] k) => (float[n, 3, a, b] y, float[n, 2, a, b] z) {{
      y = Conv<strides=[2, 2], {how}>(x, k)
      z = MaxPool<kernel_shape=[3, 3], strides=[2, 2], {how}>(x)
    }}"""
    agrees(text, IMAGE, lambda s: {"x": noise(s["n"], 2, s["h"], s["w"]), "k": noise(3, 2, 3, 3)})


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad_with_elements_of_its_own(mode: str) -> None:
    text = f"""g (float[n, 2, h, w] x) => (float[n, 2, a, b] y) {{
      pads = Constant<value_ints=[0, 0, 1, 2, 0, 0, 1, -1]>()
      y = Pad<mode="{mode}">(x, pads)
    }}"""
    dims: Dims = {**IMAGE, "w": (4, 6)}
    agrees(text, dims, lambda s: {"x": noise(s["n"], 2, s["h"], max(4, s["w"]))})


def test_pad_to_a_multiple_and_to_a_fixed_size() -> None:
    """How much there is to add is only known at run time, and less than nothing cuts off."""
    text = """g (float[n, 2, h, w] x) => (float[n, 2, a, b] y, float[n, 2, 4, 4] z) {
      size = Shape<start=2>(x)
      zeros = Constant<value_ints=[0, 0, 0, 0, 0, 0]>()
      three = Constant<value_ints=[3, 3]>()
      two = Constant<value_ints=[2, 2]>()
      four = Constant<value_ints=[4, 4]>()
      more = Add(size, two)
      parts = Div(more, three)
      rounded = Mul(parts, three)
      missing = Sub(rounded, size)
      pads = Concat<axis=0>(zeros, missing)
      y = Pad(x, pads)
      rest = Sub(four, size)
      other = Concat<axis=0>(zeros, rest)
      z = Pad(x, other)
    }"""
    agrees(text, IMAGE, lambda s: {"x": noise(s["n"], 2, s["h"], s["w"])})


def test_unique() -> None:
    text = "g (float[h, w] x) => (float[a] y, int64[a] first, int64[b] which, int64[a] counts) { y, first, which, counts = Unique(x) }"
    agrees(text, {"h": (2, 7), "w": (3, 6)}, lambda s: {"x": noise(s["h"], s["w"]).round()})
    text = "g (float[h, w] x) => (float[a, w] y, int64[a] i, int64[b] k, int64[a] c) { y, i, k, c = Unique<axis=0, sorted=0>(x) }"
    rows = np.array([0, 1, 1, 0, 2, 1, 3])
    agrees(text, {"h": (2, 7), "w": (3, 6)}, lambda s: {"x": noise(4, s["w"])[rows[: s["h"]]]})


@pytest.mark.parametrize("condition", ["bool[2] c", "bool[h] c", "bool[m] c"])
def test_compress(condition: str) -> None:
    """A condition may be shorter than the axis, by a number that is only known at run time."""
    text = f"g (float[n, h, w] x, {condition}) => (float[n, a, w] y) {{ y = Compress<axis=1>(x, c) }}"

    def made(s: Mapping[str, int]) -> dict[str, Array]:
        many = {"bool[2] c": 2, "bool[h] c": s["h"], "bool[m] c": min(s["m"], s["h"])}[condition]
        return {"x": noise(s["n"], s["h"], s["w"]), "c": np.arange(many) % 2 == 1}

    agrees(text, IMAGE, made)


SUPPRESSION = """g (float[n, h, 4] boxes, float[n, 2, h] scores) => (int64[k, 3] y) {
  most = Constant<value_int=3>()
  iou = Constant<value_float=0.4>()
  least = Constant<value_float=0.1>()
  y = NonMaxSuppression(boxes, scores, most, iou, least)
}"""


def boxes(s: Mapping[str, int]) -> dict[str, Array]:
    middle = np.abs(noise(s["n"], s["h"], 2))
    return {"boxes": np.concatenate([middle, middle + 1], 2).astype(np.float32), "scores": np.abs(noise(s["n"], 2, s["h"]))}


def test_non_max_suppression_of_an_open_number_of_boxes() -> None:
    agrees(SUPPRESSION, IMAGE, boxes)


@pytest.mark.parametrize("target", ["cpu", "c", "opencl"])
def test_compiled(tmp_path: Path, target: str) -> None:
    """A detector's tail: boxes found in an image of open size, looked at again."""
    text = SUPPRESSION.replace("float[n, 2, h] scores)", "float[n, 2, h] scores, float[n, 2, h, w] x)")
    text = text.replace("(int64[k, 3] y)", "(int64[k, 3] y, float[j, 2, 2, 2] seen)").rstrip("}")
    text += """
      flat = Reshape(boxes, shape)
      column = Gather<axis=1>(y, zero)
      rows = Gather<axis=1>(y, first)
      regions = Gather<axis=0>(flat, column)
      seen = RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(x, regions, rows)
    }"""
    constants = "shape = Constant<value_ints=[-1, 4]>()\n zero = Constant<value_int=2>()\n first = Constant<value_int=0>()\n"
    model = parser.parse_model(HEAD + text.replace("{\n", "{\n" + constants, 1))
    tgc.compile(model, target, tmp_path, dims={name: IMAGE[name] for name in "nhw"})
    loaded = tgc.load(tmp_path)
    engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for s in SIZES:
        inputs = {**boxes(s), "x": noise(s["n"], 2, s["h"], s["w"])}
        for found, expected in zip(loaded.run(inputs).values(), engine.run(None, inputs), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-5)
