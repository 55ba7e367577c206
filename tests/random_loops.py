"""Random scatters and scans, for `random_graphs`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from random_expressions import EXACT, Facts, rounded

from tgc.ir import ops
from tgc.ir.dtypes import BOOL
from tgc.ir.graph import Bound, Node, Scan
from tgc.ir.ops import Op
from tgc.ir.scan import scan_results

if TYPE_CHECKING:
    from random_graphs import GraphMaker

DEEPEST = 2


def scatter(maker: GraphMaker) -> Node:
    """Updates at random places, several of them often at one."""
    source = maker.pick()
    shape = maker.shape(0, 2)
    updates = maker.tamed(maker.fit(maker.as_type(maker.pick(), source.dtype), shape))
    op: Op | None = maker.random.choice((None, None, ops.ADD, ops.MAX, ops.MUL))
    if source.dtype == BOOL and op is ops.ADD:
        op = None
    if op is not None and op is not ops.MAX:
        source = maker.tamed(source)
    coordinates = tuple(maker.coordinate(shape) for _ in source.shape)
    made = maker.builder.scatter(source, coordinates, updates, op)
    return maker.known(made, _scattered(op, made, maker.facts[source], maker.facts[updates], prod(shape)))


def _scattered(op: Op | None, made: Node, old: Facts, new: Facts, terms: int) -> Facts:
    if not made.dtype.is_float:
        return EXACT
    if op is ops.ADD:
        return rounded(made.dtype, old.bound + new.bound * terms, old.error + new.error * terms)
    if op is ops.MUL:
        factor = min(max(1.0, new.bound) ** terms, 1e300)
        return rounded(made.dtype, old.bound * factor, (old.error + new.error * old.bound * terms) * factor)
    return Facts(max(old.bound, new.bound), max(old.error, new.error), old.finite and new.finite)


def scan(maker: GraphMaker) -> Node | None:
    """A loop whose states stay small and exact, and whose slabs are anything that its body computes."""
    if maker.depth >= DEEPEST:
        return None
    length = maker.random.randint(1, 4)
    initial = [_beginning(maker) for _ in range(maker.random.randint(0, 2))]
    scanned = [_slabs(maker, length) for _ in range(maker.random.randint(0 if initial else 1, 2))]
    states = tuple(_bind(maker, node, node.shape) for node in initial)
    elements = tuple(_bind(maker, node, (node.shape[0] // length, *node.shape[1:])) for node in scanned)
    inside = _body(maker, (*states, *elements))
    following = tuple(_state_again(maker, inside, state) for state in states)
    slabs = [node for node in inside if node.shape and prod(node.shape) * length <= maker.limit]
    yields = tuple(maker.random.choice(slabs) for _ in range(maker.random.randint(0 if states else 1, 2)) if slabs)
    if not states and not yields:
        return None
    whole = Scan(states, elements, tuple(initial), tuple(scanned), following, yields, length, maker.random.random() < 0.4)
    results = scan_results(maker.builder, whole)
    for node, inner in zip(results, (*states, *yields), strict=True):
        maker.known(node, maker.facts[inner])
    maker.pool.extend(results[1:])
    return results[0]


def _beginning(maker: GraphMaker) -> Node:
    """An exact value of a state before the first iteration."""
    node = maker.tamed(maker.pick())
    node = node if node.shape else maker.known(maker.builder.reshape(node, (1,)), maker.facts[node])
    return node if maker.facts[node].exact else maker.constant(node.shape, node.dtype)


def _slabs(maker: GraphMaker, length: int) -> Node:
    node = maker.pick()
    rows = (maker.random.randint(1, 2) * length, *node.shape[1:])
    return maker.fit(node, rows)


def _bind(maker: GraphMaker, node: Node, shape: tuple[int, ...]) -> Bound:
    made = maker.builder.bound(node.dtype, shape)
    maker.facts[made] = maker.facts[node]
    if made.dtype.is_float and maker.facts[node].exact:
        maker.facts[made] = Facts(max(3.0, maker.facts[node].bound))
    return made


def _body(maker: GraphMaker, bound: tuple[Bound, ...]) -> list[Node]:
    """What an iteration computes of what it is given and of what lies outside."""
    outer, maker.pool = maker.pool, [*maker.random.sample(maker.pool, min(2, len(maker.pool))), *bound]
    maker.depth += 1
    for _ in range(maker.random.randint(2, 6)):
        maker.grow()
    maker.depth -= 1
    inside, maker.pool = maker.pool, outer
    return inside


def _state_again(maker: GraphMaker, inside: list[Node], state: Bound) -> Node:
    """A next value of `state`: as exact as it is, of its type and shape."""
    node = maker.tamed(maker.as_type(maker.random.choice(inside[-3:]), state.dtype))
    node = maker.tamed(maker.fit(node, state.shape))
    fits = not state.dtype.is_float or (maker.facts[node].exact and maker.facts[node].bound <= maker.facts[state].bound)
    return node if fits else state
