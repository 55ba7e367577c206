"""Where the right numbers come from: recorded test data, ONNX Runtime, or the ONNX reference, in this order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tgc.errors import ModelError, OptionError
from tgc.frontend_onnx.recorded import Recording, recordings
from tgc.frontend_onnx.reference import run_reference
from tgc.inputs import Range, draw, fit
from tgc.ir.graph import Graph
from tgc.run.open_shapes import inputs_at, sizes_of

Array = npt.NDArray[np.generic]
Against = Literal["auto", "recorded", "onnxruntime", "reference"]


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs, what should come out, and who says so."""

    source: str
    inputs: dict[str, Array]
    expected: dict[str, Array]


def cases(
    model: Path,
    graph: Graph,
    against: Against = "auto",
    seed: int = 0,
    ranges: Mapping[str, Range] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> list[Case]:
    """At least one case for the model file `model`, which was imported as `graph`.

    Raises OptionError where `against` names an oracle that is not there.
    """
    if against in ("auto", "recorded"):
        found = [_recorded(recording, graph) for recording in recordings(model)]
        if found:
            return found
        if against == "recorded":
            raise OptionError("there is no recorded test data", where=str(model), hint="it belongs into test_data_set_0/ beside the model")
    inputs = draw(inputs_at(graph.open, graph.inputs, sizes or {}), seed, ranges)
    source = "ONNX reference"
    if against == "onnxruntime" or (against == "auto" and find_spec("onnxruntime")):
        try:
            return [Case("ONNX Runtime", inputs, run_onnxruntime(model, inputs))]
        except ModelError as error:
            if against == "onnxruntime":
                raise
            source += f", for {error.what}"
    return [Case(source, inputs, run_reference(model, inputs))]


def _recorded(recording: Recording, graph: Graph) -> Case:
    names = [tensor.name for tensor in inputs_at(graph.open, graph.inputs, {})]
    outputs = [name for name, _ in graph.outputs if graph.open is None or name != graph.open.lengths]
    if len(recording.inputs) != len(names) or len(recording.outputs) != len(outputs):
        raise OptionError(
            f"{recording.name} has {len(recording.inputs)} inputs and {len(recording.outputs)} outputs, "
            f"the model {len(names)} and {len(outputs)}"
        )  # fmt: skip
    shapes = {name: array.shape for name, array in zip(names, recording.inputs, strict=True)}
    tensors = inputs_at(graph.open, graph.inputs, sizes_of(graph.open, names, shapes) if graph.open else {})
    inputs = {tensor.name: fit(array, tensor, recording.name) for tensor, array in zip(tensors, recording.inputs, strict=True)}
    expected = {name: array for name, array in zip(outputs, recording.outputs, strict=True)}
    return Case(recording.name, inputs, expected)


def run_onnxruntime(model: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime computes, by output name. Raises OptionError where it is not installed, ModelError where it refuses the model."""
    if not find_spec("onnxruntime"):
        raise OptionError("ONNX Runtime is not installed", hint="pip install onnxruntime, or --against reference")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, dict(inputs))
    except Exception as error:  # its own kinds
        why = re.sub(r"^\[ONNXRuntimeError\].*&\) ", "", next(iter(str(error).splitlines()), type(error).__name__))
        raise ModelError(f"ONNX Runtime refuses it: {why}", str(model), "take --against reference") from error
    return {name: np.asarray(value) for name, value in zip(names, found, strict=True)}
