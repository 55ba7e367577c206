#!/usr/bin/env python3
"""The models of the app, compiled into a folder each: what warps camera frames, and what looks at them.

    python examples/openpilot_app/models.py OUT [--target opencl] [--monitoring dmonitoring_model.onnx] [--small]

Warping is an ONNX graph like the others: for each pixel of the model's frame a projective matrix says where in the camera's NV12 frame it
comes from; four bytes there are gathered and blended. What comes out is packed as openpilot's models take it: four planes of luma,
one for each pixel of a 2 by 2 block, and two of chroma, all of half the frame's width and height.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import supercombo

import tgc
from tgc.errors import TgcError

OPSET = 17
CAMERA = (1208, 1928)  # height, width of a frame
DRIVING = (128, 256)  # of a plane that the driving model takes
MONITORING = (320, 160)
BLOCK = ((0, 0), (1, 0), (0, 1), (1, 1))  # rows and columns of the four planes of luma, in openpilot's order
STATE = {"outputs[:,6097:]": "initial_state"}
PREVIOUS = {"images[:,6:]": "previous"}


@dataclass(slots=True)
class Network:
    """Nodes and constants of a graph so far."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, op: str, *inputs: str, name: str = "", **attributes: object) -> str:
        """Adds a node; answers its result."""
        result = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [result], **attributes))
        return result

    def constant(self, value: object, dtype: type = np.float32) -> str:
        self.constants.append(onnx.numpy_helper.from_array(np.array(value, dtype), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def model(self, inputs: dict[str, tuple[int, tuple[int, ...]]], outputs: dict[str, tuple[int, tuple[int, ...]]]) -> onnx.ModelProto:
        """The model; inputs and outputs by name, each an element type and a shape."""
        listed = ([helper.make_tensor_value_info(name, *form) for name, form in edges.items()] for edges in (inputs, outputs))
        graph = helper.make_graph(self.nodes, "net", *listed, initializer=self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def warp(camera: tuple[int, int], plane: tuple[int, int], *, frames: int) -> onnx.ModelProto:
    """NV12 `frame` [H * 3 / 2, W] and `transform` [3, 3], model pixels to camera pixels, to `images` [1, 6 * frames, h, w] of 0 to 255.

    plane: h and w; the model's frame is 2 h by 2 w. With two frames `images` begins with `previous`, which is the end of the `images`
    before. Beyond the camera's frame its last pixels go on.
    """
    net = Network()
    height, width = camera
    flat = net.node("Reshape", "frame", net.constant([-1], np.int64))
    rows = {name: net.node("Gather", net.node("Reshape", "transform", net.constant([9], np.int64)), net.constant(k, np.int64))
            for k, name in enumerate("abcdefghi")}  # fmt: skip
    luma = [[2 * np.arange(size) + offset[axis] for offset in BLOCK] for axis, size in enumerate(plane)]
    y = np.array(luma[0]).reshape(4, plane[0], 1)
    x = np.array(luma[1]).reshape(4, 1, plane[1])

    def pixel(row: str, column: str) -> str:
        return net.node("Add", net.node("Mul", row, net.constant(width, np.int32)), column)

    bright = _blend(net, flat, _source(net, rows, x, y), (height, width), pixel)
    # A pixel of chroma is in the middle of its block: half a pixel of luma further on, in both frames.
    middle = (2 * np.arange(plane[1]).reshape(1, 1, -1) + 0.5, 2 * np.arange(plane[0]).reshape(1, -1, 1) + 0.5)
    at = [net.node("Mul", net.node("Sub", v, net.constant(0.5)), net.constant(0.5)) for v in _source(net, rows, *middle)]
    first = net.constant((height * width + np.arange(2)).reshape(2, 1, 1), np.int32)

    def pair(row: str, column: str) -> str:
        start = net.node("Add", net.node("Mul", row, net.constant(width, np.int32)), net.node("Mul", column, net.constant(2, np.int32)))
        return net.node("Add", start, first)

    colour = _blend(net, flat, (at[0], at[1]), (height // 2, width // 2), pair)
    shape = net.constant([1, 6, *plane], np.int64)
    six = net.node("Reshape", net.node("Concat", bright, colour, axis=0), shape, name="six" if frames > 1 else "images")
    form = (TensorProto.FLOAT, (1, 6, *plane))
    inputs = {"frame": (TensorProto.UINT8, (height * 3 // 2, width)), "transform": (TensorProto.FLOAT, (3, 3))}
    if frames == 1:
        return net.model(inputs, {"images": form})
    net.node("Concat", "previous", six, axis=1, name="images")
    return net.model(inputs | {"previous": form}, {"images": (TensorProto.FLOAT, (1, 12, *plane))})


def _source(net: Network, m: dict[str, str], x: np.ndarray, y: np.ndarray) -> tuple[str, str]:
    """The column and the row in the camera's frame of the model's pixels at columns `x` and rows `y`, which broadcast."""

    def dot(a: str, b: str, c: str) -> str:
        along = net.node("Mul", m[a], net.constant(x))
        return net.node("Add", net.node("Add", along, net.node("Mul", m[b], net.constant(y))), m[c])

    depth = dot("g", "h", "i")
    return net.node("Div", dot("a", "b", "c"), depth), net.node("Div", dot("d", "e", "f"), depth)


def _blend(net: Network, flat: str, at: tuple[str, str], size: tuple[int, int], place: Callable[[str, str], str]) -> str:
    """Bytes of the plane of `size` at columns and rows `at`, weighted by how near they are, rounded. place: (row, column) -> element."""
    low, high, weight = [], [], []
    for value, extent in zip(at, (size[1], size[0]), strict=True):
        inside = net.node("Clip", value, net.constant(0.0), net.constant(extent - 1))
        floor = net.node("Floor", inside)
        weight.append(net.node("Sub", inside, floor))
        low.append(net.node("Cast", floor, to=TensorProto.INT32))
        high.append(net.node("Min", net.node("Add", low[-1], net.constant(1, np.int32)), net.constant(extent - 1, np.int32)))

    def tap(row: str, column: str) -> str:
        return net.node("Cast", net.node("Gather", flat, place(row, column)), to=TensorProto.FLOAT)

    def between(a: str, b: str, by: str) -> str:
        return net.node("Add", a, net.node("Mul", net.node("Sub", b, a), by))

    above, below = (between(tap(row, low[0]), tap(row, high[0]), weight[0]) for row in (low[1], high[1]))
    return net.node("Floor", net.node("Add", between(above, below, weight[1]), net.constant(0.5)))


def small_driving() -> onnx.ModelProto:
    """A few layers with the inputs and outputs of supercombo, for quick checks of the app."""
    rng = np.random.default_rng(0)
    net = Network()
    weights = {"c": (16, 12, 8, 8), "g": (512, 16), "s": (512, 512), "o": (6097, 512)}
    made = {name: net.constant(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))) for name, shape in weights.items()}
    scaled = net.node("Mul", "input_imgs", net.constant(1 / 128))
    features = net.node("Relu", net.node("Conv", scaled, made["c"], strides=[8, 8]))
    pooled = net.node("Flatten", net.node("GlobalAveragePool", features))
    mixed = net.node("Add", net.node("Gemm", pooled, made["g"], transB=1), net.node("Gemm", "initial_state", made["s"], transB=1))
    state = net.node("Tanh", net.node("Add", mixed, net.node("ReduceSum", "desire", net.constant([1], np.int64))))
    plan = net.node("Gemm", state, made["o"], transB=1)
    plan = net.node("Add", plan, net.node("ReduceSum", "traffic_convention", net.constant([1], np.int64)))
    net.node("Concat", plan, state, axis=1, name="outputs")
    shapes = {"input_imgs": (1, 12, *DRIVING), "desire": (1, 8), "traffic_convention": (1, 2), "initial_state": (1, 512)}
    inputs = {name: (TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    return net.model(inputs, {"outputs": (TensorProto.FLOAT, (1, 6609))})


def small_monitoring() -> onnx.ModelProto:
    """Convolutions and a linear layer that take what driver monitoring takes, 45 numbers out."""
    rng = np.random.default_rng(1)
    net = Network()
    x, channels = net.node("Mul", "input_img", net.constant(1 / 128)), 6
    for wide in (8, 16, 32, 32):
        weight = net.constant(rng.standard_normal((wide, channels, 3, 3)) / np.sqrt(9 * channels))
        x, channels = net.node("Relu", net.node("Conv", x, weight, strides=[2, 2], pads=[1, 1, 1, 1])), wide
    pooled = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.node("Gemm", pooled, net.constant(rng.standard_normal((45, channels)) / 6), transB=1, name="outputs")
    return net.model({"input_img": (TensorProto.FLOAT, (1, 6, *MONITORING))}, {"outputs": (TensorProto.FLOAT, (1, 45))})


def write(out: Path, target: str, monitoring: Path | None, small: bool) -> None:
    """Compiles all of them into folders of `out`."""
    watching = onnx.load(monitoring) if monitoring else small_monitoring()
    plane = tuple(dim.dim_value for dim in watching.graph.input[0].type.tensor_type.shape.dim)[2:]
    driving = small_driving() if small else supercombo.build()[0]
    shared = {"selftest": True, "weights": "file"}
    tgc.compile(warp(CAMERA, DRIVING, frames=2), target, out / "road_warp", name="road_warp", states=PREVIOUS, **shared)
    tgc.compile(warp(CAMERA, plane, frames=1), target, out / "cabin_warp", name="cabin_warp", **shared)
    tgc.compile(driving, target, out / "driving", name="driving", states=STATE, **shared)
    tgc.compile(watching, target, out / "monitoring", name="monitoring", **shared)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", default="opencl")
    parser.add_argument("--monitoring", type=Path, help="an ONNX model of one input [1, 6, h, w]; by default a small one is made up")
    parser.add_argument("--small", action="store_true", help="a few layers instead of supercombo")
    given = parser.parse_args()
    try:
        write(given.out, given.target, given.monitoring, given.small)
    except (TgcError, OSError) as error:
        sys.exit(str(error))
