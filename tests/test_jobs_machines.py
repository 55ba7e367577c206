"""One job on two machines as different as one machine can make them: the same hash, the same bytes.

Each is a root file system of its own with tgc and what it imports at other places, another user, host name, hash seed, time zone
and locale, no network, no home and no /proc.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from test_reproducible import convolutions

import tgc
from tgc import cli

BUILT = Path(tgc.__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Machine:
    """source, packages: where tgc and what it imports lie. folder: where the job does."""

    user: int
    host: str
    source: str
    packages: str
    folder: str
    seed: str
    zone: str
    language: str


MACHINES = (
    Machine(4711, "one", "/opt/tgc", "/opt/packages", "/home/ann/work", "1", "UTC+11", "C"),
    Machine(1234, "two", "/srv/compilers/tgc-source", "/usr-local/python", "/data", "2", "UTC-9", "C.UTF-8"),
)


def namespaces() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "--uts", "--net", "unshare", "--user", "--map-user=1", "--root=/", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False, capture_output=True).returncode == 0


def folders_of_packages() -> list[str]:
    """Where the packages lie that tgc imports, in the order in which they are looked for."""
    found = [importlib.util.find_spec(name) for name in ("numpy", "onnx", "llvmlite", "google.protobuf", "click")]
    origins = {Path(each.origin).resolve() for each in found if each is not None and each.origin}
    there = [Path(folder).resolve() for folder in sys.path if folder]
    return [str(folder) for folder in there if folder != BUILT and any(origin.is_relative_to(folder) for origin in origins)]


def needed_folders() -> list[Path]:
    """What Python needs from this machine, at its place."""
    system = [Path("/usr"), Path("/bin"), Path("/lib"), Path("/lib64")]
    base = Path(sys.base_prefix).resolve()
    return [folder for folder in system if folder.exists()] + ([] if base.is_relative_to("/usr") else [base])


def built(machine: Machine, root: Path, files: Sequence[Path], command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`command` of tgc on `machine`, whose root is made in the folder `root` and has `files` in the job's folder."""
    at = {name: root / getattr(machine, name).lstrip("/") for name in ("source", "packages", "folder")}
    for place in at.values():
        place.mkdir(parents=True)
    for package in ("tgc", "templates"):
        shutil.copytree(BUILT / package, at["source"] / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in files:
        shutil.copy(file, at["folder"])
    mounts, paths = [], [machine.source]
    for number, packages in enumerate(folders_of_packages()):
        (at["packages"] / str(number)).mkdir()
        mounts.append(f"mount --bind {packages} {at['packages']}/{number}")
        paths.append(f"{machine.packages}/{number}")
    for folder in needed_folders():
        inside = root / str(folder).lstrip("/")
        if folder.is_symlink():
            inside.symlink_to(folder.readlink())
        else:
            inside.mkdir(parents=True)
            mounts.append(f"mount --rbind {folder} {inside}")
    (root / "dev").mkdir()
    (root / "dev" / "null").touch()
    (root / "tmp").mkdir()
    mounts += [f"mount --bind /dev/null {root}/dev/null", f"hostname {machine.host}"]
    python = Path(sys.executable).resolve()
    environment = {"PYTHONPATH": ":".join(paths), "PYTHONHASHSEED": machine.seed, "PYTHONDONTWRITEBYTECODE": "1",
                   "TZ": machine.zone, "LC_ALL": machine.language, "HOME": "/nowhere", "PATH": "/usr/bin:/bin"}  # fmt: skip
    other = ["unshare", "--user", f"--map-user={machine.user}", f"--map-group={machine.user}", f"--root={root}", f"--wd={machine.folder}"]
    line = [*other, "env", "-i", *(f"{k}={v}" for k, v in environment.items()), str(python), "-m", "tgc", *command]
    script = " && ".join([*mounts, 'exec "$@"'])
    outer = ["unshare", "--user", "--map-root-user", "--mount", "--uts", "--net", "sh", "-c", script, "sh", *line]
    return subprocess.run(outer, check=False, capture_output=True, text=True)


@pytest.mark.skipif(not namespaces(), reason="needs unshare of util-linux, and user namespaces")
@pytest.mark.parametrize("target", ["x86-64-v3", "c"])
def test_two_machines_make_the_same_artifact(target: str, tmp_path: Path) -> None:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    job, lock = tmp_path / "job.toml", tmp_path / "net.lock"
    flags = [str(tmp_path / "net.onnx"), "--target", target]
    assert cli.invoke(["tune", *flags, "--no-measure", "-o", str(lock)]) == 0
    assert cli.invoke(["job", *flags, "--lock", str(lock), "-o", str(job)]) == 0
    hashes, contents = set(), []
    for machine in MACHINES:
        root = tmp_path / machine.host
        done = built(machine, root, [tmp_path / "net.onnx", job, lock], ["build", "job.toml", "-o", "out", "--json"])
        assert done.returncode == 0, done.stderr
        hashes.add(json.loads(done.stdout)["sha256"])
        out = root / machine.folder.lstrip("/") / "out"
        contents.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(out.iterdir())})
    assert len(hashes) == 1
    assert f'artifact = "{hashes.pop()}"' in job.read_text()
    assert contents[0] == contents[1]
