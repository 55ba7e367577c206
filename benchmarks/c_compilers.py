#!/usr/bin/env python3
"""Generated C beside LLVM's object code: what this machine's C compiler makes of the same model for each target.

    python benchmarks/c_compilers.py MODEL.onnx [MODEL.onnx ..] [--targets cpu,c,c:avx512] [--seconds 2] [--precision bf16]

Times are the least of many runs in turns, CPU time of one thread. Prints a table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from attention import least

import tgc
from tgc.run.model import Model


def inputs_of(model: Model) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    rng = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...], is_float: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        return np.asarray(rng.standard_normal(shape)) if is_float else rng.integers(1, 50, shape)

    return {tensor.name: drawn(tensor.shape, tensor.dtype.is_float).astype(tensor.dtype.numpy) for tensor in model.inputs}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--targets", default="cpu,c,c:avx512")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model and target")
    parser.add_argument("--precision")
    parser.add_argument("--dim", action="append", default=[], help="NAME=SIZE of an open dimension")
    options = parser.parse_args()
    names, dims = options.targets.split(","), {name: int(size) for name, _, size in (each.partition("=") for each in options.dim)}
    print(f"| model | {' | '.join(names)} |\n|---|{'--:|' * len(names)}")
    for path in options.models:
        with tempfile.TemporaryDirectory(prefix="tgc-c-") as folder:
            models = []
            for number, name in enumerate(names):
                tgc.compile(path, name, Path(folder, str(number)), precision=options.precision, name="net", dims=dims)
                models.append(tgc.load(Path(folder, str(number))))
            inputs = inputs_of(models[0])
            times = least([partial(model.run, inputs) for model in models], options.seconds)
        print(f"| {path.stem} | {' | '.join(f'{each:.3g}' for each in times)} |", flush=True)


if __name__ == "__main__":
    main()
