"""The model of register tiles: what it may choose, and what it should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgc.passes.tile import Operand, Problem, best_tile, cycles, registers
from tgc.targets import CORTEX_A75, RISCV64, X86_V2, X86_V3, X86_V4, Target

VECTOR_TARGETS = (X86_V2, X86_V3, X86_V4, CORTEX_A75)
GEMM = (Operand(along_rows=True, along_vectors=False), Operand(along_rows=False, along_vectors=True))
DEPTHWISE = (Operand(along_rows=True, along_vectors=True), Operand(along_rows=False, along_vectors=True))

problems = st.builds(
    Problem, rows=st.integers(1, 300), vectors=st.integers(1, 64), steps=st.integers(1, 2000),
    operands=st.lists(st.builds(Operand, st.booleans(), st.booleans()), min_size=1, max_size=3).map(tuple),
)  # fmt: skip


@given(problems, st.sampled_from([*VECTOR_TARGETS, RISCV64]))
def test_a_tile_fits_the_problem_and_the_registers(problem: Problem, target: Target) -> None:
    tile = best_tile(problem, target)
    assert 1 <= tile.rows <= problem.rows
    assert 1 <= tile.vectors <= problem.vectors
    assert tile.rows * tile.vectors == 1 or registers(problem, tile.rows, tile.vectors) <= target.vector_registers


@given(problems, st.sampled_from(VECTOR_TARGETS))
def test_no_single_accumulator_is_faster(problem: Problem, target: Target) -> None:
    assert best_tile(problem, target).cycles <= cycles(problem, 1, 1, target)


@pytest.mark.parametrize("target", VECTOR_TARGETS, ids=lambda target: target.name)
def test_a_large_product_fills_the_register_file(target: Target) -> None:
    tile = best_tile(Problem(240, 32, 512, GEMM), target)
    assert registers(Problem(240, 32, 512, GEMM), tile.rows, tile.vectors) >= 0.75 * target.vector_registers
    assert tile.rows > 1


@pytest.mark.parametrize("target", VECTOR_TARGETS, ids=lambda target: target.name)
def test_neighbours_of_a_depthwise_window_share_its_weights(target: Target) -> None:
    assert best_tile(Problem(56, 8, 9, DEPTHWISE), target).rows > 1


def test_a_tile_that_divides_the_rows_is_preferred() -> None:
    """Rows computed twice are paid for: 7 x 7 = 49 rows are not tiled by 6 and 6 and ... and 1."""
    tile = best_tile(Problem(49, 8, 256, GEMM), X86_V3)
    assert -(-49 // tile.rows) * tile.rows - 49 <= 5
