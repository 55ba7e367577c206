"""The meaning of a kernel's expressions: one element, or one small array of lanes, at a time.

INDEX and bool scalars are Python ints and bools, other scalars numpy scalars, vectors numpy arrays of `lanes` elements, and a
Ramp of stride 1 is a `range`.
Every operand is evaluated, those of WHERE too: a load that a WHERE guards must be in range whatever the condition says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir import meaning, ops
from tgc.ir.dtypes import BOOL, INDEX
from tgc.ir.expr import Apply, Arg, Broadcast, Buffer, Coordinate, Expr, Lit, Load, Ramp, Var, children
from tgc.ir.rewrite import walk

Array = npt.NDArray[np.generic]
Value = int | range | np.generic | Array
Place = int | range | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memory:
    """A buffer's elements, and which of them have been written; `written` is None where the caller filled it."""

    buffer: Buffer
    data: Array
    written: npt.NDArray[np.bool_] | None

    def load(self, index: Place) -> Value:
        where = self.place(index)
        if self.written is not None and not np.all(self.written[where]):
            raise InvalidIrError(f"read of {self.buffer.name}[{index}] before anything is written there")
        picked: Value = self.data[where]
        return picked

    def store(self, index: Place, value: Value) -> None:
        where = self.place(index)
        self.data[where] = value
        if self.written is not None:
            self.written[where] = True

    def place(self, index: Place) -> int | slice | npt.NDArray[np.int64]:
        """The index as numpy takes it. Raises InvalidIrError where it is outside the buffer."""
        if isinstance(index, int):
            lowest, highest = index, index
        elif isinstance(index, range):
            lowest, highest = index.start, index.stop - 1
        else:
            lowest, highest = int(index.min()), int(index.max())
        if lowest < 0 or highest >= self.buffer.size:
            raise InvalidIrError(f"{self.buffer.name}[{index}] is outside its {self.buffer.size} elements")
        return slice(lowest, highest + 1) if isinstance(index, range) else index


@dataclass(frozen=True, slots=True)
class Frame:
    """What one work-item sees: loop variables, its own buffers, and the local buffers of its group (None outside one)."""

    variables: dict[str, int] = field(default_factory=dict)
    buffers: dict[str, Memory] = field(default_factory=dict)
    group: dict[str, Memory] | None = None

    def work_item(self, group: dict[str, Memory]) -> Frame:
        """A frame for one work-item of `group` that starts with what this one sees."""
        return replace(self, variables=dict(self.variables), buffers=dict(self.buffers), group=group)


Step = Callable[[list[Value], Frame], Value]


def compile_expression(root: Expr) -> Callable[[Frame], Value]:
    """A function that evaluates `root`, each distinct subexpression once."""
    slots: dict[Expr, int] = {}
    steps: list[Step] = []
    for expr in walk(root):
        steps.append(_scalar_index(_step(expr, [slots[child] for child in children(expr)]), expr))
        slots[expr] = len(slots)

    def evaluate(frame: Frame) -> Value:
        values: list[Value] = []
        for step in steps:
            values.append(step(values, frame))
        return values[-1]

    return evaluate


def _scalar_index(step: Step, expr: Expr) -> Step:
    """`step`, its answer made a Python int or bool where the value is an index or bool scalar."""
    if expr.lanes > 1 or expr.dtype not in (INDEX, BOOL) or isinstance(expr, Var | Lit):
        return step

    def scalar(values: list[Value], frame: Frame) -> Value:
        answer = step(values, frame)
        return answer.item() if isinstance(answer, np.generic | np.ndarray) else answer

    return scalar


def _step(expr: Expr, at: list[int]) -> Step:
    """The step that computes `expr` from the values at the slots `at`."""
    match expr:
        case Lit(value, dtype):
            constant: Value = int(value) if dtype == INDEX else bool(value) if dtype == BOOL else meaning.literal(expr)[()]
            return lambda _values, _frame: constant
        case Var(name):
            return lambda _values, frame: _variable(name, frame)
        case Load(buffer):
            name = buffer.name
            return lambda values, frame: memory(name, frame).load(cast(Place, values[at[0]]))
        case Ramp(Lit(first), 1, lanes):
            whole = range(int(first), int(first) + lanes)
            return lambda _values, _frame: whole
        case Ramp(_, 1, lanes):
            return lambda values, _frame: range(cast(int, values[at[0]]), cast(int, values[at[0]]) + lanes)
        case Ramp(_, stride, lanes):
            offsets = np.arange(lanes, dtype=INDEX.numpy) * stride
            return lambda values, _frame: cast(int, values[at[0]]) + offsets
        case Broadcast(Lit() as lit, lanes):
            same = np.full(lanes, meaning.literal(lit))
            return lambda _values, _frame: same
        case Broadcast(_, lanes):
            return lambda values, _frame: np.full(lanes, values[at[0]], expr.dtype.numpy)
        case Apply():
            return _apply(expr, at)
        case Arg() | Coordinate():
            raise InvalidIrError(f"a kernel holds no {type(expr).__name__}")


def _variable(name: str, frame: Frame) -> int:
    if name not in frame.variables:
        raise InvalidIrError(f"variable {name} has no value here")
    return frame.variables[name]


def memory(name: str, frame: Frame) -> Memory:
    """The buffer called `name`. Raises InvalidIrError where there is none."""
    found = frame.buffers.get(name) or (frame.group or {}).get(name)
    if found is None:
        raise InvalidIrError(f"buffer {name} does not exist here")
    return found


def _apply(expr: Apply, at: list[int]) -> Step:
    if expr.lanes == 1 and all(arg.dtype in (INDEX, BOOL) for arg in expr.args) and expr.op.name in _PYTHON:
        function = _PYTHON[expr.op.name]
        return lambda values, _frame: function(*(values[slot] for slot in at))
    if expr.lanes == 1 and expr.op == ops.WHERE:
        return lambda values, _frame: values[at[1]] if values[at[0]] else values[at[2]]
    dtypes = [arg.dtype.numpy for arg in expr.args]

    def convert(values: list[Value], _frame: Frame) -> Value:
        arguments = [np.asarray(values[slot], dtype) for slot, dtype in zip(at, dtypes, strict=True)]
        return meaning.apply(expr.op, expr.dtype, arguments)[()]

    if expr.op is ops.BITCAST and expr.lanes == 1 < expr.args[0].lanes:
        return lambda values, frame: cast(Array, convert(values, frame))[0]
    if expr.op in (ops.CAST, ops.BITCAST) or any(arg.dtype in (INDEX, BOOL) for arg in expr.args):
        return convert
    plain = cast(Callable[..., Value], ops.NUMPY[expr.op.name])
    if len(at) == 2:
        first, second = at
        return lambda values, _frame: plain(values[first], values[second])
    return lambda values, _frame: plain(*(values[slot] for slot in at))


def _quotient(a: int, b: int) -> int:
    """a / b toward zero. Division by 0 is the writer's fault."""
    if b == 0:
        raise InvalidIrError("an index is divided by 0")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_PYTHON: dict[str, Callable[..., Value]] = {
    "ADD": lambda a, b: a + b if not isinstance(a, bool) else a or b,
    "MUL": lambda a, b: a * b if not isinstance(a, bool) else a and b,
    "DIV": _quotient, "MAX": max, "LT": lambda a, b: a < b, "EQ": lambda a, b: a == b, "WHERE": lambda c, a, b: a if c else b,
    "AND": lambda a, b: a & b, "OR": lambda a, b: a | b, "XOR": lambda a, b: a ^ b, "SHL": lambda a, b: a << b, "SHR": lambda a, b: a >> b,
}  # fmt: skip
