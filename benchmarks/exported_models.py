"""Networks exported by torch's two exporters: compiled for three targets and compared with what torch computes.

    python benchmarks/exported_models.py export FOLDER [NAME ..]     with a Python that has torch and onnxscript
    python benchmarks/exported_models.py check FOLDER [--target cpu]  with a Python that has tgc

A folder has NAME.EXPORTER.onnx and NAME.npz, the inputs x0, x1, .. and results y0, y1, .. that torch gives.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

TARGETS = ("cpu", "c", "opencl")
OPSET = 18


def export(folder: Path, names: Sequence[str]) -> None:
    """Writes the models and what torch makes of their example inputs."""
    import torch
    from exported_architectures import networks

    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, inputs) in networks().items():
        if names and name not in names:
            continue
        with torch.no_grad():
            results = module(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        arrays = {f"x{n}": x.numpy() for n, x in enumerate(inputs)} | {f"y{n}": y.numpy() for n, y in enumerate(results)}
        np.savez(folder / f"{name}.npz", **arrays)
        for exporter in ("script", "dynamo"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                path = folder / f"{name}.{exporter}.onnx"
                torch.onnx.export(module, inputs, path, dynamo=exporter == "dynamo", opset_version=OPSET, external_data=False)
            print(path.name, flush=True)


def check(folder: Path, target: str) -> Iterator[tuple[str, float]]:
    """For each model in the folder, how far the results are from torch's, as a share of their largest magnitude. Raises TgcError."""
    import onnx

    import tgc

    for path in sorted(folder.glob("*.onnx")):
        recorded = np.load(folder / f"{path.name.split('.')[0]}.npz")
        model = onnx.load(path)
        feeds = {value.name: recorded[f"x{n}"] for n, value in enumerate(model.graph.input)}
        out = folder / "compiled" / f"{path.stem}.{target}"
        tgc.compile(path, target, out, shapes={name: array.shape for name, array in feeds.items()}, name="model")
        results = tgc.load(out).run(feeds)
        worst = 0.0
        for n, value in enumerate(model.graph.output):
            got, wanted = results[value.name].astype(np.float64), recorded[f"y{n}"].astype(np.float64)
            worst = max(worst, float(np.max(np.abs(got - wanted)) / max(1e-6, np.max(np.abs(wanted)))))
        yield path.stem, worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("export", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--target", choices=TARGETS, action="append")
    options = parser.parse_args()
    if options.what == "export":
        export(options.folder, options.names)
        return 0
    worst = 0.0
    for target in options.target or TARGETS:
        for name, error in check(options.folder, target):
            print(f"{name:24} {target:8} {error:.1e}", flush=True)
            worst = max(worst, error)
    return 1 if worst > 1e-4 else 0


if __name__ == "__main__":
    sys.exit(main())
