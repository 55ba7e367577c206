#!/usr/bin/env python3
"""Every trained model with an axis that is open: one artifact a target, run at three sizes and compared with ONNX Runtime at each.

    python benchmarks/open_models.py [--models ../shared/models/trained] [--target cpu,c,opencl] [--only REGEX] [--jobs 2]

The batch is open in every model that ONNX Runtime runs with another one once its inputs no longer say 1, and lengths and sizes of images
where the model was exported for any. What agrees is as in benchmarks/trained_models.py; where ONNX Runtime is further off, as its own
optimisation levels are from each other on random inputs, the program for that one size has to answer the same. Writes
benchmarks/results/open_models.json and prints a table. Exit status 1 where a model that ONNX Runtime runs is refused or does not agree.
Nothing is timed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from models import ROOT
from trained_models import COMPILED_IN, TARGETS, Entry, compared, drawn, kept, steps, swept

Array = npt.NDArray[np.generic]
RESULTS = ROOT / "benchmarks" / "results" / "open_models.json"
Sizes = dict[str, int]
Axes = Mapping[str, tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class Opening:
    """How the axes of a model's inputs are called, and three sizes of each name. axes: by default axis 0 is the batch."""

    axes: Axes
    sizes: tuple[Sizes, ...]
    steps: Mapping[str, int]

    def ranges(self) -> dict[str, tuple[int, int, int]]:
        names = self.sizes[0]
        return {n: (min(s[n] for s in self.sizes), max(s[n] for s in self.sizes), self.steps.get(n, 1)) for n in names}


def _opening(axes: Axes | None = None, steps: Mapping[str, int] | None = None, **more: tuple[int, int, int]) -> Opening:
    names = {"batch": (4, 3, 1), **more}
    return Opening(axes or {}, tuple({name: sizes[n] for name, sizes in names.items()} for n in range(3)), steps or {})


IMAGE = ("batch", 3, "height", "width")
OPEN: dict[str, Opening] = {
    "basic_pitch_nmp": _opening(batch=(2, 2, 1)),
    "fsmn_vad_offline": Opening({"speech": (1, "frames", 400)}, ({"frames": 100}, {"frames": 57}, {"frames": 2}), {}),
    "gtcrn_simple": _opening({
        "mix": ("batch", 257, 1, 2), "conv_cache": (2, "batch", 16, 16, 33), "tra_cache": (2, 3, 1, "batch", 16),
        "inter_cache": (2, "batch", 33, 16),
    }),
    "libtashkeel_ort_small": _opening({"char_inputs": ("batch", "seq"), "input_lengths": ("batch",)}, seq=(24, 13, 5)),
    "mobilenetv2_qdq_int8": _opening(batch=(2, 2, 1)),
    "silero_vad_op18_ifless": _opening({"input": ("batch", 576), "state": (2, "batch", 128)}),
    "silero_vad_v5": _opening({"input": ("batch", 512), "state": (2, "batch", 128)}),
    "tract_bidi_lstm": _opening({"input": ("batch", "length")}, length=(60, 31, 2)),
    "yunet_n_dynamic": _opening(
        {"input": IMAGE}, {"height": 32, "width": 32}, batch=(2, 1, 2), height=(320, 160, 64), width=(256, 320, 96)
    ),
}  # fmt: skip
"""The models whose batch is not simply axis 0, or with more than that."""


def opening_of(entry: Entry) -> Opening:
    return OPEN.get(entry.name) or _opening()


