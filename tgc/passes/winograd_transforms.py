"""The matrices of Winograd's convolutions F(2x2, 3x3) and F(4x4, 3x3), and what they do to a tile, with shared parts computed once.

Both sequences are polynomials, multiplied by their values at some points and at infinity (A. Toom 1963, S. Cook 1966). The points
decide how errors grow: 0, 1, -1, 2, -2 are common for m = 4 and lose four times as much as 0, 3/4, -3/4, 3/2, -3/2, whose
powers are exact in f32 too. Points come in pairs of both signs, so that pairs of results share their even and odd parts.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Arg, Expr

Rows = tuple[tuple[float, ...], ...]

_POINTS = {2: (Fraction(0), Fraction(1), Fraction(-1)), 4: (Fraction(0), *(Fraction(n, 4) for n in (3, -3, 6, -6)))}


def _polynomial(roots: list[Fraction], size: int) -> tuple[float, ...]:
    """The coefficients of the product of (x - root), the constant one first, filled up with zeros."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return tuple(float(c) for c in coefficients) + (0.0,) * (size - len(coefficients))


def _powers(m: int, count: int, *, scaled: bool) -> Rows:
    """Powers of each point below `count`, divided by its differences from the others where `scaled`; the last row is infinity's."""
    points = _POINTS[m]
    scales = [prod((p - q for q in points if q != p), start=Fraction(1)) if scaled else Fraction(1) for p in points]
    rows = [tuple(float(p**k / scale) for k in range(count)) for p, scale in zip(points, scales, strict=True)]
    return (*rows, (0.0,) * (count - 1) + (1.0,))


SOURCE: dict[int, Rows] = {
    m: (*(_polynomial([q for q in points if q != p], m + 2) for p in points), _polynomial(list(points), m + 2))
    for m, points in _POINTS.items()
}
"""B^T by the tile's size m: [m + 2, m + 2]."""

OUTPUT: dict[int, Rows] = {m: tuple(zip(*_powers(m, m, scaled=False), strict=True)) for m in _POINTS}
"""A^T: [m, m + 2]."""

WEIGHTS: dict[int, Rows] = {m: _powers(m, 3, scaled=True) for m in _POINTS}
"""G: [m + 2, 3]."""


_BLOCK = 1 << 14  # elements whose sums stay in the second-level cache


def weights_at_points(weights: npt.NDArray[np.float32], m: int) -> npt.NDArray[np.float32]:
    """U [m + 2, m + 2, o, c] = G w G^T of weights [o, c, 3, 3].

    In double precision, term by term in a fixed order: no library's idea of a product decides the last bit.
    """
    outputs, channels = weights.shape[:2]
    taps = np.ascontiguousarray(weights.reshape(outputs * channels, 9).T).reshape(3, 3, -1)
    made = np.empty((m + 2, m + 2, outputs * channels), np.float32)
    for start in range(0, outputs * channels, _BLOCK):
        part = slice(start, start + _BLOCK)
        columns = _weighted(WEIGHTS[m], list(taps[:, :, part].astype(np.float64)))
        for p, column in enumerate(columns):
            for q, value in enumerate(_weighted(WEIGHTS[m], list(column))):
                made[p, q, part] = value
    return made.reshape(m + 2, m + 2, outputs, channels)


def _weighted(matrix: Rows, vectors: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
    """matrix times a column of arrays."""
    results: list[npt.NDArray[np.float64]] = []
    for row in matrix:
        terms = [vector if factor == 1 else factor * vector for factor, vector in zip(row, vectors, strict=True) if factor]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        results.append(total)
    return results


@cache
def source_points(m: int) -> tuple[Expr, ...]:
    """B^T d B of a tile whose elements are arguments 0, 1, .., in row-major order."""
    return tuple(transformed(SOURCE[m], [Arg(at, F32) for at in range((m + 2) ** 2)]))


@cache
def output_places(m: int) -> tuple[Expr, ...]:
    """A^T M A of the products at points whose values are arguments 0, 1, ..."""
    return tuple(transformed(OUTPUT[m], [Arg(at, F32) for at in range((m + 2) ** 2)]))


def transformed(matrix: Rows, tile: list[Expr]) -> list[Expr]:
    """matrix tile matrix^T, of a square tile in row-major order; the result is in row-major order too."""
    size = len(matrix[0])
    columns = [_times(matrix, [tile[row * size + column] for row in range(size)]) for column in range(size)]
    return [value for row in range(len(matrix)) for value in _times(matrix, [column[row] for column in columns])]


def _times(matrix: Rows, vector: list[Expr]) -> list[Expr]:
    """matrix vector. Rows that are an even and an odd part added and subtracted share these; so do columns that are."""
    pairs = _mirrored(tuple(zip(*matrix, strict=True)))
    if pairs:
        return _by_columns(matrix, vector, pairs)
    made: dict[int, Expr] = {}
    for i, j in _rows_that_share(matrix):
        even = [(a, v) for a, b, v in zip(matrix[i], matrix[j], vector, strict=True) if a == b]
        odd = [(a, v) for a, b, v in zip(matrix[i], matrix[j], vector, strict=True) if a != b]
        p, q = _sum(even), _sum(odd)
        made[i], made[j] = s.add(p, q), s.sub(p, q)
    return [made[i] if i in made else _sum(list(zip(row, vector, strict=True))) for i, row in enumerate(matrix)]


def _rows_that_share(matrix: Rows) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for i, a in enumerate(matrix):
        for j, b in enumerate(matrix[i + 1 :], i + 1):
            if a != b and all(abs(x) == abs(y) for x, y in zip(a, b, strict=True)) and any(x == y != 0 for x, y in zip(a, b, strict=True)):
                found.append((i, j))
    return found


def _mirrored(columns: Rows) -> list[tuple[int, int]]:
    """Pairs of neighbouring columns that differ in signs alone, in every second row."""
    return [
        (i, i + 1)
        for i in range(1, len(columns) - 2, 2)
        if len(columns[0]) < len(columns) and all(abs(x) == abs(y) for x, y in zip(columns[i], columns[i + 1], strict=True))
    ]


def _by_columns(matrix: Rows, vector: list[Expr], pairs: list[tuple[int, int]]) -> list[Expr]:
    sums = {i: (s.add(vector[i], vector[j]), s.sub(vector[i], vector[j])) for i, j in pairs}
    inside = {column for pair in pairs for column in pair}
    results: list[Expr] = []
    for row in matrix:
        terms = [(row[i], vector[i]) for i in range(len(vector)) if i not in inside]
        terms += [(row[i], sums[i][0] if row[i] == row[j] else sums[i][1]) for i, j in pairs]
        results.append(_sum(terms))
    return results


def _sum(terms: list[tuple[float, Expr]]) -> Expr:
    """The sum of factor * value, terms with factor 1 first."""
    total: Expr | None = None
    for factor, value in sorted((term for term in terms if term[0]), key=lambda term: (abs(term[0]) != 1, term[0] < 0)):
        if factor == -1 and total is not None:
            total = s.sub(total, value)
            continue
        part = value if factor == 1 else s.mul(value, s.lit(factor, F32))
        total = part if total is None else s.add(total, part)
    assert total is not None
    return total
