"""Models of the ONNX suite with open dimensions: every extent of their inputs a name, from 1 to its size; else one axis of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import tgc
from tgc.errors import TgcError, UnsupportedError

Array = npt.NDArray[np.generic]
_POOLS = ("AveragePool", "MaxPool")
Ranges = dict[str, tuple[int, int]]
Inputs = dict[str, Array]
Place = tuple[int, int, int]
"""The number of an input, an axis of it, and its extent."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A model with open dimensions, how far they go, and whether they are all that its inputs have."""

    model: onnx.ModelProto
    ranges: Ranges
    whole: bool


def openings(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Iterator[Opening]:
    """`model` with a name for each extent above 1 of its inputs, equal ones alike; with its integer inputs compiled in; of two sizes only;
    and with a name for one axis alone: that of the first input with most axes, in every input that has as many there, or in it only.
    """
    compiled_in = fixed(model, inputs)
    yield _opened(model, lambda place: f"d{place[2]}" if place[2] > 1 else "", True)
    yield _opened(compiled_in, lambda place: f"d{place[2]}" if place[2] > 1 else "", True)
    yield _opened(compiled_in, lambda place: f"d{place[2]}" if place[2] > 1 else "", True, narrow=True)
    given = [value.name for value in compiled_in.graph.input]
    main = max(range(len(given)), key=lambda n: (len(_extents(compiled_in.graph.input[n])), -n), default=0)
    for axis, size in enumerate(_extents(compiled_in.graph.input[main]) if given else ()):
        yield _opened(compiled_in, lambda place, alike=(axis, size): "open" if place[1:] == alike else "", False)
        yield _opened(compiled_in, lambda place, own=(main, axis): "open" if place[:2] == own else "", False)


def _extents(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _opened(model: onnx.ModelProto, name_of: Callable[[Place], str], whole: bool, narrow: bool = False) -> Opening:
    """`model` with the names that `name_of` gives, "" for none, and nothing said about its results."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    ranges: Ranges = {}
    weights = {tensor.name for tensor in copy.graph.initializer}
    for number, value in enumerate(copy.graph.input):
        if value.name in weights:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            name = name_of((number, axis, dim.dim_value)) if dim.dim_value else ""
            if name:
                ranges[name] = (max(1, dim.dim_value - 1) if narrow else 1, max(2, dim.dim_value))
                dim.dim_param = name
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return Opening(copy, ranges, whole)


def fixed(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> onnx.ModelProto:
    """`model` with its integers, scales, regions and flags of up to one axis as initializers: axes, shapes, counts; but for the first
    of several inputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for number, value in enumerate(list(copy.graph.input)):
        array = inputs.get(value.name)
        if array is None or array.ndim > 1 or value.name == "sequence_lens" or (number == 0 and len(inputs) > 1):
            continue
        if array.size == 1 or array.dtype in (np.int32, np.int64, np.bool_) or value.name in ("scales", "roi") or number == 0:
            copy.graph.input.remove(value)
            copy.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return copy


def other_size(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[Inputs, list[Array]] | None:
    """Inputs with every open dimension one smaller (1: one larger), and what the reference makes of them; None where it makes nothing."""
    changed = {value.name: _resized(inputs[value.name], value.type.tensor_type.shape.dim)
               for value in model.graph.input if value.name in inputs}  # fmt: skip
    least = min(dim for array in changed.values() for dim in array.shape or (1,))
    for name, array in changed.items():
        if array.dtype in (np.int32, np.int64):
            changed[name] = np.clip(array, -least, max(0, least - 1))  # indices stay in range
    if "sequence_lens" in changed and model.graph.node[0].op_type in ("RNN", "GRU", "LSTM"):  # for which the reference has no eyes
        changed["sequence_lens"][:] = changed["X"].shape[0]
    try:
        with np.errstate(all="ignore"):
            return changed, [np.asarray(value) for value in _answer(model, changed)]
    except Exception:  # the operator makes no sense then
        return None


def _answer(model: onnx.ModelProto, inputs: Inputs) -> Sequence[Array]:
    """What the operators make of `inputs`. The reference takes old ones, such as Softmax before opset 13, for what they are now, and counts
    wrongly in windows with padding or gaps."""
    if not any(node.op_type in _POOLS for node in model.graph.node) and all(
        entry.version >= 13 for entry in model.opset_import if not entry.domain
    ):
        return list(ReferenceEvaluator(model).run(None, inputs))
    import onnxruntime

    return list(onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs))


def _resized(array: Array, dims: Sequence[onnx.TensorShapeProto.Dimension]) -> Array:
    for axis, dim in enumerate(dims):
        if dim.dim_param:
            size = array.shape[axis]
            array = np.take(array, range(size - 1) if size > 1 else (0, 0), axis)
    return array.copy()


def runs(
    model: onnx.ModelProto, inputs: Mapping[str, Array], expected: Sequence[Array], target: str
) -> Iterator[tuple[list[Array], list[Array]]]:
    """What one artifact for all sizes answers, and what is expected: at the recorded size, and at the next smaller one.

    Where integer inputs of one axis decide shapes, they are compiled in. Raises UnsupportedError for models without a dimension to
    open, and for those that tgc refuses.
    """
    why = "no input has a dimension to open"
    for opening in openings(model, inputs):
        symbolic, ranges = opening.model, opening.ranges
        mine = {value.name: inputs[value.name] for value in symbolic.graph.input if value.name in inputs}
        if not ranges:
            continue
        with TemporaryDirectory(prefix="tgc-") as folder:
            try:
                tgc.compile(symbolic, target, folder, dims=dict(ranges), name="model")
            except TgcError as error:
                why = f"{error.what} ({error.where})" if opening.whole else why
                continue
            compiled = tgc.load(folder)
            names = [value.name for value in symbolic.graph.output]
            found = compiled.run(mine)
            yield [found[name] for name in names], list(expected)
            if (other := other_size(symbolic, mine)) is not None:
                found = compiled.run(other[0])
                yield [found[name] for name in names], other[1]
            return
    raise UnsupportedError(why)
