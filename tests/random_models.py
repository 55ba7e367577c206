"""Random ONNX models against ONNX Runtime.

    python tests/random_models.py --first 0 --count 2000 [--rarer]

A model of 3 to 30 nodes follows from its seed alone. It is grown a node at a time; each new node is run by ONNX Runtime, without
any optimisation, on the values so far and on two copies of them in which every float of every step is moved by some last bits. A node
whose result is not finite, too large, or jumps from such noise is not added: what hangs on last bits is no test. The
copies also say how exact the answer of another implementation can be expected to be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from random_model_layers import FAMILIES
from random_model_operators import SIZES, Array, Draw, Drawn, NoFitError
from random_model_rarer import RARER

import tgc
from tgc.errors import ModelError, UnsupportedError

Families = tuple[tuple[Callable[[Draw], Drawn], float], ...]
EVERY: Families = (*FAMILIES, *((family, 3 * share) for family, share in RARER))
COUNTING = ("NonMaxSuppression", "NonZero", "Unique")
"""Results as long as the data say, which are refused, with a ModelError, where they would have to have one length."""
OPSET = 24
COPIES = 2
NOISE = {np.dtype(np.float16): 2.0**-9, np.dtype(np.float32): 2.0**-18, np.dtype(np.float64): 2.0**-40}
MOST_ELEMENTS = 1 << 14
TARGETS = ("cpu", "cpu", "c", "cpu", "cpu", "cpu", "opencl", "cpu", "cpu", "c")
"""By the last digit of the seed."""


@dataclass(frozen=True, slots=True)
class RandomModel:
    """values: of every tensor, by name: as it is, then the disturbed copies."""

    model: onnx.ModelProto
    feeds: dict[str, Array]
    values: dict[str, tuple[Array, ...]]


def generate(seed: int, families: Families = FAMILIES) -> RandomModel:
    """The model of `seed`, drawn from `families`."""
    rng = np.random.default_rng(seed)
    draw, values, nodes = Draw(rng), {}, []
    feeds = {f"x{n}": _input(rng, n) for n in range(int(rng.integers(1, 4)))}
    for name, array in feeds.items():
        draw.values[name] = array
        values[name] = (array, *(_disturbed(rng, array) for _ in range(COPIES)))
    wanted = int(rng.integers(3, 31))
    share = np.array([weight for _, weight in families])
    for _ in range(wanted * 8):
        if len(nodes) == wanted:
            break
        kept = dict(draw.weights), dict(draw.values)
        family = families[int(rng.choice(len(families), p=share / share.sum()))][0]
        try:
            drawn = family(draw)
            made = _evaluated(rng, drawn, draw, values)
        except NoFitError:
            draw.weights, draw.values = kept
            continue
        names = [f"v{len(nodes)}_{k}" for k in range(drawn.outputs)]
        nodes.append(helper.make_node(drawn.op_type, drawn.inputs, names, name=f"n{len(nodes)}", **drawn.attributes))
        for name, arrays in zip(names, made, strict=True):
            values[name], draw.values[name] = arrays, arrays[0]
    return RandomModel(_model(nodes, feeds, draw.weights, values, _ends(nodes)), feeds, values)


def _input(rng: np.random.Generator, number: int) -> Array:
    rank = int(rng.choice([1, 2, 3, 3, 4, 4, 5]))
    shape = [int(rng.choice(SIZES[: 13 - 2 * rank])) for _ in range(rank)]
    if number and rng.random() < 0.3:
        return rng.integers(0, 9, shape).astype(str(rng.choice(["int64", "int32", "uint8", "int8", "bool"])))
    return rng.standard_normal(shape).astype(np.float32)


def _disturbed(rng: np.random.Generator, array: Array) -> Array:
    """Moved by some last bits of each element, and by a last bit of the largest, which is how exact sums and 1 + erf(x) are."""
    noise = NOISE.get(array.dtype)
    if noise is None:
        return array
    whole = (array != 0) * noise / 16 * np.max(np.abs(array), initial=0) * rng.uniform(-1, 1, array.shape)
    return (array * (1 + noise * rng.uniform(-1, 1, array.shape)) + whole).astype(array.dtype)


def _ends(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """The values that no node reads."""
    read = {name for node in nodes for name in node.input}
    return [name for node in nodes for name in node.output if name not in read]


def _evaluated(rng: np.random.Generator, drawn: Drawn, draw: Draw, values: Mapping[str, tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    """What ONNX Runtime makes of the node, for the values and their copies. Raises NoFitError where the node is not to be added."""
    import onnxruntime

    weights = {n: draw.weights[n] for n in drawn.inputs if n in draw.weights}
    feeds = {n: values[n] for n in drawn.inputs if n and n not in weights}
    node = helper.make_node(drawn.op_type, drawn.inputs, [f"y{k}" for k in range(drawn.outputs)], **drawn.attributes)
    model = _model([node], {n: a[0] for n, a in feeds.items()}, weights, {}, list(node.output))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        runs = [session.run(None, {n: a[k] for n, a in feeds.items()}) for k in range(COPIES + 1)]
    except Exception as error:  # Not a model, or not one for ONNX Runtime: each has errors of its own.
        raise NoFitError from error
    if not all(isinstance(y, np.ndarray) for y in runs[0]) or any(_jumps(column) for column in zip(*runs, strict=True)):
        raise NoFitError
    return [(column[0], *(_disturbed(rng, y) for y in column[1:])) for column in zip(*runs, strict=True)]


def _jumps(column: Sequence[Array]) -> bool:
    """Whether a result says nothing, or says something else in the copies."""
    exact = column[0]
    if not 0 < exact.size <= MOST_ELEMENTS:
        return True
    if exact.dtype not in NOISE:
        if exact.dtype.kind in "iu" and exact.dtype.itemsize > 2 and np.max(np.abs(exact.astype(np.float64))) > 1 << 24:
            return True  # Sums and products that overflow are anyone's.
        return any(not np.array_equal(exact, copy) for copy in column[1:])
    if not all(np.all(np.isfinite(copy)) for copy in column):
        return True
    wide = exact.astype(np.float64)
    size = np.max(np.abs(wide))
    apart = max(np.max(np.abs(copy.astype(np.float64) - wide)) for copy in column[1:])
    return not (size < (1e3 if exact.dtype == np.float16 else 1e5) and apart < 0.03 * max(size, 1e-3))


def _model(
    nodes: Sequence[onnx.NodeProto], feeds: Mapping[str, Array], weights: Mapping[str, Array], values: Mapping[str, tuple[Array, ...]],
    ends: Sequence[str],
) -> onnx.ModelProto:  # fmt: skip
    read = {name for node in nodes for name in node.input}
    inputs = [_declared(n, a) for n, a in feeds.items()]
    outputs = [_declared(n, values[n][0]) if n in values else onnx.ValueInfoProto(name=n) for n in ends]
    tensors = [numpy_helper.from_array(a, n) for n, a in weights.items() if n in read]
    graph = helper.make_graph(nodes, "random", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _declared(name: str, array: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def differences(made: RandomModel, target: str) -> Iterator[str]:
    """What tgc answers otherwise than ONNX Runtime, a line each. Raises TgcError where it does not compile the model."""
    with tempfile.TemporaryDirectory(prefix="tgc-") as folder:
        tgc.compile(made.model, target, folder, name="model")
        results = tgc.load(folder).run({n: a for n, a in made.feeds.items()})
    for value in made.model.graph.output:
        got, (wanted, *copies) = results[value.name], made.values[value.name]
        if got.dtype != wanted.dtype or got.shape != wanted.shape:
            yield f"{value.name}: {got.dtype} {list(got.shape)} for {wanted.dtype} {list(wanted.shape)}"
        elif wanted.dtype not in NOISE:
            if not np.array_equal(got, wanted):
                yield f"{value.name}: {np.sum(got != wanted)} of {wanted.size} elements differ ({wanted.dtype})"
        else:
            yield from apart(value.name, got, wanted, copies)


def apart(name: str, got: Array, wanted: Array, copies: Sequence[Array]) -> Iterator[str]:
    """A line where `got` is further from `wanted` than the disturbed copies make likely."""
    exact = wanted.astype(np.float64)
    noise = np.max([np.abs(copy.astype(np.float64) - exact) for copy in copies], axis=0)
    allowed = 4 * noise + 2 * noise.mean() + 0.5 * NOISE[wanted.dtype] * np.max(np.abs(exact)) + 1e-7
    error = np.abs(got.astype(np.float64) - exact)
    if not np.all(error <= allowed):
        worst = int(np.argmax(np.where(np.isfinite(error), error / allowed, np.inf)))
        yield f"{name}: {got.reshape(-1)[worst]} for {exact.reshape(-1)[worst]}, {np.sum(~(error <= allowed))} of {got.size} elements off"


def smallest_failure(made: RandomModel, target: str) -> RandomModel:
    """The model cut down to what the first tensor needs that is wrong when it alone is computed; the whole model where none is."""
    nodes = list(made.model.graph.node)
    for count, node in enumerate(nodes, 1):
        for name in node.output:
            cut = _cut(made, nodes[:count], name)
            try:
                if any(differences(cut, target)):
                    return cut
            except Exception:  # refused, or a defect
                return cut
    return made


def _cut(made: RandomModel, nodes: Sequence[onnx.NodeProto], end: str) -> RandomModel:
    needed, kept = {end}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.insert(0, node)
            needed |= set(node.input)
    weights = {t.name: numpy_helper.to_array(t) for t in made.model.graph.initializer if t.name in needed}
    feeds = {n: a for n, a in made.feeds.items() if n in needed}
    return RandomModel(_model(kept, feeds, weights, made.values, [end]), feeds, made.values)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Random ONNX models against ONNX Runtime.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--target", help="one target for all; by default cpu, and c and opencl for a share")
    parser.add_argument("--rarer", action="store_true", help="draw operators that few models have, too")
    parser.add_argument("--save", type=Path, help="folder for the models that fail, cut down")
    options = parser.parse_args(arguments)
    wrong, refused = 0, 0
    for seed in range(options.first, options.first + options.count):
        target = options.target or TARGETS[seed % 10]
        made = generate(seed, EVERY if options.rarer else FAMILIES)
        try:
            found = list(differences(made, target))
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
            counts = any(node.op_type in COUNTING for node in made.model.graph.node)
            if isinstance(error, UnsupportedError) or (isinstance(error, ModelError) and counts):
                refused += 1
                print(f"{seed} {target} refused: {error}", flush=True)
                continue
        if found:
            wrong += 1
            cut = smallest_failure(made, target)
            steps = ", ".join(node.op_type for node in cut.model.graph.node)
            print(f"{seed} {target} WRONG: {found[0][:300]}\n    {len(made.model.graph.node)} nodes, cut down: {steps}", flush=True)
            if options.save:
                onnx.save(cut.model, options.save / f"{seed}.onnx")
    print(f"{options.count} models, {wrong} wrong, {refused} refused", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
