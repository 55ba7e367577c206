"""Write out: the last step of every schedule, in one walk, because what is unrolled is large.

    unrolled loops become their iterations:     unroll i in 2: t[8 * i .. 8] = a[x + 0 + 4 * i]
    indices take their normal form:             ->
    register arrays become variables:           t_0[0 .. 8] = a[x]; t_1[0 .. 8] = a[x + 4]

A register array becomes one variable a piece where it is only ever stored in the same whole pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import BOOL, INDEX
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, children, with_children
from tgc.ir.index import Axis, Index
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Statement, Store, block
from tgc.ir.ops import Op
from tgc.ir.rewrite import expressions, statements, walk

Values = dict[Var, int]
"""The variables of the unrolled loops around a statement, and the iteration that is being written."""


def write_out(body: Statement) -> Statement:
    """`body` with its `unroll` loops written out, indices in normal form and registers as variables."""
    loops = [inner for inner in statements(body) if isinstance(inner, For)]
    unrolled = {loop.var: loop.extent for loop in loops if loop.kind == "unroll"}
    extents = {loop.var: loop.extent for loop in loops if loop.var not in unrolled}
    return _written(body, {}, _Copies(unrolled, extents, dict(_homes(body, ())), _pieces(body, unrolled)))


def _written(statement: Statement, values: Values, copies: _Copies) -> Statement:
    match statement:
        case For(var, extent, body, "unroll"):
            return block(*(_written(body, {**values, var: value}, copies) for value in range(extent)))
        case For(var, extent, body, kind):
            return For(var, extent, _written(body, values, copies), kind)
        case Block(body):
            return block(*(_written(part, values, copies) for part in body))
        case If(condition, body):
            return _conditional(copies.at(condition, values), _written(body, values, copies), copies)
        case Alloc(buffer):
            return block(*(Alloc(variable) for variable in copies.variables(buffer, values)))
        case Store(buffer, index, value):
            return Store(*copies.access(buffer, copies.place(index, values), values), copies.at(value, values))
        case Barrier():
            return statement


def _conditional(condition: Expr, body: Statement, copies: _Copies) -> Statement:
    """`body` where `condition` holds: just that where it always does, nothing where it never does.

    A vector that is stored is computed before the condition, where all that it reads is there in any case: others may share its parts.
    """
    match condition:
        case Lit(holds):
            return body if holds else Block(())
        case Apply(op, (a, b)) if op is ops.LT and a.dtype == INDEX:
            (low, high), (low_b, high_b) = ix.bounds(ix.from_expr(a, copies.extents)), ix.bounds(ix.from_expr(b, copies.extents))
            if low >= high_b or high < low_b:
                return Block(()) if low >= high_b else body
    match body:
        case Block((Alloc() as made, Store() as computed, If() as inner)):
            return Block((made, computed, If(condition, inner)))
        case Store(buffer, index, value) if index.lanes > 1 and isinstance(value, Apply) and copies.is_readable(value):
            held = Buffer(copies.fresh(), buffer.dtype, index.lanes, "register")
            whole = Ramp(ex.index(0), 1, index.lanes)
            return Block((Alloc(held), Store(held, whole, value), If(condition, Store(buffer, index, Load(held, whole)))))
    return If(condition, body)


def _homes(statement: Statement, around: tuple[Var, ...]) -> Iterator[tuple[str, tuple[Var, ...]]]:
    """For each register, the unrolled loops that it is made in: every iteration has its own."""
    match statement:
        case For(var, _, body, kind):
            yield from _homes(body, (*around, var) if kind == "unroll" else around)
        case If(_, body):
            yield from _homes(body, around)
        case Block(body):
            for part in body:
                yield from _homes(part, around)
        case Alloc(buffer):
            yield buffer.name, around
        case Store() | Barrier():
            return


def _outside_indices(expr: Expr) -> tuple[Expr, ...]:
    return () if isinstance(expr, Load) else children(expr)


def _pieces(body: Statement, unrolled: Mapping[Var, int]) -> dict[str, int]:
    """The register arrays of which only whole pieces of one width are stored, at places known once loops are written out.

    What is loaded is such a piece or, at a place that is known too, one element.
    """
    widths: dict[str, int | None] = {}
    for buffer, index, store in _accesses(body):
        if buffer.space == "register":
            width = _width(index, unrolled)
            known = widths.setdefault(buffer.name, width)
            single = width == 1 and not store and known is not None
            widths[buffer.name] = known if width == known or single else None
    return {name: width for name, width in widths.items() if width is not None}


def _accesses(body: Statement) -> Iterator[tuple[Buffer, Expr, bool]]:
    """Every access in `body`: the buffer, the place, and whether it is a store; stores first."""
    for statement in statements(body):
        if isinstance(statement, Store):
            yield statement.buffer, statement.index, True
    for expr in walk(*expressions(body)):
        if isinstance(expr, Load):
            yield expr.buffer, expr.index, False


def _width(index: Expr, unrolled: Mapping[Var, int]) -> int | None:
    """The elements that an access takes, where its place is a multiple of as many in every iteration of the unrolled loops."""
    base, stride, lanes = (index.base, index.stride, index.lanes) if isinstance(index, Ramp) else (index, 1, 1)
    if base.lanes > 1 or stride != 1:
        return None
    place = ix.from_expr(base, unrolled)
    if all(isinstance(atom, Axis) and factor % lanes == 0 for atom, factor in place.terms) and place.offset % lanes == 0:
        return lanes
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    """A node of an expression. varies: the unrolled variables that it depends on. copies: by the values of these."""

    expr: Expr
    varies: tuple[Var, ...]
    copies: dict[tuple[int, ...], Expr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """A scalar index as rest + offset + sum of factor * unrolled variable; `rest` is in normal form, None where it is 0."""

    rest: Expr | None
    offset: int
    factors: tuple[tuple[Var, int], ...]

    def at(self, values: Values) -> Expr:
        total = self.offset + sum([values[var] * factor for var, factor in self.factors])
        if self.rest is None:
            return ex.index(total)
        return ex.apply(ops.ADD, self.rest, ex.index(total)) if total else self.rest


@dataclass(slots=True)
class _Copies:
    """The copies of expressions that iterations of unrolled loops make, each distinct one made once.

    unrolled: the extents of the loops that are written out. extents: of those that stay. homes: the unrolled loops that a
    register is made in. pieces: the width of the variables that a register array becomes.
    """

    unrolled: Mapping[Var, int]
    extents: Mapping[Var, int]
    homes: Mapping[str, tuple[Var, ...]]
    pieces: Mapping[str, int]
    templates: dict[Expr, list[tuple[_Part, tuple[int, ...]]]] = field(default_factory=dict)
    parts: dict[Expr, _Part] = field(default_factory=dict)
    places: dict[Expr, _Place | None] = field(default_factory=dict)
    held: int = 0

    def fresh(self) -> str:
        """The name of a new register."""
        self.held += 1
        return f"held{self.held}"

    def is_readable(self, value: Expr) -> bool:
        """Whether every load in `value` is inside its buffer in every iteration of the loops that stay."""
        for load in walk(value):
            if isinstance(load, Load):
                start, reach = (
                    (load.index.base, load.index.stride * (load.index.lanes - 1)) if isinstance(load.index, Ramp) else (load.index, 0)
                )
                if start.lanes > 1 or reach < 0:
                    return False
                low, high = ix.bounds(ix.from_expr(start, self.extents))
                if low < 0 or high + reach >= load.buffer.size:
                    return False
        return True

    def at(self, root: Expr, values: Values) -> Expr:
        """`root` in the iteration `values`."""
        done: list[Expr] = []
        for part, below in self.template(root):
            key = tuple([values[var] for var in part.varies])
            copy = part.copies.get(key)
            if copy is None:
                copy = part.copies[key] = self.copy(part.expr, tuple([done[position] for position in below]), values)
            done.append(copy)
        return done[-1]

    def template(self, root: Expr) -> list[tuple[_Part, tuple[int, ...]]]:
        """The nodes of `root`, children before parents, each with the positions of its children; indices of loads left out."""
        if root not in self.templates:
            made: list[tuple[_Part, tuple[int, ...]]] = []
            position: dict[Expr, int] = {}
            for expr in walk(root, below=_outside_indices):
                below = tuple(position[child] for child in _outside_indices(expr))
                position[expr] = len(made)
                made.append((self.part(expr, [made[at][0] for at in below]), below))
            self.templates[root] = made
        return self.templates[root]

    def part(self, expr: Expr, below: list[_Part]) -> _Part:
        if expr not in self.parts:
            found = {var for part in below for var in part.varies}
            for inner in self.inside(expr):
                match inner:
                    case Var():
                        found.add(inner)
                    case Load(buffer):
                        found.update(self.homes.get(buffer.name, ()))
            self.parts[expr] = _Part(expr, tuple(var for var in self.unrolled if var in found))
        return self.parts[expr]

    def inside(self, expr: Expr) -> Iterable[Expr]:
        """What `expr` consists of, those parts left out that are elsewhere in the template; an index by its normal form."""
        if not isinstance(expr, Load):
            return (expr,)
        start = expr.index.base if isinstance(expr.index, Ramp) else expr.index
        place = self.split_once(start) if start.lanes == 1 else None
        return walk(expr) if place is None else (*(var for var, _ in place.factors), expr)

    def copy(self, expr: Expr, below: tuple[Expr, ...], values: Values) -> Expr:
        match expr:
            case Var() if expr in values:
                return ex.index(values[expr])
            case Load(buffer, index):
                return Load(*self.access(buffer, self.place(index, values), values))
            case Apply(op, (a, b)) if (op is ops.EQ or op is ops.LT) and a.dtype == INDEX and a.lanes == b.lanes == 1:
                return _compared(op, self.place(a, values), self.place(b, values))
            case Apply(op) if op is ops.WHERE:
                return _selected(expr, below)
            case _:
                return with_children(expr, below)

    def place(self, index: Expr, values: Values) -> Expr:
        """`index` in the iteration `values`, in normal form."""
        match index:
            case Ramp(base, stride, lanes):
                return Ramp(self.place(base, values), stride, lanes)
            case _ if index.lanes > 1:
                return self.at(index, values)
        place = self.split_once(index)
        return ix.simplify(self.at(index, values), self.extents) if place is None else place.at(values)

    def split_once(self, index: Expr) -> _Place | None:
        if index not in self.places:
            self.places[index] = self.split(index)
        return self.places[index]

    def split(self, index: Expr) -> _Place | None:
        """`index` taken apart; None where it reads memory, or an unrolled variable is in more than a sum."""
        if any(isinstance(inner, Load) for inner in walk(index)):
            return None
        whole = ix.from_expr(index, {**self.extents, **self.unrolled})
        factors = tuple((atom.var, factor) for atom, factor in whole.terms if isinstance(atom, Axis) and atom.var in self.unrolled)
        rest = Index(tuple((a, c) for a, c in whole.terms if not (isinstance(a, Axis) and a.var in self.unrolled)))
        if not ix.variables(rest).isdisjoint(self.unrolled):
            return None
        return _Place(ix.to_expr(rest) if rest.terms else None, whole.offset, factors)

    def access(self, buffer: Buffer, place: Expr, values: Values) -> tuple[Buffer, Expr]:
        """The buffer and the place that an access to `buffer` at `place` becomes."""
        width = self.pieces.get(buffer.name)
        made = self.renamed(buffer, values)
        if width is None or buffer.size == width:
            return made, place
        start = place.base if isinstance(place, Ramp) else place
        assert isinstance(start, Lit)
        number, element = divmod(int(start.value), width)
        return _piece(made, number, width), Ramp(ex.index(0), 1, width) if isinstance(place, Ramp) else ex.index(element)

    def variables(self, buffer: Buffer, values: Values) -> list[Buffer]:
        """What is made instead of the register `buffer`."""
        width = self.pieces.get(buffer.name, buffer.size)
        made = self.renamed(buffer, values)
        return [made] if width == buffer.size else [_piece(made, number, width) for number in range(buffer.size // width)]

    def renamed(self, buffer: Buffer, values: Values) -> Buffer:
        """The iteration's own copy of a register that is made in it."""
        suffix = "".join(f"_{var.name}{values[var]}" for var in self.homes.get(buffer.name, ()) if values[var])
        return replace(buffer, name=buffer.name + suffix) if suffix else buffer


def _compared(op: Op, a: Expr, b: Expr) -> Expr:
    """`a op b`, a constant where both are."""
    if isinstance(a, Lit) and isinstance(b, Lit):
        return Lit(a.value == b.value if op is ops.EQ else a.value < b.value, BOOL)
    return ex.apply(op, a, b)


def _selected(expr: Apply, below: tuple[Expr, ...]) -> Expr:
    """`expr`, a WHERE, over other parts: the one that a constant condition selects."""
    condition = below[0].value if isinstance(below[0], Broadcast) else below[0]
    if not isinstance(condition, Lit):
        return with_children(expr, below)
    return below[1] if condition.value else below[2]


def _piece(buffer: Buffer, number: int, width: int) -> Buffer:
    return Buffer(f"{buffer.name}_{number}", buffer.dtype, width, buffer.space)
