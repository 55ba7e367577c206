"""An SDK's engine in a process of its own, with the lines on standard input and output that worker.py describes.

    python -m tgc.bench.sdk_worker ENGINE SPECIFICATION.json

More in SPECIFICATION: device (as `--device` names it), reference (.npz of tgc's outputs, for shapes and dtypes). A turn of N runs is one
call of the SDK's runner, whose profile tells their mean.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgc.bench import sdk as sdks
from tgc.bench.device_worker import on_device
from tgc.bench.worker import answer
from tgc.errors import ToolchainError
from tgc.run import device as devices

_AT_MOST = 100  # runs a turn: SNPE's runner leaves the results of each on the device


@dataclass(frozen=True, slots=True)
class Session:
    """A model on a device. here: a folder for what comes back; there: the device's folder. model: its file there."""

    sdk: sdks.Sdk
    device: devices.Device
    here: Path
    there: str
    model: str
    inputs: dict[str, Any]


def prepare(sdk: sdks.Sdk, device: devices.Device, job: dict[str, Any], there: str) -> Session:
    """Converts the model and sends it with all that it needs."""
    here = Path(job["folder"])
    inputs = dict(np.load(job["inputs"]))
    model = sdks.convert(sdk, Path(job["model"]), inputs, here)
    files = {**sdks.programs(sdk), model.name: model}
    for number, value in enumerate(inputs.values()):
        name = f"input_{number}.raw"
        value.astype(np.float32).tofile(here / name)  # what the runners read unless told otherwise
        files[name] = here / name
    devices.push(device, files, there)
    return Session(sdk, device, here, there, model.name, inputs)


def turn(session: Session, count: int) -> tuple[sdks.Profile, int]:
    """`count` runs: their profile, and the bytes that the runner held at most."""
    sdk, device = session.sdk, session.device
    _send_list(session, count)
    try:
        printed = devices.shell(device, f"cd {session.there} && {sdks.command(sdk, session.model, count)}")
    except ToolchainError as error:
        said = devices.last_line(devices.shell(device, f"cat {session.there}/log.txt 2>/dev/null; true"))
        raise ToolchainError(f"{sdk.family}-net-run failed: {said or error.what}", device.text) from error
    (session.here / "out").mkdir(exist_ok=True)
    log = next((word for word in printed.decode().split() if re.fullmatch(sdks.LOG, word)), None)
    if log is None:
        raise ToolchainError(f"{sdk.family}-net-run left no profile", device.text)
    devices.pull(device, session.there, [f"out/{log}"], session.here)
    memory = max((int(value) << 10 for value in re.findall(rb"VmHWM:\s*(\d+)", printed)), default=0)
    return sdks.profile(sdk, session.here, f"out/{log}"), memory


def _send_list(session: Session, count: int) -> None:
    """The list of inputs, where it is another one than before."""
    path, text = session.here / "list.txt", sdks.input_list(session.sdk, session.inputs, count)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        devices.push(session.device, {path.name: path}, session.there)


def serve(session: Session, job: dict[str, Any]) -> None:
    """Runs until standard input ends."""
    first, memory = turn(session, 1)
    reference = dict(np.load(job["reference"]))
    devices.pull(session.device, session.there, ["out/Result_0"], session.here)
    shapes = {name: (value.shape, value.dtype.name) for name, value in zip(job["outputs"], reference.values(), strict=True)}
    np.savez(job["results"], *sdks.outputs(session.here / "out" / "Result_0", shapes))
    note = f"on {session.device.text}" if session.device.kind != "local" else ""
    answer(ready=first.version, startup=first.start, first=first.run, memory=memory or None, note=note)
    for line in sys.stdin:
        answer(seconds=[turn(session, min(int(line), _AT_MOST))[0].run])


def main() -> None:
    engine, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    on_device(job, lambda device, there: serve(prepare(sdks.find(engine, device.kind), device, job, there), job))


if __name__ == "__main__":
    main()
