"""The recorded terminal of the documentation shows what commands print, and stands alone."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from test_reproducible import convolutions

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def session() -> Any:
    found = importlib.util.spec_from_file_location("record_session", ROOT / "examples" / "record_session.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_session(session: Any, tmp_path: Path) -> None:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    printed = session.outputs(tmp_path / "net.onnx", ["tgc compile MODEL --target c -o out", "ls out"], "python")
    assert [line for line, _ in printed] == ["tgc compile net.onnx --target c -o out", "ls out"]
    assert "net.c\n" in printed[1][1]
    svg = session.picture(printed)
    assert svg == session.picture(printed)
    assert "manifest.json" in svg
    with pytest.raises(RuntimeError, match=r"no\.onnx"):
        session.outputs(tmp_path / "net.onnx", ["tgc compile no.onnx"], "python")


def test_the_pictures_need_no_network() -> None:
    svg = (ROOT / "docs" / "pictures" / "session.svg").read_text(encoding="utf-8")
    assert "$&#160;" in svg
    assert "http" not in svg.replace("http://www.w3.org/", "").replace("https://www.textualize.io", "")


def test_the_picture_has_the_commands_of_today(session: Any) -> None:
    picture = (ROOT / "docs" / "pictures" / "session.svg").read_text(encoding="utf-8")
    svg = html.unescape(re.sub("<[^>]*>", "", picture)).replace("\xa0", " ")
    model = re.search(r"tgc compile (\w+\.onnx)", svg)
    assert model is not None
    assert [command for command in session.COMMANDS if command.replace("MODEL", model[1]) not in svg] == []
    assert "measured here" in svg  # the roofline
