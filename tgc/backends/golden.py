"""What a self-test feeds a model and expects of it.

Inputs are not stored: templates/runtime/tgc_selftest.c and `generated` here make the same ones from a counter. Expected values are
the interpreter's for the imported graph, so they vouch for everything below the front end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import F4E2M1, F8E8M0, SMALL, DType, from_numpy
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.ir.packing import from_stored, stored_bytes, to_stored
from tgc.ir.program import Program

SAMPLES = 256
"""Values of one output that are recorded at most."""

RELATIVE_TOLERANCE = {
    "float64": 1e-4, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2,
    "float8_e4m3fn": 2.0**-3, "float8_e4m3fnuz": 2.0**-3, "float8_e5m2": 2.0**-2, "float8_e5m2fnuz": 2.0**-2, "float4_e2m1fn": 2.0**-1,
}  # fmt: skip
"""Allowed absolute error as a part of the output's largest magnitude, by numpy type: one step for floats of a byte or less, which a
self-test compares exactly nevertheless. Whole numbers have to agree."""

_SMALLEST_SCALE = 1e-3
"""An output that is all but zero is rounding noise of larger numbers: its errors are measured against this instead."""

_SIGNIFICANT_BITS = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
Array = npt.NDArray[np.generic]
Words = npt.NDArray[np.uint64]


class Tensor(Protocol):
    """An input: of a graph, a program or a loaded model."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class GoldenOutput:
    """What one output should be.

    elements: row-major positions; of small types, of bytes. values: 64 bits for each of them, a float widened to f64, a whole
    number to 64 bits.
    tolerance: absolute error that passes.
    """

    elements: tuple[int, ...]
    values: tuple[int, ...]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Golden:
    """A self-test's data. positive: float inputs lie in (0, 1] instead of [-1, 1)."""

    outputs: tuple[GoldenOutput, ...]
    positive: bool


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first recorded value that a model did not give: output by name, element in row-major order."""

    output: str
    element: int
    expected: float
    found: float


def generated(inputs: Sequence[Tensor], positive: bool) -> dict[str, Array]:
    """The inputs of a self-test by name: floats uniform in [-1, 1) or (0, 1], 8-bit integers of any value, wider ones and bool 0 or 1.

    Element e of input i comes from SplitMix64 at counter 2^40 i + e + 1 (Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", 2014). Floats keep as many leading bits as their type holds exactly, so there is nothing to round.
    Of small types e counts bytes, and each is the leading byte of its word with some bits changed (`_small_bytes`).
    """
    return {tensor.name: _drawn(tensor, position, positive) for position, tensor in enumerate(inputs)}


def _drawn(tensor: Tensor, position: int, positive: bool) -> Array:
    if tensor.dtype in SMALL:
        words = _split_mix(np.arange(stored_bytes(tensor.dtype, tensor.shape), dtype=np.uint64) + np.uint64((position << 40) + 1))
        return from_stored(_small_bytes((words >> np.uint64(56)).astype(np.uint8), tensor.dtype, positive), tensor.dtype, tensor.shape)
    dtype = np.dtype(tensor.dtype.numpy)
    count = int(np.prod(tensor.shape, dtype=object))
    words = _split_mix(np.arange(count, dtype=np.uint64) + np.uint64((position << 40) + 1))
    if tensor.dtype.is_float:
        bits = _SIGNIFICANT_BITS[tensor.dtype.name]
        leading, half = (words >> np.uint64(64 - bits)).astype(np.float64), float(1 << (bits - 1))
        values = (leading + 1) / (2 * half) if positive else (leading - half) / half
        return values.astype(dtype).reshape(tensor.shape)
    width = 8 if tensor.dtype.is_integer and tensor.dtype.bits == 8 else 1
    small = (words >> np.uint64(64 - width)).astype(np.uint8)
    return (small.view(dtype) if width == 8 else small.astype(dtype)).reshape(tensor.shape)


def _small_bytes(drawn: npt.NDArray[np.uint8], dtype: DType, positive: bool) -> npt.NDArray[np.uint8]:
    """Integers of 4 and 2 bits, and F4E2M1, of any value; F8E8M0 from 2^-7 to 1; other floats below 2, none of them -0 or NaN."""
    if dtype == F8E8M0:
        return drawn & np.uint8(7) | np.uint8(0x78)
    if dtype == F4E2M1:
        return drawn & np.uint8(0x77 if positive else 0xFF)
    if dtype.bits < 8:
        return drawn
    return drawn & np.uint8(0x3F if positive else 0xBF) | np.uint8(1)


def _split_mix(counters: Words) -> Words:
    z = counters * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def record(graph: Graph, program: Program, *, rounding: float = 0.0) -> Golden:
    """The self-test of `program`, which was compiled from `graph`: of its main entry point, with states that are zero.

    rounding: error, as a part of the largest magnitude, that values in between add, which are stored in less than single precision.

    Inputs that make the model give a NaN or an infinity are tried once more as positive numbers. A value that moves by more than
    its tolerance when every float input does by a few units in the last place hangs on rounding (an index at a tie, a threshold),
    and another compiler may rightly round otherwise: it is not recorded.
    """
    positive = False
    states = {state.name: np.zeros(state.shape, state.dtype.numpy) for state in program.states}
    expected = _run(graph, states | (inputs := generated(program.inputs, positive)))
    floats = any(tensor.dtype.is_float for tensor in program.inputs)
    if floats and not all(np.isfinite(np.asarray(value, np.float64)).all() for value in expected.values()):
        positive = True
        expected = _run(graph, states | (inputs := generated(program.inputs, positive)))
    moved = _run(graph, states | {name: _nudged(value) for name, value in inputs.items()}) if floats else expected
    computed = program.entry_points[0].outputs
    names = [tensor.name if position in computed else None for position, tensor in enumerate(program.outputs)]
    rows = [GoldenOutput((), (), 0.0) if name is None else _recorded(expected[name], moved[name], rounding) for name in names]
    return Golden(tuple(rows), positive)


def _run(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    with np.errstate(all="ignore"):
        return run_graph(graph, inputs)


def _nudged(value: Array) -> Array:
    """A float input with each element a little further from zero or nearer to it, by turns of a random coin."""
    if value.dtype.kind in "iub" or from_numpy(value.dtype) in SMALL:
        return value
    step = 2.0 ** -min(16, _SIGNIFICANT_BITS[from_numpy(value.dtype).name] - 1)
    coins = _split_mix(np.arange(1, value.size + 1, dtype=np.uint64)).reshape(value.shape) & np.uint64(1)
    moved: Array = (value.astype(np.float64) * np.where(coins, 1 + step, 1 - step)).astype(value.dtype)
    return moved


def _recorded(expected: Array, moved: Array, rounding: float) -> GoldenOutput:
    plain = np.ravel(to_stored(expected))
    if plain.dtype.kind in "iub":
        tolerance, stable = 0.0, plain == np.ravel(to_stored(moved))
    else:
        numbers, others = plain.astype(np.float64), np.ravel(moved).astype(np.float64)
        largest = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=_SMALLEST_SCALE))
        tolerance = max(RELATIVE_TOLERANCE[plain.dtype.name], rounding) * largest
        stable = agree(numbers, others, tolerance)
    elements = _chosen(np.flatnonzero(stable))
    return GoldenOutput(tuple(elements.tolist()), tuple(bits(plain[elements]).tolist()), tolerance)


def agree(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], tolerance: float) -> npt.NDArray[np.bool_]:
    """Where two arrays of floats are the same or near enough: infinities must be equal, and a NaN agrees with any NaN."""
    with np.errstate(invalid="ignore"):
        near: npt.NDArray[np.bool_] = (found == expected) | (np.abs(found - expected) <= tolerance)
    return near | (np.isnan(found) & np.isnan(expected))


def _chosen(elements: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """All of `elements`, or SAMPLES of them: one from each of as many equal parts, at a random place in it."""
    if elements.size <= SAMPLES:
        return elements
    parts = np.arange(SAMPLES + 1, dtype=np.int64) * elements.size // SAMPLES
    places = _split_mix(np.arange(1, SAMPLES + 1, dtype=np.uint64)) % np.diff(parts).astype(np.uint64)
    return elements[parts[:-1] + places.astype(np.int64)]


def bits(values: Array) -> Words:
    """The 64 bits by which each value is recorded; every NaN is the same one."""
    if values.dtype.kind == "i":
        return values.astype(np.int64).view(np.uint64)
    if values.dtype.kind in "ub":
        return values.astype(np.uint64)
    numbers = values.astype(np.float64)
    return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)


def first_mismatch(golden: Golden, outputs: Mapping[str, Array]) -> Mismatch | None:
    """The first value of `outputs`, in the model's order, that is not what `golden` says; None where all are."""
    for recorded, (name, value) in zip(golden.outputs, outputs.items(), strict=True):
        elements = np.array(recorded.elements, np.intp)
        plain, expected = np.ravel(to_stored(value))[elements], np.array(recorded.values, np.uint64)
        is_float = plain.dtype.kind not in "iub"
        given = bits(plain)
        fine = agree(given.view(np.float64), expected.view(np.float64), recorded.tolerance) if is_float else given == expected
        if not fine.all():
            first = int(np.argmin(fine))
            wanted = expected.view(np.float64 if is_float else np.int64 if plain.dtype.kind == "i" else np.uint64)[first]
            return Mismatch(name, int(elements[first]), float(wanted), float(plain.astype(np.float64)[first]))
    return None


def scratch_bytes(program: Program) -> int:
    """Memory that a self-test needs for inputs and outputs: each rounded up beyond its end to a multiple of 8 bytes."""
    return sum(stored_bytes(tensor.dtype, tensor.shape) // 8 * 8 + 8 for tensor in (*program.inputs, *program.outputs))
