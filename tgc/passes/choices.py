"""Choices: nests whose value is selected by where they are, `where(i % 4 == 0, a, where(i % 4 == 1, b, ...))`, each case written out.

Transforms of small tiles are such nests: what their cases share is then computed once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Coordinate, Expr, Lit, Var
from tgc.ir.index import Axis, Quotient
from tgc.ir.kernel import For, Store
from tgc.ir.rewrite import walk
from tgc.ir.schedule import Reorder, Split, Step, Unroll, Vectorize
from tgc.passes.schedule.loops import extents_of

MOST_CASES = 64
LEAST_CASES = 2  # comparisons of coordinates that make a map one of cases


@dataclass(frozen=True, slots=True)
class Cases:
    """A loop whose variable, modulo `count`, selects what is computed."""

    var: Var
    extent: int
    count: int

    @property
    def outer(self) -> str:
        """The loop over groups of cases, after the split; "" where there is one group."""
        return f"{self.var.name}_o" if self.extent > self.count else ""

    @property
    def inner(self) -> str:
        return self.var.name if self.extent == self.count else f"{self.var.name}_i"


@lru_cache(maxsize=1 << 10)
def selects(expr: Expr) -> bool:
    """Whether the body of a map is several cases, one of which a coordinate selects by its number."""
    count = sum(1 for e in walk(expr) if isinstance(e, Apply) and e.op is ops.EQ and isinstance(e.args[0], Coordinate))
    return count >= LEAST_CASES


def cases(loops: tuple[For, ...], store: Store) -> tuple[Cases, ...]:
    """The loops that select what `store` stores, outermost first; none where writing them out would be too much."""
    extents = {var: extent for loop in loops for var, extent in extents_of(loop).items()}
    found: dict[tuple[Var, int], set[int]] = defaultdict(set)
    for expr in walk(store.value):
        match expr:
            case Apply(op, (place, Lit(value))) if op is ops.EQ and place.dtype == INDEX:
                key = _counted(place, extents)
                if key is not None:
                    found[key].add(int(value))
    whole = {key for key, values in found.items() if len(values) >= max(2, key[1] - 1)}
    made = tuple(Cases(loop.var, loop.extent, count) for loop in loops for var, count in whole if var == loop.var)
    return made if len({each.var for each in made}) == len(made) and prod(each.count for each in made) <= MOST_CASES else ()


def _counted(place: Expr, extents: dict[Var, int]) -> tuple[Var, int] | None:
    """(v, m) where `place` is v % m, or v itself, whose extent is m."""
    index = ix.from_expr(place, extents)
    match index.offset, sorted(index.terms, key=lambda term: -term[1]):
        case 0, [(Axis(var, extent), 1)]:
            return var, extent
        case 0, [(Axis(var), 1), (Quotient(dividend, divisor), factor)] if dividend == ix.axis(var, extents[var]) and factor == -divisor:
            return var, divisor
    return None


def written_out(loops: tuple[For, ...], selected: tuple[Cases, ...], vector: For | None, lanes: int) -> tuple[Step, ...]:
    """The steps that write `selected` out around `lanes` of `vector`, all other loops outside."""
    steps: list[Step] = []
    by_name = {each.var.name: each for each in selected}
    outer: list[str] = []
    for loop in loops:
        each = by_name.get(loop.var.name)
        if each is None:
            outer += [loop.var.name] if loop is not vector else []
        elif each.extent != each.count:
            steps.append(Split(loop.var.name, each.count, "guard"))
            outer += [each.outer] if each.outer else []
    inner = [each.inner for each in selected]
    if vector is not None:
        steps.append(Split(vector.var.name, lanes))
        outer += [f"{vector.var.name}_o"] if vector.extent > lanes else []
        inner.append(f"{vector.var.name}_i")
    steps.append(Reorder((*outer, *inner)))
    if vector is not None:
        steps.append(Vectorize(f"{vector.var.name}_i"))
    return (*steps, *(Unroll(each.inner) for each in selected))
