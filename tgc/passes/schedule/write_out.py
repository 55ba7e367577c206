"""Write out: the last step of every schedule, in one walk, because what is unrolled is large.

    unrolled loops become their iterations:     unroll i in 2: t[8 * i .. 8] = a[x + 0 + 4 * i]
    indices take their normal form:             ->
    register arrays become variables:           t_0[0 .. 8] = a[x]; t_1[0 .. 8] = a[x + 4]

A register array becomes one variable a piece where it is only ever accessed in the same whole pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Buffer, Expr, Lit, Load, Ramp, Var, children, with_children
from tgc.ir.index import Axis
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Statement, Store, block
from tgc.ir.rewrite import expressions, statements, walk

Values = dict[Var, int]
"""The variables of the unrolled loops around a statement, and the iteration that is being written."""


def write_out(body: Statement) -> Statement:
    """`body` with its `unroll` loops written out, indices in normal form and registers as variables."""
    loops = [inner for inner in statements(body) if isinstance(inner, For)]
    unrolled = {loop.var: loop.extent for loop in loops if loop.kind == "unroll"}
    extents = {loop.var: loop.extent for loop in loops if loop.var not in unrolled}
    return _written(body, {}, _Copies(tuple(unrolled), extents, dict(_homes(body, ())), _pieces(body, unrolled)))


def _written(statement: Statement, values: Values, copies: _Copies) -> Statement:
    match statement:
        case For(var, extent, body, "unroll"):
            return block(*(_written(body, {**values, var: value}, copies) for value in range(extent)))
        case For(var, extent, body, kind):
            return For(var, extent, _written(body, values, copies), kind)
        case Block(body):
            return block(*(_written(part, values, copies) for part in body))
        case If(condition, body):
            return _conditional(copies.at(condition, values), _written(body, values, copies), copies.extents)
        case Alloc(buffer):
            return block(*(Alloc(variable) for variable in copies.variables(buffer, values)))
        case Store(buffer, index, value):
            return Store(*copies.access(buffer, copies.at(index, values), values), copies.at(value, values))
        case Barrier():
            return statement


def _conditional(condition: Expr, body: Statement, extents: Mapping[Var, int]) -> Statement:
    """`body` where `condition` holds: just that where it always does, nothing where it never does."""
    match condition:
        case Apply(op, (a, b)) if op is ops.LT and a.dtype == INDEX:
            (low, high), (low_b, high_b) = ix.bounds(ix.from_expr(a, extents)), ix.bounds(ix.from_expr(b, extents))
            return Block(()) if low >= high_b else body if high < low_b else If(condition, body)
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


def _pieces(body: Statement, unrolled: Mapping[Var, int]) -> dict[str, int]:
    """The register arrays of which only whole pieces of one width are accessed, at places known once loops are written out."""
    widths: dict[str, int | None] = {}
    for buffer, index in _accesses(body):
        if buffer.space == "register":
            width = _width(index, unrolled)
            widths[buffer.name] = width if widths.setdefault(buffer.name, width) == width else None
    return {name: width for name, width in widths.items() if width is not None}


def _accesses(body: Statement) -> Iterator[tuple[Buffer, Expr]]:
    for statement in statements(body):
        if isinstance(statement, Store):
            yield statement.buffer, statement.index
    for expr in walk(*expressions(body)):
        if isinstance(expr, Load):
            yield expr.buffer, expr.index


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
    """A node of an expression. below: where its children are among the parts. varies: the unrolled variables that it depends on."""

    expr: Expr
    below: tuple[int, ...]
    varies: tuple[Var, ...]


@dataclass(slots=True)
class _Copies:
    """The copies of expressions that iterations of unrolled loops make, each distinct one made once.

    unrolled: variables of unrolled loops. extents: of the loops that stay. homes: the unrolled loops that a register is made in.
    pieces: the width of the variables that a register array becomes.
    """

    unrolled: tuple[Var, ...]
    extents: Mapping[Var, int]
    homes: Mapping[str, tuple[Var, ...]]
    pieces: Mapping[str, int]
    templates: dict[Expr, list[_Part]] = field(default_factory=dict)
    made: dict[tuple[Expr, tuple[int, ...]], Expr] = field(default_factory=dict)
    places: dict[Expr, Expr] = field(default_factory=dict)

    def at(self, root: Expr, values: Values) -> Expr:
        """`root` in the iteration `values`."""
        done: list[Expr] = []
        for part in self.template(root):
            key = (part.expr, tuple([values[var] for var in part.varies]))
            copy = self.made.get(key)
            if copy is None:
                copy = self.made[key] = self.copy(part.expr, tuple([done[position] for position in part.below]), values)
            done.append(copy)
        return done[-1]

    def template(self, root: Expr) -> list[_Part]:
        """The nodes of `root`, children before parents."""
        if root not in self.templates:
            parts: list[_Part] = []
            position: dict[Expr, int] = {}
            for expr in walk(root):
                below = tuple(position[child] for child in children(expr))
                own = {var for at in below for var in parts[at].varies} | self.own_variables(expr)
                position[expr] = len(parts)
                parts.append(_Part(expr, below, tuple(var for var in self.unrolled if var in own)))
            self.templates[root] = parts
        return self.templates[root]

    def own_variables(self, expr: Expr) -> set[Var]:
        match expr:
            case Var():
                return {expr}
            case Load(buffer):
                return set(self.homes.get(buffer.name, ()))
            case _:
                return set()

    def copy(self, expr: Expr, below: tuple[Expr, ...], values: Values) -> Expr:
        match expr:
            case Var() if expr in values:
                return ex.index(values[expr])
            case Load(buffer):
                return Load(*self.access(buffer, below[0], values))
            case _:
                return with_children(expr, below)

    def access(self, buffer: Buffer, index: Expr, values: Values) -> tuple[Buffer, Expr]:
        """The buffer and the place that an access to `buffer` at `index` becomes."""
        place = self.place(index)
        width = self.pieces.get(buffer.name)
        made = self.renamed(buffer, values)
        if width is None or buffer.size == width:
            return made, place
        start = place.base if isinstance(place, Ramp) else place
        assert isinstance(start, Lit)
        zero = ex.index(0)
        return _piece(made, int(start.value) // width, width), Ramp(zero, 1, width) if width > 1 else zero

    def place(self, index: Expr) -> Expr:
        """`index` in normal form."""
        if index not in self.places:
            match index:
                case Ramp(base, stride, lanes):
                    self.places[index] = Ramp(ix.simplify(base, self.extents), stride, lanes)
                case _:
                    self.places[index] = ix.simplify(index, self.extents) if index.lanes == 1 else index
        return self.places[index]

    def variables(self, buffer: Buffer, values: Values) -> list[Buffer]:
        """What is made instead of the register `buffer`."""
        width = self.pieces.get(buffer.name, buffer.size)
        made = self.renamed(buffer, values)
        return [made] if width == buffer.size else [_piece(made, number, width) for number in range(buffer.size // width)]

    def renamed(self, buffer: Buffer, values: Values) -> Buffer:
        """The iteration's own copy of a register that is made in it."""
        suffix = "".join(f"_{var.name}{values[var]}" for var in self.homes.get(buffer.name, ()) if values[var])
        return replace(buffer, name=buffer.name + suffix) if suffix else buffer


def _piece(buffer: Buffer, number: int, width: int) -> Buffer:
    return Buffer(f"{buffer.name}_{number}", buffer.dtype, width, buffer.space)
