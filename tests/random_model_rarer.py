"""Operators of random ONNX models that few models have: sampling, transforms, selection, scatters, integer convolutions, losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from random_model_operators import Draw, Drawn, NoFitError


def image(d: Draw) -> str:
    return d.pick(lambda v: v.dtype == np.float32 and v.ndim == 4 and min(v.shape[2:]) > 1 and v.size < 1 << 12)


def about_shapes(d: Draw) -> Drawn:
    match d.number(0, 3):
        case 0:
            return Drawn("Shape", (d.anything(1),), {"start": d.number(-2, 1)})
        case 1:
            return Drawn("Size", (d.anything(),))
        case 2:
            return Drawn("EyeLike", (d.pick(lambda v: v.ndim == 2 and v.dtype.kind in "fi"),), {"k": d.number(-2, 2)})
        case _:
            return Drawn("ConstantOfShape", (d.integers(*(d.number(1, 5) for _ in range(d.number(1, 3)))),))


def cast_like(d: Draw) -> Drawn:
    return Drawn("CastLike", (d.pick(lambda v: v.dtype == np.float32 or v.dtype.kind in "iu"), d.pick(lambda v: v.dtype.kind in "fi")))


def infinite(d: Draw) -> Drawn:
    name = d.floats()
    if d.chance(0.5):
        return Drawn("IsInf", (name,), {"detect_negative": d.number(0, 1)})
    return Drawn("Dropout", (name, d.constant(np.float32(0.4))))


def compressed(d: Draw) -> Drawn:
    name = d.anything(1)
    axis = d.axis(name)
    kept = d.rng.random(d.shape(name)[axis]) < 0.6
    kept[0] = True
    return Drawn("Compress", (name, d.constant(kept)), {"axis": axis})


def selected(d: Draw) -> Drawn:
    """As many as the data say."""
    if d.chance(0.5):
        return Drawn("NonZero", (d.pick(lambda v: v.dtype.kind in "bi" and 0 < v.ndim < 4 and v.size < 500),))
    name = d.pick(lambda v: v.dtype in (np.int64, np.int8) and 0 < v.ndim < 4 and v.size < 500)
    if d.chance(0.5):
        return Drawn("Unique", (name,), {"sorted": d.number(0, 1)}, 4)
    return Drawn("Unique", (name,), {"axis": d.axis(name)}, 4)


def gathered_nd(d: Draw) -> Drawn:
    name = d.anything(2)
    shape = d.shape(name)
    depth = d.number(1, len(shape))
    places = np.stack([d.rng.integers(-s, s, (d.number(1, 4) if d.chance(0.0) else 3, 2)) for s in shape[:depth]], -1)
    if d.chance(0.5):
        return Drawn("GatherND", (name, d.constant(places)))
    many = min(int(np.prod(shape[:depth])), d.number(1, 4))
    flat = d.rng.permutation(int(np.prod(shape[:depth])))[:many]
    unique = np.stack(np.unravel_index(flat, shape[:depth]), -1).astype(np.int64)
    updates = d.of_type((many, *shape[depth:]), d.values[name].dtype)
    reduction = str(d.one(["none", "add", "max", "min"])) if d.values[name].dtype == np.float32 else "none"
    return Drawn("ScatterND", (name, d.constant(unique), updates), {"reduction": reduction})


def turned(d: Draw) -> Drawn:
    name = d.anything(2)
    time = d.number(0, 1)
    steps, batch = d.shape(name)[time], d.shape(name)[1 - time]
    lengths = d.constant(d.rng.integers(1, steps + 1, batch))
    return Drawn("ReverseSequence", (name, lengths), {"time_axis": time, "batch_axis": 1 - time})


def spectrum(d: Draw) -> Drawn:
    if d.chance(0.3):
        name = d.pick(lambda v: v.dtype == np.float32 and v.ndim == 2 and v.shape[1] >= 8)
        size = min(8, d.shape(name)[1])
        return Drawn("STFT", (name, d.constant(np.int64(d.number(1, 4))), d.positive((size,))), {"onesided": d.number(0, 1)})
    name = d.pick(lambda v: v.dtype == np.float32 and v.ndim >= 2 and v.shape[-1] in (1, 2))
    axis = d.number(0, d.values[name].ndim - 2)
    if d.shape(name)[axis] > 16:
        raise NoFitError  # ONNX Runtime is 5e-4 off the transform then
    one_sided = int(d.shape(name)[-1] == 1 and d.chance(0.5))
    inverse = 0 if one_sided else d.number(0, 1)
    return Drawn("DFT", (name, "", d.constant(np.int64(axis))), {"onesided": one_sided, "inverse": inverse})


def determinant(d: Draw) -> Drawn:
    return Drawn("Det", (d.pick(lambda v: v.dtype == np.float32 and v.ndim >= 2 and v.shape[-1] == v.shape[-2] < 6),))


def sampled(d: Draw) -> Drawn:
    name = image(d)
    n, _, h, w = d.shape(name)
    match d.number(0, 3):
        case 0 | 1:
            grid = d.constant(d.rng.uniform(-1.3, 1.3, (n, d.number(1, 5), d.number(1, 5), 2)).astype(np.float32))
            how = {"mode": d.one(["linear", "nearest", "cubic"]), "padding_mode": d.one(["zeros", "border", "reflection"])}
            return Drawn("GridSample", (name, grid), {**how, "align_corners": d.number(0, 1)})
        case 2:
            count = d.number(1, 4)
            corners = np.sort(d.rng.uniform(0, [[w], [h]] * 1, (count, 2, 2)), -1).transpose(0, 2, 1).reshape(count, 4)
            rows = d.constant(d.rng.integers(0, n, count))
            size = {"output_height": d.number(1, 3), "output_width": d.number(1, 3), "sampling_ratio": d.number(0, 2)}
            return Drawn("RoiAlign", (name, d.constant(corners.astype(np.float32)), rows), size)
        case _:
            grid = d.constant(d.rng.uniform(-0.9, 0.9, (n, 2, 3)).astype(np.float32))
            return Drawn("AffineGrid", (grid, d.integers(n, 1, d.number(2, 5), d.number(2, 5))), {"align_corners": d.number(0, 1)})


def resized_to_sizes(d: Draw) -> Drawn:
    name = image(d)
    sizes = d.integers(*(max(1, s + d.number(-2, 3)) for s in d.shape(name)[2:]))
    where = str(d.one(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    mode = str(d.one(["linear", "nearest", "cubic"]))
    how = {"mode": mode, "coordinate_transformation_mode": where, "axes": [2, 3]}
    return Drawn("Resize", (name, "", "", sizes), {**how, "nearest_mode": "floor"} if mode == "nearest" else how)


def pooled_places(d: Draw) -> Drawn:
    return Drawn("MaxPool", (image(d),), {"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": d.number(0, 1)}, 2)


def centred(d: Draw) -> Drawn:
    name = d.floats(1, 4)
    axes = sorted(a % d.values[name].ndim for a in d.axes(name))
    sizes = d.integers(*(max(1, d.shape(name)[a] + d.number(-3, 3)) for a in axes))
    return Drawn("CenterCropPad", (name, sizes), {"axes": axes})


def unfolded(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.float32 and v.ndim == 3 and v.shape[1] % 4 == 0 and v.shape[2] in (4, 9, 12))
    image_shape = {4: (3, 3), 9: (4, 4), 12: (4, 5)}[d.shape(name)[2]]
    return Drawn("Col2Im", (name, d.integers(*image_shape), d.integers(2, 2)))


def integer_convolution(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.uint8 and v.ndim == 4 and min(v.shape[2:]) >= 2)
    kind = str(d.one(["uint8", "int8"]))
    weights = d.constant(d.rng.integers(0, 100, (d.number(1, 5), d.shape(name)[1], 2, 2)).astype(kind))
    zero = d.constant(np.array(d.number(0, 60), np.uint8))
    if d.chance(0.5):
        return Drawn("ConvInteger", (name, weights, zero), {"pads": [d.number(0, 1) for _ in range(4)]})
    scale, small = d.constant(np.float32(0.05)), d.constant(np.float32(0.02))
    other = d.constant(np.array(d.number(0, 60), kind))
    inputs = (name, scale, zero, weights, small, other, d.constant(np.float32(0.8)), d.constant(np.array(100, np.uint8)))
    return Drawn("QLinearConv", inputs, {"strides": [d.number(1, 2)] * 2})


def quantised_product(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.uint8 and v.ndim >= 2)
    weights = d.constant(d.rng.integers(-128, 128, (d.shape(name)[-1], d.number(1, 9))).astype(np.int8))
    scales = [d.constant(np.float32(s)) for s in (0.05, 0.02, 0.5)]
    zeros = [d.constant(np.array(d.number(0, 60), kind)) for kind in (np.uint8, np.int8, np.uint8)]
    return Drawn("QLinearMatMul", (name, scales[0], zeros[0], weights, scales[1], zeros[1], scales[2], zeros[2]))


def loss(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.float32 and 2 <= v.ndim <= 4)
    shape = d.shape(name)
    labels = d.constant(d.rng.integers(0, shape[1], (shape[0], *shape[2:])))
    kind = str(d.one(["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"]))
    inputs = (name, labels, d.positive((shape[1],))) if d.chance(0.5) else (name, labels)
    return Drawn(kind, inputs, {"reduction": d.one(["none", "mean", "sum"])})


def suppressed(d: Draw) -> Drawn:
    count = d.number(2, 12)
    corner = d.rng.uniform(0, 4, (1, count, 2))
    boxes = d.constant(np.concatenate([corner, corner + d.rng.uniform(0.5, 3, (1, count, 2))], -1).astype(np.float32))
    scores = d.pick(lambda v: v.dtype == np.float32 and v.ndim == 3 and v.shape[0] == 1 and v.shape[2] == count)
    return Drawn("NonMaxSuppression", (boxes, scores, d.integers(d.number(1, 6)), d.constant(np.float32([0.5]))))


def counted(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype in (np.int32, np.int64) and v.ndim in (1, 2) and v.shape[-1] > 1)
    if not d.values[name].size:
        raise NoFitError
    how = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": d.number(0, 1), "mode": d.one(["TF", "IDF", "TFIDF"])}
    tables = {"ngram_counts": [0, 3], "ngram_indexes": [0, 1, 2, 3, 4], "pool_int64s": [0, 1, 2, 0, 1, 2, 3]}
    return Drawn("TfIdfVectorizer", (name,), {**how, **tables})


def attention(d: Draw) -> Drawn:
    """With heads as an axis, or in the last one; fewer heads of keys; causal or not, with and without a mask."""
    name = d.pick(lambda v: v.dtype == np.float32 and v.ndim in (3, 4) and v.shape[-1] <= 16 and min(v.shape) > 1)
    shape = d.shape(name)
    length = d.number(2, 9)
    how: dict[str, object] = {"is_causal": d.number(0, 1)} if d.chance(0.5) else {}
    if d.chance(0.3):
        how["softcap"] = 2.0
    if len(shape) == 4:
        few = shape[1] if d.chance(0.6) else 1
        keys, values = (d.normal((shape[0], few, length, shape[3])) for _ in range(2))
    else:
        heads = int(str(d.one([n for n in range(1, shape[2] + 1) if shape[2] % n == 0])))
        how |= {"q_num_heads": heads, "kv_num_heads": heads}
        keys, values = (d.normal((shape[0], length, shape[2])) for _ in range(2))
    masked = d.chance(0.3) and "is_causal" not in how
    return Drawn("Attention", (name, keys, values, d.normal((shape[-2], length))) if masked else (name, keys, values), how)


def rotated(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.float32 and v.ndim == 4 and v.shape[3] % 2 == 0)
    batch, _, length, width = d.shape(name)
    if d.chance(0.5):
        tables = [d.normal((batch, length, width // 2)) for _ in range(2)]
        return Drawn("RotaryEmbedding", (name, *tables), {"interleaved": d.number(0, 1)})
    tables = [d.normal((10, width // 2)) for _ in range(2)]
    places = d.constant(d.rng.integers(0, 10, (batch, length)))
    return Drawn("RotaryEmbedding", (name, *tables, places), {"interleaved": d.number(0, 1)})


def normalised_lately(d: Draw) -> Drawn:
    name = d.floats(3, 4)
    shape = d.shape(name)
    match d.number(0, 2):
        case 0:
            axis = d.number(1, len(shape) - 1)
            return Drawn("RMSNormalization", (name, d.positive(shape[axis:])), {"axis": axis, "epsilon": 1e-2})
        case 1:
            groups = [g for g in range(1, shape[1] + 1) if shape[1] % g == 0]
            inputs = (name, d.positive((shape[1],)), d.normal((shape[1],)))
            return Drawn("GroupNormalization", inputs, {"num_groups": d.one(groups), "epsilon": 1e-2})
        case _:
            return Drawn("Swish", (name,), {"alpha": 1.5})


def cached(d: Draw) -> Drawn:
    name = d.floats(3, 4)
    shape = d.shape(name)
    fresh = d.number(1, shape[-2])
    update = d.normal((*shape[:-2], fresh, shape[-1]))
    starts = d.constant(d.rng.integers(0, shape[-2] - fresh + 1, shape[0]))
    return Drawn("TensorScatter", (name, update, starts), {"mode": d.one(["linear", "circular"])})


RARER: tuple[tuple[Callable[[Draw], Drawn], float], ...] = (
    (about_shapes, 0.8), (cast_like, 0.4), (infinite, 0.4), (compressed, 0.7), (selected, 0.5), (gathered_nd, 1), (turned, 0.7),
    (spectrum, 0.8), (determinant, 0.4), (sampled, 1.2), (resized_to_sizes, 0.8), (pooled_places, 0.4), (centred, 0.7), (unfolded, 0.5),
    (integer_convolution, 0.8), (quantised_product, 0.6), (loss, 0.6), (suppressed, 0.4), (counted, 0.3),
    (attention, 1), (rotated, 0.8), (normalised_lately, 1), (cached, 0.5),
)  # fmt: skip
"""Each family, and how often it is drawn."""
