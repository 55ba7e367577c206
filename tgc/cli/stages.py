"""Looking at what each pass made: printed, written to files, or instead of an artifact."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from tgc.errors import OptionError
from tgc.ir.graph import Graph
from tgc.ir.program import Program
from tgc.ir.text import print_graph, print_program
from tgc.whole_file import write_whole


class Stopped(Exception):  # noqa: N818, it is no error
    """Compiling came to the pass that it should stop after; `text` is what that made."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(slots=True)
class Stages:
    """What to show of the stages. `seen`: the passes that ran, in order."""

    print_after: str | None
    stop_after: str | None
    folder: Path | None
    seen: list[str] = field(default_factory=list)

    def observe(self, name: str, result: Graph | Program) -> None:
        """Called with each pass's name and result."""
        self.seen.append(name)
        if self.folder is None and name not in (self.print_after, self.stop_after):
            return
        text = print_graph(result) if isinstance(result, Graph) else print_program(result)
        if self.folder is not None:
            _write(self.folder, f"{len(self.seen) - 1:02}-{name}.tir", text)
        if name == self.print_after:
            click.echo(text, err=True)
        if name == self.stop_after:
            raise Stopped(text)

    def require(self) -> None:
        """Raises OptionError where a pass that was asked for did not run."""
        for flag, name in (("--print-ir-after", self.print_after), ("--stop-after", self.stop_after)):
            if name is not None and name not in self.seen:
                raise OptionError(f"no pass called {name!r} ran", where=flag, hint=f"these did: {', '.join(self.seen)}")


def _write(folder: Path, name: str, text: str) -> None:
    write_whole(folder / name, text.encode("utf-8", "surrogatepass"), folders=True)
