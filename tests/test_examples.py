"""The example that builds supercombo: its published size, and the same file for the same seed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).resolve().parent.parent / "examples" / "supercombo.py"


@pytest.fixture(scope="module")
def supercombo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("supercombo", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["supercombo"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_supercombo_has_the_published_size(supercombo: ModuleType) -> None:
    model, macs, parameters = supercombo.build()
    assert round(macs / 1e6) == 434
    assert parameters == pytest.approx(14.0e6, rel=0.01)
    inputs = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input}
    assert inputs == {"input_imgs": [1, 12, 128, 256], "desire": [1, 8], "traffic_convention": [1, 2], "initial_state": [1, 512]}
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 6609]


def test_two_towers_have_another_input(supercombo: ModuleType) -> None:
    model, macs, _ = supercombo.build(two_towers=True)
    assert "big_input_imgs" in {value.name for value in model.graph.input}
    assert macs == pytest.approx(0.7e9, rel=0.02)


def test_the_seed_decides_the_weights(supercombo: ModuleType) -> None:
    first, again, other = (supercombo.build(seed=seed)[0].SerializeToString(deterministic=True) for seed in (1, 1, 2))
    assert first == again
    assert first != other
