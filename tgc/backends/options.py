"""What a caller of a backend may choose, the same for every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """How an artifact is laid out.

    weights: "file" writes NAME.weights beside the program; "embed" makes them part of it, so that no file is read where it runs.
    """

    weights: Literal["file", "embed"] = "file"
