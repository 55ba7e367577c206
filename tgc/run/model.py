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
from tgc.ir.dtypes import BY_NAME, I64, DType
from tgc.ir.open_shapes import Dimension, OpenShapes
from tgc.ir.packing import from_stored, stored_shape, stored_type, to_stored
from tgc.run.open_shapes import live, raw_inputs

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

    def memory(self) -> Array:
        """Room for it as it lies in memory."""
        return np.empty(stored_shape(self.dtype, self.shape), stored_type(self.dtype).numpy)

    def value(self, memory: Array) -> Array:
        """What lies in memory, as an array of its type and shape."""
        return from_stored(memory, self.dtype, self.shape)


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
    open: OpenShapes | None = None

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that are open, which `run` takes from its inputs."""
        return self.open.dimensions if self.open else ()

    def prepared(self, inputs: Mapping[str, npt.ArrayLike], used: Sequence[str] | None = None) -> tuple[list[Array], list[Array]]:
        """What `execute` takes: buffers with `inputs` in them, and such for the outputs. used: the inputs that are there.

        Raises OptionError as `run` does.
        """
        read = [description for description in self.inputs if used is None or description.name in used]
        given = dict(zip((description.name for description in read), checked(read, inputs, self.open), strict=True))
        passed = raw_inputs(self.open, self._all_inputs, given)
        nothing = np.empty(0, np.uint8)
        arrays = [np.require(to_stored(passed.get(i.name, nothing)), requirements=["C", "A"]) for i in self._all_inputs]
        return arrays, [output.memory() for output in self._all_outputs]

    @property
    def _all_inputs(self) -> tuple[Description, ...]:
        return (*self.inputs, *(Description(dim.input, I64, ()) for dim in self.dimensions))

    @property
    def _all_outputs(self) -> tuple[Description, ...]:
        if self.open is None or self.open.lengths is None:
            return self.outputs
        count = 1 + max(number for axes in self.open.outputs for number in axes if number is not None)
        return (*self.outputs, Description(self.open.lengths, I64, (count,)))

    def run(self, inputs: Mapping[str, npt.ArrayLike], entry: str | None = None) -> dict[str, Array]:
        """The outputs of an entry point, by default the main one, by name, in their true shapes.

        Open dimensions are those of the inputs. States are kept from run to run, until `reset`.
        Raises OptionError where an input is missing, unknown, or has another type or shape, or there is no such entry point.
        """
        number = self._number(entry)
        reads, writes = (self.entries[number].inputs, self.entries[number].outputs) if self.entries else (None, None)
        arrays, outputs = self.prepared(inputs, reads)
        self.execute(arrays, outputs, number)
        named = live(self.open, {output.name: output.value(array) for output, array in zip(self._all_outputs, outputs, strict=True)})
        return {name: array for name, array in named.items() if writes is None or name in writes}

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
        arrays = [to_stored(array) for array in generated(self._all_inputs, self.golden.positive).values()]
        outputs = [output.memory() for output in self._all_outputs]
        for output in outputs:
            memset(output.ctypes.data, 0xFF, output.nbytes)  # what lay there is not to be taken for a result
        self.reset()
        self.execute(arrays, outputs)
        self.reset()
        pairs = zip(self._all_outputs, outputs, strict=True)
        return first_mismatch(self.golden, {output.name: output.value(array) for output, array in pairs})


def checked(descriptions: Sequence[Description], inputs: Mapping[str, npt.ArrayLike], open_shapes: OpenShapes | None = None) -> list[Array]:
    """The arrays for `descriptions` in order, contiguous in memory. Raises OptionError where one does not fit."""
    known = [description.name for description in descriptions]
    unknown = [name for name in inputs if name not in known]
    if unknown:
        raise OptionError(f"the model has no input {unknown[0]!r}", hint=f"its inputs are {', '.join(map(repr, known)) or 'none'}")
    arrays = []
    rows = open_shapes.inputs if open_shapes else ((),) * len(descriptions)
    for description, axes in zip(descriptions, rows, strict=True):
        if description.name not in inputs:
            raise OptionError("no value was given for this input", f"input {description.name!r}", f"it takes {description.text()}")
        array = np.asarray(inputs[description.name])
        if array.dtype != np.dtype(description.dtype.numpy) or not _fits(array.shape, description.shape, axes):
            what = f"takes {description.text()}, not {array.dtype} {list(array.shape)}"
            raise OptionError(what, f"input {description.name!r}")
        arrays.append(np.require(array, requirements=["C", "A"]))
    return arrays


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...], axes: Sequence[int | None]) -> bool:
    """Whether `shape` is `wanted` but for the open ones of its `axes`."""
    if not axes or len(shape) != len(wanted):
        return shape == wanted
    return all(number is not None or size == w for size, w, number in zip(shape, wanted, axes, strict=True))


def described(entries: object) -> tuple[Description, ...]:
    """The inputs or outputs that a manifest lists. Raises KeyError, TypeError or ValueError where it is damaged."""
    if not isinstance(entries, list):
        raise TypeError("a list was expected")
    return tuple(Description(str(e["name"]), BY_NAME[e["dtype"]], tuple(int(extent) for extent in e["shape"])) for e in entries)
