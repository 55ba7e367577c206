"""tgc halves."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.arguments import MODEL, compiling, device_option, feeding, json_option, mapping, positive
from tgc.cli.build import build
from tgc.cli.output import print_json, print_table, progress
from tgc.errors import OptionError

if TYPE_CHECKING:
    from tgc.artifact import Artifact
    from tgc.verify import Case
    from tgc.verify.halves import Trial


@click.command()
@click.argument("model", type=MODEL)
@compiling
@click.option(
    "--within", default=1e-2, show_default=True, callback=positive, help="Allowed error relative to an output's largest magnitude."
)
@click.option("--inputs", "count", default=4, show_default=True, type=click.IntRange(1), help="How many random inputs to compare with.")
@device_option
@feeding
@json_option
def halves(model: Path, within: float, count: int, device: str, sizes: Any, seed: int, ranges: Any, as_json: bool, **flags: Any) -> int:
    """Find how many of MODEL's sums can be in half: the --half-from that keeps its error within a limit.

    It is compared with ONNX Runtime, or the ONNX reference, in single precision, or with recorded test data that is beside the model.

    \b
    Example:
      tgc halves model.onnx --target qcom --within 5e-3
      tgc compile model.onnx --target qcom --precision fp16 --half-from 8000000
    """
    from tgc.frontend_onnx.recorded import recordings
    from tgc.run.device import parse, require_sendable
    from tgc.targets import find as find_target
    from tgc.verify import cases
    from tgc.verify.halves import find

    if not find_target(flags["target"]).images:
        raise OptionError(f"the target {flags['target']} has no sums in half", "--target", "choose qcom")
    if flags["precision"] not in (None, "fp16") or flags["half_from"] is not None:
        raise OptionError("precision and --half-from are what is looked for", "--precision", "leave them out")
    flags["precision"] = "fp16"

    where, draws = parse(device), 1 if recordings(model) else count

    def known(artifact: Artifact) -> list[Case]:
        require_sendable(artifact.target, where)
        given = mapping(ranges, "--range"), mapping(sizes, "--size")
        return [case for n in range(draws) for case in cases(model, artifact.graph, "auto", seed + n, *given)]

    with progress(f"comparing {model.name}") as watch:
        compiled = partial(build, model, **{key: value for key, value in flags.items() if key != "half_from"})
        tried = find(compiled, known, within, where, lambda trial: watch(f"{trial.share:.0%} in half: {trial.error:.2g}"))
    fitting = [trial for trial in tried if trial.error <= within]
    if as_json:
        print_json({"within": within, "found": fitting[-1].half_from if fitting else None, "tried": [asdict(trial) for trial in tried]})
    else:
        _print(tried, fitting, within)
    return 0 if fitting else 1


def _print(tried: list[Trial], fitting: list[Trial], within: float) -> None:
    rows = [(str(t.half_from), f"{t.share:.0%}", f"{t.error:.2g}", "ok" if t in fitting else "TOO FAR OFF") for t in tried]
    print_table(("half-from", "products in half", "error", ""), rows, right=(0, 1, 2))
    if not fitting:
        click.echo(f"no sums can be in half: even without them the error is above {within:g}; see --single")
    elif not fitting[-1].half_from:
        click.echo("--precision fp16: all sums can be in half")
    elif fitting[-1].share:
        click.echo(f"--precision fp16 --half-from {fitting[-1].half_from}")
    else:
        click.echo("no sums can be in half: leave --precision out")
