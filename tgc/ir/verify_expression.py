"""The invariants of one expression, wherever it stands."""

from __future__ import annotations

from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.dtypes import BOOL, INDEX, DType
from tgc.ir.expr import Apply, Broadcast, Expr, Lit, Load, Ramp, Var, children, result_type
from tgc.ir.ops import Op
from tgc.ir.rewrite import walk

_FLOAT_ONLY = (ops.EXP2, ops.LOG2, ops.SIN, ops.SQRT)
_NOT_BOOL = (ops.ADD, ops.DIV)


def require(holds: bool, what: str) -> None:
    """Raises InvalidIrError that says `what` unless it `holds`."""
    if not holds:
        raise InvalidIrError(what)


def verify_expression(root: Expr) -> None:
    """Every part of `root`:

    - an operation has as many operands as its row says, of the types that its row says, and the type that follows;
    - EXP2, LOG2, SIN and SQRT take floats; AND, OR, XOR, SHL and SHR integers; ADD and DIV anything but bool;
    - BITCAST keeps the width of the whole vector and makes no more lanes of it;
    - the operands of an operation have the same number of lanes; vectors have a power of two of them, at least 2;
    - Ramp and Broadcast are made of scalars, a Ramp of an INDEX;
    - a Lit's value is a Python bool, int or float (not a numpy one) that fits its type;
    - a buffer is indexed by INDEX, a loop variable is an INDEX.
    """
    for expr in walk(root):
        match expr:
            case Apply():
                _verify_apply(expr)
            case Ramp(base, _, lanes):
                require(base.dtype == INDEX and base.lanes == 1, f"a ramp from {base.dtype} of {base.lanes} lanes")
                _verify_lanes(lanes)
            case Broadcast(value, lanes):
                require(value.lanes == 1, f"a broadcast of {value.lanes} lanes")
                _verify_lanes(lanes)
            case Load(buffer, index):
                require(index.dtype == INDEX, f"{buffer.name} is indexed by {index.dtype}")
            case Var(name, dtype):
                require(dtype == INDEX, f"variable {name} is {dtype}, not index")
            case Lit(value, dtype):
                require(_fits(value, dtype), f"{value!r} is no {dtype}")
            case _:
                pass


def _verify_lanes(lanes: int) -> None:
    require(lanes >= 2 and lanes & (lanes - 1) == 0, f"a vector of {lanes} lanes")


def _fits(value: int | float | bool, dtype: DType) -> bool:
    if dtype.kind == "bool":
        return type(value) is bool
    if dtype.is_float:
        return type(value) in (int, float)
    lowest = 0 if dtype.kind == "uint" else -(1 << (dtype.bits - 1))
    return type(value) is int and lowest <= value < lowest + (1 << dtype.bits)


def _verify_apply(expr: Apply) -> None:
    op, operands = expr.op, children(expr)
    try:
        expected = expr.dtype if op.rule == "target" and len(operands) == op.arity else result_type(op, operands)
    except TypeError as error:
        raise InvalidIrError(str(error)) from error
    require(expr.dtype == expected, f"{op} gives {expected}, not {expr.dtype}")
    require(len({operand.lanes for operand in operands}) == 1, f"{op} on {[operand.lanes for operand in operands]} lanes")
    if op == ops.BITCAST:
        before, after = operands[0].dtype.bits * operands[0].lanes, expr.dtype.bits * expr.lanes
        require(before == after and operands[0].dtype.bits <= expr.dtype.bits, f"BITCAST of {operands[0].dtype} to {expr.dtype}")
    require(takes(op, operands[-1].dtype), f"{op} on {operands[-1].dtype}")


def takes(op: Op, dtype: DType) -> bool:
    """Whether `op` is defined on operands of `dtype` (for WHERE: on values of it)."""
    if op in _FLOAT_ONLY:
        return dtype.is_float
    if op.bits_only and op != ops.BITCAST:
        return dtype.is_integer
    return dtype != BOOL or op not in _NOT_BOOL
