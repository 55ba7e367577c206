"""tgc inspect."""

from __future__ import annotations

from pathlib import Path

import click

from tgc.cli.output import print_json


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--launches", is_flag=True, required=True, help="Print the launches of a frame as JSON, each with the text of its kernel.")
def inspect(artifact: Path, launches: bool) -> None:
    """Look into ARTIFACT, a compiled model's folder.

    \b
    Example:
      tgc inspect out --launches
    """
    from tgc.run.launches import frame

    if launches:
        print_json(frame(artifact))
