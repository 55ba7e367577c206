"""Each kernel alone: the compiled one against the interpreter, on the values that the compiled program really hands it.

Every kernel becomes a program of its own, compiled by the same backend. A launch runs after those before it, on their results, so a
fault shows at the kernel that has it and is not carried on. What a kernel writes is filled beforehand by a copy, so that
parts of a buffer that other calls write (a concat, a halo) are compared too.

The interpreter is slow. A kernel with more than `budget` steps is interpreted for some iterations of its outer loops,
spread evenly, where these are independent of each other; where they are not, it is reported as left out. Of work-items that
exchange something it takes all of a group, or none, and may take GROUP times the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.alone import artifact_alone
from tgc.artifact import Artifact
from tgc.ir import ops
from tgc.ir.expr import Expr, Var, apply, index
from tgc.ir.interpret import run_kernel
from tgc.ir.kernel import LANE_KINDS, Alloc, Barrier, Block, For, If, Kernel, Statement, Store
from tgc.ir.packing import to_stored
from tgc.ir.program import Call, Program, launches
from tgc.ir.rewrite import expressions, loads, map_expressions, statements, substitute, walk
from tgc.run.device import Device
from tgc.verify.compare import Difference, Tolerance, compare
from tgc.verify.place import LOCAL, Prepare, Run, place

Array = npt.NDArray[np.generic]
Watch = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One call. share: part of the kernel's work that was interpreted, 0 where it was left out and `worst` is None."""

    call: int
    kernel: str
    origins: tuple[str, ...]
    share: float
    worst: Difference | None

    @property
    def passed(self) -> bool:
        return self.worst is None or self.worst.passed


def verify_kernels(
    artifact: Artifact, inputs: Mapping[str, Array], tolerance: Tolerance, budget: int = 1_000_000, watch: Watch | None = None,
    device: Device = LOCAL,
) -> list[KernelReport]:  # fmt: skip
    """One report for each launch of `artifact`, in order, with the model's `inputs`; the kernels run on `device`."""
    with place(device) as prepare:
        return _verify_kernels(artifact, inputs, tolerance, budget, watch, prepare)


def _verify_kernels(
    artifact: Artifact, inputs: Mapping[str, Array], tolerance: Tolerance, budget: int, watch: Watch | None, prepare: Prepare
) -> list[KernelReport]:
    program = artifact.program
    memory = memory_of(program, inputs)
    reports = []
    calls = list(launches(program.steps))
    alone: dict[str, Run] = {}
    for number, call in enumerate(calls):
        if watch:
            watch(f"kernel {number + 1} of {len(calls)}, {call.kernel}")
        kernel = program.kernel(call.kernel)
        if call.kernel not in alone:
            alone[call.kernel] = prepare(artifact_alone(kernel, artifact.target, program.alignment))
        windows = windows_of(kernel, call, memory)
        sampled, share = sample(kernel, budget)
        expected = {name: data.copy() for name, data in windows.items()}
        if sampled is not None:
            _mark(kernel, expected, share)
            run_kernel(sampled, expected)
        results = alone[call.kernel]({name: windows[name] for name in (p.buffer.name for p in kernel.parameters)})
        for name, value in results.items():
            windows[name.removesuffix("_after")][:] = value
        worst = None if sampled is None else _worst(kernel, windows, expected, share, tolerance)
        reports.append(KernelReport(number, call.kernel, call.origins, share, worst))
    return reports


