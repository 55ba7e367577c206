"""Where in an artifact's files each kernel's code is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_HEAD = re.compile(r"^(?:__kernel[^\n]*\n|static )void (\w+)\([^;{]*\)\s*\{\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Source code: the file, the line on which it begins (1 is the first), and the text. No file: the kernel in tgc's text form."""

    file: str
    line: int
    text: str


def located(files: Mapping[str, bytes]) -> dict[str, Place]:
    """The functions of the C and OpenCL files among `files` whose bodies end with a brace in the first column, by name."""
    found: dict[str, Place] = {}
    for file in sorted(name for name in files if name.endswith((".c", ".cl")) and not name.startswith(("tgc_", "example_"))):
        text = files[file].decode("utf-8", "replace")
        for match in _HEAD.finditer(text):
            end = text.find("\n}\n", match.end() - 1)
            body = text[match.start() : end + 3]
            found.setdefault(match[1], Place(file, text.count("\n", 0, match.start()) + 1, body))
    return found
