"""tgc tune and lock files: schedules by kernel, found by search, pinned in a text file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import tgc
from tgc import cli
from tgc.errors import OptionError
from tgc.ir.schedule import Split, to_json
from tgc.ir.text import print_kernel
from tgc.lock import Lock, describe, parse_lock, print_lock, read_lock, steadied
from tgc.tune.candidates import candidate
from tgc.tune.correlation import rank_correlation
from tgc.tune.evaluate import Outcome, Task, evaluate
from tgc.tune.journal import Journal, journal
from tgc.tune.pool import local
from tgc.tune.search import problems_of, search, tune
from tgc.tune.whole import whole_model


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
    with pytest.raises(OptionError, match="this model has kernels that are not in the lock"):
        tgc.compile(model, "x86-64-v3", lock=Lock(lock.target, {key: entry}))


def test_a_lock_that_does_not_fit_ends_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "net.lock", tmp_path / "out"
    assert cli.invoke(["tune", str(model), "--target", "x86-64-v3", "--no-measure", "-o", str(path)]) == 0
    assert cli.invoke(["compile", str(model), "--target", "x86-64-v3", "--lock", str(path), "-o", str(out)]) == 0
    other = network(tmp_path / "other.onnx", 56)
    capsys.readouterr()
    assert cli.invoke(["compile", str(other), "--target", "x86-64-v3", "--lock", str(path), "-o", str(tmp_path / "no")]) == 1
    assert "run tgc tune again" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_change_of_one_kernel_changes_its_lines_alone(model: Path) -> None:
    target, problems = problems_of(model, "x86-64-v3", {})
    lock = tune(problems, target, scripted({}), Journal(), seconds=60).lock  # type: ignore[arg-type]
    key, entry = next(iter(lock.entries.items()))
    changed = Lock(lock.target, {**lock.entries, key: replace(entry, schedule=(Split("i0", 2), *entry.schedule))})
    before, after = (print_lock(each).splitlines() for each in (lock, changed))
    assert [line for line in after if line not in before] == ['        {"step": "Split", "var": "i0", "factor": 2, "tail": "overlap"},']
    assert print_lock(Lock(lock.target, dict(reversed(lock.entries.items())))) == print_lock(lock)


def test_searching_again_keeps_the_lines_of_schedules_that_stay(model: Path) -> None:
    target, problems = problems_of(model, "x86-64-v3", {})
    earlier = tune(problems, target, scripted({}), Journal(), seconds=60).lock  # type: ignore[arg-type]
    key, entry = next(iter(earlier.entries.items()))
    noisy = {name: replace(each, measured=(2e-3, 2e-3)) for name, each in earlier.entries.items()}
    better = replace(entry, schedule=(), measured=(2e-3, 1e-3))
    assert steadied(Lock(earlier.target, {**noisy, key: better}), earlier).entries == {**earlier.entries, key: better}


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
    text = print_kernel(problems[0].kernel)
    schedule = to_json(made[0].schedule)
    good = evaluate(Task(text, target, schedule, "[]", 0.01))
    assert good.status == "ok"
    assert good.seconds > 0
    assert evaluate(Task(text, target, schedule, to_json((Split("nowhere", 2),)), 0.01)).status == "failed"


def test_a_measured_search_ends_with_a_lock_that_computes_the_same(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.lock"
    report = search(model, "cpu", {}, path, seconds=2)
    assert report.points
    x = np.random.default_rng(1).normal(size=(24, 40)).astype(np.float32)
    results = []
    for lock in (None, path):
        tgc.compile(model, "cpu", tmp_path / f"out{lock is None}", lock=lock)
        results.append(tgc.load(tmp_path / f"out{lock is None}").run({"x": x})["y"])
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)


def test_a_worker_that_dies_costs_one_task(model: Path) -> None:
    target, problems = problems_of(model, "cpu", {})
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
    with journal(path, "cpu"), pytest.raises(OptionError, match="another search is writing it"), journal(path, "cpu"):
        pass
    with journal(path, "other") as kept:  # another target or device
        assert not kept.known


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == 1
    assert rank_correlation([1, 2, 3], [30, 20, 10]) == -1
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert describe(tgc.targets.find("c")) == "c vector=256x16 threads=1"


def test_without_measuring_the_closed_form_decides(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.lock"
    arguments = ["tune", str(model), "--target", "cortex-a75"]
    assert cli.invoke([*arguments, "--seconds", "2", "-o", str(path)]) == 1  # not this machine
    assert cli.invoke([*arguments, "--no-measure", "-o", str(path)]) == 0
    entries = read_lock(path).entries.values()
    assert any(entry.predicted for entry in entries)
    assert all(entry.measured is None for entry in entries)
    assert tgc.compile(model, "cortex-a75", lock=path).files


def test_compile_tunes_first_where_asked(model: Path, tmp_path: Path) -> None:
    assert cli.invoke(["compile", str(model), "--tune", "1", "-o", str(tmp_path / "out")]) == 0
    assert not list(tmp_path.glob("*.lock*"))
    assert cli.invoke(["compile", str(model), "--tune", "1", "--lock", "x", "-o", str(tmp_path / "out")]) == 2


def test_a_job_has_the_lock_by_its_hash(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, job = tmp_path / "net.lock", tmp_path / "job.toml"
    flags = [str(model), "--target", "x86-64-v3"]
    assert cli.invoke(["tune", *flags, "--no-measure", "-o", str(path)]) == 0
    assert cli.invoke(["job", *flags, "--lock", str(path), "-o", str(job)]) == 0
    assert 'lock = "net.lock"' in job.read_text()
    assert cli.invoke(["build", str(job), "-o", str(tmp_path / "out")]) == 0
    path.write_text(path.read_text() + "\n")
    capsys.readouterr()
    assert cli.invoke(["build", str(job), "-o", str(tmp_path / "out")]) == 1
    assert "is not the file that the job was made for" in capsys.readouterr().err


def test_a_search_that_was_killed_loses_at_most_what_it_was_measuring(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.lock"
    kept = tmp_path / "net.lock.journal"
    command = [sys.executable, "-m", "tgc", "tune", str(model), "--seconds", "100", "-o", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path(tgc.__file__).parents[1])})
    deadline = time.monotonic() + 100
    while (not kept.exists() or len(kept.read_text().splitlines()) < 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    whole = [line for line in kept.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert len(whole) >= 4
    assert not path.exists()
    search(model, "cpu", {}, path, seconds=2)
    after = kept.read_text().splitlines(keepends=True)
    assert after[: len(whole)] == whole
    assert len({line.split('"')[1] for line in after}) == len(after)  # nothing was measured twice


def test_the_closed_form_knows_tiles_and_caches(model: Path) -> None:
    target, problems = problems_of(model, "x86-64-v3", {})
    product = next(problem for problem in problems if len(problem.constants) == 1)
    made = candidate(product, target, {})
    assert made is not None
    name = next(name for name in made[1] if name.startswith("tile"))
    smallest = candidate(product, target, {name: min(made[1][name].options, key=lambda label: (not label.endswith(" 1x1"), label))})
    assert smallest is not None
    assert smallest[0].predicted > made[0].predicted  # one accumulator waits for itself


@pytest.mark.parametrize(("after", "kept"), [(0.9, True), (1.1, False)])
def test_a_lock_is_kept_where_the_whole_model_is_faster(after: float, kept: bool, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tgc.tune.search as module

    target, problems = problems_of(model, "x86-64-v3", {})
    widest = json.dumps({"step": "Split", "var": "i1_o", "factor": 2, "tail": "overlap"})
    report = tune(problems, target, scripted({widest: 0.5}), Journal(), seconds=60)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "whole_model", lambda *_: (1.0, after))
    proven = module._proven(report, model, "x86-64-v3", {})
    assert proven.whole == (1.0, after)
    assert (proven.lock == report.lock) == kept
    same = tgc.compile(model, "x86-64-v3", lock=proven.lock).files == tgc.compile(model, "x86-64-v3").files
    assert same != kept


@pytest.mark.parametrize("options", [{}, {"dims": {"n": (1, 24)}}])
def test_the_whole_model_is_measured_in_turns(options: dict[str, object], tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "net.onnx"))
    for tensor in (*model.graph.input, *model.graph.output) if options else ():
        tensor.type.tensor_type.shape.dim[0].dim_param = "n"
    target, problems = problems_of(model, "cpu", options)
    lock = tune(problems, target, None, Journal(), seconds=60).lock
    before, after = whole_model(model, "cpu", options, lock)
    assert 0.2 < before / after < 5


def test_where_there_is_time_more_answers_are_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tgc.tune.search as module

    target, problems = problems_of(model, "x86-64-v3", {})
    counts = []
    for rounds in ((2,), (2, 6)):
        monkeypatch.setattr(module, "ROUNDS", rounds)
        counts.append([row.tried for row in tune(problems, target, scripted({}), Journal(), seconds=60).rows])  # type: ignore[arg-type]
    assert max(counts[0]) < max(counts[1])
    assert all(first <= then for first, then in zip(*counts, strict=True))
