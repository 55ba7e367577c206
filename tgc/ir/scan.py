"""Making scans: types are checked, and loops that run once or never are not made."""

from __future__ import annotations

import numpy as np

from tgc.errors import InvalidIrError
from tgc.ir.graph import Node, Scan, postorder, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.verify_graph import verify_scan


def scan_results(builder: GraphBuilder, scan: Scan) -> tuple[Node, ...]:
    """The last states, then what is put together. A length of 0 is allowed here. Raises ValueError where parts do not fit."""
    if scan.length == 0:
        empty = ((np.zeros((0, *node.shape[1:]), node.dtype.numpy)) for node in scan.yields)
        return (*scan.initial, *(builder.constant(data) for data in empty))
    try:
        verify_scan(scan)
    except InvalidIrError as error:
        raise ValueError(str(error)) from error
    if scan.length == 1:
        return substituted(builder, (*scan.following, *scan.yields), dict(zip(scan.bound, (*scan.initial, *scan.scanned), strict=True)))
    carried = zip(scan.states, scan.initial, scan.following, strict=True)
    fixed: dict[Node, Node] = {bound: first for bound, first, after in carried if after is bound}
    if fixed and (scan.elements or len(fixed) < len(scan.states)):
        return _without(builder, scan, fixed)
    count = len(scan.states) + len(scan.yields)
    return tuple(builder.scan_result(scan, position) for position in range(count))


def _without(builder: GraphBuilder, scan: Scan, fixed: dict[Node, Node]) -> tuple[Node, ...]:
    """The results of `scan` where states that never change are not carried, but read from where they are."""
    moving = [n for n, state in enumerate(scan.states) if state not in fixed]
    roots = substituted(builder, (*(scan.following[n] for n in moving), *scan.yields), fixed)
    states, initial = tuple(scan.states[n] for n in moving), tuple(scan.initial[n] for n in moving)
    inner = Scan(states, scan.elements, initial, scan.scanned, roots[: len(moving)], roots[len(moving) :], scan.length, scan.reverse)
    made = iter(scan_results(builder, inner))
    return (*(fixed[state] if state in fixed else next(made) for state in scan.states), *made)


def substituted(builder: GraphBuilder, roots: tuple[Node, ...], values: dict[Node, Node]) -> tuple[Node, ...]:
    """`roots` with nodes replaced by others of their types; what does not depend on them stays as it is."""
    origin = builder.origin
    made: dict[Node, Node] = dict(values)
    for node in postorder(roots, reads=lambda node: () if node in values else sources(node)):
        if node not in made:
            new = tuple(made[source] for source in sources(node))
            same = all(a is b for a, b in zip(new, sources(node), strict=True))
            made[node] = node if same else rebuild(builder, node, new)
    builder.origin = origin
    return tuple(made[root] for root in roots)
