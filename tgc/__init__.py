"""tgc compiles ONNX models, ahead of time, to standalone C, OpenCL and object code.

    artifact = tgc.compile("model.onnx", target="cpu", output="out")
    model = tgc.load("out")
    results = model.run({"x": array})

Importing this package costs next to nothing; what a name needs is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgc.driver import Artifact, compile
    from tgc.errors import ModelError, OptionError, TgcError, ToolchainError, UnsupportedError
    from tgc.run import Model, load

__version__ = "0.1.0"
__all__ = ["Artifact", "Model", "ModelError", "OptionError", "TgcError", "ToolchainError", "UnsupportedError", "compile", "load"]

_HOMES = {
    "Artifact": "tgc.driver", "compile": "tgc.driver", "Model": "tgc.run", "load": "tgc.run", "TgcError": "tgc.errors",
    "ModelError": "tgc.errors", "OptionError": "tgc.errors", "ToolchainError": "tgc.errors", "UnsupportedError": "tgc.errors",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Loads a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tgc' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
