"""tgc inspect: what each operator became, work, memory, weights, places in the code, and the page."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
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
from tgc.report import report_of
from tgc.report.html import html


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


def dom(page: Path, then: str = "") -> str:
    """The page as Chromium has it once its own scripts, and `then`, have run. Skips where there is none."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    acting = page.with_name("acting.html")
    acting.write_text(page.read_text(encoding="utf-8").replace("</body>", f"<script>{then}</script></body>"), encoding="utf-8")
    profile = f"--user-data-dir={page.parent}/profile"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", profile, "--virtual-time-budget=2000", "--dump-dom"]
    return subprocess.run([*command, f"file://{acting}"], capture_output=True, text=True, check=True, timeout=120).stdout


def without_data(page: str) -> str:
    """What is to be seen, which the scripts made."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_in_a_browser(model: Path, tmp_path: Path) -> None:
    assert cli.invoke(["inspect", str(model), "--target", "c", "--html", str(tmp_path / "page.html")]) == 0
    page = dom(tmp_path / "page.html")
    assert 'data-ready="yes"' in page
    body = without_data(page)
    for part in ("timeline", "roofline", "memory", "graph"):
        assert re.search(f'<div id="{part}"[^>]*><svg', body)
    assert "net.c:" in body
    steps = json.loads(driver.compile(model, "c").files["manifest.json"])["steps"]
    assert body.count('class="edge"') == len(edges(steps)) > len(steps) - 2
    assert body.count('class="row pick"') == len(steps)


def test_search_and_code_in_a_browser(model: Path, tmp_path: Path) -> None:
    """Enter shows the first kernel whose text has the words: its ONNX nodes, and its code behind the file's own line numbers."""
    assert cli.invoke(["inspect", str(model), "--target", "c", "--html", str(tmp_path / "page.html")]) == 0
    manifest = json.loads(driver.compile(model, "c").files["manifest.json"])
    name = next(kernel["name"] for kernel in manifest["kernels"] if "Gemm_y" in kernel["nodes"])
    lines = driver.compile(model, "c").files["net.c"].decode().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.startswith(f"static void {name}("))
    enter = "dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    body = without_data(dom(tmp_path / "page.html", f"at('search').value = 'gemm_Y'; search(); at('search').{enter}"))
    assert f"1 of {len(manifest['kernels'])} kernels" in body
    assert f'<h2 id="codetitle">{name} net.c:{line}</h2>' in body
    assert re.search(f"<u>{line}</u>static void {name}", re.sub("</?mark>", "", body))
    assert f"<u>{line + 1}</u>{lines[line].replace('<', '&lt;')}" in re.sub("</?mark>", "", body)
    assert "<span>Gemm_y</span>" in body
    click = "document.querySelector('#roofline .pick').dispatchEvent(new Event('click', {bubbles: true}))"
    clicked = without_data(dom(tmp_path / "page.html", click))
    assert 'id="panel" hidden' in without_data(dom(tmp_path / "page.html"))
    assert 'id="panel" hidden' not in clicked
    assert 'class="pick chosen"' in clicked


def test_a_thousand_kernels_in_a_browser(model: Path, tmp_path: Path) -> None:
    """The page of a report with 1,500 kernels is drawn in seconds."""
    small = report_of(driver.compile(model, "c"))
    kernels = tuple(replace(kernel, name=f"{kernel.name}_{n}") for n in range(250) for kernel in small.kernels)[:1500]
    steps = tuple(replace(small.steps[n % len(small.steps)], kernel=kernel.name) for n, kernel in enumerate(kernels))
    (tmp_path / "page.html").write_bytes(html(replace(small, kernels=kernels, steps=steps)))
    page = dom(tmp_path / "page.html", "document.body.dataset.spent = performance.now()")
    assert page.count('class="row pick"') == 1500
    assert float(re.search(r'data-spent="([0-9.]+)"', page)[1]) < 30_000  # type: ignore[index]
