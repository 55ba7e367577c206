"""Images: what a GPU with a texture cache stores in half precision, and what it reads through images.

Every float storage that is not the caller's becomes half, unless it is added to in place, holds a constant that half cannot or a small
constant: biases and the weights of the first layers, whose rounding shifts a result everywhere in one direction, and whose bytes are few.
Arithmetic stays in single precision. A parameter that a kernel only reads, and always in whole texels or at an element of a texel that
is known, is read through an image: on Adreno those are cached, and buffers are not. The same memory may be read both ways.

    out[4 * i .. 4] = a[4 * i .. 4] + b       ->       out: f16, a: image of f16
                                                       out[4 * i .. 4] = f16(f32(a[4 * i .. 4]) + b)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tgc.ir import expr as ex
from tgc.ir.dtypes import F16, F32, DType
from tgc.ir.expr import Buffer, Expr, Load, Space
from tgc.ir.kernel import Block, For, If, Kernel, Parameter, Statement, Store
from tgc.ir.program import Argument, Call, Program, Repeat, Step, Storage
from tgc.ir.rewrite import expressions, rewrite, walk
from tgc.ir.texels import TEXEL, texel_at, texel_of
from tgc.passes.half_sums import in_halves
from tgc.passes.halos import Signature, kept_halos, without_halos
from tgc.passes.kept_loops import keep_loops
from tgc.passes.memory import aligned
from tgc.passes.memory_lifetimes import planned
from tgc.passes.riders import riders
from tgc.targets import Target

MOST_SINGLE = 4096  # elements of a constant that stays in single precision: 16 KiB, beside textures of which most are read from caches
Form = tuple[DType, Space]


def images(program: Program, target: Target) -> Program:
    """`program` with half storage, where the target's precision asks for it, and with images where they can be read."""
    narrow = frozenset[str]() if target.precision == "fp32" else _narrowed(program, target)
    storages = {s.name: replace(s, dtype=F16) if s.name in narrow else s for s in program.storages}
    state = _State(program, storages)
    halos = kept_halos(replace(program, storages=tuple(storages.values())))
    steps = [tuple(state.step(step) for step in without_halos(entry.steps, halos)) for entry in program.entry_points]
    entries = tuple(replace(entry, steps=own) for entry, own in zip(program.entries, steps, strict=False))
    kernels, changed = tuple(state.made.values()), tuple(storages.values())
    made = replace(program, kernels=kernels, steps=steps[0], entries=entries, storages=changed)
    return _placed(riders(made), program, halos)


def _narrowed(program: Program, target: Target) -> frozenset[str]:
    """What becomes half: not states, small constants but for sums in half, nor what a node that the user named reads or makes."""
    kept, multiplied = {state.storage for state in program.states}, set[str]()
    for call in program.calls:
        named = target.single and any(re.fullmatch(target.single, origin) for origin in call.origins)
        kernel = program.kernel(call.kernel)
        if kernel.half_sums:
            multiplied |= {argument.storage for argument in call.arguments}
        for parameter, argument in zip(kernel.parameters, call.arguments, strict=True):
            if parameter.access == "readwrite" or named:
                kept.add(argument.storage)
    fit = (s for s in program.storages if s.dtype == F32 and s.role in ("arena", "weight") and s.name not in kept)
    return frozenset(
        s.name for s in fit if s.role == "arena" or ((s.size > MOST_SINGLE or s.name in multiplied) and _fits(_data(program, s)))
    )


def _data(program: Program, storage: Storage) -> npt.NDArray[np.generic]:
    return program.weights[storage.offset : storage.offset + storage.bytes].view(storage.dtype.numpy)


def _fits(data: npt.NDArray[np.generic]) -> bool:
    largest = float(np.max(np.abs(data), initial=0.0))
    return largest == 0.0 or 1e-4 < largest < 6e4


