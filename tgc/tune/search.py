"""The search: kernel after kernel, dearest first, one decision after the other, each time the answer that is measured to be fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tgc import driver
from tgc.errors import OptionError
from tgc.ir.schedule import Schedule, to_json
from tgc.ir.text import print_kernel
from tgc.lock import Entry, Lock, describe, key_of, read_lock, steadied, write_lock
from tgc.passes.recording import Recording
from tgc.targets import Target
from tgc.tune.candidates import Candidate, Problem, candidate, neighbours
from tgc.tune.correlation import rank_correlation
from tgc.tune.device import device_of
from tgc.tune.evaluate import Outcome, Task
from tgc.tune.fleet import fleet
from tgc.tune.journal import Journal, journal
from tgc.tune.pool import Evaluate, local
from tgc.tune.whole import whole_model

ROUNDS = (8, 24, 72)  # other answers to one decision that are measured, in each round of a search
RANKED = 2  # times as many are scheduled, so that a closed form ranks them
RANKED_ALONE = 12  # where nothing is measured
WORTH = 0.97  # of the heuristic's time that a schedule has to stay below to be kept
TASK_SECONDS = 0.12
RUN_SECONDS = 2e-4  # of launches in one run, as predicted
MOST_REPEATED = 512
MOST_BYTES = 64 << 20  # of data for the launches of one run
CONFIRMED = 3  # times as long a winner is measured once more

Watch = Callable[[int, int, str], None]
"""Called with how many kernels are done, of how many, and what is going on."""


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate that was measured: its kernel's key, predicted and measured seconds."""

    key: str
    predicted: float
    measured: float


@dataclass(frozen=True, slots=True)
class Row:
    """A kernel in the report. plain: the heuristic's schedule. tried: evaluated schedules; refused: of these, wrong or failing."""

    key: str
    entry: Entry
    plain: Schedule
    calls: int
    answers: Mapping[str, str]
    tried: int
    refused: int


@dataclass(frozen=True, slots=True)
class Report:
    """lock: what was found. finished: whether every kernel had its turn within the budget.

    whole: seconds of the whole model without the lock and with what was found, where that was measured; where it was not faster, the
    lock pins the heuristic's schedules.
    """

    lock: Lock
    rows: tuple[Row, ...]
    points: tuple[Point, ...]
    finished: bool
    whole: tuple[float, float] | None = None

    @property
    def seconds(self) -> tuple[float, float]:
        """Measured kernels times their calls: as the heuristic schedules them, and as the lock does."""
        pairs = [(row.calls, row.entry.measured) for row in self.rows if row.entry.measured is not None]
        return sum(calls * pair[0] for calls, pair in pairs), sum(calls * pair[1] for calls, pair in pairs)

    @property
    def correlation(self) -> float | None:
        """Rank correlation of predicted and measured times, the mean over kernels with at least four schedules; None without any."""
        groups: dict[str, list[Point]] = {}
        for point in self.points:
            groups.setdefault(point.key, []).append(point)
        found = [rank_correlation([p.predicted for p in g], [p.measured for p in g]) for g in groups.values() if len(g) >= 4]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known else None


@dataclass(slots=True)
class _State:
    """What a search has."""

    target: Target
    evaluate: Evaluate | None
    journal: Journal
    deadline: float
    watch: Callable[[str], None]
    points: dict[tuple[str, Schedule], Point] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def tell(self, problem: Problem, ratio: float) -> None:
        """Says what is being searched, how it goes, and how much time there is."""
        left = max(0, round(self.deadline - time.monotonic()))
        name = problem.kernel.origins[-1] if problem.kernel.origins else problem.kernel.name
        self.watch(f"{ratio:.2f} of the heuristic's time, {len(self.points)} measured, {left} s left: {name}")


def search(
    model: Any, target: str, options: Mapping[str, Any], path: Path | None, *, seconds: float, workers: int = 1,
    scheduler: str | None = None, measure: bool = True, watch: Watch | None = None,
) -> Report:  # fmt: skip
    """Tunes `model` with the options of `tgc.compile` and writes the lock file `path`, a journal beside it meanwhile.

    path: None to write nothing. workers: processes here. scheduler: of a Dask fleet, in their place. measure: otherwise the closed form
    alone decides. What is found with processes here was measured to make the whole model faster. Raises OptionError where
    kernels for `target` cannot be run.
    """
    chosen, problems = problems_of(model, target, options)
    if not measure:
        report = tune(problems, chosen, None, Journal(), seconds=seconds, watch=watch)
    else:
        if chosen.images:
            raise OptionError("its images are modelled, and times here say nothing of it", f"target {target}", "add --no-measure")
        kept = journal(journal_of(path), f"{describe(chosen)} on {scheduler or device_of(chosen)}") if path else nullcontext(Journal())
        with kept as known, fleet(scheduler) if scheduler else local(workers) as evaluate:
            _require_runnable(problems, chosen, evaluate)
            report = tune(problems, chosen, evaluate, known, seconds=seconds, watch=watch)
    if measure and not scheduler:
        report = _proven(report, model, target, options)
    if path:
        report = replace(report, lock=steadied(report.lock, _earlier(path)))
        write_lock(report.lock, path)
    return report


