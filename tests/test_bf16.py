"""--precision bf16: which numbers are rounded, that words of two give the same sums, and how far results are from single precision."""

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from single_operator import single
from small_networks import Net

from tgc import targets
from tgc.backends.llvm.emit import emit_assembly
from tgc.backends.llvm.machine import host_target
from tgc.backends.options import EmitOptions
from tgc.driver import compile as compile_model
from tgc.errors import InvalidIrError, OptionError
from tgc.ir.dtypes import BF16
from tgc.ir.graph import Graph, Map, Reduce
from tgc.ir.interpret import run_graph, run_kernel
from tgc.ir.schedule import Dot, Pack, Reorder, Vectorize
from tgc.ir.text import parse_kernel, print_kernel
from tgc.ir.verify import verify_graph, verify_kernel
from tgc.passes import compile_graph
from tgc.passes.bfloat import bfloat
from tgc.passes.fold import fold
from tgc.passes.schedule.apply import apply, rearranged
from tgc.passes.winograd import winograd
from tgc.run import load
from tgc.targets import CPU, X86_V3, X86_V4_BF16, Target, choosing

ROUNDED = 2.0**-8
"""Half a unit in the last place of a bf16, as a part of the number."""


def pairs_kernel(extent: int, right: str = "w[k * 4 + j]"):
    return parse_kernel(f"""kernel k(write y: f32[64], read x: bf16[64], read w: bf16[64]) {{
      for i < 3 {{ for j < 4 {{
        alloc acc: f32[1] register
        acc[0] = 0.0
        for k < {extent} {{ acc[0] = acc[0] + f32(x[i * 10 + k]) * f32({right}) }}
        y[i * 4 + j] = acc[0]
      }} }}
    }}""")


