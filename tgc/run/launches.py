"""The launches of a frame of a compiled OpenCL model, each with the text of its kernel: for tools that look at kernels one by one."""

from __future__ import annotations

import math
from pathlib import Path

from tgc.errors import OptionError
from tgc.run.load import read_manifest

_KERNEL = "\n__kernel "


def frame(folder: Path) -> list[dict[str, object]]:
    """For each launch in order: the kernel's name, its source with all that it needs, build options, sizes, and the name of the artifact.

    "global" counts work-groups. Raises ModelError where `folder` is no artifact, OptionError where it is not one for OpenCL.
    """
    manifest = read_manifest(folder)
    if "launches" not in manifest:
        raise OptionError("only OpenCL artifacts have launches", str(folder), "compile for opencl or qcom")
    sources = _sources((folder / f"{manifest['name']}.cl").read_text())
    return [
        {
            "name": row["kernel"], "src": sources[row["kernel"]], "options": manifest["build_options"], "groups": True,
            "global": [size // local for size, local in zip(row["global"], row["local"], strict=True)], "local": row["local"],
            "items": math.prod(row["global"]),
        }
        for row in manifest["launches"]
    ]  # fmt: skip


def _sources(text: str) -> dict[str, str]:
    """Each kernel's text with the prelude before it, by name."""
    head, *parts = text.split(_KERNEL)
    sources: dict[str, str] = {}
    for part in parts:
        body = part[: part.index("\n}\n") + 3]
        sources[_name(body)] = f"{_prelude(head)}{_KERNEL}{body}"
    return sources


def _prelude(head: str) -> str:
    """What stands before the first kernel's comment."""
    return head[: head.rindex("/*")] if head.rstrip().endswith("*/") and head.count("/*") > 1 else head


def _name(body: str) -> str:
    return body[body.index("\nvoid ") + len("\nvoid ") :].split("(")[0]
