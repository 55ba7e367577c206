"""The pipeline from Python: compile, write, load, run; names, options and faults."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import tgc
from tgc import driver
from tgc.errors import OptionError

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
small (float[N, 8] x, float[8, 4] w) => (float[N, 4] y, float[N, 8] z) { p = MatMul(x, w)  y = Relu(p)  z = Add(x, x) }
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(MODEL)


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_compile_write_load_run(model: onnx.ModelProto, target: str, tmp_path: Path) -> None:
    artifact = tgc.compile(model, target=target, output=tmp_path / "out", dims={"N": 3})
    assert artifact.name == "small"
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(artifact.files)
    x, w = np.random.default_rng(0).standard_normal((2, 8, 8), np.float32)
    results = tgc.load(tmp_path / "out").run({"x": x[:3], "w": w[:, :4].copy()})
    np.testing.assert_allclose(results["y"], np.maximum(x[:3] @ w[:, :4], 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(results["z"], 2 * x[:3])


def test_shapes_pin_like_dims(model: onnx.ModelProto) -> None:
    assert tgc.compile(model, "c", shapes={"x": [3, 8]}).files == tgc.compile(model, "c", dims={"N": 3}).files


def test_steps_are_watched_and_timed(model: onnx.ModelProto) -> None:
    seen: list[str] = []
    artifact = tgc.compile(model, "c", dims={"N": 1}, watch=seen.append)
    assert seen == [step for step, _ in artifact.seconds] == ["import", "passes", "emit"]


@pytest.mark.parametrize(
    ("path", "name"), [("a/b-c.v2.onnx", "b_c_v2"), ("nets/mnist/model.onnx", "mnist"), ("7seg.onnx", "model_7seg"), ("é.onnx", "model")]
)
def test_names_come_from_files(path: str, name: str, model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, tmp_path / path)
    assert driver.import_graph(tmp_path / path, {"N": 1}, {}).name == name


@pytest.mark.parametrize("options", [{"name": "1st"}, {"name": "a-b"}, {"weights": "cloud"}, {"target": "abacus"}])
def test_bad_options_are_told(model: onnx.ModelProto, options: dict[str, str]) -> None:
    with pytest.raises(OptionError) as caught:
        tgc.compile(model, dims={"N": 1}, **options)
    assert caught.value.hint


def test_output_folder_that_is_a_file(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OptionError, match="the output folder is a file"):
        tgc.compile(model, "c", tmp_path / "out", dims={"N": 1})
    assert (tmp_path / "out").read_text() == "mine"


def test_writing_keeps_what_else_is_there(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    artifact = tgc.compile(model, "c", tmp_path, dims={"N": 1})
    artifact.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", *artifact.files}


def test_writing_replaces_an_earlier_artifact(model: onnx.ModelProto, tmp_path: Path) -> None:
    tgc.compile(model, "c", tmp_path, dims={"N": 1}, name="first")
    second = tgc.compile(model, "c", tmp_path, dims={"N": 1}, name="second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == second.files


def test_writing_spares_files_that_are_not_its_own(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"holds CMakeLists[.]txt, which tgc did not make"):
        tgc.compile(model, "c", tmp_path, dims={"N": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["CMakeLists.txt"]


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: both fail a write half-way."""
    program = f"""
import resource, sys, tgc, onnx.parser
from tgc.errors import OptionError
artifact = tgc.compile(onnx.parser.parse_model('''{MODEL}'''), "c", dims={{"N": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    artifact.write(sys.argv[1])
except OptionError as error:
    print(error)
"""
    assert resource.RLIMIT_FSIZE
    goal = tmp_path / "new" / "out"
    done = subprocess.run([sys.executable, "-c", program, str(goal)], capture_output=True, text=True, check=True)
    assert "cannot write the artifact: File too large" in done.stdout
    assert not list(tmp_path.iterdir())
