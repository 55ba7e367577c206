"""Polish: the scalar expressions of a lowered kernel, made fit for the target before they are scheduled."""

from __future__ import annotations

from collections.abc import Callable

from tgc.ir.expr import Expr
from tgc.passes.decompose import decompose
from tgc.passes.widen import without_round_trips
from tgc.targets import Target


def polisher_for(target: Target) -> Callable[[Expr], Expr]:
    """Round trips through half left out; EXP2, LOG2 and SIN written out where the target does not have them."""
    native = frozenset({"EXP2", "LOG2", "SIN"}) if target.backend == "opencl" else frozenset[str]()

    def polish(expr: Expr) -> Expr:
        return decompose(without_round_trips(expr), native)

    return polish
