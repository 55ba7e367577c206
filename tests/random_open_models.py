"""Random ONNX models with one axis of an input open, interpreted at its own size and at the next smaller one, against ONNX Runtime.

    python tests/random_open_models.py --first 0 --count 300

The models are those of random_models, with rarer operators in every other one. An axis that cannot be open is refused; what is computed
has to be right whatever lies beyond the live part of the input's buffer.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from random_model_operators import Array
from random_models import EVERY, FAMILIES, NOISE, RandomModel, apart, generate

from tgc.errors import TgcError
from tgc.frontend_onnx import import_model
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live, raw_inputs

LOOSE = 0.02
"""How far floats may be off at another size, as a share of the largest: nobody has said there what last bits change."""
Place = tuple[str, int]
"""An input, and an axis of it."""


def places(made: RandomModel) -> Iterator[Place]:
    """Every axis of every input."""
    for name, value in made.feeds.items():
        yield from ((name, axis) for axis in range(value.ndim))


def opened(made: RandomModel, place: Place) -> onnx.ModelProto:
    """The model with that axis called "open", and nothing said about the shapes of its results."""
    model = onnx.ModelProto()
    model.CopyFrom(made.model)
    value = next(value for value in model.graph.input if value.name == place[0])
    value.type.tensor_type.shape.dim[place[1]].dim_param = "open"
    for result in model.graph.output:
        result.type.tensor_type.ClearField("shape")
    return model


def outcome(made: RandomModel, place: Place) -> str:
    """ "right", "refused: why" or "wrong: how"."""
    model, size = opened(made, place), made.feeds[place[0]].shape[place[1]]
    try:
        graph = import_model(model, dims={"open": (1, max(2, size))})
    except TgcError as error:
        return f"refused: {error}"
    found = answers(graph, made.feeds)
    wrong = [line for name, got in found.items() for line in _differs(name, got, *made.values[name])]
    smaller = dict(made.feeds)
    smaller[place[0]] = np.take(smaller[place[0]], range(size - 1) if size > 1 else (0, 0), place[1])
    wanted = reference(model, smaller)
    if wanted is not None and not wrong:
        pairs = zip(answers(graph, smaller).items(), wanted, strict=True)
        wrong = [f"at another size, {line}" for (name, got), right in pairs for line in _far(name, got, right)]
    return f"wrong: {wrong[0]}" if wrong else "right"


def answers(graph: Graph, feeds: dict[str, Array]) -> dict[str, Array]:
    """What the graph makes of `feeds`, with numbers in the rest of their buffers that would be noticed."""
    raw = raw_inputs(graph.open, graph.inputs, feeds)
    for name, value in feeds.items():
        if raw[name].size > value.size:
            raw[name] = raw[name].copy()
            raw[name].reshape(-1)[value.size :] = np.nan if value.dtype in NOISE else 77
    with np.errstate(all="ignore"):
        return live(graph.open, run_graph(graph, raw))


def reference(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array] | None:
    """ONNX Runtime's answer; None where it has none for these sizes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))
    except Exception:
        return None


def _differs(name: str, got: Array, wanted: Array, *copies: Array) -> Iterator[str]:
    if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
        yield f"{name}: {got.dtype} {got.shape}, not {wanted.dtype} {wanted.shape}"
    elif wanted.dtype in NOISE:
        yield from apart(name, got, wanted, copies)
    elif not np.array_equal(got, wanted):
        yield f"{name}: other whole numbers"


def _far(name: str, got: Array, wanted: Array) -> Iterator[str]:
    if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
        yield f"{name}: {got.dtype} {got.shape}, not {wanted.dtype} {wanted.shape}"
        return
    mine, theirs = got.astype(np.float64), wanted.astype(np.float64)
    if not np.all(np.isfinite(theirs)):
        return
    small = 1.0 if wanted.dtype.itemsize == 1 and wanted.dtype.kind != "b" else 0.0
    allowed = LOOSE * max(1e-3, float(np.abs(theirs).max(initial=0))) if wanted.dtype in NOISE else small
    if np.abs(mine - theirs).max(initial=0) > allowed:
        yield f"{name}: off by {np.abs(mine - theirs).max():.3g} of {np.abs(theirs).max():.3g}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Random ONNX models with an open axis against ONNX Runtime.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.count):
        made = generate(seed, EVERY if seed % 2 else FAMILIES)
        for place in places(made):
            try:
                found = outcome(made, place)
            except Exception as error:
                found = f"wrong: {type(error).__name__}: {error}"
            counts[found.partition(":")[0]] += 1
            if found.startswith("wrong"):
                print(f"{seed} {place[0]} axis {place[1]}: {found[:300]}", flush=True)
    print(f"{options.count} models: {dict(counts)}", flush=True)
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
