"""Random scalar expressions for maps, each with what is known of its values, so that outputs can be compared strictly.

Floats are mostly whole numbers small enough that every order of summation gives the same bits. What is not exact carries a
bound on its error, and is never compared or cast to an integer, where a small error could become a large one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tgc.ir import ops
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, INDEX, U8, U16, U32, U64, DType
from tgc.ir.expr import Coordinate, Expr, Lit, apply, bitcast, cast

DTYPES: tuple[DType, ...] = (F32, F32, F32, F32, F32, F16, F64, I64, I64, I32, U8, I16, U32, BOOL, BOOL, I8, BF16, U16, U64)
_EXACT = {"f16": 2.0**11, "bf16": 2.0**8, "f32": 2.0**24, "f64": 2.0**53}
_PRECISION = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-20, "f64": 2.0**-22}
HUGE = 1e30


@dataclass(frozen=True, slots=True)
class Facts:
    """bound: the largest magnitude (floats only). error: how far a compiled value may be from the interpreter's. finite: no inf, no NaN."""

    bound: float = 0.0
    error: float = 0.0
    finite: bool = True

    @property
    def exact(self) -> bool:
        return self.error == 0.0 and self.finite

    @property
    def tame(self) -> bool:
        """Whether it may be computed with."""
        return self.finite and self.bound < HUGE


EXACT = Facts()
Value = tuple[Expr, Facts]


def rounded(dtype: DType, bound: float, error: float, *, whole: bool = True) -> Facts:
    """Facts of a result with these bounds; exact where all operands are and the result is a whole number that fits."""
    if not dtype.is_float:
        return EXACT
    if error == 0.0 and whole and bound <= _EXACT[dtype.name]:
        return Facts(bound)
    return Facts(bound, error + bound * _PRECISION[dtype.name])


def clamped(value: Value, limit: int) -> Value:
    """A float forced into -limit .. limit; a NaN becomes -limit."""
    expr, facts = value
    low, high = (Lit(float(edge), expr.dtype) for edge in (-limit, limit))
    above = apply(ops.WHERE, apply(ops.LT, low, expr), expr, low)
    return apply(ops.WHERE, apply(ops.LT, above, high), above, high), Facts(float(limit), min(facts.error, 2.0 * limit))


