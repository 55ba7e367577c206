"""Operands whose types ONNX does not let stand together, and models that the oracle cannot compute."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper
from test_bad_models import fault, model, saved

from tgc import cli
from tgc.errors import ModelError
from tgc.frontend_onnx import import_model


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("(float[2, 2] x, double[2, 2] z) => (float[2, 2] y) { y = MatMul(x, z) }", "input A is of f32 and its input B of f64"),
        ("(int64[2] x, int32[2] z) => (int64[4] y) { y = Concat<axis = 0>(x, z) }", "inputs is of i64 and another input of i32"),
        ("(bool[2] c, float[2] x, float16[2] z) => (float[2] y) { y = Where(c, x, z) }", "input X is of f32 and its input Y of f16"),
    ],
)
def test_operands_of_two_types(body: str, said: str) -> None:
    text = fault(model(f"g {body}"), ModelError)
    assert said in text
    assert "put a Cast before it" in text


def test_operands_that_may_differ() -> None:
    """A power's exponent, a choice's condition and a slice's places have type variables of their own."""
    graph = import_model(model("""g (float[4] x, int64[4] n, bool[4] c) => (float[2] y) {
        one = Constant<value = int64[1] {1}>()
        three = Constant<value = int64[1] {3}>()
        p = Pow(x, n)
        w = Where(c, p, x)
        y = Slice(w, one, three)
    }"""))  # fmt: skip
    assert graph.outputs[0][1].shape == (2,)


def test_a_model_that_the_reference_cannot_compute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model("g (float[4] x) => (float[4] y) { y = com.microsoft.FastGelu(x) }")
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert cli.invoke(["verify", str(saved(made, tmp_path)), "--target", "c", "--against", "reference"]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert "the ONNX reference cannot compute it" in text
    assert "recorded beside the model" in text
