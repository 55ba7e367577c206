#!/usr/bin/env python3
"""Builds openpilot 0.8.x's driving model, "supercombo", as an ONNX file with seeded random weights.

    python examples/supercombo.py [-o supercombo.onnx] [--two-towers] [--seed 0]

The structure is openpilot's published one, layer by layer; its trained weights are not part of it, so the numbers that come
out mean nothing, but speed, memory and agreement with another engine are those of the real model. The same seed gives the
same file. Single tower: openpilot 0.8.0 to 0.8.9. Two towers: 0.8.13 to 0.8.16.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FRAME = (1, 12, 128, 256)  # two YUV420 frames, six planes each
STATE = 512
OUTPUTS = 6609  # 6097 predictions, then the new state


@dataclass(frozen=True, slots=True)
class Stage:
    """Some inverted-residual blocks in a row; the first has the stride."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


def _stages(*rows: tuple[int, int, int, int, int]) -> tuple[Stage, ...]:
    return tuple(Stage(*row) for row in rows)


B2 = _stages(
    (3, 1, 1, 16, 2), (3, 2, 6, 24, 3), (5, 2, 6, 48, 3), (3, 2, 6, 88, 4), (5, 1, 6, 120, 4), (5, 2, 6, 208, 5), (3, 1, 6, 352, 2)
)  # fmt: skip
B0 = _stages(
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)
)  # fmt: skip


