"""Job files, content hashes, and the store of weights: the same everywhere, and every damage seen."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import onnx
import pytest
from test_reproducible import convolutions

import tgc
from tgc import cli, driver
from tgc.job import content_hash, read_job
from tgc.store import Store

DATA = bytes(range(256)) * 64


def run(*arguments: object) -> int:
    return cli.invoke([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    assert run("job", tmp_path / "net.onnx", "--target", "x86-64-v3", "--winograd", "2", "-o", tmp_path / "job.toml") == 0
    return tmp_path


def test_a_job_makes_its_artifact(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tomllib.loads((folder / "job.toml").read_text())
    assert job["model"] == "net.onnx"
    assert (folder / "job.toml").stat().st_size < 1000
    assert job["artifact"] == content_hash(driver.compile(folder / "net.onnx", "x86-64-v3", winograd="2"))
    assert run("build", folder / "job.toml", "-o", folder / "out") == 0
    assert job["artifact"] in capsys.readouterr().out
    assert run("build", folder / "job.toml", "--check") == 0


def test_two_users_folders_and_seeds(folder: Path, tmp_path: Path) -> None:
    hashes = set()
    for number in (1, 2):
        home = tmp_path / ("home" * number)
        home.mkdir()
        for name in ("net.onnx", "job.toml"):
            (home / name).write_bytes((folder / name).read_bytes())
        clean = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": f"user{number}", "PYTHONHASHSEED": str(number),
                 "PYTHONPATH": str(Path(tgc.__file__).parent.parent), "LANG": "C", "TZ": f"UTC+{number}"}  # fmt: skip
        command = [sys.executable, "-m", "tgc", "build", "job.toml"]
        hashes.add(subprocess.run(command, cwd=home, env=clean, check=True, capture_output=True, text=True).stdout.split()[0])
    assert len(hashes) == 1


def test_what_does_not_fit_the_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "job.toml").read_text()
    wrong = {
        "the artifact's hash is": text.replace('artifact = "', 'artifact = "0'),
        "the job is for tgc": text.replace(f'tgc = "{tgc.__version__}"', 'tgc = "0.0.1"'),
        "does not know 'colour'": text + "\n[colour]\n",
        "is no job file": text + "=",
        "lacks 'target'": text.replace("target =", "# target ="),
    }
    for message, changed in wrong.items():
        (folder / "job.toml").write_text(changed)
        assert run("build", folder / "job.toml", "-o", folder / "out") == 1
        assert message in capsys.readouterr().err
        assert not (folder / "out").exists()
    (folder / "job.toml").write_text(text)
    (folder / "net.onnx").write_bytes((folder / "net.onnx").read_bytes() + b"\0")
    assert run("build", folder / "job.toml") == 1
    assert "is not the file that the job was made for" in capsys.readouterr().err
    assert run("job", folder / "net.onnx", "-o", folder / "other.toml") == 1
    assert "the machine that compiles" in capsys.readouterr().err


def test_the_model_may_be_in_the_store(folder: Path) -> None:
    store = Store(folder / "store")
    store.put((folder / "net.onnx").read_bytes())
    (folder / "net.onnx").unlink()
    assert run("build", folder / "job.toml", "-o", folder / "out", "--store", folder / "store") == 0
    assert read_job(folder / "job.toml").options["winograd"] == "2"


@pytest.mark.parametrize(
    ("command", "earlier"),
    [(["job", "net.onnx", "--target", "x86-64-v3", "-o", "job.toml"], "job.toml"),
     (["inspect", "net.onnx", "--html", "page.html"], "page.html"),
     (["compile", "net.onnx", "--target", "c", "-o", "out"], None), (["compile", "net.onnx", "--dump-ir", "stages"], None)],
)  # fmt: skip
def test_commands_on_a_full_disk(command: list[str], earlier: str | None, tmp_path: Path) -> None:
    """Exit status 1 with a reason; what was there is still there, and nothing else is."""
    onnx.save(convolutions(), tmp_path / "net.onnx")
    if earlier:
        (tmp_path / earlier).write_text("as it was")
    before = sorted(tmp_path.rglob("*"))
    limit = "import resource, sys; from tgc import cli; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
    line = [sys.executable, "-c", limit + "sys.exit(cli.invoke(sys.argv[1:]))", *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(tgc.__file__).parent.parent)}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "stages"] == before
    assert earlier is None or (tmp_path / earlier).read_text() == "as it was"
