"""A loaded model: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import memset
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.backends.golden import Golden, Mismatch, first_mismatch, generated
from tgc.errors import OptionError
from tgc.ir.dtypes import BY_NAME, DType

Array = npt.NDArray[np.generic]
Locate = Callable[[str], int]
"""Where an exported symbol lies. Raises TgcError or ValueError where there is none."""
Execute = Callable[[Sequence[Array], Sequence[Array]], None]
"""Runs once: contiguous inputs in order, and outputs to be written, in order."""


@dataclass(frozen=True, slots=True)
class Description:
    """An input or output: name as in the model, element type, shape."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def text(self) -> str:
        """As error messages show it."""
        return f"{self.dtype.name} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Model:
    """A compiled model that is ready to run. One at a time: an instance has one arena."""

    name: str
    target: str
    inputs: tuple[Description, ...]
    outputs: tuple[Description, ...]
    execute: Execute
    golden: Golden | None = None

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """The outputs by name. Raises OptionError where an input is missing, unknown, or has another type or shape."""
        arrays = checked(self.inputs, inputs)
        outputs = [np.empty(output.shape, output.dtype.numpy) for output in self.outputs]
        self.execute(arrays, outputs)
        return {output.name: array for output, array in zip(self.outputs, outputs, strict=True)}

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
        self.execute(arrays, outputs)
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
