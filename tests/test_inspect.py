"""tgc inspect: what each operator became, work, memory, weights, places in the code, and the page."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from test_reproducible import convolutions

from tgc import cli, driver
from tgc.ir.dtypes import F32
from tgc.ir.expr import Buffer, Load, Var
from tgc.ir.kernel import For, Kernel, Parameter, Store
from tgc.ir.ops import ADD, MUL
from tgc.ir.work import Work, work_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspect") / "net.onnx"
    onnx.save(convolutions(), path)
    return path


def inspected(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert cli.invoke(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_work_counts_arithmetic_and_distinct_bytes() -> None:
    from tgc.ir.expr import apply

    a, out, i, k = Buffer("a", F32, 8), Buffer("out", F32, 4), Var("i"), Var("k")
    value = apply(ADD, Load(out, i), apply(MUL, Load(a, k), Load(a, k)))
    kernel = Kernel("k", (Parameter(a, "read"), Parameter(out, "readwrite")), For(i, 4, For(k, 8, Store(out, i, value))))
    assert work_of(kernel) == Work(flop=64, integer=0, read=32 + 16, written=16)


def test_every_node_and_its_kernels(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = inspected(capsys, model, "--target", "c")
    operators = {row["operator"]: row["kernels"] for row in report["operators"]}
    assert len(report["operators"]) == 7
    assert operators["Gemm"]
    assert not operators["Flatten"]
    assert {name for row in report["operators"] for name in row["kernels"]} <= {kernel["name"] for kernel in report["kernels"]}
    products = 2 * (8 * 16 * 16 * 27 + 8 * 16 * 16 * 72 + 80)
    assert sum(kernel["flop"] for kernel in report["kernels"]) > products / 3  # Winograd may save some of them
    assert report["predicted"] > 0
    assert report["measured"] is None


def test_places_are_lines_of_the_files(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target, file in (("c", "net.c"), ("opencl", "net.cl")):
        lines = driver.compile(model, target).files[file].decode().splitlines()
        for kernel in inspected(capsys, model, "--target", target)["kernels"]:
            place = kernel["place"]
            assert place["file"] == file
            assert kernel["name"] in "\n".join(lines[place["line"] - 1 : place["line"] + 2])
            assert place["text"].splitlines()[-1] == "}"
    assert all(kernel["place"]["text"].startswith("kernel") for kernel in inspected(capsys, model)["kernels"])


def test_memory_that_is_needed_at_once_does_not_overlap(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = inspected(capsys, model)
    arena = [row for row in report["memory"] if row["role"] == "arena"]
    for a in arena:
        for b in arena:
            together = a["name"] < b["name"] and a["first"] <= b["last"] and b["first"] <= a["last"]
            assert not together or a["offset"] + a["bytes"] <= b["offset"] or b["offset"] + b["bytes"] <= a["offset"]
    assert max(row["offset"] + row["bytes"] for row in arena) <= report["arena_bytes"]


def test_an_artifact_tells_the_same(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = driver.compile(model, "c", tmp_path / "out")
    report, whole = inspected(capsys, tmp_path / "out"), inspected(capsys, model, "--target", "c")
    for part in ("kernels", "steps", "memory", "weights"):
        assert report[part] == whole[part]
    for row in report["weights"]:
        content = np.asarray(artifact.program.weights[row["offset"] : row["offset"] + row["bytes"]])
        assert row["sha256"] == hashlib.sha256(content.tobytes()).hexdigest()


def test_measured_and_given_roof(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = inspected(capsys, model, "--measure", "--peak", "10", "--bandwidth", "2")
    assert report["roof"]["flops"] == 10e9
    assert report["measured"] == pytest.approx(sum(k["measured"] * k["calls"] for k in report["kernels"]))


def test_tables_for_people(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["inspect", str(model), "--target", "c"]) == 0
    text = capsys.readouterr().out
    assert "assumed" in text
    assert "net.c:" in text
    assert "no kernel" in text


def test_what_cannot_be_done(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver.compile(model, "cpu", tmp_path / "out")
    assert cli.invoke(["inspect", str(tmp_path / "out"), "--measure"]) == 1
    assert cli.invoke(["inspect", str(tmp_path / "out"), "--launches"]) == 1
    assert cli.invoke(["inspect", str(tmp_path)]) == 1
    assert cli.invoke(["inspect", str(model), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_page_stands_alone(model: Path, tmp_path: Path) -> None:
    assert cli.invoke(["inspect", str(model), "--target", "c", "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert not [line for line in text.replace("http://www.w3.org/2000/svg", "").splitlines() if "http" in line or "src=" in line]


def edges(steps: list[dict[str, list[str]]]) -> set[tuple[int, int]]:
    """From each step that wrote a part of what another reads, to that."""
    found, writers, read = set(), dict[str, list[int]](), set[str]()
    for number, step in enumerate(steps):
        found |= {(writer, number) for name in step["reads"] for writer in writers.get(name, [])}
        read.update(step["reads"])
        for name in step["writes"]:
            writers[name] = [number] if name in read else [*writers.get(name, []), number]
            read.discard(name)
    return found


def test_the_page_in_a_browser(model: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    assert cli.invoke(["inspect", str(model), "--target", "c", "--html", str(tmp_path / "page.html")]) == 0
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    page = subprocess.run([*command, f"file://{tmp_path}/page.html"], capture_output=True, text=True, check=True, timeout=120).stdout
    assert 'data-ready="yes"' in page
    body = page[page.index("</script>", page.index('id="data"')) :] + page[: page.index('id="data"')]
    for part in ("timeline", "roofline", "memory", "graph"):
        assert f'<div id="{part}"><svg' in body.replace("&quot;", '"')
    assert "net.c:" in body
    steps = json.loads(driver.compile(model, "c").files["manifest.json"])["steps"]
    assert body.count('stroke="#9fb0c0"') == len(edges(steps)) > len(steps) - 2
