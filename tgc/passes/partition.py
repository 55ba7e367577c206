"""Partition (fuse): decides which nodes are written to memory and what is computed together.

Nodes are visited users first. Each carries records of how its users read it: from which region, at which index, how often.
A node joins the region that reads it where that repeats no work:

- a map, where each of its elements is evaluated once, or is so cheap that repeating it costs less than memory;
- a contraction (a sum of products that uses some operand more than once), where the region's elements are its own, one
  for one: what follows it then is its epilogue, unless that is chosen by its place, case by case;
- a scatter never: it is a region of its own;
- any other reduction, where the region reads it by its row: softmax and normalisations become one kernel.

`Concat` and `Pad` are places, not computations: what they hold is written there directly by whoever makes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod

from tgc.ir import index as ix
from tgc.ir.expr import Apply, Expr, Var
from tgc.ir.graph import (
    Bound,
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
    ScanResult,
    Scatter,
    Slice,
    Window,
    sources,
)
from tgc.ir.index import Axis, Opaque, Quotient
from tgc.ir.partition import Fill, Loop, Partition, Place, Region, Step
from tgc.ir.rewrite import walk
from tgc.ir.views import Vector, source_index
from tgc.passes.ahead import MOST_RESULTS, ahead_of
from tgc.passes.choices import selects
from tgc.passes.contractions import is_contraction
from tgc.passes.loops import find_loops
from tgc.passes.placement import Record, Root, State, new_root, output_owners, place, place_elements, place_roots

MOST_RECORDS = 16  # reads of one node from one region, beyond which it is written to memory
MOST_WORK = 300  # scalar operations an element in one region
MOST_DEPTH = 60  # nodes between a region's body and what joins it
CHEAP = 2  # operations that may be repeated rather than stored
_WEIGHTS = {"DIV": 4, "SQRT": 4, "EXP2": 10, "LOG2": 12, "SIN": 14}


def partition(graph: Graph, *, texels: bool = False, apart: frozenset[Node] | None = None) -> Partition:
    """The regions of `graph`, every block row-major for now. texels: for a device that reads texels, and reads them ahead.

    apart: the short sums that are not computed where others read them; None where none is.
    """
    order = graph.nodes()
    users = _users(order)
    state = State(graph, users, _reduction_ends(order, users), find_loops(order), texels, apart)
    outputs = output_owners(graph)
    position = {node: number for number, node in enumerate(order)}
    places, blocks = place(state, order, outputs, position)
    for node in reversed(order):
        _visit(state, node, outputs, position)
    place_roots(state, outputs, places, blocks)
    place_elements(state, places)
    return Partition(graph, _steps(state, order, places, position), places, blocks)


def _users(order: list[Node]) -> dict[Node, list[Node]]:
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for source in sources(node):
            users[source].append(node)
    return users


def _visit(state: State, node: Node, outputs: dict[Node, int], position: dict[Node, int]) -> None:
    records = list(dict.fromkeys(state.records[node]))
    match node:
        case Input() | Constant() | Concat() | Pad() | Bound() | ScanResult():
            return
        case Reshape() | Permute() | Expand() | Slice() | Window():
            for record in records:
                at = source_index(node, record.index)
                one_to_one = record.one_to_one and isinstance(node, (Reshape, Permute))
                state.records[node.source].append(Record(record.root, at, record.count, record.inside, one_to_one, record.depth + 1))
            return
    forced = node in outputs or node in state.claims or node in state.assigned or node in state.kept
    if not records and not forced:
        return  # nothing reads it
    if forced or not _joins(state, node, records):
        root = new_root(state, node, None, position[node], state.loops.around[node])
        records = [Record(root, root.variables, prod(node.shape), False, True)]
    for record in records:
        _pass_on(state, node, record)


def _joins(state: State, node: Map | Reduce | Gather | Scatter, records: list[Record]) -> bool:
    roots = list(dict.fromkeys(record.root for record in records))
    if len(records) > MOST_RECORDS or any(root.work > MOST_WORK for root in roots) or any(r.depth > MOST_DEPTH for r in records):
        return False
    if isinstance(node, Scatter):
        return False
    if node in state.ahead or _computed_ahead(state, node, records):
        return True
    if any(root.loops != state.loops.around[node] for root in roots):
        return isinstance(node, Map) and not node.sources
    if isinstance(node, Reduce):
        return len(roots) == 1 and _reduce_joins(node, roots[0], records)
    return _map_joins(state, node, records, len(roots) == 1)


def _computed_ahead(state: State, node: Node, records: list[Record]) -> bool:
    """Whether `node` follows a short sum and each of its elements is read by few sums of one root: then it is computed there."""
    root, index = records[0].root, _plain_variables(records[0].index)
    if state.apart is None or len(records) > 1 or not isinstance(node, Map) or index is None or root.loops != state.loops.around[node]:
        return False
    extents = {a.var: a.extent for i in records[0].index for a, _ in i.terms if isinstance(a, Axis)}
    whole = prod(extents[var] for var in index) == prod(node.shape)
    few = records[0].count <= MOST_RESULTS * prod(node.shape)
    if root.heavy is None or root.ahead or root.chosen or not (records[0].inside and whole and few):
        return False
    found = ahead_of(node, state.users)
    sums = [part for part in found if isinstance(part, Reduce)]
    needed = {*(result for _, result in state.graph.outputs), *state.kept, *state.assigned}
    together = all(state.loops.around[part] == root.loops for part in found)
    if not sums or sums[0] in state.apart or found & needed or not together:
        return False
    root.ahead = sums[0]
    state.ahead.update(dict.fromkeys(found))
    return True


def _sums(state: State, root: Root) -> bool:
    """Whether cases that `root` reads would be written out in its sum: in one of rows only where what they read is read ahead."""
    return root.heavy is not None or (state.texels and root.rows is not None)


def _map_joins(state: State, node: Map | Gather, records: list[Record], alone: bool) -> bool:
    tensors = [source for source in sources(node) if not _is_row_constant(source)]
    if not tensors:
        return True
    if isinstance(node, Map) and selects(node.expr) and any(_sums(state, record.root) for record in records):
        return False  # cases are written out at their places, not at the many that a sum goes through
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
        return len(records) == 1 and records[0].one_to_one and root.heavy is None and root.rows is None and not root.chosen
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
    return _operations(node.expr)


@lru_cache(maxsize=1 << 10)
def _operations(body: Expr) -> int:
    return sum(_WEIGHTS.get(expr.op.name, 1) for expr in walk(body) if isinstance(expr, Apply))


def _pass_on(state: State, node: Map | Reduce | Gather | Scatter, record: Record) -> None:
    root = record.root
    if isinstance(node, Scatter):
        _pass_on_scatter(state, node, root)
        return
    if isinstance(node, Reduce):
        if node in state.ahead:
            pass
        elif is_contraction(node):
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
    root.chosen = root.chosen or (isinstance(node, Map) and selects(node.expr))
    for source in sources(node)[1:] if isinstance(node, Gather) else sources(node):
        state.records[source].append(replace(record, depth=record.depth + 1))
    if isinstance(node, Gather):
        unknown = tuple(ix.opaque(Var(f"g{state.fresh}_{axis}"), 0, size - 1) for axis, size in enumerate(node.source.shape))
        state.fresh += 1
        state.records[node.source].append(Record(root, unknown, record.count, record.inside, False, record.depth + 1))


def _pass_on_scatter(state: State, node: Scatter, root: Root) -> None:
    """The source is read where the result is written; coordinates and updates in a nest of loops of their own."""
    root.rows = frozenset((Var("none"),))  # no reduction joins: the two nests share no row
    state.records[node.source].append(Record(root, root.variables, prod(node.shape), False, False))
    at = tuple(ix.axis(Var(f"u{axis}"), size) for axis, size in enumerate(node.updates.shape))
    for source in (*node.coordinates, node.updates):
        state.records[source].append(Record(root, at, prod(node.updates.shape), False, False))


def _steps(state: State, order: list[Node], places: dict[Node, Place], position: dict[Node, int]) -> tuple[Step, ...]:
    """Regions and fills in an order in which each reads only what is there: the graph's own."""
    keyed: list[tuple[Key, Step]] = []
    for number, phase, root in state.roots:
        assert root.place is not None
        step = Region(root.body, root.place, root.heavy, root.loops, root.ahead)
        keyed.append((_key(state, root.loops, (number, phase, len(keyed))), step))
    for node in order:
        if isinstance(node, Pad):
            around = state.loops.around[node]
            keyed.append((_key(state, around, (position[node], 0, len(keyed))), Fill(node, places[node], around)))
    return tuple(step for _, step in sorted(keyed, key=lambda entry: entry[0]))


Key = tuple[tuple[int, int, int], ...]


def _key(state: State, loops: tuple[Loop, ...], own: tuple[int, int, int]) -> Key:
    """What steps are ordered by: a loop stands where its scan does, and its steps among themselves as elsewhere."""
    return (*((state.loops.starts[loop.name], -1, 0) for loop in loops), own)
