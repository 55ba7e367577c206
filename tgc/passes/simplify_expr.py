"""Algebra on scalar expressions: rules with their equations, applied from the leaves up until none fits.

Values stay what they were, with three liberties on floats: the sign of a zero may change (x + 0 = x); a product with two
constants rounds once less; and nothing is said of signalling NaN. Sums of float constants are left alone, because
(x + c) - c is how a number is rounded (`tgc.ir.scalar`).
"""

from __future__ import annotations

import math

import numpy as np

from tgc.ir import meaning, ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import BF16, BOOL, F16, F32, F64, DType
from tgc.ir.expr import Apply, Expr, Lit, apply, bitcast, cast
from tgc.ir.rewrite import Rule, rewrite

_MANTISSA = {F16: 11, BF16: 8, F32: 24, F64: 53}
_NARROWER = {F16: (), BF16: (), F32: (F16, BF16), F64: (F16, BF16, F32)}


def simplify(expr: Expr) -> Expr:
    """`expr` with every rule of this file applied; of the same type and number of lanes."""
    return rewrite(expr, simplify_node)


def simplify_node(expr: Expr) -> Expr | None:
    """The rules applied to the top of `expr`, whose parts are simple already, until none fits; none if none did."""
    result: Expr = expr
    while isinstance(result, Apply):
        answer = _once(result)
        if answer is None:
            break
        result = answer
    return None if result is expr else result


def _once(node: Apply) -> Expr | None:
    for rule in (fold_constants, constant_last, *_RULES.get(node.op.name, ())):
        answer = rule(node)
        if answer is not None and answer.lanes == node.lanes and answer != node:
            return answer
    return None


# ---- constants


def fold_constants(expr: Expr) -> Expr | None:
    """op(c1, c2, ...) = c"""
    match expr:
        case Apply(op, args, dtype) if all(isinstance(arg, Lit) for arg in args) and _defined(op.name, args, dtype):
            values = [meaning.literal(arg) for arg in args if isinstance(arg, Lit)]
            # these three in double precision: what rounds to f32 then does not depend on the processor's vector library
            wide = op.name in ("EXP2", "LOG2", "SIN")
            result = meaning.apply(op, F64 if wide else dtype, [v.astype(np.float64) for v in values] if wide else values)
            return _literal(result, dtype)
    return None


def _defined(name: str, args: tuple[Expr, ...], dtype: DType) -> bool:
    """Whether the IR says what the operation on these constants gives."""
    numbers = [arg.value for arg in args if isinstance(arg, Lit)]
    if name == "DIV" and not dtype.is_float:
        return numbers[1] not in (0, -1)
    if name in ("SHL", "SHR"):
        return 0 <= numbers[1] < dtype.bits
    if name == "CAST" and dtype.is_integer and args[0].dtype.is_float:
        low = int(dtype.lowest)
        return math.isfinite(numbers[0]) and low <= int(numbers[0]) < low + (1 << dtype.bits)
    return True


def _literal(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]], dtype: DType) -> Lit:
    with np.errstate(all="ignore"):
        number = value.astype(dtype.numpy)
    return s.lit(float(number) if dtype.is_float else int(number), dtype)


def constant_last(expr: Expr) -> Expr | None:
    """c op x = x op c, op commutative"""
    match expr:
        case Apply(op, (Lit() as c, x), dtype) if op.commutative and not isinstance(x, Lit):
            return Apply(op, (x, c), dtype)
    return None


def _is(expr: Expr, value: float) -> bool:
    return isinstance(expr, Lit) and expr.value == value


def _exact(dtype: DType) -> bool:
    """Whether ADD and MUL of the type are associative: integers, which wrap, and bool."""
    return not dtype.is_float


# ---- ADD, MUL, DIV


def add_zero(expr: Expr) -> Expr | None:
    """x + 0 = x"""
    match expr:
        case Apply(_, (x, c)) if _is(c, 0):
            return x
    return None


