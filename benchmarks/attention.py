#!/usr/bin/env python3
"""Self-attention over long sequences, with scores in memory and in strips, beside ONNX Runtime.

    python benchmarks/attention.py [--seconds 2] [--sizes 577x6x64,1024x8x64]

TOKENSxHEADSxDEPTH: projections of queries, keys and values by one product, softmax, one more product. Times are the least of many runs
in turns, CPU time of one thread. Prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import tgc
from tgc import driver, passes

Run = Callable[[], object]


def model(tokens: int, heads: int, depth: int) -> onnx.ModelProto:
    """Attention as exporters write it."""
    width, rng = heads * depth, np.random.default_rng(0)
    numbers = {"heads": [1, tokens, 3, heads, depth], "joined": [1, tokens, width], "zero": [0]}
    weights = {"all": rng.standard_normal((width, 3 * width)) / width**0.5, "out": rng.standard_normal((width, width)) / width**0.5}
    weights["scale"] = np.array(depth**-0.5)
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    constants += [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "all"], ["a"]),
        helper.make_node("Reshape", ["a", "heads"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[2, 0, 3, 1, 4]),
        helper.make_node("Split", ["c"], ["q3", "k3", "v3"], axis=0, num_outputs=3),
        *(helper.make_node("Squeeze", [f"{each}3", "zero"], [each]) for each in "qkv"),
        helper.make_node("Mul", ["q", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["k"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["scaled", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["d"]),
        helper.make_node("Transpose", ["d"], ["e"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["e", "joined"], ["f"]),
        helper.make_node("MatMul", ["f", "out"], ["y"]),
    ]
    edges = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, tokens, width])] for name in "xy")
    graph = helper.make_graph(nodes, "attention", *edges, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def compiled(made: onnx.ModelProto, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]], in_strips: bool) -> tuple[Run, int]:
    """tgc's, and its arena in bytes."""
    with tempfile.TemporaryDirectory(prefix="tgc-attention-") as folder:
        with patch.object(passes, "strips", passes.strips if in_strips else lambda graph, _: graph):
            program = driver.compile(made, "cpu", Path(folder), name="attention").program
        loaded = tgc.load(folder)
    y = np.empty_like(x)
    return lambda: loaded.execute([x], [y]), program.arena_bytes


def least(runs: list[Run], seconds: float) -> list[float]:
    """Milliseconds of each, in turns."""
    found: list[list[float]] = [[] for _ in runs]
    end = time.monotonic() + seconds * len(runs)
    while time.monotonic() < end:
        for run, times in zip(runs, found, strict=True):
            begun = time.thread_time()
            run()
            times.append(time.thread_time() - begun)
    return [1e3 * min(times) for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sizes", default="577x6x64,1024x8x64,1500x6x64,2048x8x64")
    given = parser.parse_args()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    print("| tokens x heads x depth | scores in memory, ms | in strips, ms | ONNX Runtime, ms | arena MB | in strips |")
    print("|---|--:|--:|--:|--:|--:|")
    for size in given.sizes.split(","):
        tokens, heads, depth = map(int, size.split("x"))
        made = model(tokens, heads, depth)
        x = np.random.default_rng(1).standard_normal((1, tokens, heads * depth)).astype(np.float32)
        (plain, before), (strips, after) = (compiled(made, x, in_strips) for in_strips in (False, True))
        session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        times = least([plain, strips, lambda run=session.run, x=x: run(None, {"x": x})], given.seconds)
        shown = " | ".join(f"{each:.1f}" for each in (*times, before / 1e6, after / 1e6))
        print(f"| {tokens} x {heads} x {depth} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
