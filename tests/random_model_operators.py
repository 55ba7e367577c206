"""What a random ONNX model is made of: one function a family of operators, each drawing a node whose inputs fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Wanted = Callable[[Array], bool]
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 20, 33)


class NoFitError(Exception):
    """No value so far can be an input of the operator."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A node that may be added: operator, inputs by name, number of outputs, attributes."""

    op_type: str
    inputs: tuple[str, ...]
    attributes: dict[str, object] = field(default_factory=dict)
    outputs: int = 1


@dataclass(slots=True)
class Draw:
    """Draws values. values: what there is so far. weights: those of them that are constants of the model."""

    rng: np.random.Generator
    values: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)

    def number(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def one(self, choices: Sequence[object]) -> object:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, wanted: Wanted) -> str:
        """A computed value that fits, a late one rather than an early one."""
        found = [n for n, v in self.values.items() if n not in self.weights and wanted(v)]
        if not found:
            raise NoFitError
        late = found[-4:] if self.chance(0.6) else found
        return str(self.one(late))

    def floats(self, rank: int = 0, most: int = 6) -> str:
        return self.pick(lambda v: v.dtype == np.float32 and rank <= v.ndim <= most)

    def anything(self, rank: int = 0) -> str:
        return self.pick(lambda v: v.ndim >= rank)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def constant(self, array: npt.ArrayLike) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.values[name] = np.asarray(array)
        return name

    def normal(self, shape: Sequence[int], scale: float = 1.0) -> str:
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def positive(self, shape: Sequence[int]) -> str:
        return self.constant(self.rng.uniform(0.3, 1.5, shape).astype(np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def axis(self, name: str) -> int:
        rank = self.values[name].ndim
        return self.number(-rank, rank - 1)

    def axes(self, name: str) -> list[int]:
        rank = self.values[name].ndim
        chosen = sorted(self.rng.permutation(rank)[: self.number(1, rank)].tolist())
        return [int(a) - rank if self.chance(0.3) else int(a) for a in chosen]

    def like(self, name: str) -> str:
        """Another value, or a constant, that broadcasts with the value `name`."""
        value = self.values[name]
        if self.chance(0.5):
            try:
                return self.pick(lambda v: v.dtype == value.dtype and _broadcasts(v.shape, value.shape))
            except NoFitError:
                pass
        shape = [1 if self.chance(0.4) else s for s in value.shape][self.number(0, value.ndim) :]
        return self.of_type(shape, value.dtype)

    def of_type(self, shape: Sequence[int], dtype: npt.DTypeLike) -> str:
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return self.constant(self.rng.standard_normal(shape).astype(kind))
        if kind.kind == "b":
            return self.constant(self.rng.random(shape) < 0.5)
        low = 0 if kind.kind == "u" else -9
        return self.constant(self.rng.integers(low, 10, shape).astype(kind))


def _broadcasts(*shapes: tuple[int, ...]) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(*shapes))) <= 1 << 14
    except ValueError:
        return False


UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin",
    "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu", "Shrink", "Identity",
)  # fmt: skip


def unary(d: Draw) -> Drawn:
    return Drawn(str(d.one(UNARY)), (d.floats(),))


def unary_of_any(d: Draw) -> Drawn:
    name = d.anything()
    kind = d.values[name].dtype.kind
    if kind == "b":
        return Drawn("Not", (name,))
    return Drawn(str(d.one(["Abs", "Sign", "Relu", "Identity"] + (["BitwiseNot"] if kind in "iu" else ["IsNaN", "Neg"]))), (name,))


def binary(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype.kind in "fiu")
    other = d.like(name)
    both = (name, other) if d.chance(0.5) else (other, name)
    kind = d.values[name].dtype.kind
    operators = ["Add", "Sub", "Mul", "Max", "Min", "Add", "Mul", "Sub", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]
    if kind == "f":
        operators += ["Div", "PRelu", "Mean", "Sum", "Div"]
    else:
        operators += ["BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal"]
    return Drawn(str(d.one(operators)), both)


