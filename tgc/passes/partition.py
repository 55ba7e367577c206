"""Partition (fuse): decides which nodes are written to memory and what is computed together.

Nodes are visited users first. Each carries records of how its users read it: from which region, at which index, how often.
A node joins the region that reads it where that repeats no work:

- a map, where each of its elements is evaluated once, or is so cheap that repeating it costs less than memory;
- a contraction (a sum of products that uses some operand more than once), where the region's elements are its own, one
  for one: what follows it then is its epilogue;
- a scatter never: it is a region of its own;
- any other reduction, where the region reads it by its row: softmax and normalisations become one kernel.

`Concat` and `Pad` are places, not computations: what they hold is written there directly by whoever makes it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from tgc.ir import index as ix
from tgc.ir.expr import Apply, Var
from tgc.ir.graph import (
    Concat,
    Constant,
    Expand,
    Gather,
    Graph,
    Input,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Scatter,
    Slice,
    Window,
    sources,
)  # fmt: skip
from tgc.ir.index import Axis, Opaque, Quotient
from tgc.ir.partition import Block, Fill, Partition, Place, Region, Step
from tgc.ir.program import Role
from tgc.ir.rewrite import walk
from tgc.ir.views import Vector, source_index
from tgc.passes.contractions import is_contraction

MOST_RECORDS = 16  # reads of one node from one region, beyond which it is written to memory
MOST_WORK = 300  # scalar operations an element in one region
MOST_DEPTH = 60  # nodes between a region's body and what joins it
CHEAP = 2  # operations that may be repeated rather than stored
_WEIGHTS = {"DIV": 4, "SQRT": 4, "EXP2": 10, "LOG2": 12, "SIN": 14}


@dataclass(eq=False, slots=True)
class Root:
    """A region while it grows: `heavy` is its contraction, `rows` the variables by which it reads its other reductions."""

    body: Node
    place: Place | None
    variables: Vector
    work: int = 0
    heavy: Reduce | None = None
    rows: frozenset[Var] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A read of a node: by `root`, at `index`, `count` times in all, inside a reduction or not.

    one_to_one: between the region's body and here are only maps, reshapes and permutes. depth: nodes between.
    """

    root: Root
    index: Vector
    count: int
    inside: bool
    one_to_one: bool
    depth: int = field(default=0, compare=False)


@dataclass(slots=True)
class _State:
    graph: Graph
    users: Mapping[Node, list[Node]]
    ends: frozenset[Node]
    records: dict[Node, list[Record]] = field(default_factory=lambda: defaultdict(list))
    claims: dict[Node, tuple[Node, tuple[int, ...]]] = field(default_factory=dict)
    roots: list[tuple[int, int, Root]] = field(default_factory=list)
    fresh: int = 0


def partition(graph: Graph) -> Partition:
    """The regions of `graph`, every block row-major for now."""
    order = graph.nodes()
    users = _users(order)
    state = _State(graph, users, _reduction_ends(order, users))
    outputs = _output_owners(graph)
    position = {node: number for number, node in enumerate(order)}
    _claim(state, order, outputs)
    places, blocks = _place_parents(state, order, outputs)
    for number, (name, node) in enumerate(graph.outputs):
        if outputs.get(node) != number:
            _copy(state, node, Place(f"out_{number}_{identifier(name)}", (0,) * len(node.shape)), position)
    for parent in order:
        if isinstance(parent, (Concat, Pad)):
            for source, offset in _pieces(parent):
                if state.claims.get(source) != (parent, offset):
                    _copy(state, source, places[parent].inside(offset), position)
    for node in reversed(order):
        _visit(state, node, outputs, position)
    _place_roots(state, outputs, places, blocks)
    return Partition(graph, _steps(state, order, places, position), places, blocks)


def identifier(text: str) -> str:
    """`text` as part of a C identifier."""
    return re.sub(r"[^0-9a-zA-Z]+", "_", text).strip("_")[:40]


def _users(order: list[Node]) -> dict[Node, list[Node]]:
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for source in sources(node):
            users[source].append(node)
    return users


