"""Whether every index of a kernel is inside its buffer, by interval analysis of the loops around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, apply, index
from tgc.ir.index import bounds as bounds_of
from tgc.ir.index import expression_variables, from_expr
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Statement, Store
from tgc.ir.program import Program, Storage, calls_of
from tgc.ir.rewrite import walk
from tgc.ir.text_expression import print_expr

Verdict = Literal["shown", "guarded", "not shown"]


@dataclass(frozen=True, slots=True)
class Access:
    """One load or store. low, high: what the index can be, as far as intervals tell.

    shown: low .. high lies inside the buffer. guarded: it does not, but an If around it tests a variable of the index. A gather's
    coordinates come from data, and are shown because the index clamps them, or from constants, whose values are looked at.
    """

    kind: Literal["load", "store"]
    buffer: str
    size: int
    low: int
    high: int
    verdict: Verdict


Values = Mapping[str, tuple[int, int]]
"""The least and the greatest number in buffers of constants."""


@dataclass(frozen=True, slots=True)
class _Around:
    """What is known where a statement stands: extents of the loops' variables, variables that an If tests, constants' values."""

    extents: Mapping[Var, int]
    tested: frozenset[Var]
    values: Values


def program_accesses(program: Program) -> dict[str, list[Access]]:
    """Every load and store of each kernel of `program`, constants being known to be what they are in any launch."""
    values = _weights_of(program)
    return {kernel.name: accesses(kernel, values.get(kernel.name)) for kernel in program.kernels}


def _weights_of(program: Program) -> dict[str, dict[str, tuple[int, int]]]:
    """Of each kernel's parameters those that are whole numbers among the weights in every launch, and what is in them."""
    found: dict[str, dict[str, tuple[int, int] | None]] = {}
    storages = {storage.name: storage for storage in program.storages}
    for call in (call for entry in program.entry_points for call in calls_of(entry.steps)):
        known = found.setdefault(call.kernel, {})
        for parameter, argument in zip(program.kernel(call.kernel).parameters, call.arguments, strict=True):
            name, here = parameter.buffer.name, _content(program, storages[argument.storage])
            before = known.get(name, here)
            known[name] = None if here is None or before is None else (min(here[0], before[0]), max(here[1], before[1]))
    return {kernel: {name: pair for name, pair in known.items() if pair is not None} for kernel, known in found.items()}


def _content(program: Program, storage: Storage) -> tuple[int, int] | None:
    if storage.role != "weight" or not storage.dtype.is_integer or storage.dtype.bits < 8 or not storage.size:
        return None
    data = program.weights[storage.offset : storage.offset + storage.bytes].view(storage.dtype.numpy)
    return int(data.min()), int(data.max())


def accesses(kernel: Kernel, values: Values | None = None) -> list[Access]:
    """Every load and store of `kernel`, once for each place where it stands."""
    return list(_accesses(kernel.body, _Around({}, frozenset(), values or {})))


def _accesses(statement: Statement, around: _Around) -> Iterator[Access]:
    match statement:
        case Block(body):
            for part in body:
                yield from _accesses(part, around)
        case For(var, extent, body):
            if extent:
                yield from _accesses(body, replace(around, extents={**around.extents, var: extent}))
        case If(condition, body):
            yield from _loads((condition,), around)
            yield from _accesses(body, replace(around, tested=around.tested | expression_variables(condition)))
        case Store(buffer, at, value):
            yield from _loads((at, value), around)
            yield _access("store", buffer, at, around)
        case Alloc() | Barrier():
            return


def _loads(roots: tuple[Expr, ...], around: _Around) -> Iterator[Access]:
    for expr in walk(*roots):
        if isinstance(expr, Load):
            yield _access("load", expr.buffer, expr.index, around)


def _access(kind: Literal["load", "store"], buffer: Buffer, at: Expr, around: _Around) -> Access:
    extents = dict(around.extents)
    low, high = bounds_of(from_expr(_scalar(at, extents, around.values), extents))
    inside = low >= 0 and high < buffer.size
    guarded = bool(expression_variables(at) & around.tested)
    return Access(kind, buffer.name, buffer.size, low, high, "shown" if inside else "guarded" if guarded else "not shown")


def _scalar(expr: Expr, extents: dict[Var, int], values: Values) -> Expr:
    """`expr` at one of its lanes, and with a variable for each constant that it reads; `extents` gets what is new.

    All ramps of an index go through their lanes together, so one variable stands for the lane. A smaller-of-two is written
    with one text for either number, as `from_expr` knows it.
    """
    match expr:
        case Broadcast(value):
            return _scalar(value, extents, values)
        case Ramp(base, stride, count):
            extents[_LANE] = count
            return apply(ops.ADD, _scalar(base, extents, values), apply(ops.MUL, _LANE, index(stride)))
        case Load(buffer, at) if buffer.name in values:
            low, high = values[buffer.name]
            one = Var(f"{buffer.name} at {print_expr(_scalar(at, extents, values))}", expr.dtype)
            extents[one] = high - low + 1
            return apply(ops.ADD, one, Lit(low, expr.dtype))
        case Load(buffer, at):
            return Load(buffer, _scalar(at, extents, values))
        case Apply(op, args, dtype):
            return _smaller(Apply(op, tuple(_scalar(arg, extents, values) for arg in args), dtype), extents)
    return expr


def _smaller(expr: Apply, extents: Mapping[Var, int]) -> Expr:
    """where(x < y, a, b) with a and b in place of x and y, where those are the same numbers in other words."""
    match expr:
        case Apply(op, (Apply(test, (x, y)), a, b)) if op is ops.WHERE and test is ops.LT and x.dtype == a.dtype == INDEX:
            if (x, y) != (a, b) and (from_expr(x, extents), from_expr(y, extents)) == (from_expr(a, extents), from_expr(b, extents)):
                return apply(ops.WHERE, apply(ops.LT, a, b), a, b)
    return expr


_LANE = Var("lane of the vector")