def divided_integers(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype.kind in "iu")
    divisor = d.constant(d.rng.integers(1, 7, d.shape(name)[-1:]).astype(d.values[name].dtype))
    return Drawn(str(d.one(["Div", "Mod"])), (name, divisor))


def modulo(d: Draw) -> Drawn:
    name = d.floats()
    return Drawn("Mod", (name, d.positive(d.shape(name)[-1:])), {"fmod": 1})


def power(d: Draw) -> Drawn:
    return Drawn("Pow", (d.floats(), d.constant(np.float32(d.one([0.5, 1, 2, 3, -1, 1.7])))))


def logical(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.bool_)
    return Drawn(str(d.one(["And", "Or", "Xor"])), (name, d.like(name)))


def shifted(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype.kind == "u")
    amount = d.constant(d.rng.integers(0, 7, d.shape(name)[-1:]).astype(d.values[name].dtype))
    return Drawn("BitShift", (name, amount), {"direction": d.one(["LEFT", "RIGHT"])})


def chosen(d: Draw) -> Drawn:
    condition = d.pick(lambda v: v.dtype == np.bool_)
    name = d.pick(lambda v: _broadcasts(v.shape, d.shape(condition)))
    return Drawn("Where", (condition, name, d.like(name)))


def clipped(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype.kind in "fi")
    kind = d.values[name].dtype
    low, high = sorted(d.rng.integers(-3, 4, 2).tolist())
    return Drawn("Clip", (name, d.constant(np.array(low, kind)), d.constant(np.array(high, kind))))


def cast(d: Draw) -> Drawn:
    types = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
    name = d.anything()
    to = int(str(d.one([1, 1, 1, 2, 3, 6, 7, 9, 10, 11])))
    value = d.values[name]
    if value.dtype.kind == "f" and np.dtype(types[to]).kind in "iu":
        limits = np.iinfo(types[to])
        if not np.all(np.isfinite(value)) or not (limits.min <= value.min() and value.max() <= limits.max):
            raise NoFitError
    return Drawn("Cast", (name,), {"to": to})


def transposed(d: Draw) -> Drawn:
    name = d.anything(2)
    return Drawn("Transpose", (name,), {"perm": d.rng.permutation(d.values[name].ndim).tolist()})


def reshaped(d: Draw) -> Drawn:
    name = d.anything()
    rest, shape = d.values[name].size, []
    while rest > 1 and len(shape) < 4:
        factors = [f for f in range(1, rest + 1) if rest % f == 0]
        shape.append(int(str(d.one(factors))))
        rest //= shape[-1]
    shape.append(rest)
    if d.chance(0.4) and d.values[name].size:
        shape[d.number(0, len(shape) - 1)] = -1
    return Drawn("Reshape", (name, d.integers(*shape)))


def flattened(d: Draw) -> Drawn:
    name = d.anything(1)
    return Drawn("Flatten", (name,), {"axis": d.axis(name)})


def squeezed(d: Draw) -> Drawn:
    if d.chance(0.5):
        name = d.pick(lambda v: 1 in v.shape)
        ones = [a for a, s in enumerate(d.shape(name)) if s == 1]
        return Drawn("Squeeze", (name, d.integers(int(str(d.one(ones))))))
    name = d.pick(lambda v: v.ndim < 5)
    return Drawn("Unsqueeze", (name, d.integers(d.number(0, d.values[name].ndim))))


def sliced(d: Draw) -> Drawn:
    name = d.anything(1)
    axes = d.axes(name)
    starts, ends, steps = [], [], []
    for axis in axes:
        size = d.shape(name)[axis]
        step = int(str(d.one([1, 1, 1, 2, 3, -1, -2])))
        first, last = sorted((d.number(0, max(0, size - 1)), d.number(1, size)))
        last = max(last, first + 1)
        starts.append(first if step > 0 else last - 1)
        ends.append(last if step > 0 else (first - 1 if first else -size - 1))
        steps.append(step)
    return Drawn("Slice", (name, d.integers(*starts), d.integers(*ends), d.integers(*axes), d.integers(*steps)))