def _output_owners(graph: Graph) -> dict[Node, int]:
    """For each computed node that is an output: the first output that it is. Views, inputs and constants are copied out."""
    owners: dict[Node, int] = {}
    for number, (_, node) in enumerate(graph.outputs):
        if isinstance(node, (Map, Reduce, Gather, Scatter, Concat, Pad)):
            owners.setdefault(node, number)
    return owners


def _pieces(parent: Concat | Pad) -> list[tuple[Node, tuple[int, ...]]]:
    """What `parent` holds, and where."""
    if isinstance(parent, Pad):
        return [(parent.source, parent.low)]
    pieces: list[tuple[Node, tuple[int, ...]]] = []
    start = 0
    for source in parent.sources:
        pieces.append((source, tuple(start if axis == parent.axis else 0 for axis in range(len(parent.shape)))))
        start += source.shape[parent.axis]
    return pieces


def _claim(state: _State, order: list[Node], outputs: dict[Node, int]) -> None:
    """Lets each concat and pad take the nodes that can be written straight into it; the last user in order goes first."""
    for parent in reversed(order):
        if isinstance(parent, (Concat, Pad)):
            for source, offset in _pieces(parent):
                computed = isinstance(source, (Map, Reduce, Gather, Scatter, Concat, Pad))
                if computed and source not in state.claims and source not in outputs:
                    state.claims[source] = (parent, offset)


def _block_for(node: Node, number: int, outputs: dict[Node, int], graph: Graph) -> Block:
    owner = outputs.get(node)
    role: Role = "arena" if owner is None else "output"
    name = f"t{number}_{identifier(node.origin)}".rstrip("_") if owner is None else f"out_{owner}_{identifier(graph.outputs[owner][0])}"
    return Block(name, node.dtype, node.shape, role, tuple(range(len(node.shape))))


def _place_parents(state: _State, order: list[Node], outputs: dict[Node, int]) -> tuple[dict[Node, Place], dict[str, Block]]:
    """Places of inputs, concats and pads, and the blocks of these and of all outputs."""
    places: dict[Node, Place] = {}
    blocks: dict[str, Block] = {}
    for number, (name, node) in enumerate(state.graph.outputs):
        made = Block(f"out_{number}_{identifier(name)}", node.dtype, node.shape, "output", tuple(range(len(node.shape))))
        blocks[made.name] = made
    for number, source in enumerate(state.graph.inputs):
        made = Block(f"in_{number}_{identifier(source.name)}", source.dtype, source.shape, "input", tuple(range(len(source.shape))))
        blocks[made.name] = made
        places[source] = Place(made.name, (0,) * len(source.shape))
    for number, node in reversed(list(enumerate(order))):
        if isinstance(node, (Concat, Pad)):
            _place(state, node, number, outputs, places, blocks)
    return places, blocks


def _place(state: _State, node: Node, number: int, outputs: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]) -> None:
    if node in state.claims:
        parent, offset = state.claims[node]
        places[node] = places[parent].inside(offset)
        return
    made = _block_for(node, number, outputs, state.graph)
    blocks[made.name] = made
    places[node] = Place(made.name, (0,) * len(node.shape))


def _new_root(state: _State, body: Node, place: Place | None, number: int) -> Root:
    root = Root(body, place, tuple(ix.axis(Var(f"i{axis}"), size) for axis, size in enumerate(body.shape)))
    state.roots.append((number, 1 if place is None else 2, root))
    return root


def _copy(state: _State, body: Node, place: Place, position: dict[Node, int]) -> None:
    root = _new_root(state, body, place, position[body])
    state.records[body].append(Record(root, root.variables, prod(body.shape), False, True))


