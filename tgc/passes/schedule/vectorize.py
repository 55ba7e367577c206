"""Vectorize: a loop's iterations become the lanes of one vector operation a statement."""

from __future__ import annotations

from dataclasses import dataclass, field

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Broadcast, Expr, Load, Ramp, Var
from tgc.ir.index import Index
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Statement, Store, block
from tgc.ir.rewrite import expressions, statements, walk
from tgc.ir.schedule import Vectorize
from tgc.passes.schedule.loops import carried_buffers, change_loop, extents_of, find_loop, places_in


def vectorize(body: Statement, step: Vectorize) -> Statement:
    """Carries out `Vectorize`.

    Raises InvalidIrError where the extent is no power of two, there are vectors in the loop already, a condition depends on the
    lane, a stored place does not though the value does, or the lanes depend on each other.
    """
    loop = find_loop(body, step.var)
    if loop.extent < 2 or loop.extent & (loop.extent - 1):
        raise InvalidIrError(f"{step.var} has {loop.extent} iterations, which is no number of lanes")
    made = {inner.buffer.name for inner in statements(loop.body) if isinstance(inner, Alloc)}
    in_lanes = any(place.lanes > 1 for name in made for place in places_in(loop.body, name))
    if in_lanes or any(expr.lanes > 1 and loop.var in ix.expression_variables(expr) for expr in walk(*expressions(loop.body))):
        raise InvalidIrError(f"a vector inside the lanes of {step.var}")
    extents = extents_of(body)
    return change_loop(body, step.var, lambda loop: _Lanes(loop, extents).run())


@dataclass(slots=True)
class _Lanes:
    """One loop's rewriting. `made` are the registers that the loop's body makes: each gets a copy a lane."""

    loop: For
    extents: dict[Var, int]
    made: dict[str, ex.Buffer] = field(default_factory=dict)
    memo: dict[Expr, Expr] = field(default_factory=dict)

    def run(self) -> Statement:
        lanes = self.loop.extent
        self.check_independent()
        for inner in statements(self.loop.body):
            if isinstance(inner, Alloc):
                old = inner.buffer
                self.made[old.name] = ex.Buffer(old.name, old.dtype, old.size * lanes, old.space)
        return self.statement(self.loop.body)

    def check_independent(self) -> None:
        """Raises InvalidIrError where a lane may see what another one stored."""
        for name in sorted(carried_buffers(self.loop)):
            places = {ix.from_expr(place, self.extents) for place in places_in(self.loop.body, name)}
            if len(places) > 1 or ix.coefficient(places.pop(), self.loop.var) in (None, 0):
                raise InvalidIrError(f"lanes of {self.loop.var.name} depend on each other through {name}")

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case Block(body):
                return block(*(self.statement(part) for part in body))
            case For(var, extent, body, kind):
                return For(var, extent, self.statement(body), kind)
            case If(condition, body):
                if self.vector(condition).lanes > 1:
                    raise InvalidIrError(f"a condition depends on the lane {self.loop.var.name}")
                return If(condition, self.statement(body))
            case Alloc(buffer):
                return Alloc(self.made[buffer.name])
            case Store():
                return self.store(statement)
            case Barrier():
                return statement

    def store(self, statement: Store) -> Statement:
        index = self.access(statement.buffer, statement.index)
        value = self.vector(statement.value)
        if index.lanes == 1:
            if value.lanes > 1:
                raise InvalidIrError(f"every lane of {self.loop.var.name} stores {statement.buffer.name} at the same place")
            return Store(statement.buffer, index, value)
        return Store(self.made.get(statement.buffer.name, statement.buffer), index, self.widened(value))

    def access(self, buffer: ex.Buffer, index: Expr) -> Expr:
        """The vector of places that the lanes access, or the one place that they share."""
        if buffer.name not in self.made:
            return self.vector(index)
        return Ramp(ix.to_expr(ix.from_expr(index, self.extents) * self.loop.extent), 1, self.loop.extent)

    def vector(self, expr: Expr) -> Expr:
        """`expr` in all lanes; itself where the lanes agree."""
        if expr not in self.memo:
            self.memo[expr] = self.compute(expr)
        return self.memo[expr]

    def compute(self, expr: Expr) -> Expr:
        match expr:
            case Load(buffer, index):
                place = self.access(buffer, index)
                return Load(self.made.get(buffer.name, buffer), place) if place is not index else expr
            case Var() if expr == self.loop.var:
                return Ramp(ex.index(0), 1, self.loop.extent)
            case Apply(op, args, dtype):
                if dtype == INDEX and expr.lanes == 1 and self.loop.var in ix.expression_variables(expr):
                    ramp = self.ramp(expr)
                    if ramp is not None:
                        return ramp
                wide = tuple(self.vector(arg) for arg in args)
                if all(new is old for new, old in zip(wide, args, strict=True)):
                    return expr
                if max(arg.lanes for arg in wide) > 1:
                    wide = tuple(self.widened(arg) for arg in wide)
                return Apply(op, wide, dtype)
            case _:
                return expr

    def ramp(self, expr: Expr) -> Ramp | None:
        """`expr` as base + stride * lane; None where its steps differ."""
        at: Index = ix.from_expr(expr, self.extents)
        stride = ix.coefficient(at, self.loop.var)
        if stride is None:
            return None
        base = Index(tuple((a, c) for a, c in at.terms if not (isinstance(a, ix.Axis) and a.var == self.loop.var)), at.offset)
        return Ramp(ix.to_expr(base), stride, self.loop.extent) if stride else None

    def widened(self, expr: Expr) -> Expr:
        return expr if expr.lanes > 1 else Broadcast(expr, self.loop.extent)
