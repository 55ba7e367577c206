"""Parts of an ONNX model as models of their own, with the values that they get in the whole: for making a failing model small."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tgc.errors import ModelError
from tgc.frontend_onnx.dimensions import declared, pin
from tgc.frontend_onnx.external import external_files
from tgc.frontend_onnx.reading import read_model
from tgc.frontend_onnx.structure import origin_of, reads
from tgc.frontend_onnx.tensors import require_dtype
from tgc.frontend_onnx.walk import require_possible
from tgc.ir.dtypes import DType

Array = npt.NDArray[np.generic]
SMALL = 64
"""Whole numbers up to so many, cut off from what computes them, are compiled in: most are shapes, which must be known."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A model with its weights inside, and what each value in its graph is in one run."""

    model: onnx.ModelProto
    values: Mapping[str, Array]

    @property
    def nodes(self) -> tuple[str, ...]:
        """What tgc calls each node, in the model's order."""
        return tuple(origin_of(node) for node in self.model.graph.node)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a model, and its inputs and outputs in the whole model's run."""

    model: onnx.ModelProto
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True, slots=True)
class Open:
    """An input of a model: its name, type and shape."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


def read_whole(path: Path) -> onnx.ModelProto:
    """The model in `path`, the weights that it keeps outside included. Raises ModelError."""
    model = read_model(path)
    external_files(path)  # which looks where they lie
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # the reader of external data raises many kinds
        raise ModelError(f"its weights cannot be read: {error}", str(path)) from error
    return model


def model_inputs(model: onnx.ModelProto, dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> list[Open]:
    """The inputs that the caller of `model` passes, whether tgc can compile it or not."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sizes = pin([declared(value) for value in inputs], dims, shapes)
    for name, shape in sizes.items():
        require_possible(shape, f"input {name!r}")
    return [Open(v.name, require_dtype(v.type.tensor_type.elem_type, v.name), sizes[v.name]) for v in inputs]


def run_whole(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Whole:
    """`model` run on `inputs` by ONNX Runtime, unoptimised, else by the ONNX reference, all values in between kept.

    Raises ModelError where it does not run.
    """
    names = [name for node in model.graph.node for name in node.output if name]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    engine, run = ("ONNX Runtime", _onnxruntime) if find_spec("onnxruntime") else ("the ONNX reference", _reference)
    try:
        results = run(probe, names, inputs)
    except Exception as error:  # engines raise what they like
        why = re.sub(r"^\[ONNXRuntimeError\].*&\) ", "", (str(error).splitlines() or [type(error).__name__])[0])
        raise ModelError(f"{engine} does not run it, and so tells no values to compare with: {why}", model.graph.name) from error
    return Whole(model, {**inputs, **{name: value for name, value in results.items() if isinstance(value, np.ndarray)}})


def _reference(model: onnx.ModelProto, names: list[str], inputs: Mapping[str, Array]) -> dict[str, object]:
    return dict(zip(names, ReferenceEvaluator(model).run(None, dict(inputs)), strict=True))


def _onnxruntime(model: onnx.ModelProto, names: list[str], inputs: Mapping[str, Array]) -> dict[str, object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def extract(whole: Whole, keep: frozenset[int]) -> Part | None:
    """The nodes numbered `keep` as a model; None where a value between them and the rest is not known, or no tensor."""
    graph = whole.model.graph
    nodes = [node for number, node in enumerate(graph.node) if number in keep]
    made = {name for node in nodes for name in node.output if name}
    read = list(dict.fromkeys(name for node in nodes for name in reads(node)))
    ends = [name for node in nodes for name in node.output if name and name not in read]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    cut = [name for name in read if name not in made and name not in weights]
    if not ends or any(name not in whole.values for name in (*cut, *ends)):
        return None
    given = {value.name for value in graph.input}
    fixed = [name for name in cut if name not in given and _is_small(whole.values[name])]
    inputs = {name: whole.values[name] for name in cut if name not in fixed}
    outputs = {name: whole.values[name] for name in ends}
    settled = [weights[name] for name in read if name in weights] + [numpy_helper.from_array(whole.values[name], name) for name in fixed]
    part = helper.make_graph(nodes, graph.name or "part", [*map(_info, inputs.items())], [*map(_info, outputs.items())], settled)
    model = helper.make_model(part, opset_imports=whole.model.opset_import, functions=whole.model.functions)
    model.ir_version = whole.model.ir_version
    return Part(model, inputs, outputs)


def _is_small(value: Array) -> bool:
    return value.dtype.kind in "iub" and value.size <= SMALL


def _info(entry: tuple[str, Array]) -> onnx.ValueInfoProto:
    name, value = entry
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def write_part(part: Part, folder: Path) -> Path:
    """`part` as `folder`/model.onnx, with its inputs and outputs as recorded test data beside it."""
    data = folder / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    for kind, values in (("input", part.inputs), ("output", part.outputs)):
        for number, (name, value) in enumerate(values.items()):
            (data / f"{kind}_{number}.pb").write_bytes(numpy_helper.from_array(value, name).SerializeToString())
    onnx.save(part.model, folder / "model.onnx")
    return folder / "model.onnx"