def concatenated(d: Draw) -> Drawn:
    name = d.anything(1)
    axis = d.number(0, d.values[name].ndim - 1)
    value = d.values[name]

    def fits(v: Array) -> bool:
        return v.dtype == value.dtype and v.ndim == value.ndim and all(a == axis or v.shape[a] == value.shape[a] for a in range(v.ndim))

    parts = [name, *(d.pick(fits) for _ in range(d.number(0, 2)))]
    if d.chance(0.4):
        shape = [d.number(1, 3) if a == axis else s for a, s in enumerate(value.shape)]
        parts.append(d.of_type(shape, value.dtype))
    return Drawn("Concat", tuple(parts), {"axis": axis})


def split(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.ndim > 0 and max(v.shape) > 1)
    axis = int(str(d.one([a for a, s in enumerate(d.shape(name)) if s > 1])))
    first = d.number(1, d.shape(name)[axis] - 1)
    return Drawn("Split", (name, d.integers(first, d.shape(name)[axis] - first)), {"axis": axis}, 2)


def padded(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.ndim > 0 and v.dtype.kind != "b" and v.dtype not in (np.float16,))
    mode = d.one(["constant", "constant", "reflect", "edge"])
    most = [2 if mode != "reflect" else min(2, s - 1) for s in d.shape(name)]
    widths = [d.number(0, m) if d.chance(0.6) else 0 for m in most * 2]
    inputs = [name, d.integers(*widths)]
    if mode == "constant" and d.chance(0.5):
        inputs.append(d.constant(np.array(3, d.values[name].dtype)))
    return Drawn("Pad", tuple(inputs), {"mode": mode})


def expanded(d: Draw) -> Drawn:
    name = d.pick(lambda v: 0 < v.size <= 2048)
    shape = [d.number(1, 5) if s == 1 else s for s in d.shape(name)]
    if len(shape) < 5 and d.chance(0.3):
        shape.insert(0, d.number(1, 3))
    if d.chance(0.3):
        return Drawn("Tile", (name, d.integers(*(d.number(1, 2) for _ in d.shape(name)))))
    return Drawn("Expand", (name, d.integers(*shape)))


def gathered(d: Draw) -> Drawn:
    name = d.anything(1)
    axis = d.number(0, d.values[name].ndim - 1)
    size = d.shape(name)[axis]
    if d.chance(0.3):
        shape = list(d.shape(name))
        shape[axis] = d.number(1, 4)
        return Drawn("GatherElements", (name, d.constant(d.rng.integers(-size, size, shape))), {"axis": axis})
    shape = [d.number(1, 4) for _ in range(d.number(0, 2))]
    return Drawn("Gather", (name, d.constant(d.rng.integers(-size, size, shape))), {"axis": axis})


def gathered_at_run_time(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.ndim > 0 and v.size > 0)
    axis = d.number(0, d.values[name].ndim - 1)
    size = d.shape(name)[axis]

    def fits(v: Array) -> bool:
        return v.dtype == np.int64 and 0 < v.size <= 64 and v.ndim <= 2 and -size <= v.min() and v.max() < size

    return Drawn("Gather", (name, d.pick(fits)), {"axis": axis})


def scattered(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.ndim > 0 and v.dtype in (np.float32, np.int32, np.int64))
    axis = d.number(0, d.values[name].ndim - 1)
    shape = list(d.shape(name))
    size, shape[axis] = shape[axis], 1
    how = d.one(["none", "add", "max", "min"])
    index = d.constant(d.rng.integers(0, size, shape))
    return Drawn("ScatterElements", (name, index, d.of_type(shape, d.values[name].dtype)), {"axis": axis, "reduction": how})


def triangle(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.ndim >= 2 and v.dtype in (np.float32, np.int64, np.bool_))
    return Drawn("Trilu", (name, d.constant(np.array(d.number(-2, 2)))), {"upper": d.number(0, 1)})


def one_hot(d: Draw) -> Drawn:
    name = d.pick(lambda v: v.dtype == np.int64 and v.ndim <= 3 and v.size <= 512)
    depth, values = d.constant(np.array(5)), d.constant(np.array([0.5, 2], np.float32))
    return Drawn("OneHot", (name, depth, values), {"axis": d.number(0, d.values[name].ndim)})
