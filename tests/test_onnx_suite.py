"""The ONNX suite: what is left out of it and why, a sample of the rest compiled for three targets, and the table made from its results.

All of it runs by benchmarks/onnx_suite.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import onnx_support
import pytest
from onnx_cases import names_of, refusal
from onnx_suite import EXCLUDED, PASSED, TARGETS, Pool, excluded

from tgc.errors import ToolchainError

DOCUMENT = Path(__file__).parent.parent / "docs" / "onnx-support.md"
MOST_EXCLUDED = 69
"""The list may only shrink."""
SMALL_FAMILIES = ("node", "simple", "pytorch-converted", "pytorch-operator")
EVERY = {"node": 60, "simple": 5, "pytorch-converted": 20, "pytorch-operator": 15}
"""One test in how many is compiled here."""


def families() -> dict[str, str]:
    """The family of each test but the large ones."""
    return {name: family for family in SMALL_FAMILIES for name in names_of(family)}


def test_exclusions_are_reasoned_and_few() -> None:
    lines = [line for line in EXCLUDED.read_text().splitlines() if not line.startswith("#")]
    assert len(excluded()) == len(lines) <= MOST_EXCLUDED
    assert all(reason for reason in excluded().values())
    assert not excluded().keys() - families().keys()


@pytest.mark.filterwarnings("ignore")
def test_exclusions_are_needed() -> None:
    """What is listed is still refused: a line whose test is not comes out of the list."""
    known = families()
    assert not [name for name in excluded() if refusal(known[name], name) is None]


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_excluded_is_not_refused() -> None:
    assert not {name: why for name, family in families().items() if name not in excluded() and (why := refusal(family, name))}


def sample() -> list[tuple[str, str]]:
    """Family and name of some tests that are not excluded, evenly spread."""
    return [(family, name) for family, step in EVERY.items() for name in [n for n in names_of(family) if n not in excluded()][::step]]


def targets() -> list[str]:
    """Those for which this machine has what it takes."""
    from tgc.backends.toolchain import find_compiler
    from tgc.run.opencl import icd_loader

    try:
        find_compiler()
        icd_loader()
    except ToolchainError:
        return [target for target in TARGETS if target != "opencl" and (target != "c" or shutil.which("cc"))]
    return list(TARGETS)


def test_sample_on_every_target() -> None:
    """Inputs at run time; and for one test in four, compiled in."""
    jobs = [(family, name, target, "inputs") for target in targets() for family, name in sample()]
    jobs += [(family, name, target, "constants") for target in targets() for family, name in sample()[::4]]
    assert not [(job, answer) for job, answer, _ in Pool(2, 120.0).run(jobs) if answer != PASSED]


def test_table_is_current() -> None:
    if json.loads(onnx_support.RESULTS.read_text())["onnx"] != onnx.__version__:
        pytest.skip("the results are of another version of onnx")
    assert DOCUMENT.read_text() == onnx_support.document(), "python benchmarks/onnx_support.py > docs/onnx-support.md"
