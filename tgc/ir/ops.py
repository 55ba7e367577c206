"""The scalar operations: one table, one row each. `docs/ir.md` is generated from it.

Twelve rows carry every floating-point model; six more work on bits. A backend prints these and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
TypeRule = Literal["same", "compare", "select", "target", "accumulate"]


@dataclass(frozen=True, slots=True)
class Op:
    """A scalar operation.

    rule: result type. same: the arguments' common type; compare: bool; select: (bool, T, T) -> T; target: the type that
          the node names (CAST, BITCAST).
    c:    C99 text for one scalar, `{0}` `{1}` `{2}` the arguments, `{f}` the libm suffix ("f" for float, "" for double).
          CAST and BITCAST are spelled by the printer, which knows both types.
    opencl: the same for OpenCL C.
    llvm_float, llvm_int, llvm_uint: IRBuilder method or intrinsic for each kind of argument; empty where the operation has none.
    """

    name: str
    arity: int
    rule: TypeRule
    meaning: str
    c: str
    opencl: str
    llvm_float: str
    llvm_int: str
    llvm_uint: str
    commutative: bool = False
    bits_only: bool = False

    def __str__(self) -> str:
        return self.name


ADD = Op("ADD", 2, "same", "a + b; integers wrap", "{0} + {1}", "{0} + {1}", "fadd", "add", "add", True)
MUL = Op("MUL", 2, "same", "a * b; integers wrap; on bool: and", "{0} * {1}", "{0} * {1}", "fmul", "mul", "mul", True)
DIV = Op(
    "DIV", 2, "same", "a / b; integers truncate toward zero, and b != 0 is the caller's duty",
    "{0} / {1}", "{0} / {1}", "fdiv", "sdiv", "udiv"
)  # fmt: skip
MAX = Op(
    "MAX", 2, "same", "the larger; a NaN on either side gives NaN; on bool: or",
    "{0} > {1} ? {0} : {1}", "max({0}, {1})", "maximum", "smax", "umax", True
)  # fmt: skip
LT = Op(
    "LT", 2, "compare", "a < b; false when either is NaN", "{0} < {1}", "{0} < {1}", "fcmp_ordered:<", "icmp_signed:<", "icmp_unsigned:<"
)  # fmt: skip
EQ = Op(
    "EQ", 2, "compare", "a == b; false when either is NaN",
    "{0} == {1}", "{0} == {1}", "fcmp_ordered:==", "icmp_signed:==", "icmp_unsigned:==", True
)  # fmt: skip
WHERE = Op("WHERE", 3, "select", "a ? b : c", "{0} ? {1} : {2}", "{0} ? {1} : {2}", "select", "select", "select")
CAST = Op("CAST", 1, "target", "the value in another type; float to integer truncates toward zero", "", "", "", "", "")
EXP2 = Op("EXP2", 1, "same", "2 to the a", "exp2{f}({0})", "exp2({0})", "llvm.exp2", "", "")
LOG2 = Op("LOG2", 1, "same", "logarithm of a to base 2", "log2{f}({0})", "log2({0})", "llvm.log2", "", "")
SIN = Op("SIN", 1, "same", "sine of a in radians", "sin{f}({0})", "sin({0})", "llvm.sin", "", "")
SQRT = Op("SQRT", 1, "same", "square root, correctly rounded", "sqrt{f}({0})", "sqrt({0})", "llvm.sqrt", "", "")
AND = Op("AND", 2, "same", "bitwise and", "{0} & {1}", "{0} & {1}", "", "and_", "and_", True, True)
OR = Op("OR", 2, "same", "bitwise or", "{0} | {1}", "{0} | {1}", "", "or_", "or_", True, True)
XOR = Op("XOR", 2, "same", "bitwise exclusive or", "{0} ^ {1}", "{0} ^ {1}", "", "xor", "xor", True, True)
SHL = Op("SHL", 2, "same", "a shifted left by b, 0 <= b < bits", "{0} << {1}", "{0} << {1}", "", "shl", "shl", False, True)
SHR = Op(
    "SHR", 2, "same", "a shifted right by b, 0 <= b < bits; the sign is kept on signed types",
    "{0} >> {1}", "{0} >> {1}", "", "ashr", "lshr", False, True
)  # fmt: skip
BITCAST = Op("BITCAST", 1, "target", "the same bits in another type of the same width", "", "", "", "", "", False, True)

# What some machines have in one instruction. Schedules make these for a target that declares them, and no pass before a schedule.
DOT4 = Op(
    "DOT4", 3, "accumulate", "a, i32, plus the products of the four bytes of b, u32, read unsigned, and those of c, u32, read signed",
    "", "", "", "vpdpbusd", ""
)  # fmt: skip
DOT2 = Op(
    "DOT2", 3, "accumulate", "a, f32, plus the products of the two bf16 of b, u32, and those of c, u32; the machine rounds",
    "", "", "vdpbf16ps", "", ""
)  # fmt: skip
DOT4S = Op("DOT4S", 3, "accumulate", "as DOT4, but the bytes of b are read signed too", "", "", "", "sdot", "")
NATIVE_OPS: tuple[Op, ...] = (DOT4, DOT4S, DOT2)

OPS: tuple[Op, ...] = (ADD, MUL, DIV, MAX, LT, EQ, WHERE, CAST, EXP2, LOG2, SIN, SQRT, AND, OR, XOR, SHL, SHR, BITCAST)
BY_NAME: dict[str, Op] = {op.name: op for op in (*OPS, *NATIVE_OPS)}
REDUCE_OPS: tuple[Op, ...] = (ADD, MUL, MAX)


def _divide(a: Array, b: Array) -> Array:
    if np.issubdtype(np.result_type(a, b), np.integer):
        quotient = np.floor_divide(a, b)
        inexact = quotient * b != a
        return np.asarray(quotient + (inexact & ((a < 0) != (b < 0))))  # type: ignore[operator]
    return np.asarray(np.divide(a, b))


def _dot4(total: Array, left: Array, right: Array, kind: str = "u1") -> Array:
    shape = np.broadcast_shapes(total.shape, left.shape, right.shape)
    words = (np.ascontiguousarray(np.broadcast_to(x, shape)).reshape(*shape, 1) for x in (left, right))
    a, b = (word.view(kind).astype(np.int32) for word, kind in zip(words, (kind, "i1"), strict=True))
    return np.asarray(total + (a * b).sum(axis=-1, dtype=np.int32))


def _dot2(total: Array, left: Array, right: Array) -> Array:
    """bf16 is the upper half of an f32. The products are exact in f32."""

    def parts(word: Array) -> tuple[Array, Array]:
        return np.left_shift(word, np.uint32(16)).view(np.float32), np.bitwise_and(word, np.uint32(0xFFFF0000)).view(np.float32)

    (a, b), (c, d) = parts(left), parts(right)
    return np.add(total, np.add(np.multiply(a, c), np.multiply(b, d)))


NUMPY: dict[str, Callable[..., Array]] = {
    "ADD": np.add, "MUL": np.multiply, "DIV": _divide, "MAX": np.maximum, "LT": np.less, "EQ": np.equal, "WHERE": np.where,
    "EXP2": np.exp2, "LOG2": np.log2, "SIN": np.sin, "SQRT": np.sqrt, "AND": np.bitwise_and, "OR": np.bitwise_or,
    "XOR": np.bitwise_xor, "SHL": np.left_shift, "SHR": np.right_shift, "DOT4": _dot4, "DOT4S": partial(_dot4, kind="i1"), "DOT2": _dot2,
}  # fmt: skip
