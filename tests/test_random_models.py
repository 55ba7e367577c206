"""A fixed slice of the random models; thousands of them are a run of their own, `python tests/random_models.py --count 2000`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from random_models import EVERY, TARGETS, differences, generate, smallest_failure
from random_open_models import outcome, places


@pytest.mark.parametrize("seed", range(60))
def test_random_model(seed: int) -> None:
    made = generate(seed)
    found = list(differences(made, TARGETS[seed % 10]))
    if found:
        cut = smallest_failure(made, TARGETS[seed % 10])
        pytest.fail(f"{found[0]}\n{[node.op_type for node in cut.model.graph.node]}")


@pytest.mark.parametrize("seed", range(10))
def test_rarer_operators(seed: int) -> None:
    made = generate(seed, EVERY)
    assert {node.op_type for node in made.model.graph.node} - {node.op_type for node in generate(seed).model.graph.node}
    assert not list(differences(made, TARGETS[seed % 10]))


@pytest.mark.filterwarnings("ignore")
def test_an_open_axis() -> None:
    """Thousands of them: `python tests/random_open_models.py`."""
    found = [(seed, place, outcome(made, place)) for seed in range(4) for made in [generate(seed, EVERY)] for place in places(made)]
    assert not [case for case in found if case[2].startswith("wrong")]
    assert sum(case[2] == "right" for case in found) > 3


def test_a_seed_is_a_model() -> None:
    """The same seed gives the same model, which has nodes of several kinds."""
    first, second = generate(7), generate(7)
    assert first.model.SerializeToString() == second.model.SerializeToString()
    assert all(np.array_equal(first.feeds[name], second.feeds[name]) for name in first.feeds)
    assert len({node.op_type for seed in range(10, 14) for node in generate(seed).model.graph.node}) > 15


def test_a_wrong_answer_is_found_and_cut_down() -> None:
    """With one result moved, the comparison fails."""
    made = next(m for m in map(generate, range(20, 40)) if m.model.graph.output[0].type.tensor_type.elem_type == 1)
    name = made.model.graph.output[0].name
    by = np.float32(max(1, np.max(np.abs(made.values[name][0]))))
    moved = {**made.values, name: tuple(array + by for array in made.values[name])}
    wrong = type(made)(made.model, made.feeds, moved)
    assert any(line.startswith(name) for line in differences(wrong, "cpu"))