def add_constants(expr: Expr) -> Expr | None:
    """(x + c1) + c2 = x + (c1 + c2), integers"""
    match expr:
        case Apply(op, (Apply(inner, (x, Lit() as c1)), Lit() as c2), dtype) if inner is op and _exact(dtype):
            return s.add(x, s.lit(c1.value + c2.value, dtype))
    return None


def multiply_one(expr: Expr) -> Expr | None:
    """x * 1 = x;  x and true = x"""
    match expr:
        case Apply(_, (x, c)) if _is(c, 1):
            return x
    return None


def multiply_zero(expr: Expr) -> Expr | None:
    """x * 0 = 0, integers;  x and false = false"""
    match expr:
        case Apply(_, (x, Lit() as c), dtype) if _exact(dtype) and _is(c, 0) and x.lanes == 1:
            return c
    return None


def multiply_constants(expr: Expr) -> Expr | None:
    """(x * c1) * c2 = x * (c1 c2), where a float's c1 c2 neither overflows nor comes near the subnormals"""
    match expr:
        case Apply(op, (Apply(inner, (x, Lit() as c1)), Lit() as c2), dtype) if inner is op and dtype != BOOL:
            product = s.lit(c1.value * c2.value, dtype)
            if _exact(dtype) or all(_ordinary(c) for c in (c1, c2, product)):
                return s.mul(x, product)
    return None


def _ordinary(c: Lit) -> bool:
    """Whether a float constant is finite and so far from the limits that rounding is relative."""
    info = 12 if c.dtype == F16 else 100
    return 2.0**-info < abs(c.value) < 2.0**info


def divide_one(expr: Expr) -> Expr | None:
    """x / 1 = x"""
    return multiply_one(expr)


def divide_power_of_two(expr: Expr) -> Expr | None:
    """x / 2^k = x * 2^-k, floats"""
    match expr:
        case Apply(_, (x, Lit() as c), dtype) if dtype.is_float and _ordinary(c) and abs(math.frexp(c.value)[0]) == 0.5:
            return s.mul(x, 1 / c.value)
    return None


# ---- MAX, LT, EQ


def same_twice(expr: Expr) -> Expr | None:
    """max(x, x) = x;  x & x = x;  x | x = x"""
    match expr:
        case Apply(_, (a, b)) if a == b:
            return a
    return None


def max_lowest(expr: Expr) -> Expr | None:
    """max(x, lowest) = x;  x or false = x"""
    match expr:
        case Apply(_, (x, c), dtype) if _is(c, dtype.lowest):
            return x
    return None


def max_highest(expr: Expr) -> Expr | None:
    """x or true = true"""
    match expr:
        case Apply(_, (_, c), dtype) if dtype == BOOL and _is(c, True):
            return c
    return None


def max_constants(expr: Expr) -> Expr | None:
    """max(max(x, c1), c2) = max(x, max(c1, c2))"""
    match expr:
        case Apply(op, (Apply(inner, (x, Lit() as c1)), Lit() as c2)) if inner is op:
            larger = fold_constants(apply(op, c1, c2))
            return None if larger is None else apply(op, x, larger)
    return None


def less_than_itself(expr: Expr) -> Expr | None:
    """x < x = false"""
    match expr:
        case Apply(_, (a, b)) if a == b:
            return Lit(False, BOOL)
    return None


def below_lowest(expr: Expr) -> Expr | None:
    """x < lowest = false"""
    match expr:
        case Apply(_, (x, c)) if _is(c, x.dtype.lowest):
            return Lit(False, BOOL)
    return None


def equal_to_itself(expr: Expr) -> Expr | None:
    """x == x = true, integers and bool"""
    match expr:
        case Apply(_, (a, b)) if a == b and _exact(a.dtype):
            return Lit(True, BOOL)
    return None


def equal_true(expr: Expr) -> Expr | None:
    """(x == true) = x"""
    match expr:
        case Apply(_, (x, Lit(True, dtype))) if dtype == BOOL:
            return x
    return None


def not_not(expr: Expr) -> Expr | None:
    """not (not x) = x, where not x = (x == false)"""
    inner = _negated(expr)
    return None if inner is None else _negated(inner)


