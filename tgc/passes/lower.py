"""Lower: a region becomes its plain loop nest. One loop an axis, one element at a time; schedules make it fast afterwards.

A region without a contraction loops over its body's axes; one with a contraction loops over the contraction's axes, so that
what follows the sum (a reshape that merges groups, a transpose) is part of where the result is stored. A reduction is computed
in the outermost loop that knows its index, which is what makes softmax one kernel with three loops a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Arg, Buffer, Coordinate, Expr, Lit, Load, Var
from tgc.ir.expression_bounds import expression_bounds
from tgc.ir.graph import (
    Constant,
    Expand,
    Gather,
    Input,
    Map,
    Node,
    Permute,
    Reduce,
    Reshape,
    Scatter,
    Shape,
    Slice,
    Window,
)
from tgc.ir.index import Index
from tgc.ir.index_clamp import clamp
from tgc.ir.kernel import Alloc, Block, For, Kernel, Parameter, Statement, Store, block
from tgc.ir.partition import Binding, Lowered, Partition, Place, Region, binding
from tgc.ir.rewrite import map_expressions, rewrite, substitute
from tgc.ir.views import Vector, dot, flatten, source_index
from tgc.passes.region_reads import axis_loops, iteration_index, reads


@dataclass(eq=False, slots=True)
class _Scope:
    """The inside of a loop while it is being written; `loop` is None at the top of the kernel."""

    loop: tuple[Var, int] | None
    parent: _Scope | None
    statements: list[Statement] = field(default_factory=list)


def lower(region: Region, partition: Partition) -> Lowered:
    """The loop nest of `region`."""
    return _Lowering(partition, region).run()


@dataclass(frozen=True, slots=True)
class Traced:
    """What `lower` made, and which nodes it was made from.

    held: for each parameter the node whose elements it passes; None for the region's own place. computed: in order, without constants.
    """

    lowered: Lowered
    held: tuple[Node | None, ...]
    computed: tuple[Node, ...]


def lower_traced(region: Region, partition: Partition) -> Traced:
    """The loop nest of `region`, and the nodes that it was made from."""
    lowering = _Lowering(partition, region)
    lowered = lowering.run()
    return Traced(lowered, tuple(lowering.held), tuple(lowering.computed))


def origins_of(computed: Iterable[Node]) -> tuple[str, ...]:
    """The ONNX nodes that `computed` came from, each once."""
    return tuple(dict.fromkeys(node.origin for node in computed if node.origin))


class _Lowering:
    """One region's state: the loops that are open, the values already computed, the parameters so far."""

    def __init__(self, partition: Partition, region: Region) -> None:
        self.partition = partition
        self.region = region
        self.extents: dict[Var, int] = {}
        self.parameters: dict[tuple[str, str], tuple[Buffer, Binding, str]] = {}
        self.sizes: dict[str, int] = {}
        self.memo: dict[tuple[int, Vector], Expr] = {}
        self.reductions = 0
        self.held: list[Node | None] = []
        self.computed: dict[Node, None] = {}

    def run(self) -> Lowered:
        if isinstance(self.region.body, Scatter) and self._computed():
            return self._scatter(self.region.body)
        at, loops = self._iteration_space()
        offset = self._offset(self.region.place, at)
        scope = _scope_of(_loop_order(loops, offset, self._row_variables(at)))
        out = self._parameter(self.region.place, self.region.body, ("", "out"))
        value = self._value(self.region.body, at, scope, root=self._computed())
        scope.statements.append(Store(out, ix.to_expr(offset), value))
        return self._finish(_close(scope))

    def _computed(self) -> bool:
        """Whether the region computes its body; else it copies it from where another region has put it."""
        return self.partition.places.get(self.region.body) in (None, self.region.place)

    def _scatter(self, node: Scatter) -> Lowered:
        """Two nests: the source into the result's place, then the updates in order, each stored at an index that is data."""
        place = self.region.place
        at, loops = self._iteration_space()
        offset = self._offset(place, at)
        copying = _scope_of(_loop_order(loops, offset, frozenset()))
        out = self._parameter(place, node, ("", "out"))
        self.computed[node] = None
        copying.statements.append(Store(out, ix.to_expr(offset), self._value(node.source, at, copying)))
        sizes = node.updates.shape
        each = tuple(self._axis(f"u{axis}", size) for axis, size in enumerate(sizes))
        updating = _scope_of([(Var(f"u{axis}"), size) for axis, size in enumerate(sizes) if size != 1])
        where = ix.to_expr(self._offset(place, self._places(node.coordinates, node.shape, each, updating)))
        value = self._value(node.updates, each, updating)
        new = value if node.op is None else ex.apply(node.op, Load(out, where), value)
        updating.statements.append(Store(out, where, new))
        return self._finish(block(_close(copying), _close(updating)), "write" if node.op is None else "readwrite")

    def _iteration_space(self) -> tuple[Vector, list[tuple[Var, int]]]:
        """The body's index in terms of the loops, and the loops."""
        loops = [loop for loops in axis_loops(self.region) for loop in loops]
        self.extents |= dict(loops)
        return iteration_index(self.region), [(var, extent) for var, extent in loops if extent != 1]

    def _axis(self, name: str, extent: int) -> Index:
        self.extents[Var(name)] = extent
        return ix.axis(Var(name), extent)

    def _row_variables(self, at: Vector) -> frozenset[Var]:
        """The variables that every reduction of the region is read by; they make the outer loops."""
        if self.region.contraction is not None:
            return frozenset()
        rows: frozenset[Var] | None = None
        for node, index in reads(self.region, self.partition, at):
            if isinstance(node, Reduce):
                used = frozenset().union(*(ix.variables(i) for i in index)) & frozenset(self.extents)
                rows = used if rows is None else rows & used
        return rows or frozenset()

    def _offset(self, place: Place, at: Vector) -> Index:
        return dot(at, self.partition.blocks[place.block].strides())

    def _parameter(self, place: Place, node: Node, key: tuple[str, str]) -> Buffer:
        target, shape = self.partition.blocks[place.block], node.shape
        layout = "x".join(str(shape[axis]) for axis in target.order)
        buffer = self._buffer(key, binding(target, place), node, layout)
        span = 1 + sum(stride * (extent - 1) for stride, extent in zip(target.strides(), shape, strict=True))
        self.sizes[buffer.name] = max(self.sizes.get(buffer.name, 0), span)
        return buffer

    def _buffer(self, key: tuple[str, str], binding: Binding, node: Node, layout: str) -> Buffer:
        if key not in self.parameters:
            name = key[1] if key[1] == "out" else f"{'w' if binding.constant else 'a'}{len(self.parameters)}"
            self.parameters[key] = (Buffer(name, node.dtype, 0), binding, layout)
            self.held.append(None if key[1] == "out" else node)
        return self.parameters[key][0]

    def _value(self, node: Node, at: Vector, scope: _Scope, *, root: bool = False) -> Expr:
        """The element of `node` at `at`, with what must run before it appended to the open loops."""
        place = self.partition.places.get(node)
        if (place is not None and not root) or isinstance(node, Input):
            assert place is not None
            return self._load(node, place, at)
        key = (id(node), at)
        if key not in self.memo:
            self.memo[key] = self._compute(node, at, scope)
        return self.memo[key]

    def _load(self, node: Node, place: Place, at: Vector) -> Expr:
        offset = self._offset(place, at)
        buffer = self._parameter(place, node, (place.block, f"{place.low}{place.moves}"))
        return Load(buffer, ix.to_expr(offset))

    def _compute(self, node: Node, at: Vector, scope: _Scope) -> Expr:
        if not isinstance(node, Constant):
            self.computed.setdefault(node)
        match node:
            case Constant():
                return self._constant(node, at)
            case Map():
                return self._map(node, at, scope)
            case Reduce():
                return self._reduce(node, at, scope)
            case Reshape() | Permute() | Expand() | Slice() | Window():
                return self._value(node.source, source_index(node, at), scope)
            case Gather():
                return self._gather(node, at, scope)
            case _:
                raise AssertionError(f"{type(node).__name__} has a place and is never computed")

    def _constant(self, node: Constant, at: Vector) -> Expr:
        if node.data.size == 1:
            return Lit(node.data.reshape(-1)[0].item(), node.dtype)
        offset = flatten(at, node.shape)
        layout = "x".join(map(str, node.shape))
        buffer = self._buffer((node.digest, "constant"), Binding(constant=node), node, layout)
        self.sizes[buffer.name] = node.data.size
        return Load(buffer, ix.to_expr(offset))

    def _map(self, node: Map, at: Vector, scope: _Scope) -> Expr:
        replacements: dict[Expr, Expr] = {}
        for position, source in enumerate(node.sources):
            replacements[Arg(position, source.dtype)] = self._value(source, at, scope)
        for axis, component in enumerate(at):
            replacements[Coordinate(axis)] = ix.to_expr(component)
        return substitute(node.expr, replacements)

    def _gather(self, node: Gather, at: Vector, scope: _Scope) -> Expr:
        return self._value(node.source, self._places(node.coordinates, node.source.shape, at, scope), scope)

    def _places(self, coordinates: tuple[Node, ...], shape: Shape, at: Vector, scope: _Scope) -> Vector:
        """The index, inside of `shape`, that the elements of `coordinates` at `at` say."""
        inner: list[Index] = []
        for coordinate, extent in zip(coordinates, shape, strict=True):
            value = self._value(coordinate, at, scope)
            plain = _plain_index(value, self.extents)
            wanted = ix.from_expr(plain or ex.cast(value, INDEX), self.extents)
            low, high = _constant_bounds(coordinate) or ix.bounds(wanted)
            if low >= 0 and high < extent:
                inner.append(ix.opaque(ix.to_expr(wanted), low, high) if ix.bounds(wanted) != (low, high) else wanted)
            else:
                inner.append(clamp(plain or value, extent))
        return tuple(inner)

    def _reduce(self, node: Reduce, at: Vector, scope: _Scope) -> Expr:
        number = self.reductions
        self.reductions += 1
        home = _home(scope, frozenset().union(*(ix.variables(i) for i in at)))
        total = Buffer(f"acc{number}", node.dtype, 1, "register")
        inner, at_inner = home, list(at)
        for axis in node.axes:
            extent = node.source.shape[axis]
            at_inner[axis] = self._axis(f"k{number}_{axis}", extent)
            if extent != 1:
                inner = _Scope((Var(f"k{number}_{axis}"), extent), inner)
        value = self._value(node.source, tuple(at_inner), inner)
        zero = ex.index(0)
        home.statements += [Alloc(total), Store(total, zero, ex.identity(node.op, node.dtype))]
        step = Store(total, zero, ex.apply(node.op, Load(total, zero), value))
        if inner is home:
            home.statements.append(step)
        else:
            inner.statements.append(step)
            home.statements.append(_close(inner, home))
        return Load(total, zero)

    def _finish(self, body: Statement, access: Literal["write", "readwrite"] = "write") -> Lowered:
        parameters: list[Parameter] = []
        names: dict[str, Buffer] = {}
        for buffer, _, layout in self.parameters.values():
            names[buffer.name] = Buffer(buffer.name, buffer.dtype, max(1, self.sizes.get(buffer.name, 1)))
            parameters.append(Parameter(names[buffer.name], access if buffer.name == "out" else "read", layout))
        kernel = Kernel("kernel", tuple(parameters), _rebind(body, names), origins_of(self.computed))
        return Lowered(kernel, tuple(binding for _, binding, _ in self.parameters.values()))


