"""docs/adding-a-backend.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import programs
import pytest

from tgc.backends.options import EmitOptions
from tgc.errors import UnsupportedError
from tgc.ir.interpret import run_program

PAGE = Path(__file__).parent.parent / "docs" / "adding-a-backend.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """What the page's Python blocks, executed in order, define."""
    found: dict[str, object] = {"__name__": "page"}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_the_toy_backend_takes_under_a_hundred_lines() -> None:
    end = next(position for position, block in enumerate(BLOCKS) if "def emit" in block)
    assert sum(len(block.splitlines()) for block in BLOCKS[: end + 1]) < 100


@pytest.mark.parametrize("program", [programs.relu(), programs.padded(), programs.two_kernels(), programs.stateful()], ids=lambda p: p.name)
def test_other_programs(names: dict[str, object], program) -> None:
    files = names["emit"](program, names["NUMPY"], EmitOptions())  # type: ignore[operator]
    module: dict[str, object] = {}
    exec(files[f"{program.name}.py"], module)
    rng = np.random.default_rng(0)
    inputs = {tensor.name: rng.integers(-5, 6, tensor.shape).astype(tensor.dtype.numpy) for tensor in program.inputs}
    stored = {tensor.storage: inputs[tensor.name] for tensor in program.inputs}
    found = module["run"](stored, program.weights)  # type: ignore[operator]
    for name, value in run_program(program, inputs).items():
        np.testing.assert_array_equal(found[name], value)


def test_what_it_does_not_do_is_an_error(names: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError, match="Store in a kernel"):
        names["emit"](programs.matmul(lanes=4), names["NUMPY"], EmitOptions())  # type: ignore[operator]


def test_the_files_that_the_page_names_exist() -> None:
    paths = set(re.findall(r"`((?:tests|tgc|templates)/[a-z_/]*(?:\.py)?)`", PAGE.read_text(encoding="utf-8")))
    assert len(paths) >= 8
    for path in paths:
        assert (PAGE.parent.parent / path).exists(), path
