"""How a model's open axes look from outside: named dimensions go in, lengths come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Range = tuple[int, int] | tuple[int, int, int]
Sizes = int | str | Range
"""What a dimension is while compiling: one size; the least and the largest, and, where not every size between, the step; or, as text,
another dimension, or a sum or product of some, that it is always equal to."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A named size from `low` to `high`, a multiple of `step` as these are, passed at run time as the i64 scalar input `input`."""

    name: str
    low: int
    high: int
    input: str
    step: int = 1

    def allows(self, size: int) -> bool:
        return self.low <= size <= self.high and size % self.step == 0

    def __str__(self) -> str:
        return f"from {self.low} to {self.high}" + (f" by {self.step}" if self.step > 1 else "")


@dataclass(frozen=True, slots=True)
class Sum:
    """An extent that is a sum: `constant`, and for each of `terms` the size of a dimension, by its number, times a factor."""

    constant: int
    terms: tuple[tuple[int, int], ...]

    def value(self, sizes: Sequence[int]) -> int:
        return self.constant + sum(factor * sizes[number] for number, factor in self.terms)


@dataclass(frozen=True, slots=True)
class OpenShapes:
    """What of a model's shapes is only known at run time. Inputs and outputs have the largest shapes, and hold dense tensors.

    inputs: for each axis of each input the number of its dimension, or, where it is one of `sums`, that one's number after all
    dimensions; None for a fixed axis. What passes the dimensions comes after these inputs. outputs: for each axis of each output its
    place in the output `lengths`, None for a fixed one; `lengths`, i64, is the last output, and is there where some output has an open
    axis.
    """

    dimensions: tuple[Dimension, ...]
    inputs: tuple[tuple[int | None, ...], ...]
    outputs: tuple[tuple[int | None, ...], ...]
    lengths: str | None
    sums: tuple[Sum, ...] = ()

    def extents(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """What the numbers in `inputs` stand for where dimensions have `sizes`, by name."""
        own = [sizes[dim.name] for dim in self.dimensions]
        return (*own, *(each.value(own) for each in self.sums))
