"""The pipeline, from an ONNX model to an artifact. The only module that sees every layer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgc import targets
from tgc.artifact import Artifact
from tgc.backends.options import EmitOptions
from tgc.errors import OptionError
from tgc.ir.graph import Graph
from tgc.ir.open_shapes import Sizes
from tgc.ir.program import Program
from tgc.targets import Target

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto

    from tgc.lock import Lock
    from tgc.passes.assemble import Scheduler

    Source = str | Path | ModelProto

__all__ = ["Artifact", "compile", "emit", "import_graph", "resolve"]

Watch = Callable[[str], None]
Observe = Callable[[str, Graph | Program], None]


def compile(
    model: Source | Sequence[Source],
    target: str | Target = "cpu",
    output: str | Path | None = None,
    *,
    dims: Mapping[str, Sizes] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
    name: str | None = None,
    weights: str = "file",
    precision: str | None = None,
    single: str | None = None,
    half_from: int | None = None,
    winograd: str | None = None,
    threads: int = 1,
    selftest: bool = False,
    states: Mapping[str, str] | None = None,
    shifts: Mapping[str, str] | None = None,
    entries: Mapping[str, Sequence[str]] | None = None,
    check_passes: bool = False,
    lock: Lock | str | Path | None = None,
    scheduler: Callable[[Target], Scheduler] | None = None,
    watch: Watch | None = None,
    observe: Observe | None = None,
) -> Artifact:
    """Compiles `model` (a file, or an ONNX model in memory, or several) for `target`; writes the folder `output` if one is given.

    dims pins symbolic dimensions, or keeps them open within (least, most) or (least, most, step); shapes pins whole inputs, constants the
    values of inputs, by name. name: a C identifier that prefixes the exported symbols, by default the file's. weights: "file" beside the
    program, or "embed". precision: one of tgc.targets.PRECISIONS, on targets that have the choice. single: regular expression of ONNX
    nodes: what they read and compute stays in single precision on a target that stores half. half_from: with fp16 on such a target, the
    products that a kernel has at least whose sums are in half. winograd: one of tgc.targets.WINOGRAD, by
    default what suits the target. threads: for how many threads large kernels are divided. selftest: add NAME_selftest, which compares
    with results that the interpreter gives now. states: outputs, or parts of them such as "out[:,6097:]", that an input, by name, has
    the values of in the next run; shifts: the same where the input is a window of an output's last values. entries: the outputs and
    states that each entry point computes. check_passes: compare every pass with the interpreter. lock: what `tgc tune` found, or its
    file. scheduler: in place of the heuristic. watch: called with the name of each step as it begins. observe: called with the name and
    result of each pass, the import first. Raises TgcError; then nothing was written.
    """
    from tgc.passes.interface import interface_of, ties

    options, clock = _emit_options(weights), _Clock(watch)
    chosen = targets.choosing(resolve(target), precision, winograd, threads, single, half_from)
    with clock.step("import"):
        graph = _import_all(model, name, (dims or {}, shapes or {}, constants or {}))
        graph, interface = interface_of(graph, ties(states or {}, shifts or {}), entries or {})
    (observe or _unseen)("import", graph)
    with clock.step("passes"):
        program = _locked((graph, chosen), lock, scheduler, interface=interface, check=check_passes, observe=clock.lap(observe))
    if selftest:
        options = _with_golden(options, graph, program, chosen, clock)
    with clock.step("emit"):
        made = Artifact(program.name, chosen, emit(program, chosen, options), program, graph, passes=tuple(clock.laps))
    return _written(replace(made, seconds=tuple(clock.times)), output)


def _with_golden(options: EmitOptions, graph: Graph, program: Program, target: Target, clock: _Clock) -> EmitOptions:
    """`options` with what the interpreter computes now, for a self-test."""
    from tgc.backends.golden import record

    with clock.step("selftest"):
        return replace(options, golden=record(graph, program, rounding=target.rounding))


def _require_single(program: Program, target: Target) -> Program:
    """`program`. Raises OptionError where no kernel of it computes a node that `target.single` matches."""
    names = sorted({origin for call in program.calls for origin in call.origins})
    if target.single and not any(re.fullmatch(target.single, name) for name in names):
        known = f"there are {', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else f"there are {', '.join(names)}"
        raise OptionError(f"no node's whole name matches {target.single!r}", "--single", known)
    return program


def _unseen(name: str, result: Graph | Program) -> None:
    """An observer that looks away."""


def _locked(
    subject: tuple[Graph, Target], lock: Lock | str | Path | None, maker: Callable[[Target], Scheduler] | None, **how: Any
) -> Program:
    """The program of a graph on a target. Raises OptionError where `lock` is given and does not fit it."""
    from tgc.lock import Lock, pinned, read_lock
    from tgc.passes import compile_graph
    from tgc.passes.heuristic import scheduler_for

    graph, target = subject
    plain = maker(target) if maker else None
    if lock is None:
        return _require_single(compile_graph(graph, target, scheduler=plain, **how), target)
    pins = pinned(lock if isinstance(lock, Lock) else read_lock(lock), target, plain or scheduler_for(target))
    program = compile_graph(graph, target, scheduler=pins.schedule, **how)
    pins.require_fit()
    return _require_single(program, target)


def _written(artifact: Artifact, output: str | Path | None) -> Artifact:
    """`artifact`, which is in the folder `output` too where one is given."""
    if output is not None:
        artifact.write(output)
    return artifact


def _import_all(model: Source | Sequence[Source], name: str | None, pins: tuple[Mapping[str, Any], ...]) -> Graph:
    """One graph of one model or several, with dimensions, shapes and constants pinned."""
    from tgc.passes.interface import merge

    models = model if isinstance(model, Sequence) and not isinstance(model, str) else (model,)
    own = [_pins_of(part, models, pins) for part in models]
    return merge([import_graph(part, dims, shapes, name, values) for part, (dims, shapes, values) in zip(models, own, strict=True)])


def _pins_of(model: Source, models: Sequence[Source], pins: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    """Of the pins for several models those that are for `model`; the first one also gets what is for none, and will say so."""
    if len(models) == 1:
        return pins
    from tgc.frontend_onnx import names_to_pin

    own, known = names_to_pin(model), frozenset[str]().union(*(names_to_pin(part) for part in models))
    stray = model is models[0]
    return tuple({name: value for name, value in pin.items() if name in own or (stray and name not in known)} for pin in pins)


def import_graph(
    model: str | Path | ModelProto,
    dims: Mapping[str, Sizes],
    shapes: Mapping[str, Sequence[int]],
    name: str | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
) -> Graph:
    """The model as a graph whose name is a C identifier."""
    from tgc.frontend_onnx import import_model

    whole = {key: tuple(int(size) for size in shape) for key, shape in shapes.items()}
    graph = import_model(model, dims=dims, shapes=whole, constants=constants)
    return replace(graph, name=_program_name(model, graph, name))


def resolve(target: str | Target) -> Target:
    """The target called `target`, with this machine written in where it says "host"."""
    chosen = targets.find(target) if isinstance(target, str) else target
    if chosen.cpu != "host":
        return chosen
    from tgc.backends.llvm import host_target

    return host_target(chosen)


def emit(program: Program, target: Target, options: EmitOptions) -> dict[str, bytes]:
    """The files of the artifact, by name."""
    match target.backend:
        case "llvm":
            from tgc.backends import llvm

            return llvm.emit(program, target, options)
        case "c":
            from tgc.backends import c

            return c.emit(program, target, options)
        case "opencl":
            from tgc.backends import opencl

            return opencl.emit(program, target, options)


def _emit_options(weights: str) -> EmitOptions:
    match weights:
        case "file" | "embed":
            return EmitOptions(weights)
        case _:
            raise OptionError(f"weights cannot go to {weights!r}", hint='choose "file" or "embed"')


def _program_name(model: str | Path | ModelProto, graph: Graph, name: str | None) -> str:
    """`name` if given, else the file's name (its folder's where that is only "model"), else the graph's, as a C identifier."""
    if name is not None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise OptionError(f"{name!r} is not a C identifier", where="--name", hint="letters, digits and _, not starting with a digit")
        return name
    if isinstance(model, (str, Path)):
        path = Path(model)
        text = path.absolute().parent.name if path.stem == "model" else path.stem
    else:
        text = graph.name
    cleaned = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    return cleaned if cleaned[:1].isalpha() else f"model_{cleaned}".rstrip("_")


@dataclass(slots=True)
class _Clock:
    """Times the steps, and tells `watch` of each."""

    watch: Watch | None
    times: list[tuple[str, float]] = field(default_factory=list)
    laps: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        if self.watch:
            self.watch(name)
        start = time.perf_counter()
        yield
        self.times.append((name, time.perf_counter() - start))

    def lap(self, observe: Observe | None) -> Observe:
        """Records when each pass is done, then hands its result to `observe`, whose own time does not count."""
        last = time.perf_counter()

        def record(name: str, result: Graph | Program) -> None:
            nonlocal last
            self.laps.append((name, time.perf_counter() - last))
            if observe:
                observe(name, result)
            last = time.perf_counter()

        return record
