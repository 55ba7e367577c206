"""The corrections of benchmarks/adreno_model.py to the modelled time of a launch, and how kernels are put into runs of the compiler."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import adreno_code
import adreno_model
import half_storage
import qcom
import qcom_agreement
from widened import widened

ROW = {"items": 1000, "issue": 1e-4, "texture": 2e-5, "memory": 0.0, "width": 128}


def test_halves_go_at_their_own_rate_in_wide_waves():
    saved = 1000 * 5000 * (1 / 234e9 - 1 / 345e9)
    assert adreno_model.corrected(ROW, 5000, 0, 3e-6)["half_seconds"] == pytest.approx(1e-4 - saved + 3e-6)
    assert adreno_model.corrected(ROW | {"width": 64}, 5000, 0, 3e-6)["half_seconds"] == pytest.approx(1e-4 + 3e-6)
    assert adreno_model.corrected(ROW | {"texture": 1e-4}, 5000, 0, 3e-6)["half_seconds"] == pytest.approx(1e-4 + 3e-6)


def test_loads_from_buffers_compete_with_the_other_terms():
    few, many = (adreno_model.corrected(ROW, 0, loaded, 0.0) for loaded in (87, 87e3))
    assert few["buffer_seconds"] == pytest.approx(1e-4)
    assert many["buffer_seconds"] == pytest.approx(1e-3)
    assert many["half_seconds"] == pytest.approx(1e-4)


def test_texels_of_floats_take_twice_the_time():
    """The kernel's comments say of what an image's texels are; a read in a loop counts once a trip."""
    source = """__kernel void k(__read_only image1d_buffer_t a, const int start0, /* f16 8x64 */
    __read_only image1d_buffer_t w, const int start1 /* f32 64 */) {
  for (int i = 0; i < 8; ++i) { x += read_imagef(a, i) * read_imagef(w, i); }
}"""
    tool = SimpleNamespace(body_of=lambda text, _: text, source_loops=lambda body: ([], 8 * body.count("read_imagef(")))
    assert adreno_model.float_texels(tool, kernel("k") | {"src": source}) == 8
    row = ROW | {"issue": 1e-5, "reads": 16}
    assert adreno_model.corrected(row, 0, 0, 0.0, 8)["buffer_seconds"] == pytest.approx(3e-5)
    assert adreno_model.corrected(row, 0, 0, 0.0, 8)["half_seconds"] == pytest.approx(2e-5)


def test_what_a_line_of_machine_code_loads():
    lines = {
        "(ss)ldg.a.u16 hr22.x, g[r2.y+(r9.w<<1)], 4": 8,
        "ldg.u32 r1.x, g[r2.x], 2": 8,
        "isam.1d (u32)(xyzw)r0.x, r1.x": 0,
        "stg.a.u16": 0,
    }
    assert {line: adreno_model._size(line) for line in lines} == lines


def test_cycles_that_an_instruction_waits_before_stay():
    assert adreno_model.idle("(sy)(nop3)mad.f16 hr0.x, hr1.x, hr2.x, hr0.x") == "(nop2)nop"
    assert adreno_model.idle("(rpt3)mad.f16 hr0.x, hr1.x, hr2.x, hr0.x") == ""


def kernel(name: str, before: str = "", body: str = "") -> adreno_code.Launch:
    return {"name": name, "src": f"{before}__kernel void {name}() {{{body}}}", "options": ""}


def test_a_run_takes_kernels_of_different_names_that_need_the_same_before_them():
    launches = [kernel("a"), kernel("b"), kernel("a", body="return;"), kernel("c", "#define C\n")]
    found = list(adreno_code.batches(launches, 8))
    assert sorted("".join(launch["name"] for launch in batch) for batch in found) == ["a", "ab", "c"]
    assert sorted(str(launch) for batch in found for launch in batch) == sorted(map(str, launches))
    assert [len(batch) for batch in adreno_code.batches([kernel(name) for name in "abcde"], 2)] == [2, 2, 1]


def test_the_document_holds_what_the_results_say():
    for benchmark, marks in (
        (qcom, ((qcom.MARK, qcom.table), (qcom.SECOND, qcom.published))),
        (qcom_agreement, ((qcom_agreement.MARK, qcom_agreement.table),)),
    ):
        results = json.loads(benchmark.RESULTS.read_text())
        for mark, table in marks:
            assert benchmark.TABLE.read_text().split(mark)[1].strip() == table(results)


def test_half_storage_alone(tmp_path):
    pytest.importorskip("onnxruntime")
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3]) for name in "xy")
    nodes = [helper.make_node("Add", ["x", "x"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opset, ir_version=8), tmp_path / "g.onnx")
    values = np.array([0.1, 1 + 2**-12, -3], np.float32)
    found = half_storage.run(tmp_path / "g.onnx", {"x": values})["y"]
    assert np.array_equal(found, np.maximum((2 * values).astype(np.float16).astype(np.float32), 0))


def test_a_model_of_half_in_single_precision():
    """Types, weights, constants and casts to half are widened, and no number changes."""
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, [3]) for name in "xy")
    weight, constant = (numpy_helper.from_array(np.array([0.1, 7, -3e4], np.float16), name) for name in "wc")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant), helper.make_node("Mul", ["x", "w"], ["t"]),
        helper.make_node("Cast", ["t"], ["u"], to=onnx.TensorProto.FLOAT16), helper.make_node("Add", ["u", "c"], ["y"]),
    ]  # fmt: skip
    opset = [helper.make_opsetid("", 13)]
    made = widened(helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=opset, ir_version=8))
    onnx.checker.check_model(made, full_check=True)
    assert {value.type.tensor_type.elem_type for value in (*made.graph.input, *made.graph.output)} == {onnx.TensorProto.FLOAT}
    exact = np.array([0.1, 7, -3e4], np.float16).astype(np.float32)
    assert np.array_equal(numpy_helper.to_array(made.graph.initializer[0]), exact)
    (found,) = onnx.reference.ReferenceEvaluator(made).run(None, {"x": np.full(3, 1 + 2**-20, np.float32)})
    assert np.array_equal(found, exact * np.float32(1 + 2**-20) + exact)