def _visit(state: _State, node: Node, outputs: dict[Node, int], position: dict[Node, int]) -> None:
    records = list(dict.fromkeys(state.records[node]))
    match node:
        case Input() | Constant() | Concat() | Pad():
            return
        case Reshape() | Permute() | Expand() | Slice() | Window():
            for record in records:
                at = source_index(node, record.index)
                one_to_one = record.one_to_one and isinstance(node, (Reshape, Permute))
                state.records[node.source].append(Record(record.root, at, record.count, record.inside, one_to_one, record.depth + 1))
            return
    forced = node in outputs or node in state.claims
    if not records and not forced:
        return  # nothing reads it
    if forced or not _joins(state, node, records):
        root = _new_root(state, node, None, position[node])
        records = [Record(root, root.variables, prod(node.shape), False, True)]
    for record in records:
        _pass_on(state, node, record)


def _joins(state: _State, node: Map | Reduce | Gather | Scatter, records: list[Record]) -> bool:
    roots = list(dict.fromkeys(record.root for record in records))
    if len(records) > MOST_RECORDS or any(root.work > MOST_WORK for root in roots) or any(r.depth > MOST_DEPTH for r in records):
        return False
    if isinstance(node, Scatter):
        return False
    if isinstance(node, Reduce):
        return len(roots) == 1 and _reduce_joins(node, roots[0], records)
    return _map_joins(state, node, records, len(roots) == 1)


def _map_joins(state: _State, node: Map | Gather, records: list[Record], alone: bool) -> bool:
    tensors = [source for source in sources(node) if not _is_row_constant(source)]
    if not tensors:
        return True
    size = max(1, prod(node.shape))
    evaluations: dict[tuple[Root, Vector], int] = defaultdict(int)
    for record in records:
        evaluations[record.root, record.index] = max(evaluations[record.root, record.index], _evaluations(record))
    repeat = sum(evaluations.values()) / size
    if any(_varies_inside(record) for record in records) and node in state.ends:
        return False
    if alone and repeat <= 1:
        return True
    work = _work(node)
    if alone and repeat <= 2 and isinstance(node, Map):
        return node not in state.ends
    return work <= CHEAP and repeat <= 4 and len(tensors) == 1 and node not in state.ends


def _evaluations(record: Record) -> int:
    """How often the read is evaluated: once for each value of its index, as what a loop does not change leaves the loop.

    In a contraction the loops are tiled, and it is evaluated every time.
    """
    if record.inside and record.root.heavy is not None:
        return record.count
    return prod(_extents(record.index).values())


def _varies_inside(record: Record) -> bool:
    """Whether the read is inside of a reduction whose loops, tiled or not, evaluate it over and over."""
    if not record.inside or record.root.heavy is not None:
        return record.inside
    rows = frozenset().union(*(ix.variables(component) for component in record.root.variables))
    return not frozenset().union(*(ix.variables(component) for component in record.index)) <= rows


def _extents(index: Vector) -> dict[Var, int]:
    """The variables of `index`, with the extents of their loops."""
    found: dict[Var, int] = {}
    for component in index:
        for atom, _ in component.terms:
            match atom:
                case Axis(var, extent):
                    found[var] = extent
                case Quotient(dividend):
                    found |= _extents((dividend,))
                case Opaque(expr, low, high):
                    found[Var(repr(expr))] = high - low + 1
    return found


def _is_row_constant(node: Node) -> bool:
    """Whether `node` is a constant seen through views: loading it again costs little."""
    while isinstance(node, (Reshape, Permute, Expand, Slice)):
        node = node.source
    return isinstance(node, Constant)


def _reduction_ends(order: list[Node], users: Mapping[Node, list[Node]]) -> frozenset[Node]:
    """The nodes that are a pointwise end of a reduction that only they read, and so belong to that reduction's epilogue."""
    found: set[Node] = set()
    for node in order:
        for source in sources(node):
            inner = source
            while isinstance(inner, (Reshape, Permute)) and len(users[inner]) == 1:
                inner = inner.source
            private = len(users[inner]) == 1 and prod(inner.shape) == prod(node.shape)
            if private and (isinstance(inner, Reduce) or (isinstance(inner, Map) and inner in found)):
                found.add(node)
    return frozenset(found)


