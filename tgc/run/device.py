"""A machine that programs are sent to: this one, one that ssh reaches, or one that adb reaches. Push, run, pull, and nothing more.

What it runs are lines for a POSIX shell. ssh or adb has to be installed here; `TGC_SSH` and `TGC_ADB` name others, with flags.
"""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tgc.errors import OptionError, ToolchainError
from tgc.targets import Target

_PARENTS = {"local": "/tmp", "ssh": "/tmp", "adb": "/data/local/tmp"}
_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Device:
    """address: what ssh calls the host, or the serial number for adb (empty: the only one). parent: where a folder is made on it."""

    kind: Literal["local", "ssh", "adb"]
    address: str
    parent: str

    @property
    def text(self) -> str:
        """As a flag names it."""
        return ":".join(part for part in (self.kind, self.address) if part)


def parse(text: str) -> Device:
    """`local`, `ssh:HOST[:FOLDER]`, `adb[:SERIAL[:FOLDER]]`. A folder begins with a slash, so a serial may be 10.0.0.2:5555."""
    kind, _, rest = text.partition(":")
    address, slash, folder = rest.partition(":/")
    parent = "/" + folder if slash else _PARENTS.get(kind, "")
    if kind == "ssh" and address:
        return Device("ssh", address, parent)
    if kind == "adb":
        return Device("adb", address, parent)
    if text == "local":
        return Device("local", "", parent)
    raise OptionError("is no device", text, "ssh:HOST, ssh:HOST:/FOLDER, adb, adb:SERIAL, or local")


def require_sendable(target: Target, device: Device) -> None:
    """Raises OptionError where code for `target` is for this machine only, and `device` is another."""
    if device.kind != "local" and target.name == "cpu":
        raise OptionError("is the processor of this machine", "--target", "name the device's, such as cortex-a75, or take c")


def shell(device: Device, line: str, send: bytes | None = None) -> bytes:
    """What `line` prints on the device. Raises ToolchainError, with the last line it wrote, where it fails."""
    match device.kind:
        case "local":
            command = ["sh", "-c", line]
        case "ssh":
            command = [*shlex.split(os.environ.get("TGC_SSH", "ssh")), "-o", "BatchMode=yes", device.address, line]
        case "adb":
            command = [*_adb(device), "shell", line]
    return _call(command, device, send)


def new_folder(device: Device) -> str:
    """A fresh folder on the device, for `remove` to take away."""
    return shell(device, f"mktemp -d {shlex.quote(device.parent)}/tgc-XXXXXX").decode().strip()


def remove(device: Device, folder: str) -> None:
    """Takes away what `new_folder` made."""
    shell(device, f"rm -rf {shlex.quote(folder)}")


def push(device: Device, files: Mapping[str, Path], folder: str) -> None:
    """Copies files into `folder`, under the names that they are given, with their permissions."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, path in files.items():
            archive.add(path, name)
    if device.kind != "adb":
        shell(device, f"tar -x -f - -C {shlex.quote(folder)}", packed.getvalue())
        return
    with tempfile.NamedTemporaryFile(prefix="tgc-push-") as file:  # one file, for each call of adb takes a while
        file.write(packed.getvalue())
        file.flush()
        _call([*_adb(device), "push", file.name, f"{folder}/pushed.tar"], device)
    shell(device, f"cd {shlex.quote(folder)} && tar -x -f pushed.tar && rm pushed.tar")


def pull(device: Device, folder: str, names: Sequence[str], into: Path) -> None:
    """Copies files and folders `names` of `folder` to the folder `into` here."""
    if device.kind == "adb":
        for name in names:
            _call([*_adb(device), "pull", f"{folder}/{name}", str(into / name)], device)
        return
    packed = shell(device, f"tar -c -f - -C {shlex.quote(folder)} {shlex.join(names)}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(into, filter="data")


def _adb(device: Device) -> list[str]:
    return [*shlex.split(os.environ.get("TGC_ADB", "adb")), *(["-s", device.address] if device.address else [])]


def _call(command: Sequence[str], device: Device, send: bytes | None = None) -> bytes:
    given: dict[str, object] = {"input": send} if send is not None else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT, **given)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise ToolchainError(f"{command[0]} is not installed", device.text) from error
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(f"does not answer for {_TIMEOUT} seconds", device.text) from error
    if done.returncode != 0:
        raise ToolchainError(last_line(done.stderr, done.stdout) or f"exit status {done.returncode}", device.text)
    output: bytes = done.stdout
    return output


def last_line(*outputs: bytes) -> str:
    """The last line that says something, of the first output that has one."""
    lines = [[line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()] for output in outputs]
    return next((found[-1][:300] for found in lines if found), "")
