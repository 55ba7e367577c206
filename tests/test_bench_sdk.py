"""tgc bench beside SNPE, QNN and ONNX Runtime's QNN provider: fake tools that speak the real formats, a device over ssh and adb."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_sdk
import onnx
import pytest
from test_reproducible import convolutions

from tgc import cli
from tgc.bench import sdk
from tgc.errors import OptionError, ToolchainError
from tgc.run import device

pytest.importorskip("onnxruntime")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SNPE_ROOT", "QNN_SDK_ROOT"):
        monkeypatch.setenv(name, str(tmp_path / "sdk"))
    return fake_sdk.install(tmp_path / "sdk")


def measured(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert cli.invoke(["bench", *map(str, arguments), "--seconds", "0.01", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("engine", ["snpe", "qnn-htp"])
def test_an_sdk(engine: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(capsys, model, "--against", engine)
    assert not report["failures"]
    _, theirs = report["measurements"]
    assert theirs["engine"] == engine
    assert theirs["version"] == "2.39.0.1"
    assert theirs["error"] < 1e-4
    assert theirs["startup"] == pytest.approx(0.048856 + (0.00033 if engine == "qnn-htp" else 0))
    assert theirs["latency"]["runs"] >= 5
    assert 0 < theirs["latency"]["median"] < 1
    assert 1e6 < theirs["memory"] < 1e10


@pytest.mark.usefixtures("root")
def test_what_an_sdk_refuses(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused = model.rename(model.with_name("refused.onnx"))
    reasons = dict(measured(capsys, refused, "--against", "snpe,qnn")["failures"])
    assert "no translation for op type Foo" in reasons["snpe"]
    assert "qnn-onnx-converter failed" in reasons["qnn"]
    (reason,) = measured(capsys, refused.rename(model), "--against", "snpe-gpu")["failures"]
    assert "Target runtime is not available" in reason[1]
    monkeypatch.delenv("SNPE_ROOT")
    (reason,) = measured(capsys, model, "--against", "snpe")["failures"]
    assert reason[1] == "snpe: neither SNPE_ROOT nor QAIRT_ROOT is set"


def test_profiles() -> None:
    found = sdk.snpe_profile(fake_sdk.DIAGVIEW.format(init=48856, run=26458))
    assert (found.start, found.run, found.version) == (pytest.approx(0.048856), pytest.approx(0.026458), "2.39.0.1")
    found = sdk.qnn_profile(fake_sdk.PROFILE_VIEWER.format(init=331, run=2952))
    assert (found.start, found.run) == (pytest.approx(0.000661), pytest.approx(0.002952))
    with pytest.raises(ToolchainError, match="Total Inference Time"):
        sdk.snpe_profile("Init: 5 us\nTotal Inference Time: 4 us")  # not under the averages
    with pytest.raises(ToolchainError, match="Execute Stats"):
        sdk.qnn_profile("Init Stats:\n NetRun: 5 us")


@pytest.mark.parametrize("text", ["phone", "ssh", "ssh:", "local:x", ""])
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(OptionError, match="is no device"):
        device.parse(text)


def test_devices() -> None:
    assert device.parse("ssh:pi@board") == device.Device("ssh", "pi@board", "/tmp")
    assert device.parse("ssh:board:/data/x") == device.Device("ssh", "board", "/data/x")
    assert device.parse("adb") == device.Device("adb", "", "/data/local/tmp")
    assert device.parse("adb:10.0.0.2:5555") == device.Device("adb", "10.0.0.2:5555", "/data/local/tmp")


ADB = """#!{python}
import os, shutil, subprocess, sys
at = {folder!r}
arguments = sys.argv[1:]
if arguments[:1] == ["-s"]:
    if arguments[1] != "emulator-5554":
        sys.exit("adb: device '%s' not found" % arguments[1])
    arguments = arguments[2:]
verb, rest = arguments[0], arguments[1:]
if verb == "shell":
    line = rest[0].replace("/data/local/tmp", at)
    done = subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    sys.stdout.write(done.stdout.replace(at, "/data/local/tmp"))
    sys.exit(done.stderr or done.returncode)