def _reduce_joins(node: Reduce, root: Root, records: list[Record]) -> bool:
    if is_contraction(node):
        return len(records) == 1 and records[0].one_to_one and root.heavy is None and root.rows is None
    rows: set[Var] = set()
    for record in records:
        found = _plain_variables(record.index)
        if found is None or not found <= {a.var for i in root.variables for a, _ in i.terms if isinstance(a, Axis)}:
            return False
        rows |= found
    extents = {a.var: a.extent for i in root.variables for a, _ in i.terms if isinstance(a, Axis)}
    if prod(extents[var] for var in rows) != prod(node.shape):
        return False
    return root.heavy is None and root.rows in (None, frozenset(rows))


def _plain_variables(at: Vector) -> set[Var] | None:
    """The variables of `at` where each component is a variable or a constant and none occurs twice; else None."""
    found: set[Var] = set()
    for component in at:
        if not component.terms:
            continue
        atom, factor = component.terms[0]
        if len(component.terms) != 1 or factor != 1 or not isinstance(atom, Axis) or atom.var in found:
            return None
        found.add(atom.var)
    return found


def _work(node: Map | Gather) -> int:
    if isinstance(node, Gather):
        return CHEAP + 1
    return sum(_WEIGHTS.get(expr.op.name, 1) for expr in walk(node.expr) if isinstance(expr, Apply))


def _pass_on(state: _State, node: Map | Reduce | Gather | Scatter, record: Record) -> None:
    root = record.root
    if isinstance(node, Scatter):
        _pass_on_scatter(state, node, root)
        return
    if isinstance(node, Reduce):
        if is_contraction(node):
            root.heavy = node
        else:
            root.rows = frozenset(_plain_variables(record.index) or ())
        at = list(record.index)
        for axis in node.axes:
            at[axis] = at[axis] + ix.axis(Var(f"k{state.fresh}"), node.source.shape[axis])
            state.fresh += 1
        extent = prod(node.source.shape[axis] for axis in node.axes)
        state.records[node.source].append(Record(root, tuple(at), prod(node.shape) * extent, True, False, record.depth + 1))
        return
    root.work += _work(node)
    for source in sources(node)[1:] if isinstance(node, Gather) else sources(node):
        state.records[source].append(replace(record, depth=record.depth + 1))
    if isinstance(node, Gather):
        unknown = tuple(ix.opaque(Var(f"g{state.fresh}_{axis}"), 0, size - 1) for axis, size in enumerate(node.source.shape))
        state.fresh += 1
        state.records[node.source].append(Record(root, unknown, record.count, record.inside, False, record.depth + 1))


def _pass_on_scatter(state: _State, node: Scatter, root: Root) -> None:
    """The source is read where the result is written; coordinates and updates in a nest of loops of their own."""
    root.rows = frozenset((Var("none"),))  # no reduction joins: the two nests share no row
    state.records[node.source].append(Record(root, root.variables, prod(node.shape), False, False))
    at = tuple(ix.axis(Var(f"u{axis}"), size) for axis, size in enumerate(node.updates.shape))
    for source in (*node.coordinates, node.updates):
        state.records[source].append(Record(root, at, prod(node.updates.shape), False, False))


def _place_roots(state: _State, outputs: dict[Node, int], places: dict[Node, Place], blocks: dict[str, Block]) -> None:
    for number, _, root in state.roots:
        if root.place is None:
            _place(state, root.body, number, outputs, places, blocks)
            root.place = places[root.body]


def _steps(state: _State, order: list[Node], places: dict[Node, Place], position: dict[Node, int]) -> tuple[Step, ...]:
    """Regions and fills in an order in which each reads only what is there: the graph's own."""
    keyed: list[tuple[int, int, int, Step]] = []
    for number, phase, root in state.roots:
        assert root.place is not None
        keyed.append((number, phase, len(keyed), Region(root.body, root.place, root.heavy)))
    for node in order:
        if isinstance(node, Pad):
            keyed.append((position[node], 0, len(keyed), Fill(node, places[node])))
    return tuple(step for *_, step in sorted(keyed, key=lambda entry: entry[:3]))
