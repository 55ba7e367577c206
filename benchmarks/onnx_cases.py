"""The tests of the ONNX suite, one by one, through compiled code."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import onnx_symbolic
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from tgc import driver, onnx_backend
from tgc.errors import ModelError, TgcError, UnsupportedError

FAMILIES = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
VARIANTS = ("inputs", "constants", "symbolic")
RANDOM = ("test_bernoulli", "test_training_dropout")
"""Tests, by the start of their names, that draw random numbers: types and shapes are compared, values cannot be."""
EXACT = "test_training_dropout_zero_ratio"
"""Those of them whose random numbers change nothing."""
LOOSE = {
    "test_dft_inverse": (0.0, 1e-6),  # recorded: sums in single precision that should be 0, and are not quite
    "test_attention_4d_causal_fp16": (2.0**-9, 0.0),  # recorded: rounded to half at every step; two last places, as for bfloat16
}
"""Least tolerances, relative and absolute, of tests by the start of their names, where what is recorded is further off than ours."""


@cache
def tests(family: str) -> dict[str, TestCase]:
    """The tests of a family by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite divides by zero on purpose while it makes its data
        found = load_model_tests(kind="real" if family == "light" else family)
    return {case.name: case for case in sorted(found, key=lambda case: case.name)}


def names_of(family: str) -> list[str]:
    """The names of a family's tests."""
    return list(tests(family))


def data_sets(case: TestCase) -> Iterator[tuple[onnx.ModelProto, list[Any], list[Any]]]:
    """The model with inputs and recorded outputs, as arrays, or as lists and None where they are sequences and optionals."""
    if case.model is not None:
        for inputs, outputs in case.data_sets or []:
            yield case.model, [_array(v) for v in inputs], [_array(v) for v in outputs]
    elif case.url is not None:
        yield _light(case)
    else:
        folder = Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        for data in sorted(glob.glob(os.path.join(glob.escape(str(folder)), "test_data_set_*"))):
            weights = {tensor.name for tensor in model.graph.initializer}
            given = [value for value in model.graph.input if value.name not in weights]
            yield model, _stored(data, "input", given), _stored(data, "output", model.graph.output)


def _light(case: TestCase) -> tuple[onnx.ModelProto, list[Any], list[Any]]:
    """A model whose weights are made by its nodes, with the inputs that the suite makes, and the outputs beside it."""
    path = Path(onnx.backend.test.__file__).parents[3] / case.url
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    inputs = [Runner.generate_dummy_data(value, seed=0, name=case.model_name, random=False) for value in given]
    recorded = [path.with_name(f"{path.stem}_output_{n}.pb") for n in range(len(model.graph.output))]
    return model, inputs, [numpy_helper.to_array(onnx.load_tensor(file)) for file in recorded]


def _stored(folder: str, kind: str, values: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    return [_read(Path(folder) / f"{kind}_{number}.pb", value.type) for number, value in enumerate(values)]


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    content = path.read_bytes()
    match kind.WhichOneof("value"):
        case "sequence_type":
            return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
        case "optional_type":
            return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
        case _:
            return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def outcome(family: str, name: str, target: str, variant: str) -> str:
    """How a test ends: "pass", "refused: why" where tgc says that it does not do it, "wrong: where" or "error: what"."""
    os.environ["TGC_ONNX_BACKEND"] = target
    case = tests(family)[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for model, inputs, outputs in data_sets(case):
                _check(case, model, inputs, outputs, variant)
        except UnsupportedError as error:
            return f"refused: {error.what}"
        except TgcError as error:
            return f"error: {type(error).__name__}: {error}"
        except AssertionError as error:
            return f"wrong: {' '.join(str(error).split())[:300]}"
        except Exception as error:  # a defect is an outcome, too
            return f"error: {type(error).__name__}: {error}"
    return "pass"


def _check(case: TestCase, model: onnx.ModelProto, inputs: list[Any], outputs: list[Any], variant: str) -> None:
    feeds = _feeds(model, inputs, outputs)
    wanted = [np.asarray(value) for value in outputs]
    if variant == "symbolic":
        half = any(value.dtype == np.float16 for value in feeds.values())
        for number, (found, expected) in enumerate(onnx_symbolic.runs(model, feeds, wanted, onnx_backend.target())):
            _compare(case, found, expected, half and number > 0)
        return
    if variant == "constants":
        model, feeds = onnx_backend.with_constants(model, feeds), {}
    _compare(case, list(onnx_backend.prepare(model).run(feeds)), wanted)


def _compare(case: TestCase, results: list[np.ndarray], wanted: list[np.ndarray], half: bool = False) -> None:
    """half: what is wanted was not recorded but comes from the reference, which rounds to half precision after every step: a few of its
    units, or one of a quantised result, are allowed."""
    if case.name.startswith(RANDOM) and not case.name.startswith(EXACT):
        assert [(r.dtype, r.shape) for r in results] == [(w.dtype, w.shape) for w in wanted]
        return
    loose = next((least for start, least in LOOSE.items() if case.name.startswith(start)), (0.0, 0.0))
    if half:
        loose = (4e-3, float(any(value.dtype in (np.int8, np.uint8) for value in wanted)))
    Runner.assert_similar_outputs(wanted, results, max(case.rtol, loose[0]), max(case.atol, loose[1]))


def _feeds(model: onnx.ModelProto, inputs: list[Any], outputs: list[Any]) -> dict[str, np.ndarray]:
    """The inputs by name. Raises UnsupportedError where these or the outputs are sequences or optionals."""
    if any(not isinstance(value, np.ndarray | np.generic | float | int) for value in (*inputs, *outputs)):
        raise UnsupportedError("values that are no tensors")
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    return {name: np.asarray(value) for name, value in zip(names, inputs, strict=False)}


def refusal(family: str, name: str) -> str | None:
    """Why tgc refuses the test when it is imported; None where it does not. Nothing is compiled."""
    case = tests(family)[name]
    try:
        for model, inputs, outputs in data_sets(case):
            _import(model, inputs, outputs)
    except UnsupportedError as error:
        return error.what
    return None


def _import(model: onnx.ModelProto, inputs: list[Any], outputs: list[Any]) -> None:
    feeds = _feeds(model, inputs, outputs)
    try:
        driver.import_graph(model, {}, {name: value.shape for name, value in feeds.items()})
    except ModelError:
        driver.import_graph(onnx_backend.with_constants(model, feeds), {}, {})