source, target = (path.replace("/data/local/tmp", at) for path in rest)
(shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target)
"""


@pytest.mark.usefixtures("root")
def test_over_a_fake_adb(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    phone = tmp_path / "phone"
    phone.mkdir()
    adb = tmp_path / "adb"
    adb.write_text(ADB.format(python=sys.executable, folder=str(phone)))
    adb.chmod(0o755)
    monkeypatch.setenv("TGC_ADB", str(adb))
    monkeypatch.setenv("TGC_SDK_PLATFORM", fake_sdk.PLATFORM)
    report = measured(capsys, model, "--target", "c", "--against", "qnn", "--device", "adb:emulator-5554")
    assert not report["failures"]
    assert report["measurements"][0]["note"] == "on adb:emulator-5554, one thread"
    assert report["measurements"][1]["note"] == "on adb:emulator-5554"
    assert report["measurements"][1]["error"] < 1e-4
    assert not list(phone.iterdir())
    assert cli.invoke(["bench", str(model), "--target", "c", "--device", "adb:other"]) == 1
    assert "device 'other' not found" in capsys.readouterr().err
    assert cli.invoke(["bench", str(model), "--device", "adb"]) == 1
    assert "is the processor of this machine" in capsys.readouterr().err


EMULATED = """#!/bin/sh
case "$*" in
  *"./bench_main "*) exec {python} {adb} "$1" "$(echo "$2" | sed 's|./bench_main |{qemu} ./bench_main |')" ;;
esac
exec {python} {adb} "$@"
"""


@pytest.mark.usefixtures("root")
def test_an_arm_program(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-compiled here, run on a phone that is an emulator, and compared with ONNX Runtime behind the SDK's programs."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if not qemu or not shutil.which("aarch64-linux-gnu-gcc"):
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    (tmp_path / "phone").mkdir()
    (tmp_path / "adb.py").write_text(ADB.format(python=sys.executable, folder=str(tmp_path / "phone")))
    (tmp_path / "adb").write_text(EMULATED.format(python=sys.executable, adb=tmp_path / "adb.py", qemu=qemu))
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("TGC_ADB", str(tmp_path / "adb"))
    monkeypatch.setenv("TGC_DEVICE_CC", "aarch64-linux-gnu-gcc -static")
    monkeypatch.setenv("TGC_SDK_PLATFORM", fake_sdk.PLATFORM)
    report = measured(capsys, model, "--target", "cortex-a75", "--device", "adb", "--against", "onnxruntime,qnn")
    assert report["failures"] == [["onnxruntime", "runs here only, not on adb"]]
    row, other = report["measurements"]
    assert other["error"] < 1e-4
    assert row["note"] == "on adb, one thread"
    assert row["latency"]["runs"] >= 5
    assert row["first"] > 0


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder with a short name, as sockets need."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@pytest.fixture
def board(tmp_path: Path, sockets: str) -> Iterator[str]:
    """A server of ssh of our own on this machine; its command line for a client. Skips where there is none."""
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if not (server and shutil.which("ssh") and shutil.which("ssh-keygen")):
        pytest.skip("there is no sshd here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "key.pub").rename(tmp_path / "authorized")
    settings = {"Port": port, "ListenAddress": "127.0.0.1", "HostKey": tmp_path / "host", "AuthorizedKeysFile": tmp_path / "authorized",
                "PidFile": "none", "StrictModes": "no", "UsePAM": "no"}  # fmt: skip
    (tmp_path / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = ["ssh", "-F", "none", "-p", str(port), "-i", str(tmp_path / "key"), "-o", "StrictHostKeyChecking=no",
               "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-o", "ControlMaster=auto",
               "-o", f"ControlPath={sockets}/%C", "-o", "ControlPersist=20"]  # fmt: skip
    with subprocess.Popen([server, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL) as process:
        try:
            _wait([*command, "-o", "BatchMode=yes", f"{getpass.getuser()}@127.0.0.1", "true"], process)
            yield " ".join(command)
        finally:
            process.terminate()


def _wait(command: list[str], server: subprocess.Popen[bytes]) -> None:
    for _ in range(20):
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    pytest.skip("sshd does not start here")


@pytest.mark.usefixtures("root")
def test_over_ssh(board: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_SSH", board)
    monkeypatch.setenv("TGC_SDK_PLATFORM", fake_sdk.PLATFORM)
    folder = tmp_path / "there"
    folder.mkdir()
    where = f"ssh:{getpass.getuser()}@127.0.0.1:{folder}"
    report = measured(capsys, model, "--target", "c", "--against", "snpe", "--device", where)
    assert not report["failures"]
    assert report["measurements"][0]["note"].startswith("on ssh:")
    assert report["measurements"][1]["note"].startswith("on ssh:")
    assert report["measurements"][1]["error"] < 1e-4
    assert not list(folder.iterdir())
    with pytest.raises(ToolchainError, match="No such file"):
        device.shell(device.parse(where), "cat /no/such/file")


def test_the_qnn_provider(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = os.environ.get("TGC_QNN_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import onnxruntime_qnn"], check=False, capture_output=True).returncode:
        pytest.skip("onnxruntime-qnn is not installed; TGC_QNN_PYTHON names an interpreter that has it")
    report = measured(capsys, model, "--against", "onnxruntime-qnn", "--python", python)
    assert not report["failures"]
    assert report["measurements"][1]["error"] < 1e-2  # half precision on a device
    assert report["measurements"][1]["note"] in ("emulated", "")
