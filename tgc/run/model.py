"""A loaded model: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import memset
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tgc.backends.golden import Golden, Mismatch, first_mismatch, generated
from tgc.errors import OptionError
from tgc.ir.dtypes import BY_NAME, DType

Array = npt.NDArray[np.generic]
Locate = Callable[[str], int]
"""Where an exported symbol lies. Raises TgcError or ValueError where there is none."""


class Execute(Protocol):
    """Runs an entry point once: contiguous inputs in order, and outputs to be written, in order. What it does not use may be anything."""

    def __call__(self, inputs: Sequence[Array], outputs: Sequence[Array], entry: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs a model, and what sets its states to zero."""

    execute: Execute
    reset: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Description:
    """An input or output: name as in the model, element type, shape."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def text(self) -> str:
        """As error messages show it."""
        return f"{self.dtype.name} {list(self.shape)}"


def _nothing() -> None:
    """Resets a model without states."""


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A way into a model: the inputs that it reads and the outputs that it computes, by name."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A compiled model that is ready to run. One at a time: an instance has one arena, and in it its states."""

    name: str
    target: str
    inputs: tuple[Description, ...]
    outputs: tuple[Description, ...]
    execute: Execute
    golden: Golden | None = None
    reset: Callable[[], None] = _nothing
    states: tuple[Description, ...] = ()
    entries: tuple[EntryPoint, ...] = ()

    def run(self, inputs: Mapping[str, npt.ArrayLike], entry: str | None = None) -> dict[str, Array]:
        """The outputs of an entry point, by default the main one, by name. States are kept from run to run, until `reset`.

        Raises OptionError where an input is missing, unknown, or has another type or shape, or there is no such entry point.
        """
        number = self._number(entry)
        reads, writes = (self.entries[number].inputs, self.entries[number].outputs) if self.entries else (None, None)
        used = [description for description in self.inputs if reads is None or description.name in reads]
        given = dict(zip((description.name for description in used), checked(used, inputs), strict=True))
        nothing = np.empty(0, np.uint8)
        arrays = [given.get(description.name, nothing) for description in self.inputs]
        outputs = [np.empty(output.shape, output.dtype.numpy) for output in self.outputs]
        self.execute(arrays, outputs, number)
        pairs = zip(self.outputs, outputs, strict=True)
        return {output.name: array for output, array in pairs if writes is None or output.name in writes}

    def _number(self, entry: str | None) -> int:
        names = [point.name for point in self.entries]
        if entry is not None and entry not in names:
            raise OptionError(f"there is no entry point {entry!r}", self.name, f"there are {', '.join(names) or 'none by name'}")
        return 0 if entry is None else names.index(entry)

    def selftest(self) -> Mismatch | None:
        """Runs the model on the inputs of its self-test: None where it passes, else the first value that is off.

        Raises OptionError where the model has none.
        """
        if self.golden is None:
            hint = "compile it with --selftest, and load it with the weights that it was compiled with"
            raise OptionError("this model has no self-test", self.name, hint)
        arrays = list(generated(self.inputs, self.golden.positive).values())
        outputs = [np.empty(output.shape, output.dtype.numpy) for output in self.outputs]
        for output in outputs:
            memset(output.ctypes.data, 0xFF, output.nbytes)  # what lay there is not to be taken for a result
        self.reset()
        self.execute(arrays, outputs)
        self.reset()
        return first_mismatch(self.golden, {output.name: array for output, array in zip(self.outputs, outputs, strict=True)})


def checked(descriptions: Sequence[Description], inputs: Mapping[str, npt.ArrayLike]) -> list[Array]:
    """The arrays for `descriptions` in order, contiguous in memory. Raises OptionError where one does not fit."""
    known = [description.name for description in descriptions]
    unknown = [name for name in inputs if name not in known]
    if unknown:
        raise OptionError(f"the model has no input {unknown[0]!r}", hint=f"its inputs are {', '.join(map(repr, known)) or 'none'}")
    arrays = []
    for description in descriptions:
        if description.name not in inputs:
            raise OptionError("no value was given for this input", f"input {description.name!r}", f"it takes {description.text()}")
        array = np.asarray(inputs[description.name])
        if array.dtype != np.dtype(description.dtype.numpy) or array.shape != description.shape:
            what = f"takes {description.text()}, not {array.dtype} {list(array.shape)}"
            raise OptionError(what, f"input {description.name!r}")
        arrays.append(np.require(array, requirements=["C", "A"]))
    return arrays


def described(entries: object) -> tuple[Description, ...]:
    """The inputs or outputs that a manifest lists. Raises KeyError, TypeError or ValueError where it is damaged."""
    if not isinstance(entries, list):
        raise TypeError("a list was expected")
    return tuple(Description(str(e["name"]), BY_NAME[e["dtype"]], tuple(int(extent) for extent in e["shape"])) for e in entries)