def memory_of(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """One array for each storage, none shared: inputs and weights filled, the rest zero."""
    memory: dict[str, Array] = {s.name: np.zeros(s.size, s.dtype.numpy) for s in program.storages}
    for storage in program.storages:
        if storage.role == "weight":
            memory[storage.name] = program.weights[storage.offset : storage.offset + storage.bytes].view(storage.dtype.numpy)
    for tensor in program.inputs:
        memory[tensor.storage][:] = np.ascontiguousarray(to_stored(inputs[tensor.name])).reshape(-1)
    return memory


def windows_of(kernel: Kernel, call: Call, memory: Mapping[str, Array]) -> dict[str, Array]:
    """The part of memory that each parameter of this call sees; a view, so writing to it writes to memory."""
    return {
        parameter.buffer.name: memory[argument.storage][argument.start : argument.start + parameter.buffer.size]
        for parameter, argument in zip(kernel.parameters, call.arguments, strict=True)
    }


GROUP = 8  # times the budget
MARK = 0xA5


def _written(kernel: Kernel) -> list[str]:
    return [parameter.buffer.name for parameter in kernel.parameters if parameter.access != "read"]


def _mark(kernel: Kernel, buffers: Mapping[str, Array], share: float) -> None:
    """Fills what a sampled kernel writes, and never reads, with bytes that tell what the interpreter wrote."""
    for name in _written(kernel) if share < 1 else ():
        buffers[name].view(np.uint8)[:] = MARK


def _worst(kernel: Kernel, windows: Mapping[str, Array], expected: Mapping[str, Array], share: float, tolerance: Tolerance) -> Difference:
    """The worst of what the kernel wrote; of a sample, only the elements that the interpreter wrote count."""
    found = []
    for name in _written(kernel):
        got, want = windows[name], expected[name]
        if share < 1:
            written = _is_written(want)
            got, want = got[written], want[written]
        found.append(compare(name, got, want, tolerance))
    return max(found, key=lambda d: (not d.passed, d.relative))


def interpreted(kernel: Kernel, start: Mapping[str, Array], budget: int) -> dict[str, tuple[Array, npt.NDArray[np.bool_]]] | None:
    """What the interpreter writes from `start` on within the budget: by buffer its values, and which of them it wrote; None for none."""
    sampled, share = sample(kernel, budget)
    if sampled is None:
        return None
    buffers = {name: data.copy() for name, data in start.items()}
    _mark(kernel, buffers, share)
    run_kernel(sampled, buffers)
    return {name: (buffers[name], _is_written(buffers[name]) | (share == 1)) for name in _written(kernel)}


def _is_written(data: Array) -> npt.NDArray[np.bool_]:
    return np.asarray((data.view(np.uint8).reshape(data.size, -1) != MARK).any(axis=1))


def sample(kernel: Kernel, budget: int) -> tuple[Kernel | None, float]:
    """`kernel`, or what fits the budget of it, and which share that is; (None, 0) where nothing can be left out."""
    body, share, cost = kernel.body, 1.0, steps(kernel.body)
    path: list[For] = []
    written = {p.buffer.name for p in kernel.parameters if p.access != "read"}
    independent = not any(load.buffer.name in written for load in loads(kernel))
    while independent and share * cost > budget and (loop := _next(body, path)) is not None:
        keep = max(1, min(loop.extent, int(loop.extent * budget / (share * cost))))
        share *= keep / loop.extent
        path.append(loop)
        body = _thin(body, loop.var, keep)
    if share * cost > (GROUP if _exchanges(kernel.body) else 1) * budget:
        return None, 0.0
    return Kernel(kernel.name, kernel.parameters, body, kernel.origins), share


def _exchanges(body: Statement) -> bool:
    """Whether work-items of a group wait for each other, so that less than a group of them cannot be interpreted."""
    return any(isinstance(part, Barrier) for part in statements(body))


def _next(body: Statement, path: list[For]) -> For | None:
    """The loop directly inside those of `path`, all of which are the only statement of their body, if it is independent."""
    inner = body
    for _ in path:
        assert isinstance(inner, For)
        inner = inner.body
    return inner if isinstance(inner, For) and _independent(inner) else None


def _independent(loop: For) -> bool:
    """Whether each iteration writes only its own buffers and elements that the loop's variable has a say in, and waits for no other."""
    if loop.kind in LANE_KINDS and _exchanges(loop.body):
        return False
    own = {s.buffer.name for s in statements(loop.body) if isinstance(s, Alloc)}
    return all(
        s.buffer.name in own or any(part == loop.var for part in walk(s.index)) for s in statements(loop.body) if isinstance(s, Store)
    )


def _thin(body: Statement, var: Var, keep: int) -> Statement:
    """`body` with `keep` iterations, spread evenly, of the loop over `var`, which is reached through nothing but loops."""
    assert isinstance(body, For)
    if body.var != var:
        return For(body.var, body.extent, _thin(body.body, var, keep), body.kind)
    stride = body.extent // keep
    spread: dict[Expr, Expr] = {var: apply(ops.ADD, apply(ops.MUL, var, index(stride)), index(stride // 2))}
    return For(var, keep, map_expressions(body.body, lambda expr: substitute(expr, spread)), body.kind)


def steps(statement: Statement) -> int:
    """How many expression nodes the interpreter evaluates, about."""
    match statement:
        case Block(body):
            return sum(steps(part) for part in body)
        case For(_, extent, body):
            return extent * (1 + steps(body))
        case If(_, body):
            return 1 + steps(body)
        case Store():
            return sum(1 for _ in walk(*expressions(statement)))
        case _:
            return 1
