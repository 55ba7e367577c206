"""Words: sums of narrow products that the target has an operation for, which takes several of them at once."""

from __future__ import annotations

from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.expr import Load
from tgc.ir.kernel import For
from tgc.ir.ops import Op
from tgc.ir.rewrite import walk
from tgc.ir.schedule import Dot, Fuse, Pack, Reorder, Split, Step
from tgc.passes.nest import Accumulation, accumulation, chain
from tgc.passes.schedule.apply import Scheduling
from tgc.passes.schedule.dot import FORMS, Form, product, run_along
from tgc.passes.schedule.loops import extents_of, find_loop
from tgc.targets import Target

MOST_CHANNELS = 8  # fewer than as many elements in a row leave much of the last word empty


def in_words(state: Scheduling, name: str, found: Accumulation, constants: frozenset[str], target: Target) -> Accumulation:
    """`found`, inside of the loop `name`, by words, where it is a sum of such products and the target has an operation for them."""
    there = operations(target)
    if found.update.value.dtype not in {form.total for form in FORMS if form.op in there}:
        return found
    found = _fused(state, name, _in_runs(state, name, found), constants, [form for form in FORMS if form.op in there])
    extents = extents_of(state.body)
    for loop in found.loops:
        alone = For(loop.var, loop.extent, found.update)
        for constant in sorted(constants):
            summed = product(alone, extents, constant)
            if summed is not None and summed.form.op in there and loop.extent >= 2 * summed.form.count:
                if loop is not found.loops[-1]:
                    state.do(Reorder((*(other.var.name for other in found.loops if other is not loop), loop.var.name)))
                return _after(state, name, Dot(loop.var.name, constant))
    return found


def operations(target: Target) -> tuple[Op, ...]:
    """The operations on words that are one instruction."""
    return tuple(op for op, there in ((ops.DOT4, target.dot4), (ops.DOT4S, target.dot4s), (ops.DOT2, target.dot2)) if there)


def _in_runs(state: Scheduling, name: str, found: Accumulation) -> Accumulation:
    """`found` with a loop split where narrow elements lie next to each other for some iterations only (the heads of an attention)."""
    extents = extents_of(state.body)
    for loop in found.loops:
        for expr in walk(found.update.value):
            if isinstance(expr, Load) and expr.dtype.bits < 32:
                run = run_along(ix.from_expr(expr.index, extents), loop.var)
                if run is not None and loop.extent % run == 0:
                    return _after(state, name, Split(loop.var.name, run))
    return found


def _fused(state: Scheduling, name: str, found: Accumulation, constants: frozenset[str], forms: list[Form]) -> Accumulation:
    """`found` with its two innermost loops as one where an operand lies along both and each is short: a window's row of few channels."""
    loads = [expr for expr in walk(found.update.value) if isinstance(expr, Load) and expr.dtype.bits < 32]
    fixed = [load.buffer.name for load in loads if load.buffer.name in constants]
    if len(loads) != 2 or len(fixed) != 1 or state.packings:
        return found
    (moving,), (weights,) = ([load for load in loads if (load.buffer.name in fixed) == constant] for constant in (False, True))
    form = next((f for f in forms if (f.total, f.left, f.right) == (found.update.buffer.dtype, moving.dtype, weights.dtype)), None)
    extents = extents_of(state.body)
    at = ix.from_expr(moving.index, extents)
    runs = [(a, b) for a in found.loops for b in found.loops if ix.coefficient(at, b.var) == 1 and ix.coefficient(at, a.var) == b.extent]
    if form is None or not runs or runs[0][1].extent >= MOST_CHANNELS or runs[0][0].extent * runs[0][1].extent < 2 * form.count:
        return found
    outer, inner = (loop.var.name for loop in runs[0])
    others = [loop.var.name for loop in found.loops if loop.var.name not in (outer, inner)]
    trial = Scheduling(state.body, dict(state.packings), list(state.steps))
    trial.do(Reorder((*others, outer, inner)))
    trial.do(Pack(fixed[0]))
    fused = _after(trial, name, Fuse(outer, inner))
    if product(For(fused.loops[-1].var, fused.loops[-1].extent, fused.update), extents_of(trial.body), fixed[0]) is None:
        return found  # an index that does not become plain
    state.body, state.packings, state.steps = trial.body, trial.packings, trial.steps
    return fused


def _after(state: Scheduling, name: str, step: Step) -> Accumulation:
    """The accumulation inside of the loop `name` after `step`."""
    state.do(step)
    changed = accumulation(chain(find_loop(state.body, name))[1])
    assert changed is not None
    return changed
