"""--single: what some ONNX nodes read and compute is stored in single precision, on a target that stores half."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from test_backend_opencl import device

from tgc import driver
from tgc.cli import invoke
from tgc.errors import OptionError
from tgc.ir.dtypes import F16, F32
from tgc.ir.program import Program
from tgc.passes.half_sums import products
from tgc.run import load
from tgc.tune.search import problems_of

DEPTH, CHANNELS, SIZE = 6, 24, 12


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """3x3 convolutions c0 to c5 in a row, all of one shape, so that zeros around one's input may serve the others."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=(CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 12 for _ in range(DEPTH)]
    tensors = [numpy_helper.from_array(weight, f"w{n}") for n, weight in enumerate(weights)]
    nodes = [helper.make_node("Conv", [f"t{n}", f"w{n}"], [f"t{n + 1}"], f"c{n}", pads=[1, 1, 1, 1]) for n in range(DEPTH)]
    ends = [helper.make_tensor_value_info(f"t{n}", onnx.TensorProto.FLOAT, [1, CHANNELS, SIZE, SIZE]) for n in (0, DEPTH)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def inputs() -> dict[str, np.ndarray]:
    return {"t0": np.random.default_rng(4).normal(size=(1, CHANNELS, SIZE, SIZE)).astype(np.float32)}


def stored(program: Program, origin: str) -> set[object]:
    """The types of what the calls that compute `origin` read and write, the caller's own left out."""
    names = {argument.storage for call in program.calls if origin in call.origins for argument in call.arguments}
    return {s.dtype for s in program.storages if s.name in names and s.role in ("arena", "weight")}


def test_what_named_nodes_read_and_compute_is_single(model):
    program = driver.compile(model, "qcom", single="c[12]").program
    assert [stored(program, f"c{n}") for n in range(DEPTH)] == [{F16, F32}, {F32}, {F32}, {F16, F32}, {F16}, {F16}]


def result(model: Path, folder: Path, **options: str | None) -> np.ndarray:
    driver.compile(model, "qcom", folder, **options)
    return load(folder).run(inputs())[f"t{DEPTH}"]


@pytest.mark.parametrize("precision", ["mixed", "fp16"])
def test_the_error_shrinks_with_what_is_single(model, tmp_path, precision):
    """Halves and floats with zeros around them share no bytes, whatever their shapes."""
    device()
    expected = result(model, tmp_path / "exact", precision="fp32")
    found = [result(model, tmp_path / f"out{n}", precision=precision, single=s) for n, s in enumerate((None, "c[01]", ".*"))]
    none, some, whole = (float(np.abs(each - expected).max() / np.abs(expected).max()) for each in found)
    assert 1e-2 > none > some > whole
    assert none > 2e-4
    assert whole < 1e-6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "cpu"}, "stores no results in half"),
        ({"target": "qcom", "precision": "fp32"}, "stores no results in half"),
        ({"target": "qcom", "single": "c["}, "is no regular expression"),
        ({"target": "qcom", "single": "conv"}, "no node's whole name matches 'conv'"),
    ],
)
def test_what_means_nothing_is_an_error(model, options, said):
    with pytest.raises(OptionError, match=said):
        driver.compile(model, **{"single": "c1", **options})


def test_the_command_line_says_what_nodes_there_are(model, capsys):
    assert invoke(["compile", str(model), "--target", "qcom", "--single", "conv", "-o", str(model.parent / "out")]) == 1
    assert "there are c0, c1, c2 and 3 more" in " ".join(capsys.readouterr().err.split())
    assert not (model.parent / "out").exists()


def test_a_search_knows_how_often_each_kernel_is_launched(model):
    """Images make several kernels of one and join others; what is counted are launches of kernels as they were scheduled."""
    _, problems = problems_of(model, "qcom", {})
    convolutions = [problem.calls for problem in problems if products(problem.kernel.body)]
    assert sum(convolutions) == DEPTH
    assert len(convolutions) < DEPTH
