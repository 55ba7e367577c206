"""What is shipped: the wheel, installed into an environment of its own, compiles and runs a model where there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import onnx
import onnx.parser
import pytest

import tgc

ROOT = Path(__file__).resolve().parent.parent
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
small (float[2, 8] x) => (float[2, 8] y) { p = Softmax(x)  y = Add(p, x) }
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot build here: {done.stderr.strip().splitlines()[-1]}")
    return next(folder.glob("*.whl"))


def test_wheel_holds_the_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"tgc/templates/{path.relative_to(ROOT / 'templates')}" for path in (ROOT / "templates").rglob("*") if path.is_file()} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "examples/"))]


@pytest.mark.skipif(not os.environ.get("TGC_TEST_WHEEL"), reason="installs packages; set TGC_TEST_WHEEL=1, as .ci/run does")
def test_wheel_compiles_and_runs_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "small.onnx")
    clean = {"PATH": str(python.parent), "HOME": str(tmp_path)}
    for command in (["compile", "small.onnx", "-o", "out"], ["run", "out"], ["compile", "small.onnx", "--target", "c", "-o", "source"],
                    ["verify", "small.onnx", "--against", "reference"]):  # fmt: skip
        subprocess.run([python.parent / "tgc", *command], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True)
    ours = tgc.compile(tmp_path / "small.onnx", "c")  # by another Python environment
    assert (tmp_path / "source" / "manifest.json").read_bytes() == ours.files["manifest.json"]
