"""Networks that torch exports, by both exporters, compiled and compared with torch; `benchmarks/exported_models.py` has all targets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript, which torch's newer exporter needs, is not installed")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
NAMES = (
    "convnext", "unet", "tagger", "decoder", "encoder", "swin", "efficientnet", "deeplab", "generator", "pointnet", "conformer", "experts",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_exported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from exported_models import check, export

    export(tmp_path, [name])
    found = dict(check(tmp_path, "cpu"))
    assert sorted(found) == [f"{name}.dynamo", f"{name}.script"]
    assert max(found.values()) < 1e-5
