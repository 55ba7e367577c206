"""docs/adding-an-operator.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx import import_model

PAGE = Path(__file__).parent.parent / "docs" / "adding-an-operator.md"


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """What the page's Python blocks, executed in order, define."""
    found: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_the_operator_is_part_of_a_model(names: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError, match="SquarePlus"):
        import_model(names["model"])  # type: ignore[arg-type]
    assert names["y"].shape == (2, 3)  # type: ignore[attr-defined]


def test_a_faulty_attribute_is_an_error_that_names_it(names: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="a window of 9 elements on an axis of 4"):
        names["moving_average"](names["b"], names["x"], size=9)  # type: ignore[operator]


def test_the_files_that_the_page_names_exist() -> None:
    root = PAGE.parent.parent
    text = PAGE.read_text(encoding="utf-8")
    paths = set(re.findall(r"(?:tests|lowerings|tgc)/[a-z_/]+(?:\.py)?", text))
    assert len(paths) >= 5
    for path in paths:
        assert (root / path).exists() or (root / "tgc" / "frontend_onnx" / path).exists(), path