def _proven(report: Report, model: Any, target: str, options: Mapping[str, Any]) -> Report:
    """`report` with the whole model measured, and the heuristic's schedules in the lock where its own do not make that faster."""
    if all(row.entry.schedule == row.plain for row in report.rows):
        return report
    before, after = whole_model(model, target, options, report.lock)
    lock = report.lock if after < before else Lock(report.lock.target, {row.key: _untuned(row) for row in report.rows})
    return replace(report, lock=lock, whole=(before, after))


def _untuned(row: Row) -> Entry:
    predicted, measured = ((pair[0],) * 2 if pair else None for pair in (row.entry.predicted, row.entry.measured))
    return replace(row.entry, schedule=row.plain, predicted=predicted, measured=measured)


def _earlier(path: Path) -> Lock:
    """The lock that is in `path`; one that fits nothing where there is none."""
    try:
        return read_lock(path)
    except OptionError:
        return Lock("", {})


def _require_runnable(problems: list[Problem], target: Target, evaluate: Evaluate) -> None:
    """Raises OptionError where the smallest kernel does not run as the heuristic schedules it."""
    plain = [(problem, _plain(problem, target)) for problem in problems[:1]]
    for _, outcome in evaluate([_task(problem, each, each, target, 0.0) for problem, each in plain]):
        if outcome.status == "failed":
            raise OptionError(f"kernels for it do not run here: {outcome.why}", f"target {target.name}", "add --no-measure")


def problems_of(model: Any, target: str | Target, options: Mapping[str, Any]) -> tuple[Target, list[Problem]]:
    """The target with all options, and the distinct kernels of `model` before they are scheduled."""
    recording = Recording()
    chosen = driver.compile(model, target, scheduler=recording.scheduler, observe=recording.observe, **options).target
    return chosen, [
        Problem(key_of(kernel, constants, chosen), kernel, constants, calls) for kernel, constants, calls in recording.kernels()
    ]


def tune(
    problems: list[Problem], target: Target, evaluate: Evaluate | None, journal: Journal, *, seconds: float, watch: Watch | None = None
) -> Report:
    """Searches schedules of `problems` on `target` for about `seconds`; kernels whose turn does not come keep the heuristic's.

    evaluate: None where the closed form alone decides.
    """
    place, told = [0], watch or (lambda *_: None)
    state = _State(target, evaluate, journal, time.monotonic() + seconds, lambda what: told(place[0], rounds * len(problems), what))
    plain = {problem.key: _plain(problem, target) for problem in problems}
    order = sorted(problems, key=lambda problem: -plain[problem.key].predicted * problem.calls)
    rounds = len(ROUNDS) if evaluate else 1
    rows = {problem.key: _row(problem, plain[problem.key], state, ROUNDS[0]) for problem in _counted(order, place)}
    finished = not state.late
    for width in ROUNDS[1:rounds]:
        for problem in _counted(order, place):
            if not state.late:
                rows[problem.key] = _better(rows[problem.key], _row(problem, plain[problem.key], state, width))
    lock = Lock(describe(target), {key: row.entry for key, row in rows.items()})
    return Report(lock, tuple(rows.values()), tuple(state.points.values()), finished)


def _counted(problems: list[Problem], place: list[int]) -> Iterator[Problem]:
    """The problems, with how many have been handed out counted in `place`."""
    for problem in problems:
        yield problem
        place[0] += 1


def _row(problem: Problem, plain: Candidate, state: _State, width: int) -> Row:
    return _search(problem, plain, state, width) if state.evaluate else _modelled(problem, plain, state)


def _better(first: Row, then: Row) -> Row:
    """Of two rows of one kernel that with the greater measured gain."""
    gains = [row.entry.measured[1] / row.entry.measured[0] if row.entry.measured else 1.0 for row in (first, then)]
    return then if gains[1] < gains[0] else replace(first, tried=then.tried, refused=then.refused)


def _plain(problem: Problem, target: Target) -> Candidate:
    """The heuristic's own schedule."""
    made = candidate(problem, target, {})
    if made is None:
        raise OptionError("the heuristic has no schedule for this kernel", problem.kernel.name)
    return made[0]


def _search(problem: Problem, plain: Candidate, state: _State, width: int) -> Row:
    """The best schedule of one kernel, of each decision `width` answers measured."""
    best, time_of_best, ratio = plain, (0.0, 0.0), 1.0
    outcomes: dict[object, Outcome] = {}
    done: set[str] = set()
    while not state.late and (name := _next_decision(problem, best, state.target, done)) is not None:
        done.add(name)
        state.tell(problem, ratio)
        for made, outcome in _measured(problem, plain, _others(problem, best, name, state.target, RANKED * width)[:width], state).items():
            outcomes[made.schedule] = outcome
            if outcome.status == "ok" and outcome.seconds < ratio * outcome.incumbent:
                best, ratio, time_of_best = made, outcome.seconds / outcome.incumbent, (outcome.incumbent, outcome.seconds)
    if best is not plain:
        best, time_of_best = _confirmed(problem, plain, best, state)
    predicted = (plain.predicted, best.predicted) if plain.predicted else None
    measured = time_of_best if time_of_best[0] else _incumbent(outcomes)
    entry = Entry(problem.kernel.origins, best.schedule, predicted, measured)
    refused = sum(1 for outcome in outcomes.values() if outcome.status != "ok")
    return Row(problem.key, entry, plain.schedule, problem.calls, best.answers, len(outcomes), refused)


