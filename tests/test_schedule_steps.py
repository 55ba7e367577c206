"""Each schedule step: the nest before and after as text, its errors, and that no schedule changes what a kernel computes."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_kernels import inputs_of, outcome, random_kernel, random_schedule

from tgc.errors import InvalidIrError
from tgc.ir.interpret import run_kernel
from tgc.ir.schedule import (
    STEPS,
    Ahead,
    Bind,
    Distribute,
    Dot,
    Fuse,
    Keep,
    Pack,
    Reorder,
    Schedule,
    Share,
    Split,
    Step,
    Unroll,
    Vectorize,
    VectorizeReduction,
    from_json,
    to_json,
)  # fmt: skip
from tgc.ir.text import parse_kernel, print_kernel
from tgc.ir.verify import verify_kernel
from tgc.passes.schedule.apply import apply, rearranged

POINTWISE = "for i < 40 { y[i] = a[i] }"
ROWS = """
for i < 4 {
  alloc acc: f32[1] register
  acc[0] = 0.0
  for k < 6 { acc[0] = acc[0] + a[i * 6 + k] }
  y[i] = acc[0]
}"""
SUM = """
alloc acc: f32[1] register
acc[0] = 0.0
for k < 10 { acc[0] = acc[0] + a[k] }
y[0] = acc[0]
"""
TWICE = """
alloc acc: f32[1] register
acc[0] = 0.0
for k < 10 { acc[0] = acc[0] + a[k] * a[k + 3] }
for i < 10 { y[i] = a[i] * a[i + 3] * acc[0] }
"""


def kernel(body: str):
    return parse_kernel(f"kernel k(write y: f32[64], read a: f32[64], read b: f32[64]) {{\n{body}\n}}")


def lines(text: str) -> list[str]:
    """The statements of the body, without indentation."""
    return [line.strip() for line in print_kernel(kernel(text)).splitlines()[1:-1]]


def after(body: str, *steps: Step) -> list[str]:
    made = apply(kernel(body), steps).kernel
    verify_kernel(made)
    return [line.strip() for line in print_kernel(made).splitlines()[1:-1]]


GOLDEN: dict[str, tuple[str, tuple[Step, ...], str]] = {
    "split": (POINTWISE, (Split("i", 8),), "for i_o < 5 { for i_i < 8 { y[i_o * 8 + i_i] = a[i_o * 8 + i_i] } }"),
    "split, last block early": (
        POINTWISE, (Split("i", 16),),
        """for i_o < 3 { for i_i < 16 {
            y[where(i_o * 16 < 24, i_o * 16, 24) + i_i] = a[where(i_o * 16 < 24, i_o * 16, 24) + i_i] } }""",
    ),
    "split, guarded": (
        POINTWISE, (Split("i", 16, "guard"),),
        "for i_o < 3 { for i_i < 16 { if i_o * 16 + i_i < 40 { y[i_o * 16 + i_i] = a[i_o * 16 + i_i] } } }",
    ),
    "split into one block": (POINTWISE, (Split("i", 40),), "for i_i < 40 { y[i_i] = a[i_i] }"),
    "split into single iterations": (POINTWISE, (Split("i", 1),), "for i_o < 40 { y[i_o] = a[i_o] }"),
    "fuse": (
        "for i < 5 { for j < 8 { y[i * 8 + j] = a[i] * a[j * 5 + i] } }", (Fuse("i", "j"),),
        "for i < 40 { y[i] = a[i / 8] * a[i / 8 * -39 + i * 5] }",
    ),
    "reorder": (
        "for i < 2 { for j < 3 { for k < 4 { y[i * 12 + j * 4 + k] = a[k] } } }", (Reorder(("k", "j", "i")),),
        "for k < 4 { for j < 3 { for i < 2 { y[i * 12 + j * 4 + k] = a[k] } } }",
    ),
    "distribute": (
        ROWS, (Distribute("i"),),
        """alloc acc: f32[4] register
        for i < 4 { acc[i] = 0.0 }
        for k < 6 { for i < 4 { acc[i] = acc[i] + a[i * 6 + k] } }
        for i < 4 { y[i] = acc[i] }""",
    ),
    "vectorize": (
        "for i < 8 { y[i] = a[i] + b[3] }", (Vectorize("i"),),
        "y[ramp(0, 1, 8)] = a[ramp(0, 1, 8)] + broadcast(b[3], 8)",
    ),
    "vectorize strides": (
        "for j < 2 { for i < 8 { y[j * 8 + i] = a[i * 2 + j] * b[i * -1 + 7] } }", (Vectorize("i"),),
        "for j < 2 { y[ramp(j * 8, 1, 8)] = a[ramp(j, 2, 8)] * b[ramp(7, -1, 8)] }",
    ),
    "vectorize registers": (
        ROWS.replace("i * 6 + k", "k * 4 + i"), (Vectorize("i"),),
        """alloc acc: f32[4] register
        acc[ramp(0, 1, 4)] = broadcast(0.0, 4)
        for k < 6 { acc[ramp(0, 1, 4)] = acc[ramp(0, 1, 4)] + a[ramp(k * 4, 1, 4)] }
        y[ramp(0, 1, 4)] = acc[ramp(0, 1, 4)]""",
    ),
    "unroll": ("for j < 3 { for i < 2 { y[j * 2 + i] = a[i] } }", (Unroll("i"),), "for j < 3 { y[j * 2] = a[0]\n y[j * 2 + 1] = a[1] }"),
    "unroll registers": (
        "for i < 2 { alloc t: f32[1] register\n t[0] = a[i]\n y[i] = t[0] * t[0] }", (Unroll("i"),),
        """alloc t: f32[1] register
        t[0] = a[0]
        y[0] = t[0] * t[0]
        alloc t_i1: f32[1] register
        t_i1[0] = a[1]
        y[1] = t_i1[0] * t_i1[0]""",
    ),
    "a condition between reordered loops moves inside": (
        "for i < 5 { for j < 4 { y[i * 4 + j] = a[i * 4 + j] } }", (Split("i", 2, "guard"), Reorder(("j", "i_o", "i_i"))),
        "for j < 4 { for i_o < 3 { for i_i < 2 { if i_o * 2 + i_i < 5 { y[i_o * 8 + i_i * 4 + j] = a[i_o * 8 + i_i * 4 + j] } } } }",
    ),
    "unroll after guard": (
        "for i < 3 { y[i] = a[i] }", (Split("i", 2, "guard"), Unroll("i_i"), Unroll("i_o")), "y[0] = a[0]\n y[1] = a[1]\n y[2] = a[2]"
    ),
    "a tile": (
        "for i < 2 {" + ROWS.replace("for i < 4 {", "for j < 4 {").replace("a[i * 6 + k]", "a[i * 6 + k] * b[k * 4 + j]").replace(
            "y[i]", "y[i * 4 + j]") + "}", (Vectorize("j"), Distribute("i"), Unroll("i")),
        """alloc acc_0: f32[4] register
        alloc acc_1: f32[4] register
        acc_0[ramp(0, 1, 4)] = broadcast(0.0, 4)
        acc_1[ramp(0, 1, 4)] = broadcast(0.0, 4)
        for k < 6 {
          acc_0[ramp(0, 1, 4)] = acc_0[ramp(0, 1, 4)] + broadcast(a[k], 4) * b[ramp(k * 4, 1, 4)]
          acc_1[ramp(0, 1, 4)] = acc_1[ramp(0, 1, 4)] + broadcast(a[k + 6], 4) * b[ramp(k * 4, 1, 4)]
        }
        y[ramp(0, 1, 4)] = acc_0[ramp(0, 1, 4)]
        y[ramp(4, 1, 4)] = acc_1[ramp(0, 1, 4)]""",
    ),
    "keep": (
        TWICE, (Keep("k", "i"),),
        """alloc acc: f32[1] register
        acc[0] = 0.0
        alloc kept_k: f32[10] local
        for k_kept < 10 { kept_k[k_kept] = a[k_kept] * a[k_kept + 3] }
        for k < 10 { acc[0] = acc[0] + kept_k[k] }
        for i < 10 { y[i] = kept_k[i] * acc[0] }""",
    ),
    "vectorize what was kept": (
        TWICE.replace("10", "8"), (Keep("k", "i"), Vectorize("k_kept"), Vectorize("i")),
        """alloc acc: f32[1] register
        acc[0] = 0.0
        alloc kept_k: f32[8] local
        kept_k[ramp(0, 1, 8)] = a[ramp(0, 1, 8)] * a[ramp(3, 1, 8)]
        for k < 8 { acc[0] = acc[0] + kept_k[k] }
        y[ramp(0, 1, 8)] = kept_k[ramp(0, 1, 8)] * broadcast(acc[0], 8)""",
    ),
    "vectorize a reduction": (
        SUM.replace("10", "12"), (VectorizeReduction("k", 4),),
        """alloc acc: f32[1] register
        acc[0] = 0.0
        alloc acc_lanes: f32[4] register
        acc_lanes[ramp(0, 1, 4)] = broadcast(0.0, 4)
        for k_o < 3 { acc_lanes[ramp(0, 1, 4)] = acc_lanes[ramp(0, 1, 4)] + a[ramp(k_o * 4, 1, 4)] }
        acc_lanes[ramp(0, 1, 2)] = acc_lanes[ramp(0, 1, 2)] + acc_lanes[ramp(2, 1, 2)]
        acc_lanes[0] = acc_lanes[0] + acc_lanes[1]
        acc[0] = acc[0] + acc_lanes[0]
        y[0] = acc[0]""",
    ),
    "vectorize a reduction with a rest": (
        SUM.replace("10", "6"), (VectorizeReduction("k", 4),),
        """alloc acc: f32[1] register
        acc[0] = 0.0
        alloc acc_lanes: f32[4] register
        acc_lanes[ramp(0, 1, 4)] = broadcast(0.0, 4)
        acc_lanes[ramp(0, 1, 4)] = acc_lanes[ramp(0, 1, 4)] + a[ramp(0, 1, 4)]
        acc_lanes[ramp(0, 1, 4)] = acc_lanes[ramp(0, 1, 4)]
            + where(broadcast(1, 4) < ramp(0, 1, 4), a[ramp(2, 1, 4)], broadcast(0.0, 4))
        acc_lanes[ramp(0, 1, 2)] = acc_lanes[ramp(0, 1, 2)] + acc_lanes[ramp(2, 1, 2)]
        acc_lanes[0] = acc_lanes[0] + acc_lanes[1]
        acc[0] = acc[0] + acc_lanes[0]
        y[0] = acc[0]""",
    ),
    "bind": ("for i < 8 { for j < 4 { y[i * 4 + j] = a[i] } }", (Bind("i", "grid0"), Bind("j", "lane0")),
             "for i < 8 grid0 { for j < 4 lane0 { y[i * 4 + j] = a[i] } }"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_before_and_after(name: str) -> None:
    before, steps, expected = GOLDEN[name]
    assert after(before, *steps) == lines(expected.replace("\n            +", " +"))


def test_pack_makes_the_data_follow_the_loops() -> None:
    body = "for j < 3 { for k < 4 { for i < 2 { y[j * 8 + k * 2 + i] = b[k * 6 + j * 2 + i] } } }"
    made = apply(kernel(body), (Vectorize("i"), Pack("b")))
    assert print_kernel(made.kernel) == print_kernel(
        parse_kernel("""kernel k(write y: f32[64], read a: f32[64], read b: f32[24] ", packed 3x4x2") {
          for j < 3 { for k < 4 { y[ramp(j * 8 + k * 2, 1, 2)] = b[ramp(j * 8 + k * 2, 1, 2)] } }
        }""")
    )
    data = np.arange(24)
    np.testing.assert_array_equal(rearranged(data, made.packings["b"]), data.reshape(4, 3, 2).transpose(1, 0, 2).reshape(-1))


def test_packed_data_repeats_where_blocks_overlap() -> None:
    made = apply(kernel("for i < 5 { y[i] = b[i * 2] }"), (Split("i", 4), Vectorize("i_i"), Pack("b")))
    np.testing.assert_array_equal(rearranged(np.arange(10), made.packings["b"]), [0, 2, 4, 6, 2, 4, 6, 8])


def bytes_kernel(extent: int, left: str = "x[i * 10 + k]"):
    return parse_kernel(f"""kernel k(write y: i32[64], read x: u8[64], read w: i8[64]) {{
      for i < 3 {{ for j < 4 {{
        alloc acc: i32[1] register
        acc[0] = 0:i32
        for k < {extent} {{ acc[0] = acc[0] + i32({left}) * i32(w[k * 4 + j]) }}
        y[i * 4 + j] = acc[0]
      }} }}
    }}""")


def test_dot_takes_four_bytes_at_a_time() -> None:
    made = apply(bytes_kernel(10), (Dot("k"), Vectorize("j"), Pack("w")))
    verify_kernel(made.kernel)
    text = "".join(print_kernel(made.kernel).split())
    assert 'readw:u32[12]",wordsof4x3x4,packed3x4"' in text
    start = "where(k_o*4<6,k_o*4,6)"
    assert f"dot4(acc[ramp(0,1,4)],broadcast(bitcast(u32,x[ramp(i*10+{start},1,4)]),4),w[ramp(k_o*4,1,4)])" in text


@pytest.mark.parametrize("extent", [4, 8, 9, 10, 15])
def test_dot_sums_the_same(extent: int) -> None:
    draw = np.random.default_rng(extent)
    x, w = draw.integers(0, 256, 64).astype(np.uint8), draw.integers(-128, 128, 64).astype(np.int8)
    plain = bytes_kernel(extent)
    for steps in ((Dot("k"),), (Dot("k"), Vectorize("j"), Pack("w")), (Dot("k"), Reorder(("j", "i")), Pack("w"))):
        made = apply(plain, steps)
        results = []
        for one, data in ((plain, w), (made.kernel, rearranged(w, made.packings["w"]))):
            y = np.zeros(64, np.int32)
            run_kernel(one, {"y": y, "x": x, "w": data})
            results.append(y)
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("extent", "left"), [(3, "x[k]"), (8, "x[k * 2]"), (8, "w[k]")])
def test_what_dot_does_not_take(extent: int, left: str) -> None:
    with pytest.raises(InvalidIrError, match="does not sum products of u8"):
        apply(bytes_kernel(extent, left), (Dot("k"),))


@pytest.mark.parametrize(
    ("body", "steps", "message"),
    [
        (POINTWISE, (Split("j", 8),), "no loop over j"),
        ("for i < 3 { y[i] = a[i] }", (Split("i", 4),), "blocks of 4 do not fit the 3 iterations of i"),
        (SUM, (Split("k", 4),), "some iterations twice"),
        (POINTWISE, (Split("i", 0),), "blocks of 0"),
        (POINTWISE, (Fuse("i", "j"),), "j is not directly inside i"),
        (ROWS, (Fuse("i", "k"),), "k is not directly inside i"),
        (ROWS, (Reorder(("k", "i")),), "not directly nested"),
        ("for i < 2 { for j < 3 { for k < 4 { y[k] = a[k] } } }", (Reorder(("k", "i")),), "not directly nested"),
        (POINTWISE, (Reorder(("j", "i")),), "no loop over j"),
        (POINTWISE, (Vectorize("i"),), "40 iterations, which is no number of lanes"),
        ("for i < 8 { y[0] = a[i] }", (Vectorize("i"),), "every lane of i stores y at the same place"),
        ("for i < 8 { if i < 5 { y[i] = a[i] } }", (Vectorize("i"),), "a condition depends on the lane i"),
        ("for j < 4 { for i < 8 { y[j * 8 + i] = a[i] } }", (Vectorize("i"), Vectorize("j")), "a vector inside the lanes of j"),
        ("for i < 4 {" + SUM.replace("y[0] =", "y[i] =") + "}", (VectorizeReduction("k", 4), Vectorize("i")), "inside the lanes of i"),
        (SUM.replace("10", "8").replace("a[k]", "a[0]"), (Vectorize("k"),), "lanes of k depend on each other through acc"),
        (SUM, (VectorizeReduction("k", 16),), "16 lanes do not fit the 10 iterations of k"),
        (POINTWISE, (VectorizeReduction("i", 8),), "more than accumulate"),
        ("for i < 2 { alloc t: f32[1] register\n t[0] = a[i]\n y[i] = t[0] }\nalloc s: f32[1] register\ns[0] = 0.0\n"
         "for i < 2 { y[i] = s[0]\n s[0] = a[i] }", (Distribute("i"),), "iterations of i depend on each other through s"),
        ("for i < 8 { y[i] = b[i] + b[i + 1] }", (Pack("b"),), "b is read by 2 expressions"),
        (POINTWISE, (Pack("c"),), "c is read by 0 expressions"),
        (POINTWISE, (Pack("a"), Pack("a")), "a is packed already"),
        (POINTWISE, (Bind("j", "parallel"),), "no loop over j"),
        (POINTWISE, (Unroll("j"),), "no loop over j"),
        (POINTWISE, (Distribute("j"),), "no loop over j"),
        (POINTWISE, (VectorizeReduction("j", 4),), "no loop over j"),
        (POINTWISE, (Keep("j", "i"),), "no loop over j"),
        (POINTWISE, (Keep("i", "i"),), "not loops one after the other"),
        (TWICE, (Keep("i", "k"),), "not loops one after the other"),
        (TWICE.replace("for i < 10", "for i < 9"), (Keep("k", "i"),), "compute nothing alike"),
        (TWICE.replace("a[i + 3]", "a[i + 4]"), (Keep("k", "i"),), "compute nothing alike"),
        (TWICE.replace("a[k] * a[k + 3]", "a[k] * acc[0]").replace("a[i] * a[i + 3]", "a[i]"), (Keep("k", "i"),), "nothing alike"),
    ],
)  # fmt: skip
def test_steps_that_do_not_fit(body: str, steps: Schedule, message: str) -> None:
    with pytest.raises(InvalidIrError, match=message):
        apply(kernel(body), steps)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
def test_no_schedule_changes_the_meaning(seed: int) -> None:
    draw = random.Random(seed)
    plain = random_kernel(draw)
    verify_kernel(plain)
    scheduled = random_schedule(draw, plain)
    verify_kernel(scheduled.kernel)
    inputs = inputs_of(plain)
    np.testing.assert_array_equal(outcome(plain, inputs), outcome(plain, inputs, scheduled), err_msg=to_json(scheduled.schedule))
    assert from_json(to_json(scheduled.schedule)) == scheduled.schedule


ALL: Schedule = (
    Split("i", 8, "guard"), Fuse("i", "j"), Reorder(("a", "b", "c")), Distribute("i"), Vectorize("i"), Unroll("i"),
    VectorizeReduction("k", 4), Keep("k", "i"), Ahead("k"), Share("k", 2), Pack("w"), Dot("k"), Bind("i", "lane0"),
)  # fmt: skip


def test_schedules_are_json() -> None:
    assert {type(step).__name__ for step in ALL} == set(STEPS)
    assert from_json(to_json(ALL)) == ALL
    assert to_json((Reorder(("j", "i")),)) == '[\n  {"step": "Reorder", "order": ["j", "i"]}\n]\n'
    assert from_json("[]") == ()


NOT_SCHEDULES = (
    '[{"step": "Melt", "var": "i"}]', '[{"step": "Unroll", "var": "i", "by": 2}]', '[{"var": "i"}]', "{", "[1]", '[{"step": "Split"}]',
)  # fmt: skip


@pytest.mark.parametrize("text", NOT_SCHEDULES)
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


def test_every_step_shows_before_and_after() -> None:
    assert all("->" in (step.__doc__ or "") for step in STEPS.values() if step is not Bind)


def test_a_schedule_is_kept_with_its_kernel() -> None:
    steps = (Split("i", 8), Vectorize("i_i"))
    made = apply(kernel(POINTWISE), steps)
    assert made.schedule == steps
    assert not made.packings
    assert apply(made.kernel, ()).kernel == made.kernel