def relaxed(model: onnx.ModelProto, opening: Opening) -> onnx.ModelProto:
    """The model with names for the open axes of its inputs, and nothing said about the shapes of what it computes."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in weights or not dims:
            continue
        names = opening.axes.get(value.name) or ("batch", *(dim.dim_value for dim in list(dims)[1:]))
        for dim, name in zip(dims, names, strict=True):
            dim.Clear()
            if isinstance(name, str):
                dim.dim_param = name
            else:
                dim.dim_value = name
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def inputs_at(session: Any, entry: Entry, sizes: Sizes) -> dict[str, Array]:
    rng = np.random.default_rng(sum(sizes.values()))
    made = {}
    for value in session.get_inputs():
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in value.shape)
        made[value.name] = drawn(rng, value.type, shape, entry.ranges.get(value.name))
    if "input_lengths" in made:
        made["input_lengths"] = np.maximum(sizes["seq"] - np.arange(sizes["batch"]), 1)
    return made


def measure(entry: Entry, path: Path, target: str) -> dict[str, object]:
    """One row: the worst error over all sizes, and whether all agree; or why ONNX Runtime does not run the model so."""
    import onnxruntime

    opening = opening_of(entry)
    model = relaxed(onnx.load(path), opening)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    ranges = opening.ranges()
    row: dict[str, object] = {"open": {name: f"{low}..{high}" for name, (low, high, _) in ranges.items() if low < high}}
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = [inputs_at(session, entry, sizes) for sizes in opening.sizes]
        wanted = [dict(zip([v.name for v in session.get_outputs()], session.run(None, each), strict=True)) for each in feeds]
    except Exception as error:
        return {**row, "fixed": str(error).splitlines()[0][-160:]}
    frozen = {name: feeds[0][name] for name in COMPILED_IN.get(entry.name, ())}
    scales = steps(path)
    given = [{name: value for name, value in each.items() if name not in frozen} for each in feeds]
    found = answers(model, target, {name: sizes if sizes[0] < sizes[1] else sizes[0] for name, sizes in ranges.items()}, frozen, given)
    results = [compared(f, w, scales) for f, w in zip(found, wanted, strict=True)]
    for n, result in enumerate(results):
        if not result["agrees"]:
            (pinned,) = answers(model, target, opening.sizes[n], frozen, given[n : n + 1])
            result["agrees"] = all(np.allclose(found[n][name], value, 1e-5, 1e-6) for name, value in pinned.items())
    worst = {key: max(float(str(r[key])) for r in results) for key in ("error", "steps") if results[0][key] is not None}
    return {**row, "agrees": all(r["agrees"] for r in results), **worst}


def answers(
    model: onnx.ModelProto, target: str, dims: Mapping[str, Any], constants: dict[str, Array], feeds: list[dict[str, Array]]
) -> list[dict[str, Array]]:
    """What one artifact makes of each of `feeds`."""
    import tgc

    with tempfile.TemporaryDirectory(prefix="tgc-") as folder:
        tgc.compile(model, target, folder, dims=dict(dims), constants=constants, name="model")
        loaded = tgc.load(folder)
        return [loaded.run(each) for each in feeds]


def table(rows: list[dict[str, object]]) -> str:
    """A line a model."""
    lines = [f"| model | open | {' | '.join(TARGETS)} |", f"|---|---|{'--:|' * len(TARGETS)}"]
    for name in dict.fromkeys(str(row["model"]) for row in rows):
        own = {str(row["target"]): row for row in rows if row["model"] == name}
        axes: Any = next(iter(own.values())).get("open", {})
        cells = [_cell(own[target]) if target in own else "" for target in TARGETS]
        lines.append(f"| {name} | {', '.join(f'{axis} {sizes}' for axis, sizes in axes.items())} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict[str, object]) -> str:
    if "fixed" in row:
        return "one size only"
    if "failure" in row:
        return "fails"
    worst = float(str(row["steps" if "steps" in row else "error"]))
    error = "equal" if not worst else f"{worst:.2g} steps" if "steps" in row else f"{worst:.0e}"
    return error if row["agrees"] else f"**{error}**"


def main() -> int:
    rows = swept(Path(__file__), __doc__, RESULTS, measure)
    if rows:
        print(table(kept(RESULTS, rows)))
    return 0 if all(row.get("agrees") or "fixed" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
