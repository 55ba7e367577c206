"""Scalar expressions: one language for the bodies of graph maps and for the statements of kernels.

Leaves of a map are `Arg` (the element of a source at the output's index) and `Coordinate` (the output's index along an axis).
Leaves of a kernel are `Var` (a loop variable) and `Load`. `Lit` and `Apply` occur in both. `Ramp` and `Broadcast` make
vectors: an expression of `lanes` > 1 means that many values at once, and `Apply` works on each.

Expressions are immutable and shared freely, so they are graphs, not trees: whoever walks one remembers what it has seen
(`tgc.ir.rewrite` does). Each node keeps its hash, so using one as a key costs no walk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import is_
from typing import ClassVar, Literal

from tgc.ir import ops
from tgc.ir.dtypes import BOOL, F32, I32, INDEX, U32, DType
from tgc.ir.ops import Op

Space = Literal["global", "constant", "local", "register", "image"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A one-dimensional run of `size` elements that a kernel reads or writes.

    global, constant, image: handed over by the caller. local, register: made by an `Alloc` in the kernel.
    """

    name: str
    dtype: DType
    size: int
    space: Space = "global"

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True)
class Lit:
    """A constant."""

    value: int | float | bool
    dtype: DType
    key: int = field(init=False, repr=False, compare=False)
    lanes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", hash(("lit", repr(self.value), self.dtype.name)))

    def __hash__(self) -> int:
        return self.key

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Lit):
            return self is other
        # repr tells 0.0 from -0.0 and makes NaN equal to itself.
        return self.key == other.key and self.dtype == other.dtype and repr(self.value) == repr(other.value)


@dataclass(frozen=True, slots=True)
class Var:
    """A loop variable, or a number the caller passes."""

    name: str
    dtype: DType = INDEX
    lanes: ClassVar[int] = 1

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, slots=True)
class Arg:
    """In a map: the element of source `position` at the output's index."""

    position: int
    dtype: DType
    lanes: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Coordinate:
    """In a map: the output's index along `axis`, of type INDEX."""

    axis: int
    dtype: ClassVar[DType] = INDEX
    lanes: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Load:
    """`buffer[index]`; a vector index loads that many elements."""

    buffer: Buffer
    index: Expr
    key: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", hash(("load", self.buffer.name, self.index)))

    def __hash__(self) -> int:
        return self.key

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Load) and self.key == other.key and _alike(self, other))

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype

    @property
    def lanes(self) -> int:
        return self.index.lanes


@dataclass(frozen=True, slots=True)
class Apply:
    """A scalar operation on each lane. `dtype` is the result's type, which for CAST and BITCAST is the operand's choice.

    BITCAST to a wider type takes the bytes of several lanes for one, the first of them lowest.
    """

    op: Op
    args: tuple[Expr, ...]
    dtype: DType
    lanes: int = field(init=False, repr=False, compare=False)
    key: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lanes = max([arg.lanes for arg in self.args])
        if self.op is ops.BITCAST:
            lanes = lanes * self.args[0].dtype.bits // self.dtype.bits
        object.__setattr__(self, "lanes", lanes)
        object.__setattr__(self, "key", hash((self.op.name, self.args, self.dtype.name)))

    def __hash__(self) -> int:
        return self.key

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Apply) and self.key == other.key and _alike(self, other))


@dataclass(frozen=True, slots=True)
class Ramp:
    """The vector base, base + stride, ..., of `lanes` INDEX values."""

    base: Expr
    stride: int
    lanes: int

    @property
    def dtype(self) -> DType:
        return self.base.dtype


@dataclass(frozen=True, slots=True)
class Broadcast:
    """`value` in every one of `lanes` lanes."""

    value: Expr
    lanes: int

    @property
    def dtype(self) -> DType:
        return self.value.dtype


Expr = Lit | Var | Arg | Coordinate | Load | Apply | Ramp | Broadcast


