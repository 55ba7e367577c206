"""Sums in sums: depthwise convolutions that the projections after them compute for themselves, on targets with images."""

from __future__ import annotations

import math
import re

import pytest
from small_networks import Net
from test_backend_opencl import device
from test_qcom import ERROR, far, inputs_of, target_of
from test_schedule_steps import after, kernel, lines

from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.errors import InvalidIrError
from tgc.ir.dtypes import F16
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.ir.kernel import Alloc, Kernel
from tgc.ir.rewrite import statements
from tgc.ir.schedule import Ahead, Distribute, Split, Vectorize
from tgc.ir.text import print_kernel
from tgc.ir.verify import verify_program
from tgc.passes import ahead, compile_graph
from tgc.passes.schedule.apply import apply
from tgc.run import load

TWICE = """
for i < 3 {
  alloc acc: f32[1] register
  acc[0] = 0.0
  for k < 8 {
    alloc part: f32[1] register
    part[0] = 0.0
    for w < 2 { part[0] = part[0] + a[k + w * 8] * b[w] }
    acc[0] = acc[0] + max(part[0], 0.0) * a[i * 8 + k]
  }
  y[i] = acc[0]
}"""


def test_the_inner_sum_is_computed_in_a_loop_before() -> None:
    assert after(TWICE, Ahead("k")) == lines("""
    for i < 3 {
      alloc acc: f32[1] register
      acc[0] = 0.0
      alloc acc_ahead: f32[8] register
      for k_ahead < 8 {
        alloc part: f32[1] register
        part[0] = 0.0
        for w < 2 { part[0] = part[0] + a[w * 8 + k_ahead] * b[w] }
        acc_ahead[k_ahead] = max(part[0], 0.0)
      }
      for k < 8 { acc[0] = acc[0] + acc_ahead[k] * a[i * 8 + k] }
      y[i] = acc[0]
    }""")


def test_what_every_iteration_computes_alike_is_computed_once() -> None:
    """The short sums do not depend on the loop that moves inside: their registers stay as they are."""
    steps = (Split("k", 4), Ahead("k_i"), Vectorize("k_i_ahead"), Distribute("i"))
    assert after(TWICE, *steps) == lines("""
    alloc acc: f32[3] register
    alloc acc_ahead: f32[4] register
    alloc part: f32[4] register
    for i < 3 { acc[i] = 0.0 }
    for k_o < 2 {
      part[ramp(0, 1, 4)] = broadcast(0.0, 4)
      for w < 2 { part[ramp(0, 1, 4)] = part[ramp(0, 1, 4)] + a[ramp(w * 8 + k_o * 4, 1, 4)] * broadcast(b[w], 4) }
      acc_ahead[ramp(0, 1, 4)] = max(part[ramp(0, 1, 4)], broadcast(0.0, 4))
      for k_i < 4 { for i < 3 { acc[i] = acc[i] + acc_ahead[k_i] * a[i * 8 + k_o * 4 + k_i] } }
    }
    for i < 3 { y[i] = acc[i] }""")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (TWICE.replace("max(part[0], 0.0)", "max(part[0], acc[0])"), "is not what was summed up"),
        ("for k < 8 { y[k] = a[k] }", "does not sum up anything"),
        (TWICE.replace("acc[0] = acc[0] +", "acc[0] = b[0] +"), "acc is not added up"),
    ],
)  # fmt: skip
def test_what_is_no_sum_in_a_sum(body: str, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        apply(kernel(body), (Ahead("k"),))


def projected(
    channels: int, results: int, *, size: int = 3, stride: int = 1, image: tuple[int, int] = (9, 13), residual: bool = False
) -> Graph:
    """An expansion, a depthwise convolution, and a projection, as in MobileNetV2."""
    net = Net()
    x = net.relu(net.conv(net.image(1, 4, *image), channels, 1, pad=0))
    made = net.relu(net.conv(x, channels, size, pad=size // 2, stride=stride, groups=channels))
    y = net.conv(made, results, 1, pad=0)
    return net.graph(net.relu(net.add(y, net.conv(x, results, 1, pad=0, stride=stride)) if residual else y))


def sums_in_sums(kernels: tuple[Kernel, ...]) -> int:
    return sum(any(isinstance(part, Alloc) and "_ahead" in part.buffer.name for part in statements(one.body)) for one in kernels)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are computed ahead wherever registers suffice, in tiles as large as these allow, whatever the model of the device says."""
    monkeypatch.setattr(ahead._Shape, "apart", lambda *_: math.inf)
    monkeypatch.setattr(ahead._Shape, "seconds", lambda _, tile: 1 / math.prod(tile))


FITTING = {
    "whole": projected(8, 8, image=(4, 6)),
    "rows left over": projected(16, 16),
    "stride": projected(8, 12, stride=2),
    "few results": projected(12, 4),
    "with a residual": projected(8, 16, residual=True),
}


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", FITTING)
def test_they_are_one_kernel(name: str) -> None:
    """`check` compares the program with the graph, and looks at every index."""
    program = compile_graph(FITTING[name], target_of("fp32"), check=True)
    verify_program(program)
    assert sums_in_sums(program.kernels) == 1
    text = "".join(print_kernel(one) for one in program.kernels if sums_in_sums((one,)))
    assert "acc0_ahead_0: f32[4] register" in text


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("precision", ERROR)
def test_numbers_on_a_device(precision: str, tmp_path) -> None:
    device()
    graph, target = FITTING["rows left over"], target_of(precision)
    expected, program = run_graph(graph, inputs_of(graph)), compile_graph(graph, target)
    files = emit(program, target, EmitOptions())
    assert re.search(rb"acc0_ahead_0[.]s3", files[f"{program.name}.cl"])
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert far(expected["y0"], load(tmp_path).run(inputs_of(graph))["y0"]) < ERROR[precision]


def read_twice() -> Graph:
    net = Net()
    x = net.relu(net.conv(net.image(1, 4, 8, 8), 8, 1, pad=0))
    made = net.relu(net.conv(x, 8, groups=8))
    return net.graph(net.conv(made, 8, 1, pad=0), net.relu(made))


OTHERS = {
    "channels that make no texels": projected(6, 8),
    "results that make no texels": projected(8, 6),
    "more results than a tile has": projected(8, 64),
    "a window that leaves no registers": projected(8, 8, size=5),
    "a result of the model": read_twice(),
}


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", OTHERS)
def test_they_stay_two_kernels(name: str) -> None:
    graph = OTHERS[name]
    program = compile_graph(graph, target_of("fp32"), check=True)
    assert sums_in_sums(program.kernels) == 0


def test_the_model_of_the_device_decides() -> None:
    """Of the same layers, those with few results for many pixels."""
    early, late = projected(32, 16, image=(64, 128)), projected(144, 24, image=(32, 64))
    assert [sums_in_sums(compile_graph(graph, target_of("mixed")).kernels) for graph in (early, late)] == [1, 0]


@pytest.mark.usefixtures("always")
def test_both_sums_are_halves_where_that_is_asked_for() -> None:
    """What is between is rounded to half, as it is where it is stored."""
    program = compile_graph(FITTING["whole"], target_of("fp16"))
    registers = [part.buffer for one in program.kernels for part in statements(one.body) if isinstance(part, Alloc)]
    found = {buffer.name.split("_")[0] + "_ahead" * ("_ahead" in buffer.name): buffer.dtype for buffer in registers}
    assert {name: dtype for name, dtype in found.items() if name.startswith("acc")} == {"acc0": F16, "acc0_ahead": F16, "acc1": F16}
