"""qcom kernels through Mesa's compiler for the Adreno 630: they build, nothing spills, and none gets worse than the baseline.

    python tests/test_qcom_ir3.py      writes the baseline anew

Needs Mesa with its offline Adreno compiler (adreno/ir3stats beside the checkout, set up); skips where that is not there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_qcom import convolutions, rows, target_of
from test_qcom_oclgrind import heads, written

from tgc.ir.graph import Graph
from tgc.passes import compile_graph
from tgc.run.launches import frame

TOOL = Path(__file__).resolve().parents[2] / "shared" / "adreno" / "ir3stats"
ROOT = Path("/opt/adreno630")
BASELINE = Path(__file__).parent / "baselines" / "qcom_ir3.json"
NETWORKS = (convolutions, rows, heads)
SLACK = 1.1  # instructions, relative to the baseline
Row = dict[str, int]


def statistics(network: Graph, folder: Path) -> dict[str, Row]:
    """instructions, registers, waves and spills of each kernel of `network`, by its name."""
    found: dict[str, Row] = {}
    for launch in frame(written(compile_graph(network, target_of("mixed")), folder)):
        name = str(launch["name"])
        if name not in found:
            path = folder / f"{name}.cl"
            path.write_text(str(launch["src"]))
            found[name] = _measured(path, name, str(launch["options"]))
    return found


def _measured(path: Path, name: str, options: str) -> Row:
    for _ in range(3):  # on a busy machine the compiler's thread may be late, and its statistics are not printed
        done = subprocess.run([str(TOOL), str(path), f"--options={options}", "--json"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{name} does not build: {done.stderr}"
        row = json.loads(done.stdout)[name]
        if "instr" in row:
            break
    return {key: row[key] for key in ("instr", "full", "waves", "width", "spills") if key in row}


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_kernels_are_as_good_as_the_baseline(network, tmp_path):
    if not TOOL.exists() or not (ROOT / "opt" / "ir3driver").exists():
        pytest.skip("Mesa's offline compiler for the Adreno is not set up")
    expected = json.loads(BASELINE.read_text())[network.__name__]
    found = statistics(network(), tmp_path)
    assert list(found) == list(expected), "other kernels than in the baseline: write it anew"
    for name, row in found.items():
        assert row.get("spills", 0) == 0, f"{name} spills"
        if "instr" in row and "instr" in expected[name]:
            assert row["instr"] <= SLACK * expected[name]["instr"], f"{name} has more instructions"
            assert row["waves"] * row["width"] >= expected[name]["waves"] * expected[name]["width"], f"{name} has fewer waves"


def main() -> None:
    """Writes the baseline."""
    made = {}
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            made[network.__name__] = statistics(network(), Path(folder))
    BASELINE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