def _negated(expr: Expr) -> Expr | None:
    """x where `expr` is not x."""
    match expr:
        case Apply(op, (x, Lit(False, dtype))) if op is ops.EQ and dtype == BOOL:
            return x
    return None


# ---- WHERE


def where_constant(expr: Expr) -> Expr | None:
    """true ? a : b = a;  false ? a : b = b"""
    match expr:
        case Apply(_, (Lit(value), a, b)):
            return a if value else b
    return None


def where_same(expr: Expr) -> Expr | None:
    """c ? a : a = a"""
    match expr:
        case Apply(_, (_, a, b)) if a == b:
            return a
    return None


def where_bool(expr: Expr) -> Expr | None:
    """c ? true : false = c;  c ? false : true = not c"""
    match expr:
        case Apply(_, (c, Lit(a, dtype), Lit(b))) if dtype == BOOL and a != b:
            return c if a else s.logical_not(c)
    return None


def where_not(expr: Expr) -> Expr | None:
    """not c ? a : b = c ? b : a"""
    match expr:
        case Apply(_, (condition, a, b)) if (c := _negated(condition)) is not None:
            return s.where(c, b, a)
    return None


def where_again(expr: Expr) -> Expr | None:
    """c ? (c ? a : x) : b = c ? a : b;  c ? a : (c ? x : b) = c ? a : b"""
    match expr:
        case Apply(op, (c, Apply(inner, (again, a, _)), b)) if inner is op and again == c:
            return s.where(c, a, b)
        case Apply(op, (c, a, Apply(inner, (again, _, b)))) if inner is op and again == c:
            return s.where(c, a, b)
    return None


# ---- CAST, BITCAST, bits


def cast_twice(expr: Expr) -> Expr | None:
    """C(B(x)) = C(x), where the type B has every value of x"""
    match expr:
        case Apply(_, (Apply(inner, (x,), middle),), to) if inner is ops.CAST and holds(middle, x.dtype):
            return cast(x, to)
        case Apply(_, (x,), to) if x.dtype == to:
            return x
    return None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is a value of `wide`."""
    if wide == narrow or narrow == BOOL:
        return True
    if wide.is_float and narrow.is_float:
        return narrow in _NARROWER.get(wide, ())
    if narrow.is_float or wide == BOOL:
        return False
    digits = narrow.bits - (narrow.kind == "int")
    if wide.is_float:
        return digits <= _MANTISSA.get(wide, 0) and wide not in (F16, BF16)
    return digits <= wide.bits - (wide.kind == "int") and (wide.kind == "int" or narrow.kind == "uint")


def bitcast_twice(expr: Expr) -> Expr | None:
    """bitcast(C, bitcast(B, x)) = bitcast(C, x)"""
    match expr:
        case Apply(op, (Apply(inner, (x,)),), to) if inner is op:
            return bitcast(x, to)
        case Apply(_, (x,), to) if x.dtype == to:
            return x
    return None


def bits_zero(expr: Expr) -> Expr | None:
    """x | 0 = x ^ 0 = x << 0 = x >> 0 = x"""
    match expr:
        case Apply(_, (x, c)) if _is(c, 0):
            return x
    return None


_RULES: dict[str, tuple[Rule, ...]] = {
    "ADD": (add_zero, add_constants),
    "MUL": (multiply_one, multiply_zero, multiply_constants),
    "DIV": (divide_one, divide_power_of_two),
    "MAX": (same_twice, max_lowest, max_highest, max_constants),
    "LT": (less_than_itself, below_lowest),
    "EQ": (equal_to_itself, equal_true, not_not),
    "WHERE": (where_constant, where_same, where_bool, where_not, where_again),
    "CAST": (cast_twice,),
    "BITCAST": (bitcast_twice,),
    "AND": (same_twice, multiply_zero),
    "OR": (same_twice, bits_zero),
    "XOR": (bits_zero,),
    "SHL": (bits_zero,),
    "SHR": (bits_zero,),
}
RULES: tuple[Rule, ...] = (fold_constants, constant_last, *dict.fromkeys(rule for rules in _RULES.values() for rule in rules))
"""Every rule once; a rule's docstring is its equation."""
