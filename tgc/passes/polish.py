"""Polish: the scalar expressions of a lowered kernel, made fit for the target before they are scheduled."""

from __future__ import annotations

from collections.abc import Callable

from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Expr
from tgc.ir.rewrite import rewrite
from tgc.passes.decompose import decompose
from tgc.passes.relax import tidied
from tgc.passes.simplify_expr import simplify
from tgc.targets import Target


def polisher_for(target: Target) -> Callable[[Expr], Expr]:
    """Expressions simplified; EXP2, LOG2 and SIN written out where the target does not have them.

    Where results are stored in half, constants that nearly cancel do.
    """
    native = frozenset({"EXP2", "LOG2", "SIN"}) if target.backend == "opencl" else frozenset[str]()

    relaxed = target.images and target.precision != "fp32"

    def polish(expr: Expr) -> Expr:
        if expr.dtype == INDEX:
            return expr
        simple = simplify(expr)
        return decompose(simplify(rewrite(simple, tidied)) if relaxed else simple, native)

    return polish
