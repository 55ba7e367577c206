"""tgc as a backend of the ONNX test suite: compile, load and run through the C ABI.

TGC_ONNX_BACKEND=cpu|c|opencl pytest ...      the target, by default cpu

backend_test = onnx.backend.test.BackendTest(tgc.onnx_backend, __name__)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper
from onnx.backend.base import Backend, BackendRep

import tgc
from tgc.errors import ModelError

Array = npt.NDArray[np.generic]


def target() -> str:
    """The target that the environment asks for."""
    return os.environ.get("TGC_ONNX_BACKEND", "cpu")


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A loaded model and the folder that its files are in."""

    model: tgc.Model
    folder: TemporaryDirectory[str]


@dataclass(slots=True)
class Prepared(BackendRep):
    """A model that is compiled for the shapes of its inputs when it first meets them."""

    model: ModelProto
    compiled: dict[object, _Compiled] = field(default_factory=dict)

    def run(self, inputs: Any, **_: Any) -> tuple[Any, ...]:
        """The outputs in order, for inputs in order or by name. Raises TgcError for a model that tgc cannot compile."""
        feed = _by_name(self.model, inputs)
        key = tuple((name, value.shape) for name, value in feed.items())
        if key in self.compiled:
            return self._call(self.compiled[key], feed)
        try:
            self.compiled[key] = _compile(self.model, feed)
            return self._call(self.compiled[key], feed)
        except ModelError:
            # The suite passes as inputs what has to be known while compiling, such as the shape of a Reshape. Compiled in, they
            # hold for this call alone.
            frozen = {name: value for name, value in feed.items() if value.ndim <= 1}
            if not frozen:
                raise
            rest = {name: value for name, value in feed.items() if name not in frozen}
            return self._call(_compile(with_constants(self.model, frozen), rest), rest)

    def _call(self, compiled: _Compiled, feed: Mapping[str, Array]) -> tuple[Array, ...]:
        results = compiled.model.run(dict(feed))
        return tuple(results[value.name] for value in self.model.graph.output)


class TgcBackend(Backend):
    """The interface of the suite."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **_: Any) -> BackendRep:
        if not cls.supports_device(device):
            raise ModelError(f"device {device}: the suite's devices are told apart by TGC_ONNX_BACKEND instead")
        return Prepared(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.split(":")[0] == "CPU"


def _by_name(model: ModelProto, inputs: Any) -> dict[str, Array]:
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    given = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs if isinstance(inputs, Sequence) else [inputs], strict=False))
    return {name: np.asarray(given[name]) for name in names if name in given}


def _compile(model: ModelProto, feed: Mapping[str, Array]) -> _Compiled:
    folder = TemporaryDirectory(prefix="tgc-")
    tgc.compile(model, target(), folder.name, shapes={name: value.shape for name, value in feed.items()}, name="model")
    return _Compiled(tgc.load(folder.name), folder)


def with_constants(model: ModelProto, values: Mapping[str, Array]) -> ModelProto:
    """`model` with some of its inputs turned into initializers."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    # Before version 4 of the format an initializer had to be among the inputs, and what reads it relies on that.
    kept = [value for value in made.graph.input if made.ir_version < 4 or value.name not in values]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return made


prepare = TgcBackend.prepare
run_model = TgcBackend.run_model
supports_device = TgcBackend.supports_device
is_compatible = TgcBackend.is_compatible
