"""One kernel that does the work of two, by the work-items of the first. `tgc.passes.riders` says what for, and chooses them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import prod

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Buffer, Expr, Load, Ramp, Var
from tgc.ir.index import Index
from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, Alloc, Barrier, Block, For, If, Kernel, LoopKind, Statement, Store, block
from tgc.ir.rewrite import expressions, map_expressions, rewrite, statements, substitution, walk
from tgc.ir.texels import TEXEL
from tgc.ir.work import executed
from tgc.passes.kept_loops import reads
from tgc.passes.schedule.loops import parts

READ = 3  # instructions for a texel: two of them for where it is


@dataclass(frozen=True, slots=True)
class Items:
    """A kernel as its work-items see it.

    loops: over groups and work-items, outermost first; groups, lanes: their extents by dimension. local: what a group shares.
    body: what a work-item does, and effort: in how many instructions, about. held: texels that it adds up in registers; needed: with those
    that it reads. waits: whether work-items of a group wait for each other.
    """

    loops: tuple[For, ...]
    groups: tuple[int, ...]
    lanes: tuple[int, ...]
    local: tuple[Alloc, ...]
    body: tuple[Statement, ...]
    effort: float
    held: float
    needed: float
    waits: bool

    @property
    def count(self) -> int:
        return prod(self.groups) * prod(self.lanes)

    @property
    def local_bytes(self) -> int:
        return sum(part.buffer.size * part.buffer.dtype.bytes for part in self.local)


def items_of(kernel: Kernel) -> Items:
    """`kernel` taken apart."""
    loops: list[For] = []
    body = kernel.body
    while isinstance(body, For) and body.kind in (*GRID_KINDS, *LANE_KINDS):
        loops.append(body)
        body = body.body
    extents = {loop.kind: loop.extent for loop in loops}
    groups, lanes = (tuple(extents.get(kind, 1) for kind in kinds) for kinds in (GRID_KINDS, LANE_KINDS))
    allocated = [part for part in statements(body) if isinstance(part, Alloc)]
    local = tuple(part for part in allocated if part.buffer.space == "local")
    held = sum(part.buffer.size for part in allocated if part not in local) / TEXEL
    waits = any(isinstance(part, Barrier) for part in statements(body))
    own = tuple(part for part in parts(body) if part not in local)
    return Items(tuple(loops), groups, lanes, local, own, _effort(body), held, held + reads(body).texels, waits)


def _effort(body: Statement) -> float:
    total = 0.0
    for times, roots, _ in executed(body, 1):
        for expr in walk(*roots):
            if isinstance(expr, Load) and expr.buffer.space != "register":
                total += times * READ
            elif isinstance(expr, Apply) and expr.dtype != INDEX:
                total += times * expr.lanes
    return total


def turns(host: Items, rider: Items) -> int | None:
    """For how many of the rider's work-items each of the host's stands; None where it cannot.

    Those that wait for each other stay together in groups of as many.
    """
    together = prod(host.lanes) == prod(rider.lanes)
    times = -(-prod(rider.groups) // prod(host.groups)) if together else -(-rider.count // host.count)
    return times if not rider.waits or (together and times == 1) else None


def joined(host: Kernel, rider: Kernel, name: str, handed: Mapping[str, str] | None = None) -> Kernel | None:
    """The kernel `name` whose work-items do what those of `host` do, and then what those of `rider` do.

    Where both add up in registers, whether there is such a work-item is asked even of those that all are: a compiler does not know how many
    groups there will be, and does not load for both at a time, and so needs no more registers than for one.
    handed: parameters of `rider` that are read where `host` stores, with that one's name for each. They are none of the new kernel, which
    goes on with what it stored; None where a work-item of `rider` needs what another one of `host` stored.
    """
    handed = handed or {}
    outer, inner = items_of(host), items_of(rider)
    taken = {p.buffer.name for p in host.parameters}
    taken |= {s.buffer.name if isinstance(s, Alloc) else s.var.name for s in statements(host.body) if isinstance(s, (Alloc, For))}
    own = {p.buffer.name: p.buffer for p in host.parameters}
    kept = [p for p in rider.parameters if p.buffer.name not in handed]
    buffers = {p.buffer.name: replace(p.buffer, name=_free(p.buffer.name, taken)) for p in kept}
    parameters = (*host.parameters, *(replace(p, buffer=buffers[p.buffer.name]) for p in kept))
    buffers |= {old: own[new] for old, new in handed.items()}
    local, body = list(outer.local), list(outer.body)
    for turn in range(turns(outer, inner) or 0):
        number, most, values = _place(outer, inner, turn)
        names = _Renamed(dict(buffers), values, {loop.var: loop.extent for loop in outer.loops})
        names.take(inner, taken)
        done = block(*(names.statement(part) for part in inner.body))
        local += [Alloc(names.buffers[part.buffer.name]) for part in inner.local]
        asked = ix.bounds(number)[1] >= most or (outer.held and inner.held)
        body.append(If(ex.apply(ops.LT, ix.to_expr(number), ex.index(most)), done) if asked else done)
    made = _passed_on(outer, body, [own[new] for new in handed.values()]) if handed else body
    if made is None:
        return None
    whole = block(*local, *made)
    for loop in reversed(outer.loops):
        whole = For(loop.var, loop.extent, whole, loop.kind)
    return Kernel(name, parameters, whole, tuple(dict.fromkeys((*host.origins, *rider.origins))))


def _passed_on(host: Items, body: Sequence[Statement], handed: Sequence[Buffer]) -> list[Statement] | None:
    """`body`, which begins as that of `host` does, with what that one stores in `handed` not loaded behind it, but computed as it was.

    None where it is stored elsewhere, or what it is computed from may have changed.
    """
    before, behind = list(host.body), body[len(host.body) :]
    first = next((at for at, part in enumerate(before) if isinstance(part, Store) and part.buffer in handed), len(before))
    results = before[first:]
    written = {part.buffer for part in before[first:] if isinstance(part, Store)}
    steady = all(isinstance(part, Store) and part.buffer.space == "global" for part in results)
    values = {_key(part.buffer, part.index, host): part.value for part in results if isinstance(part, Store)}
    read = {expr.buffer for value in values.values() for expr in walk(value) if isinstance(expr, Load)}
    if not steady or read & written:
        return None
    loads = {e for part in behind for e in walk(*expressions(part)) if isinstance(e, Load) and e.buffer in handed}
    if any(_key(load.buffer, load.index, host) not in values for load in loads):
        return None
    change = substitution({load: values[_key(load.buffer, load.index, host)] for load in loads})
    return [*before, *(map_expressions(part, change) for part in behind)]


def _key(buffer: Buffer, index: Expr, host: Items) -> tuple[str, Index, int, int]:
    """Equal for equal places."""
    extents = {loop.var: loop.extent for loop in host.loops}
    base, stride = (index.base, index.stride) if isinstance(index, Ramp) else (index, 0)
    return buffer.name, ix.from_expr(base, extents), stride, index.lanes


def _free(name: str, taken: set[str]) -> str:
    """`name` with the next number that makes it another than those that are taken, which it joins."""
    stem = re.sub(r"_?[0-9]*$", "", name) or "v"
    found = next(f"{stem}{number}" for number in count(len(taken)) if f"{stem}{number}" not in taken)
    taken.add(found)
    return found


def _place(host: Items, rider: Items, turn: int) -> tuple[Index, int, dict[Expr, Expr]]:
    """Which group or work-item of `rider` it is the turn of, how many there are, and the values of its variables."""
    own = {loop.kind: ix.axis(loop.var, loop.extent) for loop in host.loops}
    group, groups = _number(own, GRID_KINDS, host.groups), prod(host.groups)
    lane, lanes = _number(own, LANE_KINDS, host.lanes), prod(host.lanes)
    if lanes == prod(rider.lanes):
        number, total = group + turn * groups, prod(rider.groups)
        found = dict(own) if host.groups == rider.groups else _apart(number, GRID_KINDS, rider.groups)
        inside = own if host.lanes == rider.lanes else _apart(lane, LANE_KINDS, rider.lanes)
        found |= {kind: inside[kind] for kind in LANE_KINDS if kind in inside}
    else:
        number, total = group * lanes + lane + turn * host.count, rider.count
        found = _apart(number, (*LANE_KINDS, *GRID_KINDS), (*rider.lanes, *rider.groups))
    return number, total, {loop.var: ix.to_expr(found.get(loop.kind, ix.constant(0))) for loop in rider.loops}


def _number(found: Mapping[LoopKind, Index], kinds: Sequence[LoopKind], extents: Sequence[int]) -> Index:
    """The dimensions `kinds` counted as one, the first fastest."""
    total = ix.constant(0)
    for kind, extent in reversed(list(zip(kinds, extents, strict=True))):
        total = total * extent + found.get(kind, ix.constant(0))
    return total


def _apart(number: Index, kinds: Sequence[LoopKind], extents: Sequence[int]) -> dict[LoopKind, Index]:
    """What `_number` counts as one, taken apart again."""
    found: dict[LoopKind, Index] = {}
    last = max((at for at, extent in enumerate(extents) if extent > 1), default=0)
    for at, (kind, extent) in enumerate(zip(kinds[: last + 1], extents, strict=False)):
        found[kind] = number if at == last else number % extent
        number = number // extent
    return found


@dataclass(frozen=True, slots=True)
class _Renamed:
    """What statements of one kernel become in another: buffers by name, variables by themselves. extents: of the variables there."""

    buffers: dict[str, Buffer]
    values: dict[Expr, Expr]
    extents: dict[Var, int]

    def take(self, items: Items, taken: set[str]) -> None:
        """Finds names for what `items` make."""
        for part in (inner for whole in (*items.local, *items.body) for inner in statements(whole)):
            if isinstance(part, Alloc):
                self.buffers[part.buffer.name] = replace(part.buffer, name=_free(part.buffer.name, taken))
            elif isinstance(part, For) and part.var not in self.values:
                self.values[part.var] = own = Var(_free(part.var.name, taken))
                self.extents[own] = part.extent

    def expression(self, root: Expr) -> Expr:
        def rule(expr: Expr) -> Expr | None:
            match expr:
                case Var():
                    return self.values[expr]
                case Load(buffer, index):
                    return Load(self.buffers[buffer.name], self.simple(index))
                case _:
                    return None

        return rewrite(root, rule)

    def simple(self, index: Expr) -> Expr:
        """`index`, where what was counted and taken apart cancels."""
        match index:
            case Ramp(base, stride, lanes):
                return Ramp(ix.simplify(base, self.extents), stride, lanes)
            case _:
                return ix.simplify(index, self.extents) if index.lanes == 1 else index

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case Block(body):
                return Block(tuple(self.statement(part) for part in body))
            case For(var, extent, body, kind):
                renamed = self.values[var]
                assert isinstance(renamed, Var)
                return For(renamed, extent, self.statement(body), kind)
            case If(condition, body):
                return If(self.expression(condition), self.statement(body))
            case Alloc(buffer):
                return Alloc(self.buffers[buffer.name])
            case Store(buffer, index, value):
                return Store(self.buffers[buffer.name], self.simple(self.expression(index)), self.expression(value))
            case Barrier():
                return statement
