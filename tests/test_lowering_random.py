"""Random tensors: the same on every run and target, with the distribution that they claim."""

from __future__ import annotations

import numpy as np
import pytest
from single_operator import Array, single

import tgc
from tgc.frontend_onnx import import_model
from tgc.ir.interpret import run_graph

MANY = 40_000


def drawn(op_type: str, feeds: dict[str, Array] | None = None, dtype: type = np.float32, **attributes: object) -> Array:
    made = single(op_type, feeds or {}, opset=17, types=(dtype,), **attributes)
    return run_graph(import_model(made), feeds or {})["y0"]


def moments(x: Array) -> tuple[float, float, float, float]:
    """Mean, deviation, skewness, and kurtosis above a normal distribution's."""
    wide = x.astype(np.float64)
    apart = (wide - wide.mean()) / wide.std()
    return float(wide.mean()), float(wide.std()), float((apart**3).mean()), float((apart**4).mean() - 3)


def test_normal() -> None:
    mean, deviation, skewness, kurtosis = moments(drawn("RandomNormal", shape=[MANY], mean=2.0, scale=3.0, seed=1.0))
    assert abs(mean - 2) < 5 * 3 / MANY**0.5
    assert abs(deviation - 3) < 5 * 3 / (2 * MANY) ** 0.5
    assert abs(skewness) < 5 * (6 / MANY) ** 0.5
    assert abs(kurtosis) < 5 * (24 / MANY) ** 0.5


def test_uniform() -> None:
    x = drawn("RandomUniform", shape=[200, 200], low=-1.0, high=3.0, seed=2.0)
    counts = np.histogram(x, bins=16, range=(-1, 3))[0]
    assert counts.sum() == MANY
    assert np.sum((counts - MANY / 16) ** 2) / (MANY / 16) < 45  # chi-squared with 15 degrees of freedom: 1e-4
    rows = x - x.mean()
    assert abs(np.mean(rows[:-1] * rows[1:])) < 0.04  # neighbours do not follow from one another
    assert abs(np.mean(rows[:, :-1] * rows[:, 1:])) < 0.04


def test_seeds_differ_and_repeat() -> None:
    one, same, other = (drawn("RandomNormal", shape=[100], seed=seed) for seed in (1.0, 1.0, 2.0))
    np.testing.assert_array_equal(one, same)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.4


def test_bernoulli_follows_its_input() -> None:
    chance = np.repeat(np.float32([0.1, 0.5, 0.9]), MANY // 3)
    hits = drawn("Bernoulli", {"x": chance}, seed=3.0).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(hits, [0.1, 0.5, 0.9], atol=0.02)


def test_multinomial_follows_its_probabilities() -> None:
    shares = np.float32([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    classes = drawn("Multinomial", {"x": np.log(shares)}, np.int32, sample_size=8000, seed=4.0)
    found = np.stack([np.bincount(row, minlength=3) / 8000 for row in classes])
    np.testing.assert_allclose(found, shares, atol=0.025)


@pytest.mark.parametrize("target", ["c", "opencl"])
def test_targets_draw_the_same(target: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = single("RandomUniform", {}, opset=17, shape=[64], seed=5.0)
    results = []
    for name in ("cpu", target):
        folder = tmp_path_factory.mktemp(name)
        tgc.compile(made, name, folder, name="model")
        results.append(tgc.load(folder).run({})["y0"])
    np.testing.assert_array_equal(*results)
