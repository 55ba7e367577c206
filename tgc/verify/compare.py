"""How far two tensors are apart, and whether that is too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.backends.golden import RELATIVE_TOLERANCE
from tgc.ir.dtypes import from_numpy

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """An output passes whose worst absolute error is at most `absolute + relative * largest magnitude`; None: by its type."""

    relative: float | None = None
    absolute: float = 0.0

    def limit(self, dtype: str, largest: float) -> float:
        relative = RELATIVE_TOLERANCE.get(dtype, 0.0) if self.relative is None else self.relative
        return self.absolute + relative * largest


@dataclass(frozen=True, slots=True)
class Difference:
    """One tensor compared with what it should be.

    absolute: worst |got - expected|. relative: that over the largest |expected|. ulp: worst number of representable values
    between got and expected, NaN for floats of a byte or less; for whole numbers the absolute error. largest: largest finite
    |expected|. limit: the absolute error that still passes. A NaN or infinity on one side only makes all three infinite.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    absolute: float
    relative: float
    ulp: float
    largest: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.absolute <= self.limit


def compare(name: str, got: Array, expected: Array, tolerance: Tolerance) -> Difference:
    """`got` against `expected`. A wrong shape or type counts as an infinite error."""
    dtype = str(expected.dtype)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return Difference(name, dtype, expected.shape, np.inf, np.inf, np.inf, 0.0, 0.0)
    a, b = got.astype(np.float64), expected.astype(np.float64)
    settled = (a == b) | (np.isnan(a) & np.isnan(b))  # equal infinities and NaN on both sides are no error
    broken = ~settled & ~(np.isfinite(a) & np.isfinite(b))
    with np.errstate(invalid="ignore"):
        error = np.where(settled, 0.0, np.where(broken, np.inf, np.abs(a - b)))
    absolute = float(error.max(initial=0.0))
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    relative = absolute / largest if largest else (0.0 if absolute == 0 else np.inf)
    ulp = np.inf if np.isinf(absolute) else _worst_ulp(got, expected, ~settled, absolute)
    return Difference(name, dtype, expected.shape, absolute, relative, ulp, largest, tolerance.limit(dtype, largest))


def _worst_ulp(got: Array, expected: Array, differing: npt.NDArray[np.bool_], absolute: float) -> float:
    kind = got.dtype
    if not differing.any() or not from_numpy(kind).is_float:
        return absolute
    if kind.itemsize not in (2, 4, 8):
        return float("nan")
    a, b = _rank(got[differing]), _rank(expected[differing])
    distance = np.maximum(a, b).astype(np.uint64) - np.minimum(a, b).astype(np.uint64)  # unsigned: it may need the 64th bit
    return float(distance.max())


def _rank(values: Array) -> npt.NDArray[np.int64]:
    """Position of each float among all floats of its type: neighbours differ by 1, and both zeros are 0."""
    width = values.dtype.itemsize
    raw = np.ascontiguousarray(values).view(f"i{width}").astype(np.int64)
    lowest = np.int64(-(1 << (8 * width - 1)))
    return np.where(raw < 0, lowest - raw, raw)
