"""The meaning of a kernel's expressions: one element, or one small array of lanes, at a time.

INDEX and bool scalars are Python ints and bools, other scalars numpy scalars, vectors numpy arrays of `lanes` elements.
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
Value = int | np.generic | Array
Place = int | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memory:
    """A buffer's elements, and which of them have been written; `written` is None where the caller filled it."""

    buffer: Buffer
    data: Array
    written: npt.NDArray[np.bool_] | None

    def load(self, index: Place) -> Value:
        self.check(index)
        if self.written is not None and not np.all(self.written[index]):
            raise InvalidIrError(f"read of {self.buffer.name}[{index}] before anything is written there")
        picked: Value = self.data[index]
        return picked

    def store(self, index: Place, value: Value) -> None:
        self.check(index)
        self.data[index] = value
        if self.written is not None:
            self.written[index] = True

    def check(self, index: Place) -> None:
        """Raises InvalidIrError where an index is outside the buffer."""
        lowest, highest = (index, index) if isinstance(index, int) else (int(np.min(index)), int(np.max(index)))
        if lowest < 0 or highest >= self.buffer.size:
            raise InvalidIrError(f"{self.buffer.name}[{index}] is outside its {self.buffer.size} elements")


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
        return answer if isinstance(answer, int) else answer.item()

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
        case Ramp(_, stride, lanes):
            offsets = np.arange(lanes, dtype=INDEX.numpy) * stride
            return lambda values, _frame: values[at[0]] + offsets
        case Broadcast(_, lanes):
            return lambda values, _frame: np.repeat(np.asarray(values[at[0]], dtype=expr.dtype.numpy), lanes)
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
    dtypes = [arg.dtype.numpy for arg in expr.args]

    def on_arrays(values: list[Value], _frame: Frame) -> Value:
        arguments = [np.asarray(values[slot], dtype) for slot, dtype in zip(at, dtypes, strict=True)]
        return meaning.apply(expr.op, expr.dtype, arguments)[()]

    def on_scalars(values: list[Value], _frame: Frame) -> Value:
        return ops.NUMPY[expr.op.name](*(values[slot] for slot in at))

    plain = expr.lanes == 1 and expr.op.name not in ("CAST", "BITCAST", "DIV", "WHERE")
    return on_scalars if plain else on_arrays


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
