"""What a caller of a backend may choose, the same for every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tgc.backends.golden import Golden


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """How an artifact is laid out.

    weights: "file" writes NAME.weights beside the program; "embed" makes them part of it, so that no file is read where it runs.
    golden: the inputs and results of the self-test that the artifact is to have; None for no self-test.
    """

    weights: Literal["file", "embed"] = "file"
    golden: Golden | None = None
