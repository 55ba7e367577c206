"""Random small loop nests and random schedules for them."""

from __future__ import annotations

import random
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import F32, I32, DType
from tgc.ir.expr import Buffer, Expr, Load, Var
from tgc.ir.index import Index
from tgc.ir.interpret import run_kernel
from tgc.ir.kernel import Alloc, For, Kernel, Parameter, Statement, Store, block
from tgc.ir.rewrite import statements, substitute
from tgc.ir.schedule import Bind, Distribute, Fuse, Keep, Pack, Reorder, Split, Step, Unroll, Vectorize, VectorizeReduction
from tgc.passes.schedule.apply import Scheduled, Scheduling, rearranged

Arrays = dict[str, npt.NDArray[np.generic]]


def random_kernel(draw: random.Random) -> Kernel:
    """A nest of one to three loops around something pointwise, or around up to two accumulators and their reductions."""
    dtype = draw.choice((F32, I32))
    outer = [(Var(f"i{n}"), draw.choice((1, 2, 3, 4, 5, 8, 9))) for n in range(draw.randint(1, 3))]
    maker = _Maker(draw, dtype, outer)
    inner = maker.pointwise() if draw.random() < 0.3 else maker.reductions()
    for var, extent in reversed(draw.sample(outer, len(outer))):
        inner = For(var, extent, inner)
    parameters = [Parameter(buffer, "read") for buffer in maker.read.values()]
    return Kernel("nest", (Parameter(maker.out, "write"), *parameters), inner)


