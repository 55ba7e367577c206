"""Sums begin with the constant that is added to them."""

from __future__ import annotations

import numpy as np
import pytest

from tgc.ir.interpret import run_kernel
from tgc.ir.text import parse_kernel, print_kernel
from tgc.passes.begun_sums import begun_sums

KERNEL = """kernel dense(read a: f32[8] image, read w: f32[32] image, read bias: f32[4] image, read rest: f32[4], write out: f32[4]) {{
  for i < 4 lane0 {{
    alloc acc: f32[1] register
    acc[0] = {first}
    for k < 8 {{
      acc[0] = acc[0] + a[k] * w[i * 8 + k]
    }}
    out[i] = {result}
  }}
}}
"""


def text(first: str, result: str) -> str:
    return print_kernel(parse_kernel(KERNEL.format(first=first, result=result)))


def begun(first: str, result: str) -> str:
    return print_kernel(begun_sums(parse_kernel(text(first, result))))


@pytest.mark.parametrize("result", ["acc[0] + bias[i]", "bias[i] + acc[0]"])
def test_a_bias_is_what_a_sum_begins_with(result: str) -> None:
    assert begun("0.0", result) == text("bias[i]", "acc[0]")


def test_every_use_of_the_sum_has_it() -> None:
    assert begun("0.0", "max(acc[0] + bias[i], (acc[0] + bias[i]) * 0.1)") == text("bias[i]", "max(acc[0], acc[0] * 0.1)")


@pytest.mark.parametrize(
    ("first", "result"),
    [
        ("1.0", "acc[0] + bias[i]"),  # begins with something already
        ("0.0", "acc[0] * bias[i]"),
        ("0.0", "acc[0] + acc[0]"),
        ("0.0", "acc[0]"),
        ("0.0", "max(acc[0] + bias[i], acc[0])"),  # also used without it
        ("0.0", "max(acc[0] + bias[i], acc[0] + bias[0])"),
        ("0.0", "acc[0] + rest[i]"),  # from a buffer, which may be what was just computed
    ],
)
def test_other_sums_stay(first: str, result: str) -> None:
    assert begun(first, result) == text(first, result)


def test_results_are_those_of_the_sum_and_the_bias() -> None:
    kernel = parse_kernel(text("0.0", "max(acc[0] + bias[i], 0.0)"))
    rng = np.random.default_rng(0)
    a, w, bias = (rng.standard_normal(size).astype(np.float32) for size in (8, 32, 4))
    found = np.zeros(4, np.float32)
    run_kernel(begun_sums(kernel), {"a": a, "w": w, "bias": bias, "rest": bias, "out": found})
    np.testing.assert_allclose(found, np.maximum(w.reshape(4, 8) @ a + bias, 0), rtol=1e-5, atol=1e-6)
