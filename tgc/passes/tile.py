"""Register tiles: how many rows and vectors of results an accumulating nest keeps in registers.

A closed-form model of one core: in each step of the reduction a tile of `rows` x `vectors` accumulators takes that many
multiply-adds, its operands are loaded once each, and results of one step feed the next only after the units' latency.
Results that a tile computes twice because it does not divide the extent are paid for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd

from tgc.targets import Target


@dataclass(frozen=True, slots=True)
class Operand:
    """A load of the reduction's step: which tile dimensions it moves along, and how many bytes lie between two rows."""

    along_rows: bool
    along_vectors: bool
    row_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """rows, vectors: extents of the two tiled loops, the second in vectors. steps: of the reduction, for each result."""

    rows: int
    vectors: int
    steps: int
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """The tile, its modelled cycles for the whole problem, and the work-items that share its sums."""

    rows: int
    vectors: int
    cycles: float
    parts: int = 1


CACHE_WAY = 4096  # bytes
MOST_ROWS = 28
MOST_VECTORS = 8


def best_tile(problem: Problem, target: Target) -> Tile:
    """The tile with the fewest modelled cycles that fits the register file; among equals the larger."""
    tiles = [tile for tile in tiles_of(problem, target)]
    return min(tiles, key=lambda tile: (tile.cycles, -tile.rows * tile.vectors))


def tiles_of(problem: Problem, target: Target) -> Iterable[Tile]:
    """Every tile that fits the register file, with its modelled cycles."""
    for vectors in range(1, min(problem.vectors, MOST_VECTORS) + 1):
        for rows in range(1, min(problem.rows, MOST_ROWS) + 1):
            if rows * vectors == 1 or registers(problem, rows, vectors) <= target.vector_registers:
                yield Tile(rows, vectors, cycles(problem, rows, vectors, target))


def registers(problem: Problem, rows: int, vectors: int) -> int:
    """Vector registers that a tile needs: accumulators, the operand kept for all rows, and one or two in flight.

    Where an operand moves along rows and vectors both, rows share its elements from one step to the next: these stay too.
    """
    if any(o.along_rows and o.along_vectors for o in problem.operands):
        return 2 * rows * vectors + vectors + 3
    kept = vectors if any(o.along_vectors for o in problem.operands) and rows > 1 else 1
    return rows * vectors + kept + (1 if vectors > 1 else 0)


def _loads(operand: Operand, rows: int, vectors: int) -> float:
    """Cycles to load one operand in a step, a broadcast scalar counted half a vector."""
    count = (rows if operand.along_rows else 1) * (vectors if operand.along_vectors else 1)
    if operand.along_rows and rows > _rows_that_stay(operand.row_bytes):
        return count * 2.0
    return count * (1.0 if operand.along_vectors else 0.5)


def _rows_that_stay(row_bytes: int) -> int:
    """Rows that can be walked side by side without evicting each other from an 8-way cache whose ways are 4 KiB.

    Rows whose distance is a multiple of a large power of two fall into few sets; one way is left to the other operand.
    """
    positions = CACHE_WAY // gcd(row_bytes, CACHE_WAY) if row_bytes else CACHE_WAY
    return 7 * positions


def cycles(problem: Problem, rows: int, vectors: int, target: Target) -> float:
    """Modelled cycles of the whole problem with tiles of `rows` x `vectors`."""
    per_cycle = 1.0 if target.vector_bits >= 512 else 2.0
    arithmetic = rows * vectors / per_cycle
    loads = sum(_loads(operand, rows, vectors) for operand in problem.operands)
    latency = 4.0
    step = max(arithmetic, loads / (per_cycle if target.vector_bits < 512 else 1.0), latency) + 0.5
    around = 8.0 + 3.0 * rows * vectors
    tiles = -(-problem.rows // rows) * -(-problem.vectors // vectors)
    return tiles * (problem.steps * step + around)
