#!/usr/bin/env python3
"""Compiles real models and prints the seconds of processor time that each stage takes.

    python benchmarks/compile_time.py [--only REGEX] [--target cpu] [--models ../shared/models] [--json FILE] [--check]

Processor time, so that a busy machine gives the same numbers; the machine's cores do not matter, for one is used. `chain_N` is a
made network of N nodes: its row over that of `chain_N/4` tells whether compile time grows linearly. --check: exit with 1 where a model
takes longer than it may.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from models import CATALOG, ROOT, locate
from onnx import helper, numpy_helper

from tgc import driver
from tgc.backends.options import EmitOptions
from tgc.ir.verify import verify_graph
from tgc.passes import GRAPH_PASSES, PLAIN
from tgc.passes.assemble import assemble
from tgc.passes.heuristic import scheduler_for
from tgc.passes.layout import layout
from tgc.passes.partition import partition
from tgc.passes.polish import polisher_for
from tgc.targets import Target

MODELS = (
    "light_resnet50", "yolox_nano", "mobilenetv2_100", "light_densenet121", "driving_vision_like", "supercombo", "vit_tiny_patch16_224",
)  # fmt: skip
MAY_TAKE = {"light_resnet50": 4.0, "chain_4000": 30.0}  # seconds of processor time
STAGES = ("import", *(step.name for step in GRAPH_PASSES), "verify", "partition", "layout", "lower", "polish", "schedule", "emit")

T = TypeVar("T")


@dataclass(slots=True)
class Clock:
    """Processor seconds by stage. A stage inside another counts for itself alone."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    inner: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        outer, self.inner = self.inner, 0.0
        start = time.process_time()
        yield
        taken = time.process_time() - start
        self.seconds[name] += taken - self.inner
        self.inner = outer + taken

    def timed(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        """`function`, whose calls count for the stage `name`."""

        def call(*arguments: object) -> T:
            with self.stage(name):
                return function(*arguments)

        return call


def compile_timed(model: Path | onnx.ModelProto, target: Target, shapes: dict[str, tuple[int, ...]]) -> dict[str, object]:
    """One row: the stages of `tgc.compile`, one by one."""
    clock = Clock()
    with clock.stage("import"):
        graph = driver.import_graph(model, {}, shapes, "model")
    nodes = len(graph.nodes())
    clock.timed("verify", verify_graph)(graph)
    for step in GRAPH_PASSES:
        before, graph = graph, clock.timed(step.name, step.run)(graph, target)
        if graph is not before:
            clock.timed("verify", verify_graph)(graph)
    parts = [("run", clock.timed("layout", layout)(clock.timed("partition", partition)(graph)))]
    with clock.stage("lower"):
        schedule = clock.timed("schedule", scheduler_for(target))
        program = assemble(parts, graph, PLAIN, clock.timed("polish", polisher_for(target)), schedule)
    clock.timed("emit", driver.emit)(program, target, EmitOptions())
    return {"target": target.name, "nodes": nodes, "kernels": len(program.kernels), "total": sum(clock.seconds.values()), **clock.seconds}


def chain(count: int) -> onnx.ModelProto:
    """A network of `count` nodes: residual blocks of 1x1 and 3x3 convolutions whose widths vary."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"v{len(nodes)}"], **attributes))
        return f"v{len(nodes) - 1}"

    def convolution(source: str, inputs: int, outputs: int, size: int) -> str:
        data = rng.standard_normal((outputs, inputs, size, size)).astype(np.float32)
        weights.append(numpy_helper.from_array(data, f"w{len(nodes)}"))
        return add("Conv", source, f"w{len(nodes)}", pads=[size // 2] * 4)

    at = "x"
    while len(nodes) < count:
        width = 8 + 4 * (len(nodes) // 5 % 16)
        inner = add("Relu", convolution(at, 16, width, 1))
        at = add("Add", add("Sigmoid", convolution(inner, width, 16, 3)), at)
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 16, 14, 14]) for name in ("x", at)]
    return helper.make_model(helper.make_graph(nodes, "chain", value[:1], value[1:], weights), opset_imports=[helper.make_opsetid("", 17)])


def subjects(models: Path, scratch: Path) -> Iterator[tuple[str, Callable[[], Path | onnx.ModelProto | None], dict[str, tuple[int, ...]]]]:
    """Each model's name, how to make or find it, and the shapes it needs."""
    entries = {entry.name: entry for entry in CATALOG}
    for name in MODELS:
        yield name, lambda name=name: locate(entries[name], models, scratch), entries[name].shapes  # type: ignore[misc]
    for count in (250, 1000, 4000):
        yield f"chain_{count}", lambda count=count: chain(count), {}  # type: ignore[misc]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="regular expression on the model's name")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models", help="folder with trained/ and skeletons/")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a model takes longer than it may")
    options = parser.parse_args()
    target = driver.resolve(options.target)
    rows: list[dict[str, object]] = []
    print(f"{'model':22} {'nodes':>5} {'kernels':>7} {'total':>7} " + " ".join(f"{stage[:9]:>9}" for stage in STAGES))
    with tempfile.TemporaryDirectory(prefix="tgc-models-") as scratch:
        for name, make, shapes in subjects(options.models, Path(scratch)):
            model = make() if re.search(options.only, name) else None
            if model is not None:
                row = {"model": name, **compile_timed(model, target, shapes)}
                rows.append(row)
                cells = " ".join(f"{row[stage]:9.2f}" for stage in STAGES)
                print(f"{name:22} {row['nodes']:5} {row['kernels']:7} {row['total']:7.2f} {cells}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    slow = [row["model"] for row in rows if row["total"] > MAY_TAKE.get(str(row["model"]), float("inf"))]  # type: ignore[operator]
    print(f"slower than they may be: {', '.join(map(str, slow)) or 'none'} (of {', '.join(MAY_TAKE)})")
    return 1 if slow and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
