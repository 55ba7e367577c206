"""The ONNX reference implementation as an oracle: slow, in numpy, and always there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from tgc.errors import ModelError

Array = npt.NDArray[np.generic]


def run_reference(model: str | Path | onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the model computes from `inputs`, by output name. Raises ModelError where the reference fails on it."""
    try:
        evaluator = ReferenceEvaluator(onnx.load(model) if isinstance(model, (str, Path)) else model)
        results = evaluator.run(None, dict(inputs))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        where, hint = str(model) if isinstance(model, (str, Path)) else "", "compare with data that is recorded beside the model"
        raise ModelError(f"the ONNX reference cannot compute it: {error}", where, hint) from error
    return {name: np.asarray(value) for name, value in zip(evaluator.output_names, results, strict=True)}
