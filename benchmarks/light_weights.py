"""The `onnx` package's light models with weights of their real size.

The package keeps them small: every weight is a ConstantOfShape, 0.02 everywhere. A compiler that folds constants never stores such
weights, and every output is the same number, so neither times nor agreement would mean anything. Here each is drawn from a
seed instead, with deviations that keep values in range through deep networks.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[np.float32]


def fill(source: Path, goal: Path) -> Path:
    """Writes the light model `source` to `goal` with drawn weights; the draw depends on the weights' names only."""
    model = onnx.load(source)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    uses = {name: (node.op_type, position) for node in model.graph.node for position, name in enumerate(node.input)}
    kept = []
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in shapes:
            name = node.output[0]
            values = draw(name, tuple(int(size) for size in shapes[node.input[0]]), uses.get(name, ("", 0)))
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # from which on initializers need not be inputs too
    onnx.save(model, goal)
    return goal


def draw(name: str, shape: tuple[int, ...], use: tuple[str, int]) -> Array:
    """Values for the weight `name`, read as input number `use[1]` of an operator `use[0]`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        gain = 0.5 if use[0] == "Gemm" else 2.0  # small logits, so that no softmax saturates and hides an error
        deviation = np.float32(np.sqrt(gain / int(np.prod(shape[1:]))))
        return (rng.standard_normal(shape, dtype=np.float32) * deviation).astype(np.float32)
    if use in (("BatchNormalization", 2), ("BatchNormalization", 3)) or use[0] in ("Conv", "Gemm"):
        return (rng.standard_normal(shape, dtype=np.float32) * np.float32(0.05)).astype(np.float32)  # shifts, means, biases
    low, high = (0.3, 0.6) if use == ("BatchNormalization", 1) else (0.6, 1.0)  # scales, and variances
    return rng.uniform(low, high, shape).astype(np.float32)
