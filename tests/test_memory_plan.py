"""The memory plan: blocks that are needed at the same time do not meet, and the arena is small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgc.passes.memory import Lifetime, aligned, largest_live_set, plan_memory


@st.composite
def lifetimes(draw: st.DrawFn, longest: int = 6) -> list[Lifetime]:
    made = []
    for number in range(draw(st.integers(0, 25))):
        first = draw(st.integers(0, 30))
        made.append(Lifetime(f"t{number}", 64 * draw(st.integers(1, 40)), first, first + draw(st.integers(0, longest))))
    return made


@given(lifetimes(longest=30), st.sampled_from([1, 64, 256]))
def test_live_blocks_do_not_meet(blocks: list[Lifetime], alignment: int) -> None:
    offsets, total = plan_memory(blocks, alignment)
    assert set(offsets) == {block.name for block in blocks}
    assert total % alignment == 0
    for at, block in enumerate(blocks):
        start = offsets[block.name]
        assert start % alignment == 0
        assert 0 <= start <= start + block.size <= total
        for other in blocks[:at]:
            apart = start + block.size <= offsets[other.name] or offsets[other.name] + other.size <= start
            assert apart or set(block.moments).isdisjoint(other.moments)


@given(lifetimes())
def test_the_arena_holds_what_is_live(blocks: list[Lifetime]) -> None:
    _, total = plan_memory(blocks, 64)
    assert largest_live_set(blocks) <= total <= sum(block.size for block in blocks)


@pytest.mark.parametrize("seed", range(20))
def test_the_arena_is_small(seed: int) -> None:
    """Networks: tensors of all sizes, most read soon, some much later."""
    rng = np.random.default_rng(seed)
    blocks = []
    for at in range(60):
        reads = int(rng.choice([1, 1, 1, 2, 3, 20]))
        blocks.append(Lifetime(f"t{at}", 64 * int(rng.integers(1, 2000)), at, at + reads))
    assert plan_memory(blocks, 64)[1] <= 1.05 * largest_live_set(blocks)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_a_chain_takes_what_its_largest_step_takes(sizes: list[int]) -> None:
    chain = [Lifetime(f"t{at}", 64 * size, at, at + 1) for at, size in enumerate(sizes)]
    assert plan_memory(chain, 64)[1] == largest_live_set(chain)


def test_nothing_takes_nothing() -> None:
    assert plan_memory([], 64) == ({}, 0)
    assert largest_live_set([]) == 0


def test_what_is_needed_at_one_launch_is_kept_apart() -> None:
    a, b, c = Lifetime("a", 128, 0, 1), Lifetime("b", 64, 1, 2), Lifetime("c", 64, 2, 3)
    offsets, total = plan_memory([a, b, c], 64)
    assert total == 192
    assert offsets == {"a": 0, "b": 128, "c": 0}


def test_alignment() -> None:
    assert [aligned(value, 64) for value in (0, 1, 64, 65)] == [0, 64, 64, 128]
    offsets, total = plan_memory([Lifetime("a", 10, 0, 0), Lifetime("b", 10, 0, 0)], 64)
    assert sorted(offsets.values()) == [0, 64]
    assert total == 128
