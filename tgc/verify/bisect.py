"""Which step of the compiler is at fault, and which kernel.

Each launch of the compiled program runs alone, on the values that it really gets, beside the same kernel as it was before it was
scheduled, compiled by LLVM for this machine. The first that differs has the fault: in its schedule where the interpreter agrees with
the compiled kernel, in the backend where it does not. Where all agree, the graph is interpreted after every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.alone import artifact_alone, compiled_alone
from tgc.artifact import Artifact
from tgc.driver import resolve
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.ir.kernel import Kernel
from tgc.ir.program import Program, launches
from tgc.passes import compile_graph
from tgc.passes.schedule.apply import plain_scheduler
from tgc.run.device import Device
from tgc.verify.compare import Difference, Tolerance, compare
from tgc.verify.kernels import interpreted, memory_of, verify_kernels, windows_of
from tgc.verify.place import LOCAL, Prepare, Run, place

Array = npt.NDArray[np.generic]
Results = Mapping[str, Array]
Watch = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the numbers go wrong first. stage: "schedule", "backend", "import", or a pass by name; the last two have no kernel."""

    stage: str
    difference: Difference
    call: int = -1
    kernel: str = ""
    origins: tuple[str, ...] = ()


def first_fault(
    artifact: Artifact, inputs: Mapping[str, Array], expected: Mapping[str, Array], tolerance: Tolerance, watch: Watch | None = None,
    device: Device = LOCAL,
) -> Fault | None:  # fmt: skip
    """The first fault of a compiled model on `inputs`; None where each step agrees with the one before it.

    Models with several entry points, states or open dimensions are not bisected: None.
    """
    if artifact.program.entries or artifact.program.states or artifact.graph.open:
        return None
    if artifact.target.images:  # their kernels are made of scheduled ones
        return _first_image_kernel(artifact, inputs, tolerance, watch) or _first_pass(artifact, inputs, expected, tolerance)
    unscheduled = compile_graph(artifact.graph, artifact.target, scheduler=plain_scheduler)
    fault = None
    if _alike(artifact.program, unscheduled):
        with place(device) as prepare:
            fault = _first_kernel(artifact, unscheduled, inputs, tolerance, watch, prepare)
    return fault or _first_pass(artifact, inputs, expected, tolerance)


def _first_image_kernel(artifact: Artifact, inputs: Mapping[str, Array], tolerance: Tolerance, watch: Watch | None) -> Fault | None:
    for report in verify_kernels(artifact, inputs, tolerance, watch=watch):
        if report.worst is not None and not report.passed:
            return Fault("backend", report.worst, report.call, report.kernel, report.origins)
    return None


def _alike(one: Program, other: Program) -> bool:
    """Whether two programs have the same calls on the same memory, weights aside."""
    a, b = list(launches(one.steps)), list(launches(other.steps))
    return [call.kernel for call in a] == [call.kernel for call in b]


def _first_kernel(
    artifact: Artifact, unscheduled: Program, inputs: Mapping[str, Array], tolerance: Tolerance, watch: Watch | None, prepare: Prepare
) -> Fault | None:
    program, host = artifact.program, resolve("cpu")
    memory = memory_of(program, inputs)
    unpacked = {s.name for s in unscheduled.storages if s.role == "weight"}
    weights = {name: data for name, data in memory_of(unscheduled, inputs).items() if name in unpacked}
    made: dict[str, tuple[Run, Run]] = {}
    pairs = list(zip(launches(program.steps), launches(unscheduled.steps), strict=True))
    for number, (call, before) in enumerate(pairs):
        if watch:
            watch(f"kernel {number + 1} of {len(pairs)}, {call.kernel}")
        kernel, plain = program.kernel(call.kernel), unscheduled.kernel(call.kernel)
        if call.kernel not in made:
            compiled = prepare(artifact_alone(kernel, artifact.target, program.alignment))
            made[call.kernel] = compiled, compiled_alone(plain, host, program.alignment).run
        windows = windows_of(kernel, call, memory)
        start = {name: data.copy() for name, data in windows.items()}
        want = made[call.kernel][1](windows_of(plain, before, {**memory, **weights}))
        got = made[call.kernel][0](start)
        found = [compare(name, got[name], value, tolerance) for name, value in want.items()]
        wrong = max(found, key=lambda d: (not d.passed, d.relative))
        if not wrong.passed:
            return Fault(_blamed(kernel, start, got, want, tolerance), wrong, number, call.kernel, call.origins or kernel.origins)
        for name, value in got.items():
            windows[name.removesuffix("_after")][:] = value
    return None


def _blamed(kernel: Kernel, start: Mapping[str, Array], got: Results, want: Results, tolerance: Tolerance) -> str:
    """ "schedule" where the interpreter computes from the scheduled kernel what the compiled one does, "backend" where not.

    Of kernels that are too big a part is interpreted, which tells nothing where the fault is not in that part.
    """
    parts = interpreted(kernel, start, 3_000_000) or {}
    agree, visible = True, False
    for name, (meant, where) in parts.items():
        ours, right = got[f"{name}_after"][where], want[f"{name}_after"][where]
        visible |= not compare(name, ours, right, tolerance).passed
        agree &= compare(name, ours, meant[where], tolerance).passed
    return "schedule or backend" if not visible else "schedule" if agree else "backend"


def _first_pass(artifact: Artifact, inputs: Mapping[str, Array], expected: Mapping[str, Array], tolerance: Tolerance) -> Fault | None:
    faults: list[Fault] = []

    def check(name: str, result: Graph | Program) -> None:
        if isinstance(result, Graph) and not faults:
            values = run_graph(result, inputs)
            found = [compare(output, np.asarray(values[output]), value, tolerance) for output, value in expected.items()]
            faults.extend(Fault(name, difference) for difference in found if not difference.passed)

    check("import", artifact.graph)
    if not faults:
        compile_graph(artifact.graph, artifact.target, observe=check)
    return faults[0] if faults else None
