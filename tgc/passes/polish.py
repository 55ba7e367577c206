"""Polish: the scalar expressions of a lowered kernel, made fit for the target before they are scheduled."""

from __future__ import annotations

from collections.abc import Callable

from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Expr
from tgc.passes.decompose import decompose
from tgc.passes.simplify_expr import simplify
from tgc.targets import Target


def polisher_for(target: Target) -> Callable[[Expr], Expr]:
    """Expressions simplified; EXP2, LOG2 and SIN written out where the target does not have them."""
    native = frozenset({"EXP2", "LOG2", "SIN"}) if target.backend == "opencl" else frozenset[str]()

    def polish(expr: Expr) -> Expr:
        return expr if expr.dtype == INDEX else decompose(simplify(expr), native)

    return polish
