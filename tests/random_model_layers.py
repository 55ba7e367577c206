"""The larger operators of random ONNX models: reductions, products, convolutions, pools, normalisation, recurrence, quantisation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from random_model_operators import (
    Draw,
    Drawn,
    binary,
    cast,
    chosen,
    clipped,
    concatenated,
    divided_integers,
    expanded,
    flattened,
    gathered,
    gathered_at_run_time,
    logical,
    modulo,
    one_hot,
    padded,
    power,
    reshaped,
    scattered,
    shifted,
    sliced,
    split,
    squeezed,
    transposed,
    triangle,
    unary,
    unary_of_any,
)

REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp", "SumSquare", "LogSum")


def reduced(d: Draw) -> Drawn:
    name = d.floats(1)
    inputs = (name,) if d.chance(0.15) else (name, d.integers(*d.axes(name)))
    return Drawn(f"Reduce{d.one(REDUCTIONS)}", inputs, {"keepdims": d.number(0, 1)})


def reduced_integers(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.ndim > 0 and v.dtype in (np.int32, np.int64))
    return Drawn(f"Reduce{d.one(['Sum', 'Max', 'Min', 'Prod'])}", (name, d.integers(*d.axes(name))), {"keepdims": d.number(0, 1)})


def extreme_place(d: Draw) -> Drawn:
    name = d.floats(1)
    attributes = {"axis": d.axis(name), "keepdims": d.number(0, 1), "select_last_index": d.number(0, 1)}
    return Drawn(str(d.one(["ArgMax", "ArgMin"])), (name,), attributes)


def running(d: Draw) -> Drawn:
    name = d.floats(1)
    return Drawn("CumSum", (name, d.constant(np.array(d.axis(name)))), {"exclusive": d.number(0, 1), "reverse": d.number(0, 1)})


def top(d: Draw) -> Drawn:
    name = d.floats(1)
    axis = d.axis(name)
    count = d.number(1, max(1, d.shape(name)[axis]))
    return Drawn("TopK", (name, d.integers(count)), {"axis": axis, "largest": d.number(0, 1)}, 2)


def over_axis(d: Draw) -> Drawn:
    name = d.floats(1)
    op = str(d.one(["Softmax", "LogSoftmax", "Softmax", "Hardmax", "LpNormalization"]))
    return Drawn(op, (name,), {"axis": d.axis(name)})


def product(d: Draw) -> Drawn:
    name = d.floats(2, 4)
    inner = d.shape(name)[-1]
    if d.chance(0.25):
        batch = d.shape(name)[:-2]
        other = d.pick(lambda v: v.dtype == np.float32 and v.ndim >= 2 and v.shape[-2] == inner and v.shape[:-2] in ((), batch))
        return Drawn("MatMul", (name, other))
    if d.chance(0.2):
        lead = d.shape(name)[:-1]
        other = d.pick(lambda v: v.dtype == np.float32 and v.ndim >= 2 and v.shape[:-1] == lead)
        return Drawn("Einsum", (name, other), {"equation": "...ij,...ik->...jk"})
    batch = () if d.chance(0.7) else d.shape(name)[:-2]
    return Drawn("MatMul", (name, d.normal((*batch, inner, d.number(1, 20)), 0.5)))


def general_product(d: Draw) -> Drawn:
    name = d.floats(2, 2)
    rows, columns = d.shape(name)
    turned, outputs = d.number(0, 1), d.number(1, 20)
    inner = rows if turned else columns
    back = d.number(0, 1)
    weights = d.normal((outputs, inner) if back else (inner, outputs), 0.5)
    inputs = (name, weights, d.normal((outputs,))) if d.chance(0.7) else (name, weights)
    return Drawn("Gemm", inputs, {"transA": turned, "transB": back, "alpha": 0.5, "beta": 1.5})


def _windows(d: Draw, name: str, least: int = 1) -> dict[str, object]:
    spatial = d.shape(name)[2:]
    kernel = [d.number(least, min(3, s)) for s in spatial]
    found: dict[str, object] = {"kernel_shape": kernel, "strides": [d.number(1, 2) for _ in kernel]}
    if d.chance(0.2):
        return {**found, "auto_pad": d.one(["SAME_UPPER", "SAME_LOWER", "VALID"])}
    return {**found, "pads": [d.number(0, k - 1) for k in kernel * 2]}


def convolution(d: Draw) -> Drawn:
    name = d.floats(3, 5)
    channels = d.shape(name)[1]
    attributes = _windows(d, name)
    groups = [g for g in range(1, channels + 1) if channels % g == 0]
    group = int(str(d.one([1, 1, channels, d.one(groups)])))
    kernel = attributes["kernel_shape"]
    assert isinstance(kernel, list)
    if d.chance(0.2) and all((k - 1) * 2 < s for k, s in zip(kernel, d.shape(name)[2:], strict=True)):
        attributes["dilations"] = [2] * len(kernel)
    outputs = group * d.number(1, 3) if group > 1 else d.number(1, 12)
    inputs = (name, d.normal((outputs, channels // group, *kernel), 0.4))
    return Drawn("Conv", (*inputs, d.normal((outputs,))) if d.chance(0.6) else inputs, {**attributes, "group": group})


def transposed_convolution(d: Draw) -> Drawn:
    name = d.floats(3, 4)
    attributes = _windows(d, name)
    kernel = attributes["kernel_shape"]
    assert isinstance(kernel, list)
    steps = attributes["strides"]
    assert isinstance(steps, list)
    if any(k < s for k, s in zip(kernel, steps, strict=True)):
        attributes.pop("auto_pad", None)  # ONNX and ONNX Runtime disagree about how long the result is then.
    weights = d.normal((d.shape(name)[1], d.number(1, 6), *kernel), 0.4)
    return Drawn("ConvTranspose", (name, weights), attributes)


def pooled(d: Draw) -> Drawn:
    name = d.floats(3, 5)
    op = str(d.one(["MaxPool", "AveragePool", "LpPool", "MaxPool"]))
    attributes = _windows(d, name)
    if op == "AveragePool":
        attributes["count_include_pad"] = d.number(0, 1)
    if op != "LpPool" and "pads" in attributes:
        attributes["ceil_mode"] = d.number(0, 1)
    return Drawn(op, (name,), attributes)


def pooled_whole(d: Draw) -> Drawn:
    return Drawn(str(d.one(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])), (d.floats(3, 5),))


def normalised(d: Draw) -> Drawn:
    name = d.floats(3, 5)
    channels = (d.shape(name)[1],)
    match d.number(0, 5):
        case 0:
            weights = (d.positive(channels), d.normal(channels), d.normal(channels), d.positive(channels))
            return Drawn("BatchNormalization", (name, *weights))
        case 1:
            return Drawn("InstanceNormalization", (name, d.positive(channels), d.normal(channels)), {"epsilon": 1e-2})
        case 2:
            return Drawn("LRN", (name,), {"size": 3, "alpha": 0.1})
        case 3:
            return Drawn("MeanVarianceNormalization", (d.floats(4, 4),))
        case _:
            axis = d.number(0, d.values[name].ndim - 1)
            shape = d.shape(name)[axis:]
            return Drawn("LayerNormalization", (name, d.positive(shape), d.normal(shape)), {"axis": axis, "epsilon": 1e-2})


def resized(d: Draw) -> Drawn:
    name = d.floats(3, 5)
    rank = d.values[name].ndim
    mode = d.one(["nearest", "linear"] + (["cubic"] if rank == 4 else []))
    scales = [1.0, 1.0, *(float(str(d.one([0.5, 1.0, 2.0, 1.5, 3.0]))) for _ in range(rank - 2))]
    where = str(d.one(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    if any(size * scale % 1 for size, scale in zip(d.shape(name), scales, strict=True)):
        where = "asymmetric"  # With lengths that are rounded, ONNX and ONNX Runtime disagree about where the last element is.
    sizes = d.constant(np.array(scales, np.float32))
    return Drawn("Resize", (name, "", sizes), {"mode": mode, "coordinate_transformation_mode": where, "nearest_mode": "floor"})


def rearranged(d: Draw) -> Drawn:
    if d.chance(0.5):
        name = d.pick(lambda v: v.ndim == 4 and v.dtype == np.float32 and v.shape[1] % 4 == 0)
        return Drawn("DepthToSpace", (name,), {"blocksize": 2, "mode": d.one(["DCR", "CRD"])})
    name = d.pick(lambda v: v.ndim == 4 and v.dtype == np.float32 and v.shape[2] % 2 == 0 and v.shape[3] % 2 == 0)
    return Drawn("SpaceToDepth", (name,), {"blocksize": 2})


def recurrent(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.float32 and v.ndim == 3 and v.shape[0] <= 12 and v.size)
    op, gates = d.one([("LSTM", 4), ("GRU", 3), ("RNN", 1)])  # type: ignore[misc]
    direction = str(d.one(["forward", "reverse", "bidirectional"]))
    hidden, ways = d.number(1, 9), 2 if direction == "bidirectional" else 1
    weights = [d.normal((ways, gates * hidden, n), 0.4) for n in (d.shape(name)[2], hidden)]
    attributes = {"hidden_size": hidden, "direction": direction, **({"linear_before_reset": d.number(0, 1)} if op == "GRU" else {})}
    return Drawn(str(op), (name, *weights, d.normal((ways, 2 * gates * hidden), 0.4)), attributes, 2)


def quantised(d: Draw) -> Drawn:
    name = d.floats()
    kind = np.dtype(str(d.one(["uint8", "int8"])))
    zero = d.constant(np.array(d.number(0, 200) if kind == np.uint8 else d.number(-60, 60), kind))
    return Drawn("QuantizeLinear", (name, d.constant(np.float32(d.rng.uniform(0.01, 0.1))), zero))


def dequantised(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype in (np.uint8, np.int8))
    zero = d.constant(np.array(d.number(0, 60), d.values[name].dtype))
    return Drawn("DequantizeLinear", (name, d.constant(np.float32(d.rng.uniform(0.01, 0.1))), zero))


def integer_product(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype in (np.uint8, np.int8) and v.ndim >= 2)
    weights = d.constant(d.rng.integers(-128, 128, (d.shape(name)[-1], d.number(1, 12))).astype(np.int8))
    return Drawn("MatMulInteger", (name, weights, d.constant(np.array(d.number(0, 60), d.values[name].dtype))))


FAMILIES: tuple[tuple[Callable[[Draw], Drawn], float], ...] = (
    (unary, 6), (unary_of_any, 1), (binary, 8), (divided_integers, 0.6), (modulo, 0.4), (power, 0.7), (logical, 0.5), (shifted, 0.3),
    (chosen, 1), (clipped, 0.8), (cast, 1.2), (transposed, 3), (reshaped, 3), (flattened, 0.6), (squeezed, 1), (sliced, 2.5),
    (concatenated, 2), (split, 1.2), (padded, 1.5), (expanded, 1.2), (gathered, 1.2), (gathered_at_run_time, 0.7), (scattered, 0.7),
    (triangle, 0.4), (one_hot, 0.4), (reduced, 4), (reduced_integers, 0.5), (extreme_place, 0.7), (running, 0.6), (top, 0.6),
    (over_axis, 2), (product, 3), (general_product, 1.5), (convolution, 3), (transposed_convolution, 1), (pooled, 1.5),
    (pooled_whole, 0.4), (normalised, 2), (resized, 0.8), (rearranged, 0.5), (recurrent, 0.4), (quantised, 0.5), (dequantised, 0.8),
    (integer_product, 0.8),
)  # fmt: skip
"""Each family, and how often it is drawn."""
