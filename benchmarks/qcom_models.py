"""The models that benchmarks/qcom.py, qcom_agreement.py and tests/test_qcom_ir3.py go through, and their files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import models

SHARED = models.ROOT.parent / "shared"
_NAMES = (
    "driving_vision_like", "driving_policy_like", "mobilenetv2_100", "resnet18", "openpilot_dmon_0.7.5", "openpilot_dmon_0.8.5",
    "openpilot_dmon_0.8.9", "yolox_nano", "ultraface_rfb320", "squeezenet_fp16",
)  # fmt: skip
ENTRIES = (*models.SUPERCOMBO, models.TWO_TOWERS, *(next(e for e in models.CATALOG if e.name == name) for name in _NAMES))
WITH_PUBLISHED = (*ENTRIES, *(e for e in models.LIGHT if e.name == "light_resnet50"))
"""ResNet-50 too, whose time on the chip others have published."""
LARGE = "fp16 in large kernels"
HALF_FROM = {"supercombo": 8_000_000, "supercombo_two_towers": 8_000_000}
"""What `tgc halves MODEL --target qcom` finds for the models whose error is above its 1e-2 where all sums are in half."""


def options_for(name: str, precision: str) -> dict[str, str | int]:
    """Options of `tgc.compile` for the model called `name`, in a precision of the target or in LARGE: sums in half from HALF_FROM on."""
    return {"precision": "fp16", "half_from": HALF_FROM[name]} if precision == LARGE else {"precision": precision}


def precisions_of(name: str, among: Sequence[str]) -> list[str]:
    """Those of `among` that there is something to say of: LARGE only where not all sums can be in half."""
    return [precision for precision in among if precision != LARGE or name in HALF_FROM]


def files(
    only: str = "", folder: Path = SHARED / "models", entries: tuple[models.Entry, ...] = ENTRIES
) -> Iterator[tuple[models.Entry, Path]]:
    """The entries that `only` matches, each with its ONNX file, which may be gone when the next is asked for; those in `folder` alone."""
    for entry in (e for e in entries if re.fullmatch(only or ".*", e.name)):
        with tempfile.TemporaryDirectory(prefix="tgc-qcom-") as scratch:
            path = models.locate(entry, folder, Path(scratch))
            if path:
                yield entry, path