def _alike(a: Expr, b: Expr) -> bool:
    """Whether two expressions are equal. Each pair of parts is looked at once, since walking a shared graph as a tree takes forever."""
    seen: set[tuple[int, int]] = set()
    stack = [(a, b)]
    while stack:
        x, y = stack.pop()
        if x is y or (id(x), id(y)) in seen:
            continue
        seen.add((id(x), id(y)))
        if not _same_head(x, y):
            return False
        stack.extend(zip(children(x), children(y), strict=True))
    return True


def _same_head(x: Expr, y: Expr) -> bool:
    """Whether two expressions are equal but for their children, of which they have as many."""
    match x, y:
        case Apply(), Apply():
            return x.key == y.key and x.op.name == y.op.name and x.dtype == y.dtype and len(x.args) == len(y.args)
        case Load(), Load():
            return x.key == y.key and x.buffer == y.buffer
        case Ramp(), Ramp():
            return x.stride == y.stride and x.lanes == y.lanes
        case Broadcast(), Broadcast():
            return x.lanes == y.lanes
        case ((Lit() | Var() | Arg() | Coordinate()), _):
            return x == y
    return False


def result_type(op: Op, args: tuple[Expr, ...]) -> DType:
    """The type of `op` on `args`. Raises TypeError where they do not fit; CAST and BITCAST have no type of their own."""
    if len(args) != op.arity:
        raise TypeError(f"{op} takes {op.arity} arguments, not {len(args)}")
    if op.rule == "accumulate":
        total = F32 if op is ops.DOT2 else I32
        if [arg.dtype for arg in args] != [total, U32, U32]:
            raise TypeError(f"{op} on {', '.join(arg.dtype.name for arg in args)}")
        return total
    values = args[1:] if op.rule == "select" else args
    if any(arg.dtype != values[0].dtype for arg in values):
        raise TypeError(f"{op} on {', '.join(arg.dtype.name for arg in args)}")
    if op.rule == "select" and args[0].dtype != BOOL:
        raise TypeError(f"{op} chooses by {args[0].dtype}, not bool")
    return BOOL if op.rule == "compare" else values[0].dtype


def apply(op: Op, *args: Expr) -> Apply:
    """`op` on `args`, typed by the operation's rule; every argument has one lane or all have the same number."""
    return Apply(op, args, result_type(op, args))


def cast(value: Expr, dtype: DType) -> Expr:
    """`value` as `dtype`; itself where it is that already."""
    return value if value.dtype == dtype else Apply(ops.CAST, (value,), dtype)


def bitcast(value: Expr, dtype: DType) -> Expr:
    """The bits of `value` read as `dtype`, which has the same width, or that of several lanes."""
    return value if value.dtype == dtype else Apply(ops.BITCAST, (value,), dtype)


def index(value: int) -> Lit:
    """An INDEX constant."""
    return Lit(value, INDEX)


def identity(op: Op, dtype: DType) -> Lit:
    """What a reduction by `op` (ADD, MUL or MAX) begins with, and gives where there is nothing to reduce."""
    if op is ops.MAX:
        return Lit(dtype.lowest, dtype)
    one = op is ops.MUL
    return Lit(float(one) if dtype.is_float else one if dtype.kind == "bool" else int(one), dtype)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly under `expr`. Asked more often than anything else, so by type and not by pattern."""
    if type(expr) is Apply:
        return expr.args
    if type(expr) is Load:
        return (expr.index,)
    if type(expr) is Ramp:
        return (expr.base,)
    if type(expr) is Broadcast:
        return (expr.value,)
    return ()


def with_children(expr: Expr, new: tuple[Expr, ...]) -> Expr:
    """`expr` with its children replaced, itself where nothing changed."""
    if all(map(is_, new, children(expr))):
        return expr
    match expr:
        case Apply(op, _, dtype):
            return Apply(op, new, dtype)
        case Load(buffer):
            return Load(buffer, new[0])
        case Ramp(_, stride, lanes):
            return Ramp(new[0], stride, lanes)
        case Broadcast(_, lanes):
            return Broadcast(new[0], lanes)
        case Lit() | Var() | Arg() | Coordinate():
            return expr
