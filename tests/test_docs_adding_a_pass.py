"""docs/adding-a-pass.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

from tgc.targets import find

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding-a-pass.md"


def test_the_page_is_true() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert str(names["text"]).count("permute(%0) order=[2, 1, 0]") == 1
    assert str(names["text"]).count("permute") == 1
    entry = names["entry"]
    assert entry.name == "merge-permutes"  # type: ignore[attr-defined]
    assert entry.run(names["before"], find("c")).outputs  # type: ignore[attr-defined]
    for path in set(re.findall(r"tgc/[a-z_/]+(?:\.py)?|tests/[a-z_]+\.py", text)):
        assert (ROOT / path).exists(), path