@dataclass(slots=True)
class Network:
    """The ONNX graph so far. Layers take and give value names; each adds its multiply-adds to `macs`.

    folded: parameters that vanish when batch norm is folded into the convolution before it.
    """

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    macs: int = 0
    folded: int = 0

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Adds a node with one output and returns the output's name."""
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def tensor(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def normal(self, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> str:
        return self.tensor(self.rng.normal(mean, deviation, shape).astype(np.float32))

    def parameters(self) -> int:
        """Trained numbers, batch norm folded."""
        return sum(math.prod(w.dims) for w in self.weights if w.data_type == TensorProto.FLOAT) - self.folded


def convolution(net: Network, x: str, size: tuple[int, int], cin: int, cout: int, *, kernel: int = 1, stride: int = 1, groups: int = 1,
                elu: bool = True, gain: float = 1.0) -> tuple[str, tuple[int, int]]:  # fmt: skip
    """Convolution, batch norm and, if `elu`, ELU. `size`: height and width of x. Returns the value and its height and width."""
    fan_in = cin // groups * kernel * kernel
    pad = kernel // 2
    out = tuple((extent + 2 * pad - kernel) // stride + 1 for extent in size)
    weight = net.normal((cout, cin // groups, kernel, kernel), gain * math.sqrt(2.0 / fan_in))
    x = net.node("Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups)
    scale, shift, mean = net.normal((cout,), 0.1, 1.0), net.normal((cout,), 0.1), net.normal((cout,), 0.1)
    variance = net.tensor(net.rng.uniform(0.8, 1.2, cout).astype(np.float32))
    x = net.node("BatchNormalization", x, scale, shift, mean, variance, epsilon=1e-3)
    net.macs += math.prod(out) * cout * fan_in
    net.folded += 3 * cout  # of four a channel only a bias stays
    return (net.node("Elu", x, alpha=1.0) if elu else x), (out[0], out[1])


def inverted_residual(net: Network, x: str, size: tuple[int, int], cin: int, stage: Stage, stride: int) -> tuple[str, tuple[int, int]]:
    """Expand by 1x1, depthwise, project by 1x1; added to `x` where nothing changes shape."""
    wide = cin * stage.expansion
    y = x
    if stage.expansion != 1:
        y, size = convolution(net, y, size, cin, wide)
    y, size = convolution(net, y, size, wide, wide, kernel=stage.kernel, stride=stride, groups=wide)
    y, size = convolution(net, y, size, wide, stage.channels, elu=False, gain=0.7)
    residual = stride == 1 and cin == stage.channels
    return (net.node("Add", y, x) if residual else y), size


def tower(net: Network, x: str, stages: tuple[Stage, ...]) -> str:
    """EfficientNet without squeeze-and-excite: frames [1,12,128,256] -> features [1,1024]."""
    x, size = convolution(net, x, FRAME[2:], FRAME[1], 32, kernel=3, stride=2, gain=1 / 128)  # 1/128: pixels are 0 to 255
    channels = 32
    for stage in stages:
        for repeat in range(stage.repeats):
            x, size = inverted_residual(net, x, size, channels, stage, stage.stride if repeat == 0 else 1)
            channels = stage.channels
    x, size = convolution(net, x, size, channels, channels, groups=channels)
    x, size = convolution(net, x, size, channels, 32, elu=False, gain=0.05)
    return net.node("Flatten", x, axis=1)


def dense(net: Network, x: str, cin: int, cout: int, activation: str = "Relu") -> str:
    """Gemm and `activation` ("" for none)."""
    x = net.node("Gemm", x, net.normal((cout, cin), math.sqrt(1.5 / cin)), net.normal((cout,), 0.05), transB=1)
    net.macs += cin * cout
    return net.node(activation, x) if activation else x


def head(net: Network, x: str, hidden: int, out: int) -> str:
    """A residual block of two layers and a linear one: [1,1024] -> [1,out]."""
    a = dense(net, x, 1024, hidden)
    b = dense(net, dense(net, a, hidden, hidden), hidden, hidden, activation="")
    return dense(net, net.node("Relu", net.node("Add", a, b)), hidden, out, activation="")


def lines(net: Network, x: str, count: int, hidden: int) -> str:
    """`count` heads of 132, each [2,66] (values, deviations), put side by side: [1, count * 132]."""
    shape = net.tensor(np.array([1, 2, 66], np.int64))
    parts = [net.node("Reshape", head(net, x, hidden, 132), shape) for _ in range(count)]
    return net.node("Flatten", net.node("Concat", *parts, axis=2), axis=1)


def gru(net: Network, x: str, state: str) -> str:
    """One step of a gated recurrent unit, input 1024, hidden 512, written out: h' = n + z * (h - n)."""
    from_input = dense(net, x, 1024, 3 * STATE, activation="")
    from_state = dense(net, state, STATE, 3 * STATE, activation="")
    parts = []
    for value in (from_input, from_state):
        names = [f"split_{len(net.nodes)}_{gate}" for gate in "rzn"]
        net.nodes.append(helper.make_node("Split", [value, net.tensor(np.full(3, STATE, np.int64))], names, name=names[0][:-2], axis=1))
        parts.append(names)
    (input_reset, input_update, input_new), (state_reset, state_update, state_new) = parts
    reset = net.node("Sigmoid", net.node("Add", input_reset, state_reset))
    update = net.node("Sigmoid", net.node("Add", input_update, state_update))
    new = net.node("Tanh", net.node("Add", input_new, net.node("Mul", reset, state_new)))
    return net.node("Add", new, net.node("Mul", update, net.node("Sub", state, new)))


def policy(net: Network, vision: str, width: int) -> None:
    """Everything after the towers: summarizers, recurrence and heads. `vision`: [1, width]."""
    joined = net.node("Elu", net.node("Concat", vision, "desire", "traffic_convention", axis=1), alpha=1.0)
    x = dense(net, joined, width + 10, 1024)
    state = gru(net, x, "initial_state")
    t = dense(net, net.node("Concat", state, x, axis=1), STATE + 1024, 1024)
    frame = dense(net, net.node("Elu", vision, alpha=1.0), width, 1024)
    parts: list[Callable[[], str]] = [
        lambda: head(net, t, 256, 4955),  # plan
        lambda: lines(net, t, 4, 32),  # lanes
        lambda: head(net, t, 16, 8),  # lane probabilities
        lambda: lines(net, t, 2, 16),  # road edges
        lambda: head(net, t, 64, 255),  # lead
        lambda: head(net, t, 16, 3),  # lead probability
        lambda: head(net, t, 32, 8),  # desire state
        lambda: head(net, frame, 64, 32),  # meta
        lambda: head(net, frame, 32, 32),  # desire prediction
        lambda: head(net, frame, 32, 12),  # pose
    ]
    net.nodes.append(helper.make_node("Concat", [*(part() for part in parts), state], ["outputs"], name="outputs", axis=1))


def build(two_towers: bool = False, seed: int = 0) -> tuple[onnx.ModelProto, int, int]:
    """The checked model, its multiply-adds in the towers, and its parameters."""
    net = Network(np.random.default_rng(seed))
    inputs = [("input_imgs", FRAME), ("desire", (1, 8)), ("traffic_convention", (1, 2)), ("initial_state", (1, STATE))]
    vision = tower(net, "input_imgs", B2)
    if two_towers:
        inputs.insert(1, ("big_input_imgs", FRAME))
        vision = net.node("Concat", vision, tower(net, "big_input_imgs", B0), axis=1)
    macs = net.macs
    policy(net, vision, 2048 if two_towers else 1024)
    graph = helper.make_graph(
        net.nodes, "supercombo", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, (1, OUTPUTS))], net.weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="tgc-examples")
    onnx.checker.check_model(model, full_check=True)
    return model, macs, net.parameters()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Builds openpilot 0.8.x's supercombo with seeded random weights.")
    parser.add_argument("-o", "--output", type=Path, default=Path("supercombo.onnx"))
    parser.add_argument("--two-towers", action="store_true", help="0.8.13 to 0.8.16, with a second, wide camera")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model, macs, parameters = build(options.two_towers, options.seed)
    options.output.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{options.output}: {parameters / 1e6:.1f} M parameters, {macs / 1e6:.0f} M multiply-adds in the vision part")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
