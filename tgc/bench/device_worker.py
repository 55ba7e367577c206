"""tgc's own artifact on a device, with the lines on standard input and output that worker.py describes.

    python -m tgc.bench.device_worker tgc SPECIFICATION.json

More in SPECIFICATION: device (as `--device` names it); its folder is the artifact's. Each turn is one call of the program, whose first
run warms up and does not count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tgc
from tgc.bench.worker import answer
from tgc.errors import TgcError
from tgc.run import device as devices
from tgc.run.remote import Program, outputs, prepare, send_inputs, turn


def serve(program: Program, job: dict[str, Any]) -> None:
    """Runs until standard input ends."""
    prepare(program)
    send_inputs(program, dict(np.load(job["inputs"])))
    start, (first,), memory = turn(program, 1)
    np.savez(job["results"], *outputs(program).values())
    answer(ready=tgc.__version__, startup=start, first=first, memory=memory or None, note=f"on {program.device.text}, one thread")
    for line in sys.stdin:
        answer(seconds=turn(program, int(line) + 1)[1][1:])


def on_device(job: dict[str, Any], work: Callable[[devices.Device, str], None]) -> None:
    """`work` for the device that `job` names and a new folder on it, taken away afterwards. What goes wrong is answered as a failure."""
    try:
        device = devices.parse(job["device"])
        there = devices.new_folder(device)
        try:
            work(device, there)
        finally:
            devices.remove(device, there)
    except TgcError as error:
        answer(failure=" ".join(error.text().split())[:300])
    except Exception as error:
        answer(failure=f"{type(error).__name__}: {error}"[:300])


def main() -> None:
    job = json.loads(Path(sys.argv[2]).read_text())
    artifact = Path(job["folder"])
    manifest = artifact / "manifest.json"
    on_device(job, lambda device, there: serve(Program(artifact, json.loads(manifest.read_text()), device, there), job))


if __name__ == "__main__":
    main()
