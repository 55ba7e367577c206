"""tgc tune: progress, the budget, workers side by side, and a fleet whose workers die."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from test_tune import network

import tgc
from tgc import cli
from tgc.errors import OptionError
from tgc.ir.text import print_kernel
from tgc.tune.evaluate import Outcome, Task, exclusive
from tgc.tune.fleet import fleet
from tgc.tune.journal import Journal
from tgc.tune.pool import local
from tgc.tune.search import problems_of, search, tune


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return network(tmp_path / "net.onnx")


def first_task(model: Path, seconds: float = 0.01) -> Task:
    target, problems = problems_of(model, "cpu", {})
    return Task(print_kernel(problems[0].kernel), target, "[]", "[]", seconds)


def test_progress_says_what_is_searched_and_how_long(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.invoke(["tune", str(model), "--target", "cortex-a75", "--no-measure", "-o", str(tmp_path / "net.lock")]) == 0
    shown = capsys.readouterr().err
    assert "tuning net.onnx" in shown
    assert "s left: " in shown


def test_the_budget_holds_and_every_kernel_has_an_entry(model: Path) -> None:
    def slow(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        for number, _ in enumerate(tasks):
            time.sleep(0.3)
            yield number, Outcome("ok", 1.0, 1.0)

    target, problems = problems_of(model, "x86-64-v3", {})
    told: list[str] = []
    begin = time.monotonic()
    report = tune(problems, target, slow, Journal(), seconds=1, watch=lambda _, __, what: told.append(what))
    assert time.monotonic() - begin < 6
    assert not report.finished
    assert len(report.lock.entries) == len(problems)
    assert 1 <= len(report.points) <= 5
    assert any("of the heuristic's time" in what for what in told)


def hold(place: Path, times: object) -> None:
    os.environ["TMPDIR"] = str(place)
    for _ in range(5):
        with exclusive():
            begin = time.monotonic()
            time.sleep(0.01)
            times.put((begin, time.monotonic()))  # type: ignore[attr-defined]


def test_one_process_measures_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    times = context.Queue()
    processes = [context.Process(target=hold, args=(tmp_path, times)) for _ in range(3)]
    for process in processes:
        process.start()
    spans = sorted(times.get(timeout=100) for _ in range(15))
    for process in processes:
        process.join()
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_workers_share_the_tasks(model: Path) -> None:
    task = first_task(model)
    with local(2) as run:
        outcomes = dict(run([task] * 5))
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}


def test_a_fleet_does_the_work_of_a_worker_that_dies_again(model: Path) -> None:
    distributed = pytest.importorskip("distributed")
    task = first_task(model, 0.2)
    made = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with made as cluster, fleet(cluster.scheduler_address) as run:
        outcomes = run([task] * 4)
        numbers = {next(outcomes)[0]}
        (worker,) = cluster.workers.values()
        died = worker.process.pid
        os.kill(died, signal.SIGKILL)
        results = dict(outcomes)
        assert numbers | set(results) == {0, 1, 2, 3}
        assert all(outcome.status == "ok" for outcome in results.values())
        assert worker.process.pid != died  # replaced


def test_a_search_by_a_fleet_writes_the_lock(model: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    path = tmp_path / "net.lock"
    made = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with made as cluster:
        report = search(model, "cpu", {}, path, seconds=3, scheduler=cluster.scheduler_address)
    assert report.points
    assert tgc.compile(model, "cpu", lock=path).files


def test_where_there_is_no_fleet(model: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with pytest.raises(OptionError, match="there is no scheduler at"), fleet("nowhere://x"):
        pass
    empty = distributed.LocalCluster(n_workers=0, dashboard_address=None)
    with empty as cluster, pytest.raises(OptionError, match="the scheduler has no workers"):
        search(model, "cpu", {}, tmp_path / "x.lock", seconds=1, scheduler=cluster.scheduler_address)
