"""How a model's open axes look from outside: named dimensions go in, lengths come out."""

from __future__ import annotations

from dataclasses import dataclass

Sizes = int | tuple[int, int] | tuple[int, int, int]
"""What a dimension is while compiling: one size, or the least and the largest, and, where not every size between, the step."""


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
class OpenShapes:
    """What of a model's shapes is only known at run time. Inputs and outputs have the largest shapes, and hold dense tensors.

    inputs: for each axis of each input the number of its dimension, None for a fixed one; what passes the dimensions comes after these
    inputs. outputs: for each axis of each output its place in the output `lengths`, None for a fixed one; `lengths`, i64, is the last
    output, and is there where some output has an open axis.
    """

    dimensions: tuple[Dimension, ...]
    inputs: tuple[tuple[int | None, ...], ...]
    outputs: tuple[tuple[int | None, ...], ...]
    lengths: str | None
