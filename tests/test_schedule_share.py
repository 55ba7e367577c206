"""Share: work-items of a group add up parts of a sum and exchange them through local memory."""

from __future__ import annotations

import numpy as np
import pytest
from random_kernels import outcome
from test_schedule_steps import ROWS, SUM, after, kernel, lines

from tgc.errors import InvalidIrError
from tgc.ir.schedule import Bind, Distribute, Schedule, Share, Step, Unroll
from tgc.ir.verify import verify_kernel
from tgc.passes.schedule.apply import apply

SUMS = """
for j < 2 { for i < 4 {
  alloc acc: f32[1] register
  acc[0] = 0.0
  for k < 6 { acc[0] = acc[0] + a[j * 24 + i * 6 + k] }
  y[j * 4 + i] = acc[0] + b[i]
} }"""
GOLDEN: dict[str, tuple[str, tuple[Step, ...], str]] = {
    "share": (
        ROWS, (Bind("i", "lane0"), Share("k", 3)),
        """for i < 4 lane0 {
          for k_part < 3 lane2 {
            alloc acc_shared: f32[12] local
            alloc acc: f32[1] register
            acc[0] = 0.0
            for k < 2 { acc[0] = acc[0] + a[i * 6 + k * 3 + k_part] }
            acc_shared[k_part * 4 + i] = acc[0]
            barrier
            if k_part < 1 { y[i] = acc_shared[i] + acc_shared[i + 4] + acc_shared[i + 8] }
          }
        }""",
    ),
    "share, results too": (
        SUMS, (Distribute("i"), Unroll("i"), Bind("j", "lane0"), Share("k", 2)),
        """for j < 2 lane0 {
          for k_part < 2 lane2 {
            alloc acc_shared: f32[16] local
            alloc acc_0: f32[1] register
            alloc acc_1: f32[1] register
            alloc acc_2: f32[1] register
            alloc acc_3: f32[1] register
            acc_0[0] = 0.0
            acc_1[0] = 0.0
            acc_2[0] = 0.0
            acc_3[0] = 0.0
            for k < 3 {
              acc_0[0] = acc_0[0] + a[j * 24 + k * 2 + k_part]
              acc_1[0] = acc_1[0] + a[j * 24 + k * 2 + k_part + 6]
              acc_2[0] = acc_2[0] + a[j * 24 + k * 2 + k_part + 12]
              acc_3[0] = acc_3[0] + a[j * 24 + k * 2 + k_part + 18]
            }
            acc_shared[k_part * 8 + j] = acc_0[0]
            acc_shared[k_part * 8 + j + 2] = acc_1[0]
            acc_shared[k_part * 8 + j + 4] = acc_2[0]
            acc_shared[k_part * 8 + j + 6] = acc_3[0]
            barrier
            y[j * 4 + k_part * 2] = acc_shared[k_part * 4 + j] + acc_shared[k_part * 4 + j + 8] + b[k_part * 2]
            y[j * 4 + k_part * 2 + 1] = acc_shared[k_part * 4 + j + 2] + acc_shared[k_part * 4 + j + 10] + b[k_part * 2 + 1]
          }
        }""",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_before_and_after(name: str) -> None:
    before, steps, expected = GOLDEN[name]
    assert after(before, *steps) == lines(expected)


@pytest.mark.parametrize("lanes", [2, 3, 6])
@pytest.mark.parametrize("tile", [(), (Distribute("i"),), (Distribute("i"), Distribute("j"))])
def test_shared_sums_are_the_same(tile: Schedule, lanes: int) -> None:
    plain = kernel(SUMS)
    outer = tuple(Bind(name, kind) for name, kind in (("j", "grid0"), ("i", "lane0"))[: 2 - len(tile)])
    shared = apply(plain, (*tile, *(Unroll(step.var) for step in tile), *outer, Share("k", lanes)))
    verify_kernel(shared.kernel)
    inputs = {name: np.arange(64, dtype=np.float32) for name in "yab"}
    np.testing.assert_array_equal(outcome(plain, inputs), outcome(plain, inputs, shared))


@pytest.mark.parametrize(
    ("body", "steps", "message"),
    [
        (ROWS, (Share("k", 4),), "k is not a loop between registers that are set"),
        (ROWS, (Bind("i", "lane0"), Share("k", 4)), "4 work-items cannot share the 6 iterations of k"),
        (ROWS.replace("acc[0] = 0.0", "acc[0] = b[0]"), (Bind("i", "lane0"), Share("k", 2)), "begins with something"),
        (SUM.replace("acc[0]\n", "acc[0] * a[0]\n"), (Share("k", 3),), "cannot share the 10 iterations"),
    ],
)  # fmt: skip
def test_what_is_not_shared(body: str, steps: Schedule, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        apply(kernel(body), steps)