@dataclass(slots=True)
class _State:
    """Kernels as they are made: by the kernel that they come from and the form of each parameter."""

    program: Program
    storages: Mapping[str, Storage]
    made: dict[tuple[str, tuple[Form, ...]], Kernel] = field(default_factory=dict)
    whole: dict[tuple[str, str], bool] = field(default_factory=dict)

    def step(self, step: Step) -> Step:
        match step:
            case Repeat(count, body):
                return Repeat(count, tuple(self.step(part) for part in body))
            case Call(name, arguments):
                return replace(step, kernel=self.variant(name, arguments))

    def variant(self, name: str, arguments: tuple[Argument, ...]) -> str:
        """The name of the kernel called `name`, fit for what it is handed."""
        kernel = self.program.kernel(name)
        forms = tuple(self.form(kernel, p, a) for p, a in zip(kernel.parameters, arguments, strict=True))
        key = (name, forms)
        if key not in self.made:
            others = sum(1 for known, _ in self.made if known == name)
            changed = _changed(kernel, forms, f"{name}_{others}" if others else name)
            self.made[key] = keep_loops(in_halves(changed) if kernel.half_sums else changed)
        return self.made[key].name

    def form(self, kernel: Kernel, parameter: Parameter, argument: Argument) -> Form:
        storage = self.storages[argument.storage]
        reads = parameter.access == "read" and storage.role in ("arena", "weight") and storage.dtype in (F16, F32)
        starts = all(start % TEXEL == 0 for start in (argument.start, *argument.steps))
        image = reads and starts and self.in_texels(kernel, parameter.buffer.name)
        return storage.dtype, "image" if image else "global"

    def in_texels(self, kernel: Kernel, name: str) -> bool:
        """Whether every load of the buffer takes a texel, or an element of it that is known, of which there is more than one."""
        key = (kernel.name, name)
        if key not in self.whole:
            found = [e for e in walk(*expressions(kernel.body)) if isinstance(e, Load) and e.buffer.name == name]
            self.whole[key] = bool(found) and all(_in_texel(load) for load in found)
        return self.whole[key]


def _in_texel(load: Load) -> bool:
    return texel_at(load.index) is not None or (load.lanes == 1 and texel_of(load.index) is not None)


def _changed(kernel: Kernel, forms: tuple[Form, ...], name: str) -> Kernel:
    """`kernel` with its parameters in `forms`, computing in F32 as before."""
    old = [parameter.buffer for parameter in kernel.parameters]
    buffers = {b.name: Buffer(b.name, dtype, b.size, space) for b, (dtype, space) in zip(old, forms, strict=True)}
    parameters = tuple(replace(p, buffer=buffers[p.buffer.name]) for p in kernel.parameters)
    memo: dict[Expr, Expr] = {}

    def rule(expr: Expr) -> Expr | None:
        if not isinstance(expr, Load) or expr.buffer.name not in buffers:
            return None
        return ex.cast(Load(buffers[expr.buffer.name], expr.index), expr.dtype)

    def changed(statement: Statement) -> Statement:
        match statement:
            case For(var, extent, body, kind):
                return For(var, extent, changed(body), kind)
            case If(condition, body):
                return If(rewrite(condition, rule, memo), changed(body))
            case Block(body):
                return Block(tuple(changed(part) for part in body))
            case Store(buffer, index, value):
                target = buffers.get(buffer.name, buffer)
                return Store(target, rewrite(index, rule, memo), ex.cast(rewrite(value, rule, memo), target.dtype))
            case _:
                return statement

    return replace(kernel, name=name, parameters=parameters, body=changed(kernel.body), half_sums=False)


def _placed(program: Program, before: Program, halos: Mapping[str, Signature]) -> Program:
    """`program` with memory planned anew, what has a halo after the states, and the weights that became half converted."""
    offsets, arena_bytes, zeroed = planned(program, halos)
    data: list[tuple[int, npt.NDArray[np.uint8]]] = []
    end = 0
    storages: list[Storage] = []
    for old, new in zip(before.storages, program.storages, strict=True):
        if new.role == "weight":
            values = np.ascontiguousarray(_data(before, old).astype(new.dtype.numpy))
            data.append((end, values.view(np.uint8)))
            storages.append(replace(new, offset=end))
            end = aligned(end + values.nbytes, program.alignment)
        else:
            storages.append(replace(new, offset=offsets.get(new.name, 0)))
    weights = np.zeros(end, np.uint8)
    for start, chunk in data:
        weights[start : start + chunk.size] = chunk
    return replace(program, storages=tuple(storages), weights=weights, arena_bytes=arena_bytes, zeroed_bytes=zeroed)