@dataclass(slots=True)
class ExpressionMaker:
    """Makes expressions over `leaves`; `axes` of the output may be read as coordinates, below `extents`."""

    random: random.Random
    leaves: Sequence[Value]
    extents: Sequence[int]

    def make(self, dtype: DType, depth: int) -> Value:
        """A random expression of type `dtype`."""
        if depth == 0 or self.random.random() < 0.1:
            return self.leaf(dtype)
        if dtype == BOOL:
            return self.boolean(depth)
        return self.floating(dtype, depth) if dtype.is_float else self.integer(dtype, depth)

    def leaf(self, dtype: DType) -> Value:
        own = [value for value in self.leaves if value[0].dtype == dtype]
        if own and self.random.random() < 0.75:
            return self.usable(self.random.choice(own))
        if self.leaves and self.random.random() < 0.5:
            return self.converted(self.random.choice(self.leaves), dtype)
        if self.extents and self.random.random() < 0.3:
            axis = self.random.randrange(len(self.extents))
            return self.converted((Coordinate(axis), Facts(float(self.extents[axis]))), dtype)
        return self.literal(dtype)

    def usable(self, value: Value) -> Value:
        return value if not value[0].dtype.is_float or (value[1].tame and value[1].bound <= 64) else clamped(value, 3)

    def literal(self, dtype: DType) -> Value:
        if dtype == BOOL:
            return Lit(self.random.random() < 0.5, BOOL), EXACT
        number = self.random.randint(0 if dtype.kind == "uint" else -4, 5)
        return (Lit(float(number), dtype), Facts(5.0)) if dtype.is_float else (Lit(number, dtype), EXACT)

    def converted(self, value: Value, dtype: DType) -> Value:
        """`value` as `dtype`, brought into range where the type would not hold it."""
        expr, facts = value
        if expr.dtype == INDEX:
            bounded = apply(ops.ADD, expr, Lit(0, INDEX)) if self.random.random() < 0.2 else expr
            return cast(bounded, dtype), rounded(dtype, facts.bound, 0.0)
        if dtype == BOOL:
            return (cast(expr, BOOL), EXACT) if facts.exact else self.literal(BOOL)
        if expr.dtype.is_float and not dtype.is_float:
            return self.to_integer(value, dtype)
        if expr.dtype.is_integer and dtype.is_float:
            return cast(apply(ops.AND, expr, Lit(15, expr.dtype)), dtype), Facts(15.0)
        if expr.dtype.is_float and dtype.is_float:
            expr, facts = self.usable(value)
            return cast(expr, dtype), rounded(dtype, facts.bound, facts.error)
        return cast(expr, dtype), Facts(1.0)

    def to_integer(self, value: Value, dtype: DType) -> Value:
        if not value[1].exact:
            return self.literal(dtype)
        expr, _ = clamped(value, 50)
        if dtype.kind == "uint":
            expr = apply(ops.MAX, expr, Lit(0.0, expr.dtype))
        return cast(expr, dtype), EXACT

    def boolean(self, depth: int) -> Value:
        kind = self.random.randrange(4)
        if kind == 0:
            a, b = self.make(BOOL, depth - 1)[0], self.make(BOOL, depth - 1)[0]
            return apply(self.random.choice((ops.MUL, ops.MAX, ops.EQ, ops.LT)), a, b), EXACT
        dtype = self.random.choice((F32, I64, I32, F64, U8))
        (a, a_facts), (b, b_facts) = self.make(dtype, depth - 1), self.make(dtype, depth - 1)
        if not (a_facts.exact and b_facts.exact):
            return self.literal(BOOL)
        return apply(self.random.choice((ops.LT, ops.EQ)), a, b), EXACT

    def condition(self, depth: int) -> Expr:
        return self.make(BOOL, depth)[0]

    def floating(self, dtype: DType, depth: int) -> Value:
        rules: tuple[Callable[[DType, int], Value], ...] = (
            self.sum, self.sum, self.product, self.product, self.maximum, self.choice, self.quotient, self.function, self.conversion,
        )  # fmt: skip
        expr, facts = self.random.choice(rules)(dtype, depth)
        return (expr, facts) if facts.bound < 1e6 else clamped((expr, facts), 3)

    def pair(self, dtype: DType, depth: int) -> tuple[Value, Value]:
        return self.make(dtype, depth - 1), self.make(dtype, depth - 1)

    def sum(self, dtype: DType, depth: int) -> Value:
        (a, x), (b, y) = self.pair(dtype, depth)
        return apply(ops.ADD, a, b), rounded(dtype, x.bound + y.bound, x.error + y.error)

    def product(self, dtype: DType, depth: int) -> Value:
        (a, x), (b, y) = self.pair(dtype, depth)
        error = x.error * y.bound + y.error * x.bound + x.error * y.error
        return apply(ops.MUL, a, b), rounded(dtype, x.bound * y.bound, error)

    def maximum(self, dtype: DType, depth: int) -> Value:
        (a, x), (b, y) = self.pair(dtype, depth)
        return apply(ops.MAX, a, b), Facts(max(x.bound, y.bound), max(x.error, y.error))

    def choice(self, dtype: DType, depth: int) -> Value:
        (a, x), (b, y) = self.pair(dtype, depth)
        facts = Facts(max(x.bound, y.bound), max(x.error, y.error))
        return apply(ops.WHERE, self.condition(depth - 1), a, b), facts

    def quotient(self, dtype: DType, depth: int) -> Value:
        (a, x), (b, y) = self.pair(dtype, depth)
        divisor = apply(ops.MAX, b, Lit(1.0, dtype))
        return apply(ops.DIV, a, divisor), rounded(dtype, x.bound, x.error + y.error * x.bound, whole=False)

    def function(self, dtype: DType, depth: int) -> Value:
        a, x = clamped(self.make(dtype, depth - 1), 3)
        match self.random.choice(("EXP2", "LOG2", "SIN", "SQRT")):
            case "EXP2":
                return apply(ops.EXP2, a), rounded(dtype, 8.0, 8 * x.error, whole=False)
            case "SIN":
                return apply(ops.SIN, a), rounded(dtype, 1.0, x.error, whole=False)
            case "LOG2":
                return apply(ops.LOG2, apply(ops.MAX, a, Lit(1.0, dtype))), rounded(dtype, 2.0, 2 * x.error, whole=False)
            case _:
                return apply(ops.SQRT, apply(ops.MAX, a, Lit(1.0, dtype))), rounded(dtype, 2.0, x.error, whole=False)

    def conversion(self, dtype: DType, depth: int) -> Value:
        return self.converted(self.make(self.random.choice(DTYPES), depth - 1), dtype)

    def integer(self, dtype: DType, depth: int) -> Value:
        (a, _), (b, _) = self.pair(dtype, depth)
        small = apply(ops.AND, b, Lit(3, dtype))
        made: Callable[[], Expr] = self.random.choice((
            lambda: apply(self.random.choice((ops.ADD, ops.MUL, ops.MAX, ops.AND, ops.OR, ops.XOR)), a, b),
            lambda: apply(ops.DIV, a, apply(ops.ADD, small, Lit(1, dtype))),
            lambda: apply(self.random.choice((ops.SHL, ops.SHR)), a, small),
            lambda: apply(ops.WHERE, self.condition(depth - 1), a, b),
            lambda: self.conversion(dtype, depth)[0],
            lambda: bitcast(bitcast(a, U32), dtype) if dtype == I32 else a,
        ))  # fmt: skip
        return made(), EXACT
