"""Carries a schedule out: a loop nest and a tuple of steps make another loop nest of the same meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir.dtypes import U32
from tgc.ir.expr import Buffer
from tgc.ir.kernel import Kernel, Parameter, Statement
from tgc.ir.schedule import (
    Ahead,
    Bind,
    Distribute,
    Dot,
    Fuse,
    Keep,
    Pack,
    Reorder,
    Schedule,
    Share,
    Split,
    Step,
    Unroll,
    Vectorize,
    VectorizeReduction,
)  # fmt: skip
from tgc.passes.schedule.ahead import ahead
from tgc.passes.schedule.distribute import distribute
from tgc.passes.schedule.dot import Words, dot, words
from tgc.passes.schedule.keep import keep
from tgc.passes.schedule.loops import find_loop
from tgc.passes.schedule.nests import bind, fuse, reorder, split, unroll
from tgc.passes.schedule.pack import Packing, pack, packed
from tgc.passes.schedule.reduction import vectorize_reduction
from tgc.passes.schedule.share import share
from tgc.passes.schedule.vectorize import vectorize
from tgc.passes.schedule.write_out import write_out

Rearrangement = Packing | Words


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A kernel after `schedule`, and for each rearranged parameter what is done to its data, one after the other."""

    kernel: Kernel
    packings: Mapping[str, tuple[Rearrangement, ...]]
    schedule: Schedule = ()


@dataclass(slots=True)
class Scheduling:
    """A loop nest while its schedule is carried out, step by step."""

    body: Statement
    packings: dict[str, tuple[Rearrangement, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def do(self, step: Step) -> None:
        """Carries out one step. Raises InvalidIrError where it does not fit."""
        if isinstance(step, Pack):
            if isinstance(self.packings.get(step.buffer, (None,))[-1], Packing):
                raise InvalidIrError(f"{step.buffer} is packed already")
            self.body, packing = pack(self.body, step)
            self.packings[step.buffer] = (*self.packings.get(step.buffer, ()), packing)
        elif isinstance(step, Dot):
            self.body, name, how = dot(self.body, step)
            if any(isinstance(done, Words) for done in self.packings.get(name, ())):
                raise InvalidIrError(f"{name} is made of words already")
            self.packings[name] = (*self.packings.get(name, ()), how)
        else:
            self.body = apply_step(self.body, step)
        self.steps.append(step)

    def finish(self, kernel: Kernel) -> Scheduled:
        """`kernel` with the loop nest as it is now, indices in normal form and registers as variables."""
        body = write_out(self.body)
        parameters = tuple(_packed_parameter(parameter, self.packings) for parameter in kernel.parameters)
        return Scheduled(replace(kernel, parameters=parameters, body=body), self.packings, tuple(self.steps))


def apply(kernel: Kernel, schedule: Schedule) -> Scheduled:
    """`kernel` after the steps of `schedule`. Raises InvalidIrError where a step does not fit."""
    state = Scheduling(kernel.body)
    for step in schedule:
        state.do(step)
    return state.finish(kernel)


def apply_step(body: Statement, step: Step) -> Statement:
    """`body` after one step that moves no data. Raises InvalidIrError where the step does not fit."""
    for name in _loops_of(step):
        find_loop(body, name)
    match step:
        case Split():
            return split(body, step)
        case Fuse():
            return fuse(body, step)
        case Reorder():
            return reorder(body, step)
        case Distribute():
            return distribute(body, step)
        case Vectorize():
            return vectorize(body, step)
        case Unroll():
            return unroll(body, step)
        case Bind():
            return bind(body, step)
        case VectorizeReduction() | Keep() | Ahead() | Share():
            return _reduction_step(body, step)
        case Pack() | Dot():
            raise InvalidIrError(f"{type(step).__name__} rearranges data too")
        case _:
            assert_never(step)


def _reduction_step(body: Statement, step: VectorizeReduction | Keep | Ahead | Share) -> Statement:
    match step:
        case VectorizeReduction():
            return vectorize_reduction(body, step)
        case Keep():
            return keep(body, step)
        case Ahead():
            return ahead(body, step)
        case Share():
            return share(body, step)


def _loops_of(step: Step) -> tuple[str, ...]:
    """The loops that `step` names and that must be there."""
    match step:
        case Fuse(outer):
            return (outer,)
        case Reorder(order):
            return order
        case Pack():
            return ()
        case _:
            return (step.var,)


def rearranged(data: npt.NDArray[np.generic], steps: tuple[Rearrangement, ...]) -> npt.NDArray[np.generic]:
    """The data of a constant (any shape, read row-major) after `steps`, one-dimensional."""
    for step in steps:
        data = packed(data, step) if isinstance(step, Packing) else words(data, step)
    return data.reshape(-1)


def _packed_parameter(parameter: Parameter, packings: Mapping[str, tuple[Rearrangement, ...]]) -> Parameter:
    old, doc = parameter.buffer, parameter.doc
    for step in packings.get(old.name, ()):
        packing = step if isinstance(step, Packing) else step.packing
        extents = [str(extent) for _, extent in packing.loops] + ([str(packing.lanes)] if packing.lanes > 1 else [])
        doc = f"{doc}, {'packed' if step is packing else 'words of'} {'x'.join(extents)}"
        old = Buffer(old.name, old.dtype if step is packing else U32, step.size, old.space)
    return Parameter(old, parameter.access, doc)


def plain_scheduler(kernel: Kernel, constants: frozenset[str]) -> Scheduled:  # noqa: ARG001, the interface of a scheduler
    """No schedule: the loops as they were lowered."""
    return Scheduling(kernel.body).finish(kernel)
