#!/usr/bin/env python3
"""ONNX's node tests in every older version of their operator, from opset 7 on, against ONNX Runtime.

    python benchmarks/onnx_versions.py [--only TEXT] [--names]

The node tests are written for the newest opset. Each model of one node is taken back to the opset that each earlier version of its
operator began with, inputs that were attributes then turned into such; what that version's schema does not have (an attribute, a type,
one more input) is left out, as is what ONNX Runtime does not run. Graphs are interpreted. Prints the answers that differ and what is
refused though ONNX Runtime runs it; exit status 1 where there is a wrong one.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper
from onnx_cases import RANDOM, data_sets, names_of, tests

from tgc.errors import TgcError
from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph
from tgc.run.open_shapes import live, raw_inputs

Array = npt.NDArray[np.generic]
Inputs = dict[str, Array]
FIRST = 7
APART = {
    "test_maxunpool_export_with_output_shape": "indices are those of output_shape in ONNX Runtime, and of what was pooled in ONNX's tests",
    "test_quantizelinear_axis": "one scale an axis came with opset 13; ONNX Runtime takes it before",
    "test_resize_downsample_scales_cubic_align_corners": "the width is rounded first in ONNX Runtime, and not in ONNX's tests",
    "test_resize_downsample_scales_linear_align_corners": "likewise",
}
"""Tests in which ONNX Runtime and ONNX say different things."""
LOOSE = {np.float16: 4e-3}


def earlier(op_type: str, newest: int) -> list[int]:
    """The opsets that began the versions of an operator before the one of opset `newest`, and 7 for what is older."""
    began = {max(s.since_version, FIRST) for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", op_type)}
    current = onnx.defs.get_schema(op_type, newest).since_version
    return sorted(version for version in began if version < max(current, FIRST))


def taken_back(model: onnx.ModelProto, inputs: Mapping[str, Array], opset: int) -> tuple[onnx.ModelProto, Inputs] | None:
    """The model in an older opset, and its inputs; None where that opset cannot say it."""
    (node,) = model.graph.node
    try:
        old = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return None
    new = onnx.defs.get_schema(node.op_type, model.opset_import[0].version)
    made, rest = onnx.ModelProto(), dict(inputs)
    made.CopyFrom(model)
    made.opset_import[0].version = opset
    made.ir_version = min(made.ir_version, 8)
    (changed,) = made.graph.node
    known = [formal.name for formal in old.inputs]
    for position, name in reversed(list(enumerate(node.input))):
        formal = new.inputs[min(position, len(new.inputs) - 1)].name
        if formal in known or len(known) > position:
            continue
        if name and (formal not in old.attributes or name not in rest or not rest[name].size):
            return None
        del changed.input[position]
        if name:
            changed.attribute.append(helper.make_attribute(formal, rest.pop(name).tolist()))
            kept = [value for value in made.graph.input if value.name != name]
            del made.graph.input[:]
            made.graph.input.extend(kept)
    if any(attribute.name not in old.attributes for attribute in changed.attribute):
        return None
    return made, rest


def cases(only: str) -> Iterator[tuple[str, onnx.ModelProto, Inputs]]:
    """Name, model and inputs of each node test of one node of the default domain."""
    for name in names_of("node"):
        if only not in name or name.startswith(RANDOM) or name in APART:
            continue
        for model, inputs, _ in data_sets(tests("node")[name]):
            if len(model.graph.node) == 1 and not model.graph.node[0].domain and all(isinstance(v, np.ndarray) for v in inputs):
                yield name, model, dict(zip([value.name for value in model.graph.input], inputs, strict=False))
            break


def expected(model: onnx.ModelProto, inputs: Inputs) -> list[Array] | None:
    """What ONNX Runtime answers; None where it, or the older opset, does not know the model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        onnx.checker.check_model(model, full_check=True)
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = list(session.run(None, inputs))
    except Exception:
        return None
    return found if all(isinstance(value, np.ndarray) for value in found) else None


def answer(model: onnx.ModelProto, inputs: Inputs) -> list[Array]:
    """What tgc answers, shapes compiled in and, where that is not enough, small integers too."""
    shapes = {name: value.shape for name, value in inputs.items()}
    try:
        graph = import_model(model, shapes=shapes)
    except TgcError:
        frozen = {name: value for name, value in inputs.items() if value.ndim <= 1}
        inputs = {name: value for name, value in inputs.items() if name not in frozen}
        graph = import_model(model, shapes={name: value.shape for name, value in inputs.items()}, constants=frozen)
    with np.errstate(all="ignore"):
        return list(live(graph.open, run_graph(graph, raw_inputs(graph.open, graph.inputs, inputs))).values())


def differs(found: list[Array], wanted: list[Array]) -> str:
    """How the answers differ; "" where they do not."""
    for mine, theirs in zip(found, wanted, strict=True):
        if theirs.dtype == np.uint8 and mine.dtype.itemsize == 1:
            mine = mine.view(np.uint8)  # floats of eight bits
        if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
            return f"{mine.dtype} {mine.shape}, not {theirs.dtype} {theirs.shape}"
        near, right = LOOSE.get(theirs.dtype.type, 1e-3), theirs.astype(np.float64)
        scale = max(1.0, float(np.abs(right[np.isfinite(right)]).max(initial=0)))
        if not np.allclose(mine.astype(np.float64), right, near, near / 100 * scale, equal_nan=True):
            return "other values"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="tests whose name holds this text")
    parser.add_argument("--names", action="store_true", help="print what agrees, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    versions: set[tuple[str, int]] = set()
    for name, model, inputs in cases(options.only):
        op_type = model.graph.node[0].op_type
        for opset in earlier(op_type, model.opset_import[0].version):
            back = taken_back(model, inputs, opset)
            wanted = expected(*back) if back else None
            if back is None or wanted is None:
                counts["not in that opset, or not in ONNX Runtime"] += 1
                continue
            try:
                said = differs(answer(*back), wanted)
                kind = f"WRONG: {said}" if said else "right"
            except TgcError as error:
                kind = f"refused: {error.what}"
            counts[kind.split(":")[0]] += 1
            versions.add((op_type, opset))
            if kind != "right" or options.names:
                print(f"{name} in opset {opset}: {kind}", flush=True)
    print(f"{len(versions)} versions of {len({name for name, _ in versions})} operators: {dict(counts)}")
    return 1 if counts["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