def _modelled(problem: Problem, plain: Candidate, state: _State) -> Row:
    """The schedule of one kernel that the closed form likes best."""
    best, tried = plain, 0
    done: set[str] = set()
    while not state.late and (name := _next_decision(problem, best, state.target, done)) is not None:
        done.add(name)
        state.tell(problem, best.predicted / plain.predicted if plain.predicted else 1.0)
        others = _others(problem, best, name, state.target, RANKED_ALONE)
        tried += len(others)
        best = min((best, *(each for each in others if each.predicted < WORTH * best.predicted)), key=lambda each: each.predicted)
    predicted = (plain.predicted, best.predicted) if plain.predicted else None
    entry = Entry(problem.kernel.origins, best.schedule, predicted)
    return Row(problem.key, entry, plain.schedule, problem.calls, best.answers, tried, 0)


def _incumbent(outcomes: Mapping[object, Outcome]) -> tuple[float, float] | None:
    """The heuristic's time as both, where it was measured beside others and none was better."""
    times = sorted(outcome.incumbent for outcome in outcomes.values() if outcome.status == "ok")
    return (times[len(times) // 2],) * 2 if times else None


def _next_decision(problem: Problem, best: Candidate, target: Target, done: set[str]) -> str | None:
    made = candidate(problem, target, best.answers)
    return next((name for name in made[1] if name not in done), None) if made else None


def _others(problem: Problem, best: Candidate, name: str, target: Target, most: int) -> list[Candidate]:
    """At most `most` candidates that answer the decision `name` in another way than `best`, those first that the closed form likes best."""
    made = candidate(problem, target, best.answers)
    assert made is not None
    tried = (candidate(problem, target, answers) for answers in neighbours(best.answers, name, made[1][name], most))
    found = {each[0].schedule: each[0] for each in tried if each is not None}
    others = [each for schedule, each in found.items() if schedule != best.schedule]
    return sorted(others, key=lambda each: each.predicted)


def _measured(problem: Problem, plain: Candidate, tried: list[Candidate], state: _State) -> dict[Candidate, Outcome]:
    """The outcomes of those that were measured within the budget, or in an earlier search."""
    found: dict[int, Outcome] = {}
    fresh = []
    for number, each in enumerate(tried):
        known = state.journal.find(problem.key, each.schedule)
        if known is None:
            fresh.append(number)
        else:
            found[number] = known
    tasks = [_task(problem, plain, tried[number], state.target, TASK_SECONDS) for number in fresh]
    for position, outcome in _outcomes(state, tasks):
        found[fresh[position]] = outcome
        state.journal.add(problem.key, tried[fresh[position]].schedule, outcome)
        if state.late:
            break
    made = {tried[number]: found[number] for number in sorted(found)}
    good = ((each, outcome) for each, outcome in made.items() if outcome.status == "ok" and each.predicted)
    state.points |= {(problem.key, each.schedule): Point(problem.key, each.predicted, outcome.seconds) for each, outcome in good}
    return made


def _task(problem: Problem, plain: Candidate, other: Candidate, target: Target, seconds: float) -> Task:
    size = sum(parameter.buffer.size * parameter.buffer.dtype.bytes for parameter in problem.kernel.parameters)
    repeat = max(1, min(MOST_REPEATED, int(RUN_SECONDS / plain.predicted), MOST_BYTES // size)) if plain.predicted else 1
    return Task(print_kernel(problem.kernel), target, to_json(plain.schedule), to_json(other.schedule), seconds, repeat)


def _outcomes(state: _State, tasks: list[Task]) -> Iterator[tuple[int, Outcome]]:
    assert state.evaluate is not None
    return state.evaluate(tasks)


def _confirmed(problem: Problem, plain: Candidate, best: Candidate, state: _State) -> tuple[Candidate, tuple[float, float]]:
    """`best`, where a longer measurement finds it faster again, else `plain`; and both times."""
    name = f"{problem.key}-again"
    outcome = state.journal.find(name, best.schedule)
    if outcome is None:
        task = _task(problem, plain, best, state.target, TASK_SECONDS * CONFIRMED)
        outcome = next(outcome for _, outcome in _outcomes(state, [task]))
        state.journal.add(name, best.schedule, outcome)
    if outcome.status == "ok" and outcome.seconds < WORTH * outcome.incumbent:
        return best, (outcome.incumbent, outcome.seconds)
    return plain, (outcome.incumbent, outcome.incumbent)


def journal_of(lock: Path) -> Path:
    """Where the journal lies that goes with a lock file."""
    return lock.with_name(lock.name + ".journal")
