"""tgc run."""

from __future__ import annotations

import io
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from tgc.cli.arguments import MODEL, compiling, feeding, input_option, json_option, mapping
from tgc.cli.build import build
from tgc.cli.output import duration, print_json, print_table
from tgc.errors import OptionError
from tgc.whole_file import write_whole

if TYPE_CHECKING:
    from tgc.backends.golden import Mismatch


@click.command()
@click.argument("model", type=MODEL)
@compiling
@input_option
@feeding
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the outputs, one .npy file each.")
@click.option("--selftest", is_flag=True, help="Run the self-test instead; a folder has one if it was compiled with --selftest.")
@json_option
def run(
    model: Path, files: Any, sizes: Any, seed: int, ranges: Any, output: Path | None, selftest: bool, as_json: bool, **flags: Any
) -> int:
    """Run MODEL, an ONNX file or a compiled folder, once on this machine.

    \b
    Example:
      tgc run model.onnx --input image=photo.npy -o results
      tgc run out
      tgc run out --selftest
    """
    from tgc.inputs import read
    from tgc.run import load
    from tgc.run.open_shapes import inputs_at

    with tempfile.TemporaryDirectory(prefix="tgc-run-") as scratch:
        loaded = load(model if model.is_dir() else build(model, selftest=selftest, **flags).write(Path(scratch) / "artifact"))
        if selftest:
            return _report(loaded.selftest(), as_json)
        tensors = inputs_at(loaded.open, loaded.inputs, mapping(sizes, "--size"))
        inputs = read(tensors, mapping(files, "--input"), seed, mapping(ranges, "--range"))
        start = time.perf_counter()
        results = loaded.run(inputs)
        seconds = time.perf_counter() - start
    paths = _save(results, output) if output else {}
    described = [{"name": name, **_describe(array), **({"file": str(paths[name])} if paths else {})} for name, array in results.items()]
    if as_json:
        print_json({"seconds": seconds, "outputs": described})
        return 0
    rows = [(d["name"], d["dtype"], str(d["shape"]), *(f"{d[key]:.6g}" for key in ("min", "max", "mean"))) for d in described]
    print_table(("output", "type", "shape", "min", "max", "mean"), rows, right=(3, 4, 5))
    click.echo(f"ran in {duration(seconds)}")
    return 0


def _report(wrong: Mismatch | None, as_json: bool) -> int:
    """Says how a self-test went, and answers the exit status."""
    if as_json:
        print_json({"passed": wrong is None, "mismatch": wrong and asdict(wrong)})
    elif wrong is None:
        click.echo("the self-test passed")
    else:
        click.echo(f"the self-test failed: element {wrong.element} of {wrong.output} is {wrong.found:.9g}, not {wrong.expected:.9g}")
    return 0 if wrong is None else 1


def _describe(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    values = array.astype(np.float64)
    least, most, mean = (float(f(values)) if values.size else float("nan") for f in (np.min, np.max, np.mean))
    return {"dtype": str(array.dtype), "shape": list(array.shape), "min": least, "max": most, "mean": mean}


def _save(results: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Writes each result to a file named after it, characters that a file name should not have replaced."""
    paths: dict[str, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in results.items():
            stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "output"
            taken = {path.stem for path in paths.values()}
            path = folder / f"{stem if stem not in taken else f'{stem}_{len(paths)}'}.npy"
            content = io.BytesIO()
            np.save(content, array)
            write_whole(path, content.getvalue())
            paths[name] = path
    except OSError as error:
        raise OptionError(f"cannot write the outputs: {error.strerror or error}", where=str(folder)) from error
    return paths
