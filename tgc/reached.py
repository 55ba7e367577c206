"""What arithmetic and memory reach on the machine at hand, measured with kernels of tgc's own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tgc.driver import compile, resolve
from tgc.roof import Roof
from tgc.run import load
from tgc.targets import Target, with_threads

_SIDE = 512
_COPIED = 1 << 24
"""Elements of the tensor that is copied: more than caches hold."""
_SECONDS = 0.15


def reached(target: Target) -> Roof:
    """The roof of `target` on this machine: a product of matrices that stay in the cache, and reading and writing 64 MB.

    With as many threads as the target has; a compiler of C counts as the processor that it compiles for. Raises TgcError where the
    target's code does not run here, ToolchainError where threads need a C compiler that is missing.
    """
    if target.backend == "c":
        target = with_threads(resolve("cpu"), target.threads)
    threads = f", {target.threads} threads" if target.threads > 1 else ""
    product, copy = 2 * _SIDE**3 / _least_seconds(_product(), target), 2 * 4 * _COPIED / _least_seconds(_copy(), target)
    return Roof(product, copy, f"measured here: a product of {_SIDE} x {_SIDE} matrices and a copy of {4 * _COPIED >> 20} MB{threads}")


def _product() -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((_SIDE, _SIDE)).astype(np.float32)
    return _model(helper.make_node("MatMul", ["x", "w"], ["y"]), (_SIDE, _SIDE), [numpy_helper.from_array(weights, "w")])


def _copy() -> onnx.ModelProto:
    return _model(helper.make_node("Relu", ["x"], ["y"]), (_COPIED,), [])


def _model(node: onnx.NodeProto, shape: tuple[int, ...], weights: list[TensorProto]) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    return helper.make_model(helper.make_graph([node], "reached", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)])


def _least_seconds(model: onnx.ModelProto, target: Target) -> float:
    """The least time of a run, of as many as fit the budget: CPU time of one thread, which others cannot take, else wall time."""
    clock = time.thread_time if target.threads == 1 and target.backend != "opencl" else time.perf_counter
    with tempfile.TemporaryDirectory(prefix="tgc-reached-") as folder:
        path = Path(folder) / "reached"
        compile(model, target, path, name="reached")
        ready = load(path, threads=target.threads)
    inputs, outputs = ready.prepared({tensor.name: np.ones(tensor.shape, np.float32) for tensor in ready.inputs})
    ready.execute(inputs, outputs)
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < _SECONDS or best == float("inf"):
        start = clock()
        ready.execute(inputs, outputs)
        best = min(best, clock() - start)
    return best