class _Maker:
    def __init__(self, draw: random.Random, dtype: DType, outer: list[tuple[Var, int]]) -> None:
        self.draw, self.dtype, self.outer = draw, dtype, outer
        self.read: dict[str, Buffer] = {}
        self.out = Buffer("out", dtype, prod(extent for _, extent in outer))

    def pointwise(self) -> Statement:
        return self.store(self.value(self.outer, 2))

    def store(self, value: Expr) -> Statement:
        place = ix.ZERO
        for var, extent in self.draw.sample(self.outer, len(self.outer)):
            place = place * extent + ix.axis(var, extent)
        return Store(self.out, ix.to_expr(place), value)

    def reductions(self) -> Statement:
        inner_before: list[tuple[Var, int]] = []
        value_before: Expr = ex.index(0)
        totals = [Buffer(f"acc{n}", self.dtype, 1, "register") for n in range(self.draw.choice((1, 1, 2)))]
        made: list[Statement] = []
        for number, total in enumerate(totals):
            inner = [(Var(f"k{number}_{n}"), self.draw.randint(2, 9)) for n in range(self.draw.randint(1, 2))]
            op = self.draw.choice((ops.ADD, ops.ADD, ops.MAX))
            value = self.value([*self.outer, *inner], 1)
            if number and self.draw.random() < 0.5:  # what the first one has added up already, and more
                before = inner_before
                inner = [(Var(f"k{number}_{n}"), extent) for n, (_, extent) in enumerate(before)]
                again = substitute(value_before, {old: new for (old, _), (new, _) in zip(before, inner, strict=True)})
                value = ex.apply(ops.MUL, again, self.value([*self.outer, *inner], 0))
            inner_before, value_before = inner, value
            if number and self.draw.random() < 0.5:
                value = ex.apply(ops.ADD, value, Load(totals[0], ex.index(0)))
            nest: Statement = Store(total, ex.index(0), ex.apply(op, Load(total, ex.index(0)), value))
            for var, extent in reversed(inner):
                nest = For(var, extent, nest)
            made += [Alloc(total), Store(total, ex.index(0), ex.identity(op, self.dtype)), nest]
        result: Expr = self.value(self.outer, 0)
        for total in totals:
            result = ex.apply(self.draw.choice((ops.ADD, ops.MAX)), result, Load(total, ex.index(0)))
        return block(*made, self.store(result))

    def value(self, loops: list[tuple[Var, int]], depth: int) -> Expr:
        if depth == 0:
            return self.load(loops)
        op = self.draw.choice((ops.ADD, ops.MUL, ops.MAX))
        return ex.apply(op, self.value(loops, depth - 1), self.value(loops, depth - 1))

    def load(self, loops: list[tuple[Var, int]]) -> Expr:
        """An element of a parameter of its own: a box, a window (two loops along one axis), or backwards, or every second."""
        kind = self.draw.random()
        if kind < 0.1:
            number = self.draw.randint(-2, 3)
            return ex.Lit(float(number) if self.dtype.is_float else number, self.dtype)
        if kind < 0.2:
            var, extent = self.draw.choice(loops)
            return ex.cast(ix.to_expr(ix.axis(var, extent) + self.draw.randint(0, 2)), self.dtype)
        chosen = [loop for loop in self.draw.sample(loops, len(loops)) if self.draw.random() < 0.7]
        place: Index = ix.constant(self.draw.randint(0, 2))
        for var, extent in chosen:
            at = ix.axis(var, extent)
            size = max(1, ix.bounds(place)[1] + 1)
            match self.draw.randrange(5):
                case 0:
                    place = place + at  # a window
                case 1:
                    place = place + (at * -1 + (extent - 1)) * size
                case 2:
                    place = place + (at // 2) * size
                case _:
                    place = place * extent + at
        name = f"a{len(self.read)}"
        self.read[name] = Buffer(name, self.dtype, ix.bounds(place)[1] + 1)
        return Load(self.read[name], ix.to_expr(place))


def random_step(draw: random.Random, body: Statement) -> Step:
    """Some step that names loops of `body`; it need not fit."""
    loops = [inner for inner in statements(body) if isinstance(inner, For)]
    loop = draw.choice(loops)
    name = loop.var.name
    match draw.randrange(10):
        case 0 | 1:
            return Split(name, draw.choice((1, 2, 3, 4, 8)), draw.choice(("overlap", "guard")))
        case 2:
            inner = loop.body.var.name if isinstance(loop.body, For) else draw.choice(loops).var.name
            return Fuse(name, inner)
        case 3:
            order = [name]
            while isinstance(loop.body, For) and len(order) < draw.randint(2, 3):
                loop = loop.body
                order.append(loop.var.name)
            return Reorder(tuple(draw.sample(order, len(order))))
        case 4:
            return Distribute(name)
        case 5:
            return Vectorize(name)
        case 6:
            return Unroll(name)
        case 7:
            return VectorizeReduction(name, draw.choice((2, 4, 8)))
        case 8:
            return Keep(name, draw.choice(loops).var.name)
        case _:
            return draw.choice((Pack(f"a{draw.randint(0, 3)}"), Bind(name, "parallel")))


def random_schedule(draw: random.Random, kernel: Kernel, most: int = 6) -> Scheduled:
    """`kernel` after a random schedule, of those steps that fit."""
    state = Scheduling(kernel.body)
    for _ in range(draw.randint(1, most)):
        if not any(isinstance(inner, For) for inner in statements(state.body)):
            break
        try:
            state.do(random_step(draw, state.body))
        except InvalidIrError:
            continue
    return state.finish(kernel)


def inputs_of(kernel: Kernel) -> Arrays:
    """Small whole numbers for every parameter that is read."""
    rng = np.random.default_rng(len(kernel.parameters))
    reads = [p.buffer for p in kernel.parameters if p.access == "read"]
    return {buffer.name: rng.integers(-3, 4, buffer.size).astype(buffer.dtype.numpy) for buffer in reads}


def outcome(kernel: Kernel, inputs: Arrays, scheduled: Scheduled | None = None) -> npt.NDArray[np.generic]:
    """What the kernel writes; of a scheduled one, with its packed parameters rearranged."""
    arrays = dict(inputs)
    for name, packing in ({} if scheduled is None else scheduled.packings).items():
        arrays[name] = rearranged(inputs[name], packing)
    out = next(p.buffer for p in kernel.parameters if p.access == "write")
    arrays["out"] = np.full(out.size, 77, out.dtype.numpy)
    run_kernel(kernel if scheduled is None else scheduled.kernel, arrays)
    return arrays["out"]
