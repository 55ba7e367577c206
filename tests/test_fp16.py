"""--precision fp16: models in half, computed in half where the target has arithmetic for it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from c_build import compiler
from single_operator import single
from test_cross_compile import run_linked

import tgc
from tgc.backends.llvm.emit import emit_assembly
from tgc.backends.options import EmitOptions
from tgc.errors import OptionError
from tgc.frontend_onnx import import_model
from tgc.ir.dtypes import F16, F32
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.passes import compile_graph
from tgc.passes.widen import widen
from tgc.targets import CORTEX_A75, CORTEX_A76, X86_V4_FP16, Target, choosing

ERROR = 4e-3
"""Of the largest result, for sums of 144 random products in half; 2.8e-3 was found."""


def convolution(channels: int = 16) -> Graph:
    """3x3, in half."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, channels, 10, 9)).astype(np.float16)
    weights = rng.standard_normal((24, channels, 3, 3)) / np.sqrt(9 * channels)
    model = single("Conv", {"x": x}, [weights.astype(np.float16), rng.standard_normal(24).astype(np.float16)], pads=[1] * 4)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return import_model(model)


@pytest.mark.parametrize(("target", "instruction"), [(CORTEX_A76, ".8h"), (X86_V4_FP16, "vfmadd231ph")], ids=["aarch64", "x86-64"])
def test_products_are_in_half_where_that_was_asked_for(target: Target, instruction: str) -> None:
    def assembly(chosen: Target) -> list[str]:
        lines = emit_assembly(compile_graph(convolution(), chosen), chosen, EmitOptions()).splitlines()
        return [line for line in lines if instruction in line and ("fmla" in line or "vfmadd" in line)]

    assert len(assembly(choosing(target, "fp16", None))) > 10
    assert not assembly(target)


def test_half_takes_half_the_memory() -> None:
    chosen = choosing(CORTEX_A76, "fp16", None)
    kinds = {storage.dtype for storage in compile_graph(convolution(), chosen).storages}
    assert kinds == {F16}
    assert F32 in {storage.dtype for storage in compile_graph(convolution(), CORTEX_A76).storages}


def test_sums_in_half_on_aarch64_under_qemu(tmp_path: Path) -> None:
    cc, qemu = compiler("aarch64-linux-gnu-gcc"), compiler("qemu-aarch64", "qemu-aarch64-static")
    graph = convolution()
    errors = {}
    for chosen in (choosing(CORTEX_A76, "fp16", None), CORTEX_A76):
        program = compile_graph(graph, chosen)
        rng = np.random.default_rng(1)
        given = {t.name: rng.standard_normal(t.shape).astype(np.float16) for t in program.inputs}
        folder = tmp_path / (chosen.precision or "fp32")
        folder.mkdir()
        found = run_linked(program, chosen, folder, cc, ("-static",), (qemu, "-cpu", "max"), given)
        (meant,) = run_graph(widen(graph), given).values()
        (got,) = found.values()
        errors[chosen.precision] = np.abs(got.astype(np.float64) - meant).max() / np.abs(meant).max()
    assert errors[""] <= 2.0**-11  # rounded once
    assert errors[""] < errors["fp16"] <= ERROR


@pytest.mark.parametrize("target", [CORTEX_A75, tgc.targets.X86_V3, tgc.targets.C], ids=lambda target: target.name)
def test_a_target_without_such_arithmetic_refuses(target: Target) -> None:
    with pytest.raises(OptionError, match="no precision 'fp16'"):
        choosing(target, "fp16", None)


def test_bfloat16_is_widened_all_the_same() -> None:
    rng = np.random.default_rng(0)
    model = single("Add", {"x": rng.standard_normal((3, 4)).astype(np.float32)}, [rng.standard_normal((3, 4)).astype(np.float32)])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, onnx.TensorProto.BFLOAT16, [3, 4], rng.standard_normal(12)))
    chosen = choosing(X86_V4_FP16, "fp16", None)
    assert emit_assembly(compile_graph(import_model(model), chosen), chosen, EmitOptions())