def whole_numbers(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    """Numbers that bf16 holds, whose sums of products f32 holds."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float32)


@pytest.mark.parametrize("extent", [2, 4, 9, 10])
@pytest.mark.parametrize("right", ["w[k * 4 + j]", "w[j * 10 + k]"])
def test_words_of_two_sum_the_same(extent: int, right: str) -> None:
    x, w = whole_numbers(1, 64).astype(ml_dtypes.bfloat16), whole_numbers(2, 64).astype(ml_dtypes.bfloat16)
    plain = pairs_kernel(extent, right)
    for steps in ((Dot("k", "w"),), (Dot("k", "w"), Vectorize("j"), Pack("w")), (Dot("k", "w"), Reorder(("j", "i")), Pack("w"))):
        made = apply(plain, steps)
        verify_kernel(made.kernel)
        assert "dot2(" in print_kernel(made.kernel)
        results = []
        for kernel, data in ((plain, w), (made.kernel, rearranged(w, made.packings["w"]))):
            y = np.zeros(64, np.float32)
            run_kernel(kernel, {"y": y, "x": x, "w": data})
            results.append(y)
        np.testing.assert_array_equal(*results)


def test_the_constant_operand_is_the_one_that_is_named() -> None:
    with pytest.raises(InvalidIrError, match="nor of bf16"):
        apply(pairs_kernel(8), (Dot("k", "x"),))


def residual() -> Graph:
    net = Net()
    x = net.image(1, 8, 6, 6)
    y = net.relu(net.conv(x, 16))
    return net.graph(net.add(net.conv(y, 16, 1, pad=0), y))


def test_what_a_contraction_reads_is_stored_once_and_in_bf16() -> None:
    graph = fold(residual())
    after = bfloat(graph)
    verify_graph(after)
    sums = [node for node in after.nodes() if isinstance(node, Reduce)]
    assert len(sums) == 2
    assert all(isinstance(node.source, Map) and [s.dtype for s in node.source.sources] == [BF16, BF16] for node in sums)
    program = compile_graph(graph, choosing(X86_V3, "bf16", None))
    stored = [storage.dtype for storage in program.storages if storage.role == "arena"]
    assert stored.count(BF16) == 2  # the image with its halo, and y; the third is the result on its way to the output's order


def test_numbers_that_bf16_holds_give_what_they_give_in_f32() -> None:
    graph = fold(residual())
    inputs = {"x0": whole_numbers(3, 1, 8, 6, 6)}
    for name, value in run_graph(graph, inputs).items():
        found = run_graph(bfloat(graph), inputs)[name]
        assert np.abs(found - value).max() <= 2 * ROUNDED * np.abs(value).max()
    first = bfloat(fold(one_layer()))
    np.testing.assert_array_equal(run_graph(first, inputs)["y0"], run_graph(one_layer(), inputs)["y0"])


def one_layer() -> Graph:
    net = Net()
    return net.graph(net.conv(net.image(1, 8, 6, 6), 16))


def test_sums_of_two_computed_operands_and_winograds_stay_in_f32() -> None:
    net = Net()
    graph = net.graph(net.matmul(net.image(4, 16), net.image(16, 8)))
    assert bfloat(graph) is graph
    net = Net()
    tiled = winograd(fold(net.graph(net.conv(net.image(1, 32, 12, 12), 32))), "4", 1 << 20)
    assert bfloat(tiled) is tiled
    net = Net()
    depthwise = net.graph(net.conv(net.image(1, 8, 6, 6), 8, groups=8))
    assert bfloat(depthwise) is depthwise


@pytest.mark.parametrize(("target", "there"), [(X86_V4_BF16, True), (X86_V3, False)], ids=lambda value: getattr(value, "name", ""))
def test_the_instruction_is_used_where_it_is(target: Target, there: bool) -> None:
    chosen = choosing(target, "bf16", None)
    program = compile_graph(fold(one_layer()), chosen)
    assert ("vdpbf16ps" in emit_assembly(program, chosen, EmitOptions())) == there


@pytest.mark.parametrize("native", [True, False], ids=["native", "emulated"])
@pytest.mark.parametrize("target", [CPU, targets.C, targets.C_AVX512], ids=lambda target: target.name)
@pytest.mark.parametrize(("channels", "groups", "size"), [(19, 1, 3), (64, 1, 1), (32, 2, 3), (3, 1, 7)])
def test_compiled_models_are_within_roundings_of_the_interpreter(
    target: Target, native: bool, channels: int, groups: int, size: int, tmp_path: Path
) -> None:
    if target == targets.C and native:
        pytest.skip("portable C has no such instruction")
    there = host_target(target) if target == CPU else target
    chosen = there if native else replace(there, dot2=False)
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((1, channels, 11, 13)).astype(np.float32)
    w = rng.standard_normal((32, channels // groups, size, size)).astype(np.float32)
    model = single("Conv", {"x": x}, [w], pads=[size // 2] * 4, group=groups)
    artifact = compile_model(model, chosen, precision="bf16", winograd="off")
    artifact.write(tmp_path)
    (found,) = load(tmp_path).run({"x": x}).values()
    (rounded,) = run_graph(bfloat(fold(artifact.graph)), {"x": x}).values()
    (meant,) = run_graph(artifact.graph, {"x": x}).values()
    largest = np.abs(meant).max()
    assert np.abs(found - rounded).max() <= 2e-6 * largest
    assert 1e-5 * largest < np.abs(found - meant).max() <= ROUNDED * largest


def test_heads_of_an_attention_are_read_in_runs() -> None:
    net = Net()
    x = net.image(1, 2, 5, 16)
    merged = net.reshape(net.permute(net.relu(x), (0, 2, 1, 3)), (5, 32))
    graph = fold(net.graph(net.matmul(net.relu(merged), net.weight(32, 16))))
    chosen = choosing(X86_V4_BF16, "bf16", None)
    assert "vdpbf16ps" in emit_assembly(compile_graph(graph, chosen), chosen, EmitOptions())


def test_every_pass_is_checked_with_the_rounding_that_was_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 8, 9, 9)).astype(np.float32)
    model = single("Conv", {"x": x}, [rng.standard_normal((16, 8, 3, 3)).astype(np.float32)])
    compile_model(model, output=tmp_path, precision="bf16", check_passes=True, selftest=True)
    assert load(tmp_path).selftest() is None


@pytest.mark.parametrize(("target", "precision"), [("opencl", "bf16"), ("qcom", "bf16"), ("cpu", "mixed"), ("x86-64-v3", "fp16")])
def test_a_precision_that_a_target_has_not_is_refused(target: str, precision: str) -> None:
    with pytest.raises(OptionError, match="precision"):
        choosing(targets.find(target), precision, None)
