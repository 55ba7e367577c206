"""The ONNX reference implementation as an oracle: slow, in numpy, and always there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[np.generic]


def run_reference(model: str | Path | onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the model computes from `inputs`, by output name."""
    evaluator = ReferenceEvaluator(onnx.load(model) if isinstance(model, (str, Path)) else model)
    results = evaluator.run(None, dict(inputs))
    return {name: np.asarray(value) for name, value in zip(evaluator.output_names, results, strict=True)}
