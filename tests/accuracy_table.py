"""Measures the worst error of every scalar function and prints docs/accuracy.md: python tests/accuracy_table.py > docs/accuracy.md"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
from scalar_evaluation import Array, evaluate, grid, ulp_error

from tgc.ir import scalar
from tgc.ir.dtypes import F32, F64, DType
from tgc.ir.expr import Apply, Arg, Expr
from tgc.ir.rewrite import walk
from tgc.passes.decompose import decompose

Reference = Callable[[Array], Array]

HEADER = """# Accuracy of the scalar functions

Made by `python tests/accuracy_table.py`; `tests/test_accuracy.py` measures again and holds every number here as a bound.

Everything that a backend does not do itself is built from twelve operations (`tgc/ir/scalar.py`), and EXP2, LOG2 and SIN can be
written out in arithmetic and bit operations too (`tgc/passes/decompose.py`). Errors are the worst seen, in units in the last place
(ULP) of the correctly rounded result, over even, random, logarithmic and special points of the domain, infinities, NaN and
subnormal numbers among them; rounded up to tenths. "Written out" is the worse of two evaluations: every operation rounded by
itself, and every multiply-add fused to one rounding, as a backend may do either. "EXP2, LOG2, SIN given" takes these three from the target,
here numpy's. Operations are counted in the f32 form: all of them, then those left when a multiply-add counts as one.

f16 and bf16 are computed in f32 and rounded. Zeros may lose their sign in `trunc`, `floor`, `ceil`, `round_half_even` and `pow`.

| function | domain | operations | operations written out | the same, fused | ULP, f32, EXP2, LOG2, SIN given | ULP, f32, written out \
| ULP, f64, written out |
|---|---|---|---|---|---|---|---|
"""

FOOTER = """
- `exp`, `sigmoid` and the rest lose about |x| / 1.4 ULP with a target's own EXP2, because x log2(e) is rounded before EXP2 sees it.
  Written out, the product is not rounded.
- `sin`, `cos`, `tan`: larger arguments. Written out, SIN keeps its error up to 10^8 (f32) and 10^7 (f64); beyond, the answer
  is the sine of a number within two ULP of x. `cos` keeps its error up to 2.5 * 10^4 (f32) and 1.3 * 10^7 (f64); beyond, its absolute error
  grows like the spacing of x.
