"""Records docs/pictures/session.svg: a terminal with the commands below and what they really print.

    python examples/record_session.py model.onnx docs/pictures/session.svg [--python PEERS/bin/python]

MODEL in a command stands for the model's file name. The picture needs no network and no fonts beside those that are there.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    "tgc compile MODEL --target c -o out",
    "ls out",
    "tgc verify MODEL --target c",
    "tgc bench MODEL --against onnxruntime,openvino,mnn --budget 26ms --seconds 30",
    "tgc inspect MODEL --target c --measure | head -12",
    "tgc verify MODEL --target c --bounds | head -6",
    "tgc job MODEL --target x86-64-v3 -o job.toml && tgc build job.toml --check",
)
WIDTH = 132


def outputs(model: Path, commands: Sequence[str], python: str) -> list[tuple[str, str]]:
    """Each command and what it prints, standard error too, in a folder with the model alone. Raises RuntimeError where one fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "bin" / "tgc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tgc "$@"\n')
        (folder / "bin" / "tgc").chmod(0o755)
        (folder / "work").mkdir()
        shutil.copy(model, folder / "work" / model.name)
        path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "TGC_PEERS_PYTHON": python, "COLUMNS": str(WIDTH)}
        return [(line, _run(line, folder / "work", environment)) for line in (text.replace("MODEL", model.name) for text in commands)]


def _run(line: str, folder: Path, environment: dict[str, str]) -> str:
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, text=True, check=False, **both)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{line}\n{done.stdout}")
    return str(done.stdout)


def picture(printed: Sequence[tuple[str, str]]) -> str:
    """The terminal as SVG: always the same of the same text."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line, output in printed:
        console.print(Text.assemble(("$ ", "green"), (line, "bold")), Text(output), sep="\n", highlight=False)
    svg = console.export_svg(title="tgc", unique_id="session")
    return re.sub(r"@font-face\s*{[^}]*}\s*", "", svg)  # they would be fetched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("goal", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the other engines")
    given = parser.parse_args()
    given.goal.write_text(picture(outputs(given.model.resolve(), COMMANDS, given.python)), encoding="utf-8")


if __name__ == "__main__":
    main()
