"""qcom kernels through Mesa's compiler for the Adreno 630: they build, none spills, and none gets worse than the baseline.

    python tests/test_qcom_ir3.py [NAME ...]      writes the baseline anew, of all networks and models or of those

Needs Mesa with its offline Adreno compiler (adreno/ir3stats beside the checkout, set up), and the models beside the checkout; skips
where they are not there. CI goes through three small networks and one model, TGC_TEST_LONG=1 through all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
from test_qcom import convolutions, rows, target_of
from test_qcom_oclgrind import heads, written

import tgc
from tgc.passes import compile_graph
from tgc.run.launches import frame

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import adreno_code
import qcom_models

TOOL = qcom_models.SHARED / "adreno" / "ir3stats"
BASELINE = Path(__file__).parent / "baselines" / "qcom_ir3.json"
NETWORKS = {network.__name__: network for network in (convolutions, rows, heads)}
MODELS = [*(entry.name for entry in qcom_models.ENTRIES), *(f"{name}, {qcom_models.LARGE}" for name in qcom_models.HALF_FROM)]
SAMPLE = {*NETWORKS, "ultraface_rfb320"}
KEPT = ("instr", "full", "waves", "width", "spills")
SLACK = 1.1  # instructions, relative to the baseline
Rows = dict[str, list[int]]


def compiled(name: str, folder: Path) -> Path | None:
    """The artifact of the network or model called `name`, mixed or as in "MODEL, PRECISION"; None where its file is not there."""
    if name in NETWORKS:
        return written(compile_graph(NETWORKS[name](), target_of("mixed")), folder)
    model, _, precision = name.partition(", ")
    for entry, path in qcom_models.files(model.replace(".", r"\.")):
        tgc.compile(path, "qcom", folder, shapes=entry.shapes, **qcom_models.options_for(model, precision or "mixed"))
        return folder
    return None


def statistics(folder: Path) -> Rows:
    """KEPT of each kernel of the artifact in `folder`, by its name."""
    tool, launches = adreno_code.load(TOOL), {str(launch["name"]): launch for launch in frame(folder)}
    texts = adreno_code.compiled(tool, list(launches.values()))
    found = {name: tool.statistics(texts[adreno_code.key(launch)])[name] for name, launch in launches.items()}
    return {name: [row[key] for key in KEPT] for name, row in found.items()}


@pytest.mark.parametrize("name", [*NETWORKS, *MODELS])
def test_kernels_are_as_good_as_the_baseline(name, tmp_path):
    if name not in SAMPLE and not os.environ.get("TGC_TEST_LONG"):
        pytest.skip("in the long run alone: TGC_TEST_LONG=1")
    if not TOOL.exists() or not (Path(adreno_code.ROOT) / "opt" / "ir3driver").exists():
        pytest.skip("Mesa's offline compiler for the Adreno is not set up")
    folder = compiled(name, tmp_path)
    if folder is None:
        pytest.skip(f"the file of {name} is not there")
    expected, found = json.loads(BASELINE.read_text())[name], statistics(folder)
    assert list(found) == list(expected), "other kernels than in the baseline: write it anew"
    for kernel in found:
        now, before = (dict(zip(KEPT, rows[kernel], strict=True)) for rows in (found, expected))
        assert now["spills"] == 0, f"{kernel} spills"
        assert now["instr"] <= SLACK * before["instr"], f"{kernel} has more instructions"
        assert now["waves"] * now["width"] >= before["waves"] * before["width"], f"{kernel} has fewer waves"


def main(names: list[str]) -> None:
    """Measures and writes, after each network or model."""
    rows = json.loads(BASELINE.read_text())
    for name in names or [*NETWORKS, *MODELS]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = compiled(name, Path(scratch) / "out")
            if folder:
                rows[name] = statistics(folder)
                save(rows)
                print(f"{name}: {len(rows[name])} kernels", flush=True)


def save(rows: dict[str, Rows]) -> None:
    """A line a kernel."""
    networks = ",\n".join(
        f"{json.dumps(name)}: {{\n" + ",\n".join(f" {json.dumps(kernel)}: {json.dumps(row)}" for kernel, row in rows[name].items()) + "}"
        for name in (*NETWORKS, *MODELS)
        if name in rows
    )
    BASELINE.write_text(f"{{\n{networks}}}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
