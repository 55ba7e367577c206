"""The store of weights by content: shared by artifacts, checked whenever it is read, whole whatever happens."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_reproducible import convolutions

import tgc
from tgc import cli, driver
from tgc.errors import ModelError, OptionError
from tgc.store import Store

DATA = bytes(range(256)) * 64


def run(*arguments: object) -> int:
    return cli.invoke([str(argument) for argument in arguments])


def flip(path: Path) -> None:
    """One bit of a file, in its middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TGC_STORE", str(tmp_path / "store"))
    driver.compile(convolutions(), "cpu", tmp_path / "one")
    return tmp_path / "one"


def test_artifacts_share_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_STORE", str(tmp_path / "store"))
    for name in ("one", "two"):
        driver.compile(convolutions(), "cpu", tmp_path / name)
    x = {"x": np.ones((1, 3, 16, 16), np.float32)}
    expected = tgc.load(tmp_path / "one").run(x)["y"]
    assert run("store", "put", tmp_path / "one", tmp_path / "two") == 0
    assert not list(tmp_path.glob("*/*.weights"))
    (entry,) = Store(tmp_path / "store").entries()
    np.testing.assert_array_equal(tgc.load(tmp_path / "two").run(x)["y"], expected)
    assert run("store", "fetch", tmp_path / "one") == 0
    assert run("store", "gc") == 0
    assert entry.exists()
    for name in ("one", "two"):
        (tmp_path / name / "manifest.json").unlink()
    assert run("store", "gc") == 0
    assert not entry.exists()


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_damage_is_seen_and_repaired_from_the_remote(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fsspec")
    remote = Store(tmp_path / "local", f"file://{tmp_path / 'remote'}")
    digest = remote.put(DATA)
    remote.push(digest)
    entry = remote.path(digest)
    entry.write_bytes(DATA[:-1] if damage == "truncated" else DATA[:100] + bytes([DATA[100] ^ 1]) + DATA[101:])
    with pytest.raises(ModelError, match="is damaged"):
        Store(remote.folder).get(digest)
    assert run("store", "check", "--store", remote.folder) == 1
    assert digest in capsys.readouterr().out
    assert remote.get(digest).read_bytes() == DATA
    assert run("store", "check", "--store", remote.folder) == 0
    entry.write_bytes(b"")
    assert Store(remote.folder).put(DATA) == digest  # a writer repairs it too
    assert entry.read_bytes() == DATA


def write_often(folder: Path) -> None:
    for _ in range(20):
        Store(folder).put(DATA)


def test_two_writers_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(tmp_path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    (entry,) = Store(tmp_path).entries()
    assert entry.read_bytes() == DATA
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    small = Store(tmp_path).put(b"small")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # writing more fails as it does on a full disk
    try:
        with pytest.raises(OptionError, match="nothing in the store has changed"):
            Store(tmp_path).put(DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Store(tmp_path).get(small).read_bytes() == b"small"
    assert [path.name for path in Store(tmp_path).entries()] == [small]
    assert not list(tmp_path.rglob(".new-*"))


SCRIPT = """
mount -t tmpfs -o size=64k none "$1" && exec "$2" -c '
import sys
from pathlib import Path
from tgc.errors import OptionError
from tgc.store import Store
store = Store(Path(sys.argv[1]))
small = store.put(b"small")
try:
    store.put(bytes(1 << 20))
except OptionError as error:
    print(error)
assert [path.name for path in store.entries()] == [small] and store.get(small).read_bytes() == b"small"
assert not list(Path(sys.argv[1]).rglob(".new-*"))
' "$1"
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare of util-linux, and user namespaces")
    command = [*alone, "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(tgc.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout
    assert "nothing in the store has changed" in done.stdout


def test_a_flipped_bit_is_seen_wherever_the_weights_lie(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights,) = artifact.glob("*.weights")
    whole = weights.read_bytes()
    flip(weights)
    with pytest.raises(ModelError, match="is not the file that was compiled"):
        tgc.load(artifact)
    assert run("store", "put", artifact) == 1
    assert "is not the file that was compiled" in capsys.readouterr().err
    weights.write_bytes(whole)
    assert run("store", "put", artifact) == 0
    (entry,) = Store(artifact.parent / "store").entries()
    flip(entry)
    with pytest.raises(ModelError, match="is damaged"):
        tgc.load(artifact)
    assert run("store", "fetch", artifact) == 1
    assert not weights.exists()


def test_weights_are_fetched_from_the_remote_on_load(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    x = {"x": np.ones((1, 3, 16, 16), np.float32)}
    expected = tgc.load(artifact).run(x)["y"]
    monkeypatch.setenv("TGC_STORE_REMOTE", f"memory://{artifact.name}/weights")
    assert run("store", "put", artifact) == 0
    shutil.rmtree(artifact.parent / "store")  # as on another machine
    np.testing.assert_array_equal(tgc.load(artifact).run(x)["y"], expected)
    assert len(list(Store(artifact.parent / "store").entries())) == 1


def test_the_remote_holds_whole_entries(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    store = Store(tmp_path / "local", f"file://{tmp_path / 'remote'}")
    digest = store.put(DATA)
    there = tmp_path / "remote" / digest[:2] / digest
    there.parent.mkdir(parents=True)
    there.write_bytes(DATA[:100])  # what a writer left that was not careful
    store.push(digest)
    assert there.read_bytes() == DATA
    assert [path.name for path in there.parent.iterdir()] == [digest]
    flip(there)
    store.path(digest).unlink()
    with pytest.raises(ModelError, match="the remote's copy is damaged too"):
        store.get(digest)
    assert not store.path(digest).exists()


def test_collecting_removes_nothing_where_a_note_is_damaged(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(artifact.parent / "store")
    assert run("store", "put", artifact) == 0
    (note,) = (store.folder / "roots").iterdir()
    note.write_bytes(note.read_bytes()[:20])
    assert run("store", "gc") == 1
    assert "nothing was removed" in capsys.readouterr().err
    assert len(list(store.entries())) == 1
