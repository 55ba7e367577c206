#!/usr/bin/env python3
"""The launches of one run of a model as tinygrad would make them for the Adreno 630, as JSON on standard output; no device is needed.

    DEV=NULL:OpenCL:a630,IMAGE_PITCH_ALIGNMENT=64,cl_khr_fp16 IMAGE=1 FLOAT16=1 NOLOCALS=1 JIT=2 \\
        python benchmarks/qcom_tinygrad.py model.onnx

Runs in an environment of its own that has tinygrad 0.14. Launches that only repack weights are left out (TinyJit's `prune`).
"""

from __future__ import annotations

import json
import sys
from typing import Any


def launches(path: str) -> list[dict[str, Any]]:
    """Name, text and sizes of every kernel that the captured run launches."""
    from tinygrad import Tensor, TinyJit, dtypes
    from tinygrad.nn.onnx import OnnxRunner

    remember()
    runner = OnnxRunner(path)
    inputs = {name: Tensor.empty(*spec.shape, dtype=dtypes.float32).contiguous().realize() for name, spec in runner.graph_inputs.items()}

    def step(**tensors: Any) -> list[Any]:
        return [value.contiguous().realize() for value in runner(tensors).values()]

    jit = TinyJit(step, prune=True)
    for _ in range(2):
        jit(**inputs)
    return [row for call in jit.captured._linear.toposort() if (row := _launch(call)) is not None]


def remember() -> None:
    """Has tinygrad's NULL device keep what is copied to it: constants of the model are read back while it is taken in.

    A device that answers zeros makes every constant of the model zero, and the layers behind a product with zero vanish.
    """
    from tinygrad.runtime.ops_null import NullAllocator

    NullAllocator._alloc = lambda _, size, _options: memoryview(bytearray(size))
    NullAllocator._copyin = lambda _, target, source: _copy(target, source)
    NullAllocator._copyout = lambda _, target, source: _copy(target, source)
    NullAllocator._offset = lambda _, buffer, size, offset: buffer[offset : offset + size]


def _copy(target: memoryview, source: memoryview) -> None:
    target.cast("B")[:] = source.cast("B")


def _launch(call: Any) -> dict[str, Any] | None:
    """A call of a program as a launch; None for anything else."""
    if call.op.name != "CALL" or call.src[0].op.name != "PROGRAM":
        return None
    program = call.src[0]
    text = next(str(part.arg) for part in program.src if part.op.name == "SOURCE")
    sizes = [list(program.arg.global_size), list(program.arg.local_size or (1, 1, 1))]
    return {"name": program.arg.function_name, "src": text, "options": "", "groups": True, "global": sizes[0], "local": sizes[1]}


def main() -> None:
    """Prints the launches of the model that is named on the command line."""
    json.dump(launches(sys.argv[1]), sys.stdout)


if __name__ == "__main__":
    main()
