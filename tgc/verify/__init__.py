"""Is what was compiled right? Compares a compiled model with recorded data, ONNX Runtime or the ONNX reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgc.artifact import Artifact
from tgc.run.device import Device
from tgc.verify.compare import Difference, Tolerance, compare
from tgc.verify.kernels import KernelReport, verify_kernels
from tgc.verify.oracle import Against, Case, cases
from tgc.verify.place import LOCAL, place

__all__ = ["Against", "Case", "Difference", "KernelReport", "Report", "Tolerance", "cases", "compare", "verify", "verify_kernels"]
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Report:
    """One case: the oracle it was compared with, and one difference for each output, in the model's order."""

    source: str
    outputs: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return all(output.passed for output in self.outputs)


def verify(artifact: Artifact, against: Sequence[Case], tolerance: Tolerance, device: Device = LOCAL) -> list[Report]:
    """Runs `artifact` on every case, through its C ABI."""
    with place(device) as prepare:
        run = prepare(artifact)
        return [_check(case, run(case.inputs), tolerance) for case in against]


def _check(case: Case, results: Mapping[str, Array], tolerance: Tolerance) -> Report:
    return Report(case.source, tuple(compare(name, results[name], value, tolerance) for name, value in case.expected.items()))