- `gelu`, `gelu_tanh`, `mish`: in ULP of x, as the sum 1 + erf cancels for negative x.
- `pow` with an exponent that is not a constant whole number: at most 2 + 2 |y log2 x| ULP.
- `mod`, `fmod` on floats: exact for |a / b| < 2^24 (f32), 2^53 (f64).
- EXP2 written out underflows gradually. Where its only use is to be added to a constant, as in `sigmoid`, it stops at the smallest normal
  number instead, which the sum does not see.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A function, its exact values in long double, and its domain; `wide` scales the domain for f64. `of_argument`: ULP of x."""

    name: str
    reference: Reference
    low: float
    high: float
    wide: float = 1.0
    of_argument: bool = False


def elementwise(function: Callable[[mpmath.mpf], mpmath.mpf]) -> Reference:
    """A function of mpmath on arrays, to the precision of long double."""

    def on_array(x: Array) -> Array:
        with mpmath.workdps(25):
            return np.array([np.longdouble(mpmath.nstr(function(mpmath.mpf(float(v))), 22)) for v in x], np.longdouble)

    return on_array


def erf_reference(x: Array) -> Array:
    """For up to 10,000 points exact; for more, which are f32, in double precision."""
    if len(x) > 10000:
        return np.array([math.erf(v) for v in x.astype(np.float64)]).astype(np.longdouble)
    return elementwise(mpmath.erf)(x)


def sigmoid_reference(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def gelu_reference(x: Array) -> Array:
    return np.asarray(x / 2 * (1 + erf_reference(x / np.sqrt(np.longdouble(2)))))


def gelu_tanh_reference(x: Array) -> Array:
    return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.longdouble(math.pi)) * (x + np.longdouble(0.044715) * x**3))))


ROWS = (
    Row("exp2", np.exp2, -160, 140, 7.5),
    Row("exp", np.exp, -120, 100, 7.5),
    Row("expm1", np.expm1, -100, 100, 7.5),
    Row("log2", np.log2, -1, math.inf),
    Row("log", np.log, -1, math.inf),
    Row("log1p", np.log1p, -2, math.inf),
    Row("rsqrt", lambda x: np.asarray(1 / np.sqrt(x)), 1e-38, math.inf),
    Row("sin", np.sin, -1e5, 1e5),
    Row("cos", np.cos, -2e4, 2e4),
    Row("tan", np.tan, -2e4, 2e4),
    Row("asin", np.arcsin, -1.5, 1.5),
    Row("acos", np.arccos, -1.5, 1.5),
    Row("atan", np.arctan, -math.inf, math.inf),
    Row("sinh", np.sinh, -100, 100, 7.5),
    Row("cosh", np.cosh, -100, 100, 7.5),
    Row("tanh", np.tanh, -math.inf, math.inf),
    Row("asinh", np.arcsinh, -math.inf, math.inf),
    Row("acosh", np.arccosh, -5, math.inf),
    Row("atanh", np.arctanh, -1.5, 1.5),
    Row("sigmoid", sigmoid_reference, -80, math.inf, 8),
    Row("softplus", lambda x: np.logaddexp(x, np.longdouble(0)), -80, math.inf, 8),
    Row("mish", lambda x: np.asarray(x * np.tanh(np.logaddexp(x, np.longdouble(0)))), -80, 1e6, of_argument=True),
    Row("erf", erf_reference, -10, 10),
    Row("gelu", gelu_reference, -10, 10, of_argument=True),
    Row("gelu_tanh", gelu_tanh_reference, -10, 10, of_argument=True),
)


def build(row: Row, dtype: DType) -> Expr:
    """The row's function of Arg(0)."""
    expr: Expr = getattr(scalar, row.name)(Arg(0, dtype))
    return expr


def points(row: Row, dtype: DType) -> Array:
    """Where the row is measured."""
    slow = row.name in ("erf", "gelu") and dtype == F64
    scale = row.wide if dtype == F64 else 1.0
    return grid(dtype.numpy, row.low * scale, row.high * scale, 800 if slow else 40000)


def worst(row: Row, expr: Expr, x: Array, contract: bool = False) -> float:
    """The worst error of `expr` at x in ULP."""
    with np.errstate(all="ignore"):
        exact = row.reference(x.astype(np.longdouble))
    got = evaluate(expr, [x], contract)
    if row.of_argument:
        with np.errstate(all="ignore"):
            return float(np.nanmax(np.abs(got - exact) / np.spacing(np.abs(x))))
    return float(np.max(ulp_error(got, exact)))


def operations(expr: Expr) -> tuple[int, int]:
    """Operations, and what is left of them when an ADD of a MUL counts as one and BITCAST as none."""
    nodes = [node for node in walk(expr) if isinstance(node, Apply) and node.op.name != "BITCAST"]
    fused = sum(node.op.name == "ADD" and any(isinstance(a, Apply) and a.op.name == "MUL" for a in node.args) for node in nodes)
    return len(nodes), len(nodes) - fused


def errors(row: Row) -> tuple[float, float, float]:
    """f32 with EXP2, LOG2, SIN given; f32 written out; f64 written out."""
    single, double = points(row, F32), points(row, F64)
    expr = build(row, F32)
    given = worst(row, expr, single)
    out32 = max(worst(row, decompose(expr), single, contract) for contract in (False, True))
    out64 = max(worst(row, decompose(build(row, F64)), double, contract) for contract in (False, True))
    return given, out32, out64


def line(row: Row) -> str:
    """The row of the table."""
    expr = build(row, F32)
    plain, _ = operations(expr)
    full, fused = operations(decompose(expr))
    shown = [f"{math.ceil(error * 10) / 10:.1f}" for error in errors(row)]
    return f"| {row.name} | {row.low:g} .. {row.high:g} | {plain} | {full} | {fused} | " + " | ".join(shown) + " |"


def main() -> None:
    print(HEADER + "\n".join(line(row) for row in ROWS) + "\n" + FOOTER, end="")


if __name__ == "__main__":
    main()
