"""Trained models as ONNX Runtime saves them after its own optimisation, compiled and compared with ONNX Runtime on the original.

    python benchmarks/optimised_models.py [--models ../shared/models] [--levels basic,extended,all] [--target cpu] [--only REGEX]

Prints the error as a share of the output's largest magnitude for each model and level.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from models import ROOT, TRAINED, Entry, locate

import tgc
from tgc.frontend_onnx import import_model
from tgc.verify import cases

Array = npt.NDArray[np.generic]
LEVELS = ("basic", "extended", "all")
QUANTISED = (
    *(Entry(f"micro_kws_m_{form}", "trained", {"serving_default_input:0": (1, 1960)}) for form in ("qdq", "qoperator")),
    Entry("mobilenetv2_qdq_int8", "trained", {"image": (1, 3, 244, 244)}), Entry("shufflenet_v2_int8", "trained"),
)  # fmt: skip


def optimised(model: Path, level: str, folder: Path) -> Path:
    """What ONNX Runtime saves of `model`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(folder / f"{model.stem}.{level}.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return folder / f"{model.stem}.{level}.onnx"


def reference(model: Path, feeds: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime answers without optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return list(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, dict(feeds)))


def errors(entry: Entry, path: Path, target: str, levels: list[str]) -> Iterator[tuple[str, float]]:
    """The error of each level. Raises TgcError where a model does not compile."""
    feeds = cases(path, import_model(path, shapes=entry.shapes), "onnxruntime", ranges=entry.ranges)[0].inputs
    wanted = reference(path, feeds)
    for level in levels:
        with tempfile.TemporaryDirectory(prefix="tgc-") as folder:
            saved = optimised(path, level, Path(folder))
            tgc.compile(saved, target, Path(folder) / "out", shapes={n: a.shape for n, a in feeds.items()}, name="model")
            results = tgc.load(Path(folder) / "out").run(dict(feeds))
            names = [value.name for value in onnx.load(saved).graph.output]
        yield level, max(_apart(results[name], value) for name, value in zip(names, wanted, strict=True))


def _apart(got: Array, wanted: Array) -> float:
    exact = wanted.astype(np.float64)
    return float(np.max(np.abs(got.astype(np.float64) - exact)) / max(1e-9, np.max(np.abs(exact))))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--levels", default=",".join(LEVELS))
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    failed = False
    for entry in (e for e in (*TRAINED, *QUANTISED) if re.search(options.only, e.name)):
        path = locate(entry, options.models, Path("."))
        if path is None:
            print(f"{entry.name}: no such file", flush=True)
            continue
        for level in options.levels.split(","):
            try:
                ((_, error),) = errors(entry, path, options.target, [level])
                print(f"{entry.name:26} {level:9} {error:.1e}", flush=True)
                failed |= error > (2e-2 if entry in QUANTISED else 5e-3 if "fp16" in entry.name else 1e-4)
            except Exception as problem:
                failed = True
                print(f"{entry.name:26} {level:9} {type(problem).__name__}: {str(problem)[:300]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
