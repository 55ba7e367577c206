"""tgc tune and lock files: schedules by kernel, found by search, pinned in a text file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import tgc
from tgc.errors import OptionError
from tgc.ir.schedule import Split, to_json
from tgc.lock import Lock, describe, parse_lock, print_lock, read_lock
from tgc.tune.candidates import candidate
from tgc.tune.correlation import rank_correlation
from tgc.tune.evaluate import Outcome, Task, evaluate
from tgc.tune.journal import Journal, journal
from tgc.tune.pool import local
from tgc.tune.search import problems_of, search, tune


def network(path: Path, width: int = 48) -> Path:
    """x[24, 40] @ w[40, width], max(0, that), @ v[width, 64]."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(40, width)), "v": rng.normal(size=(width, 64))}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("MatMul", ["b", "v"], ["y"])]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [24, 40])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [24, 64])]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    save(helper.make_model(helper.make_graph(nodes, "net", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return network(tmp_path / "net.onnx")


def scripted(seconds: dict[str, float]) -> object:
    """In place of workers: every schedule takes 1 s, but those whose JSON holds a key of `seconds` take so long."""

    def run(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        for number, task in enumerate(tasks):
            took = next((value for part, value in seconds.items() if part in task.schedule), 1.0)
            yield number, Outcome("ok", took, 1.0)

    return run


def test_a_search_keeps_what_is_fastest_and_the_lock_reproduces_it(model: Path) -> None:
    target, problems = problems_of(model, "x86-64-v3", {})
    widest = json.dumps({"step": "Split", "var": "i1_o", "factor": 2, "tail": "overlap"})
    report = tune(problems, target, scripted({widest: 0.5}), Journal(), seconds=60)  # type: ignore[arg-type]
    changed = [row for row in report.rows if row.answers]
    assert changed
    assert all(widest in to_json(row.entry.schedule) for row in changed)
    text = print_lock(report.lock)
    assert parse_lock(text, "lock") == parse_lock(print_lock(parse_lock(text, "lock")), "lock")
    artifact = tgc.compile(model, "x86-64-v3", lock=parse_lock(text, "lock"))
    assert artifact.unlocked == ()
    assert artifact.files != tgc.compile(model, "x86-64-v3").files


def test_a_lock_of_the_heuristic_changes_nothing(model: Path) -> None:
    target, problems = problems_of(model, "x86-64-v3", {})
    report = tune(problems, target, scripted({}), Journal(), seconds=60)  # type: ignore[arg-type]
    assert tgc.compile(model, "x86-64-v3", lock=report.lock).files == tgc.compile(model, "x86-64-v3").files


def test_a_lock_that_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    target, problems = problems_of(model, "x86-64-v3", {})
    lock = tune(problems, target, scripted({}), Journal(), seconds=60).lock  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="entries for kernels that this model does not have"):
        tgc.compile(network(tmp_path / "other.onnx", 56), "x86-64-v3", lock=lock)
    with pytest.raises(OptionError, match="the lock is for"):
        tgc.compile(model, "x86-64-v4", lock=lock)
    key, entry = next(iter(lock.entries.items()))
    bad = Lock(lock.target, {**lock.entries, key: replace(entry, schedule=(Split("nowhere", 2),))})
    with pytest.raises(OptionError, match="a step cannot be applied"):
        tgc.compile(model, "x86-64-v3", lock=bad)
    fewer = Lock(lock.target, {key: entry})
    assert len(tgc.compile(model, "x86-64-v3", lock=fewer).unlocked) == len(problems) - 1


@pytest.mark.parametrize("text", ["", "[]", '{"tgc-lock": 1}', '{"tgc-lock": 9, "target": "", "kernels": {}}'])
def test_what_is_no_lock_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "net.lock"
    path.write_text(text)
    with pytest.raises(OptionError):
        read_lock(path)


def test_a_schedule_that_computes_something_else_is_refused(model: Path) -> None:
    target, problems = problems_of(model, "cpu", {})
    made = candidate(problems[0], target, {})
    assert made is not None
    from tgc.ir.text import print_kernel

    text = print_kernel(problems[0].kernel)
    schedule = to_json(made[0].schedule)
    good = evaluate(Task(text, target, schedule, "[]", 0.01))
    assert good.status == "ok"
    assert good.seconds > 0
    assert evaluate(Task(text, target, schedule, to_json((Split("nowhere", 2),)), 0.01)).status == "failed"


def test_a_measured_search_ends_with_a_lock_that_computes_the_same(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.lock"
    report = search(model, "cpu", {}, path, seconds=4)
    assert report.points
    x = np.random.default_rng(1).normal(size=(24, 40)).astype(np.float32)
    results = []
    for lock in (None, path):
        tgc.compile(model, "cpu", tmp_path / f"out{lock is None}", lock=lock)
        results.append(tgc.load(tmp_path / f"out{lock is None}").run({"x": x})["y"])
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)


def test_a_worker_that_dies_costs_one_task(model: Path) -> None:
    target, problems = problems_of(model, "cpu", {})
    from tgc.ir.text import print_kernel

    text = print_kernel(problems[0].kernel)
    with local(1) as run:
        wild = "kernel wild(write y: f32[4]) {\n  for i < 4 {\n    y[i * 1000000000000] = 1.0\n  }\n}\n"
        bad = Task(wild, target, "[]", "[]", 0.01)
        outcomes = dict(run([bad, Task(text, target, "[]", "[]", 0.01)]))
    assert outcomes[0].status == "failed"
    assert outcomes[1].status == "ok"


def test_a_journal_keeps_whole_lines_of_the_same_target(tmp_path: Path) -> None:
    path = tmp_path / "net.lock.journal"
    with journal(path, "cpu") as kept:
        kept.add("a", (), Outcome("ok", 1.0, 2.0))
        kept.add("b", (), Outcome("wrong", why="y differs"))
    path.write_text(path.read_text()[:-5])  # killed while it wrote
    with journal(path, "cpu") as kept:
        assert kept.find("a", ()) == Outcome("ok", 1.0, 2.0)
        assert kept.find("b", ()) is None
    with journal(path, "other") as kept:
        assert not kept.known


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == 1
    assert rank_correlation([1, 2, 3], [30, 20, 10]) == -1
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert describe(tgc.targets.find("c")) == "c vector=256x16 threads=1"