def _plain_index(value: Expr, extents: Mapping[Var, int]) -> Expr | None:
    """The INDEX that `value` was cast from, where that lost nothing, or that it is a literal of; else None."""
    match value:
        case Lit(number):
            return ex.index(int(number))
        case Apply(op, (inner,)) if op is ops.CAST and inner.dtype == INDEX:
            return inner if expression_bounds(value, extents) == expression_bounds(inner, extents) else None
    return None


def _constant_bounds(node: Node) -> tuple[int, int] | None:
    """The least and the greatest element of a constant seen through views; None for anything else."""
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)):
        node = node.source
    return (int(node.data.min()), int(node.data.max())) if isinstance(node, Constant) and node.data.size else None


def _scope_of(loops: list[tuple[Var, int]]) -> _Scope:
    """The inside of `loops`, nested in each other."""
    scope = _Scope(None, None)
    for var, extent in loops:
        scope = _Scope((var, extent), scope)
    return scope


def _home(scope: _Scope, used: frozenset[Var]) -> _Scope:
    """The innermost open loop whose variable is in `used`; the top of the kernel where there is none."""
    while scope.parent is not None and (scope.loop is None or scope.loop[0] not in used):
        scope = scope.parent
    return scope


def _close(scope: _Scope, until: _Scope | None = None) -> Statement:
    """The statement that `scope` and the loops around it, up to but without `until`, make."""
    body = block(*scope.statements)
    while scope.loop is not None and scope.parent is not until:
        parent = scope.parent
        assert parent is not None
        var, extent = scope.loop
        body = block(*parent.statements, For(var, extent, body))
        scope = parent
    if scope.loop is not None:
        var, extent = scope.loop
        return For(var, extent, body)
    return body


def _loop_order(loops: list[tuple[Var, int]], offset: Index, rows: frozenset[Var]) -> list[tuple[Var, int]]:
    """Rows first, then by the stride of the store, the contiguous axis last."""
    strides = {var: abs(ix.coefficient(offset, var) or 0) for var, _ in loops}
    return sorted(loops, key=lambda loop: (loop[0] not in rows, -strides[loop[0]]))


def _rebind(body: Statement, names: Mapping[str, Buffer]) -> Statement:
    """`body` with the buffers called `names` replaced, now that their sizes are known."""
    memo: dict[Expr, Expr] = {}

    def rule(expr: Expr) -> Expr | None:
        return Load(names[expr.buffer.name], expr.index) if isinstance(expr, Load) and expr.buffer.name in names else None

    def stores(statement: Statement) -> Statement:
        match statement:
            case For(var, extent, inner, kind):
                return For(var, extent, stores(inner), kind)
            case Store(buffer, index, value):
                return Store(names.get(buffer.name, buffer), index, value)
            case Block(parts):
                return Block(tuple(stores(part) for part in parts))
            case _:
                return statement

    return stores(map_expressions(body, lambda expr: rewrite(expr, rule, memo)))
