"""--half-from: sums in half in large kernels alone; and `tgc halves`, which finds how large."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from test_backend_opencl import device
from test_qcom_ahead import TWICE, kernel

from tgc import driver, targets
from tgc.cli import invoke
from tgc.errors import OptionError
from tgc.inputs import draw
from tgc.ir.dtypes import F16, F32
from tgc.ir.graph import Graph
from tgc.ir.kernel import Alloc
from tgc.ir.program import Program
from tgc.ir.rewrite import statements
from tgc.ir.text import parse_kernel, print_kernel
from tgc.lock import describe
from tgc.passes.half_sums import products
from tgc.run import load
from tgc.verify.halves import round_between

WIDTHS = (16, 24, 64, 128, 32)  # products with vectors: 16 x 24, 24 x 64, 64 x 128 and 128 x 32 for each of ROWS
ROWS = 40


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Four products with constants, m0 to m3, the last but one the largest; the first reads the caller's floats."""
    rng = np.random.default_rng(5)
    pairs = list(pairwise(WIDTHS))
    weights = [(rng.normal(size=pair) / np.sqrt(pair[0])).astype(np.float32) for pair in pairs]
    tensors = [numpy_helper.from_array(weight, f"w{n}") for n, weight in enumerate(weights)]
    nodes = [helper.make_node("MatMul", [f"t{n}", f"w{n}"], [f"p{n}"], f"m{n}") for n in range(len(pairs))]
    nodes += [helper.make_node("Relu", [f"p{n}"], [f"t{n + 1}"], f"r{n}") for n in range(len(pairs))]
    nodes.sort(key=lambda node: node.name[1:])
    ends = [helper.make_tensor_value_info(name, 1, [ROWS, size]) for name, size in (("t0", WIDTHS[0]), (f"t{len(pairs)}", WIDTHS[-1]))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def in_half(program: Program) -> set[str]:
    """The ONNX nodes whose kernels have sums in half."""
    summing = {k.name for k in program.kernels if any(isinstance(a, Alloc) and a.buffer.dtype == F16 for a in statements(k.body))}
    return {origin for call in program.calls if call.kernel in summing for origin in call.origins if origin.startswith("m")}


@pytest.mark.parametrize(
    ("half_from", "expected"),
    [(None, {"m1", "m2", "m3"}), (ROWS * 128 * 32, {"m2", "m3"}), (ROWS * 64 * 128, {"m2"}), (ROWS * 64 * 128 + 1, set())],
)
def test_kernels_of_so_many_products_sum_in_half(model, half_from, expected):
    assert in_half(driver.compile(model, "qcom", precision="fp16", half_from=half_from).program) == expected


def test_small_constants_are_single_where_nothing_is_summed_in_half(model):
    program = driver.compile(model, "qcom", precision="fp16", half_from=ROWS * 64 * 128).program
    assert {s.size: s.dtype for s in program.storages if s.role == "weight"} == {
        16 * 24: F32, 24 * 64: F32, 64 * 128: F16, 128 * 32: F32,
    }  # fmt: skip


def test_products_are_those_of_what_is_added_up():
    summed = parse_kernel("""
        kernel k(read a: f32[64], read b: f32[64], write y: f32[8]) {
          for i < 8 {
            alloc acc: f32[1] register
            acc[0] = 0.0
            for k < 64 {
              acc[0] = acc[0] + a[k] * b[k]
            }
            y[i] = acc[0] * acc[0]
          }
        }
    """)
    assert products(summed.body) == 8 * 64


def test_a_sum_in_a_sum_is_not_counted():
    """Three rows of eight products, each with what a window of two products is before it is scheduled: that is computed once."""
    assert products(kernel(TWICE).body) == 3 * 8


def test_kernels_say_what_they_want_in_the_text_form_too(model):
    texts: list[str] = []

    def observe(name: str, made: Graph | Program) -> None:
        if name == "program" and isinstance(made, Program):
            texts.extend(print_kernel(each) for each in made.kernels)

    driver.compile(model, "qcom", precision="fp16", half_from=ROWS * 64 * 128, observe=observe)
    assert [parse_kernel(text).half_sums for text in texts] == [" halves {" in text for text in texts]
    assert ["m2" in parse_kernel(text).origins for text in texts] == [parse_kernel(text).half_sums for text in texts]


def test_a_lock_tells_such_targets_apart():
    target = targets.with_precision(targets.find("qcom"), "fp16")
    assert describe(targets.with_half_from(target, 800)) == describe(target).replace(" fp16 ", " fp16 half-from=800 ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "qcom"}, "adds up nothing in half"),
        ({"target": "qcom", "precision": "fp32"}, "adds up nothing in half"),
        ({"target": "cpu"}, "adds up nothing in half"),
        ({"target": "qcom", "precision": "fp16", "half_from": -1}, "is no number of products"),
    ],
)
def test_what_means_nothing_is_an_error(model, options, said):
    with pytest.raises(OptionError, match=said):
        driver.compile(model, **{"half_from": 1000, **options})


@pytest.mark.parametrize(
    ("above", "most", "expected"),
    [(0, 7, 7), (6_758_400, 8_306_688, 8_000_000), (8_100_000, 8_306_688, 8_300_000), (11, 12, 12), (9, 10, 10), (99, 1234, 1000)],
)
def test_the_number_of_fewest_digits(above, most, expected):
    assert round_between(above, most) == expected


def errors(model: Path, folder: Path) -> dict[str, float]:
    """Of what the command compares with: the precisions' largest errors, on its inputs."""
    device()
    rng_inputs = [draw(driver.compile(model, "c").graph.inputs, seed) for seed in range(2)]
    found: dict[str, list[np.ndarray]] = {}
    for precision in ("fp32", "mixed", "fp16"):
        driver.compile(model, "qcom", folder / precision, precision=precision)
        found[precision] = [load(folder / precision).run(given)["t4"] for given in rng_inputs]
    return {
        precision: max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(made, found["fp32"], strict=True))
        for precision, made in found.items()
    }


def test_the_command_finds_the_most_that_fits(model, tmp_path, capsys):
    error = errors(model, tmp_path)
    assert error["mixed"] < error["fp16"]
    within = (error["mixed"] + error["fp16"]) / 2
    assert invoke(["halves", str(model), "--target", "qcom", "--inputs", "2", "--within", str(within), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    best = next(trial for trial in told["tried"] if trial["half_from"] == told["found"])
    assert best["error"] <= within
    assert 0 < best["share"] < 1
    assert all(trial["error"] > within for trial in told["tried"] if trial["share"] > best["share"])
    assert invoke(["verify", str(model), "--target", "qcom", "--precision", "fp16", "--half-from", str(told["found"])]) == 0


@pytest.mark.parametrize(("within", "status", "said"), [("0.05", 0, "all sums can be in half"), ("1e-7", 1, "even without them")])
def test_the_command_says_when_all_or_nothing_fits(model, capsys, within, status, said):
    device()
    assert invoke(["halves", str(model), "--target", "qcom", "--inputs", "2", "--within", within]) == status
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("flags", [("--precision", "mixed"), ("--half-from", "9")])
def test_the_command_chooses_the_precision_itself(model, capsys, flags):
    assert invoke(["halves", str(model), "--target", "qcom", *flags]) == 1
    assert "are what is looked for" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["cpu", "opencl", "x86-64-v4-fp16"])
def test_the_command_needs_a_target_with_sums_in_half(model, capsys, target):
    assert invoke(["halves", str(model), "--target", target]) == 1
    assert f"the target {target} has no sums in half" in capsys.readouterr().err
