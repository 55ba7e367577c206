"""tgc's own artifact on a device, with the lines on standard input and output that worker.py describes.

    python -m tgc.bench.device_worker tgc SPECIFICATION.json

More in SPECIFICATION: device (as `--device` names it); its folder is the artifact's. The program is compiled here, by `TGC_DEVICE_CC`,
where that is set, else on the device by its cc. Each turn is one call of it, whose first run warms up and does not count.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tgc
from tgc.backends.files import templates_folder
from tgc.bench import device as devices
from tgc.bench.worker import answer
from tgc.errors import OptionError, TgcError, ToolchainError
from tgc.ir.dtypes import BY_NAME

COMPILER = "TGC_DEVICE_CC"
_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-std=c99")


@dataclass(frozen=True, slots=True)
class Program:
    """An artifact's folder and manifest, and the device's folder where it runs."""

    artifact: Path
    manifest: dict[str, Any]
    device: devices.Device
    there: str


def prepare(program: Program, inputs: Path) -> None:
    """Compiles the program and sends it with its weights and inputs. Raises ToolchainError, and OptionError for what runs otherwise."""
    manifest = program.manifest
    if manifest["open"] or manifest["target"]["backend"] == "opencl":
        raise OptionError("has open dimensions or is for OpenCL, and is not run on a device", manifest["name"], "pin them, or take a CPU")
    given = dict(np.load(inputs))
    packed = b"".join(np.ascontiguousarray(given[row["name"]]).tobytes() for row in manifest["inputs"])
    (program.artifact / "inputs.bin").write_bytes(packed)
    needed = [name for name in manifest["files"] if name.endswith((".c", ".h", ".o", ".weights")) and name != "example_main.c"]
    files = {name: program.artifact / name for name in (*needed, "inputs.bin")}
    files["bench_main.c"] = templates_folder() / "bench_main.c"
    sources = [name for name in files if name.endswith((".c", ".o"))]
    arguments = shlex.join([*_FLAGS, f"-DMODEL={manifest['name']}_model", "-I.", "-o", "bench_main", *sources, "-lm", "-pthread"])
    if compiler := os.environ.get(COMPILER):
        files["bench_main"] = _compile_here(f"{compiler} {arguments}", program.artifact)
    devices.push(program.device, files, program.there)
    if not compiler:
        devices.shell(program.device, f"cd {program.there} && cc -march=native {arguments}")
    devices.shell(program.device, f"chmod 755 {program.there}/bench_main")


def _compile_here(line: str, folder: Path) -> Path:
    (folder / "bench_main.c").write_bytes((templates_folder() / "bench_main.c").read_bytes())
    done = subprocess.run(shlex.split(line), cwd=folder, capture_output=True, check=False)
    if done.returncode:
        raise ToolchainError(devices.last_line(done.stderr, done.stdout), COMPILER)
    return folder / "bench_main"


def turn(program: Program, count: int) -> tuple[float, list[float], int]:
    """Seconds until it was ready, seconds of each run, and the most bytes that the process held, where the device tells."""
    weights = program.manifest["weights"]["file"]
    call = f"./bench_main {count} inputs.bin outputs.bin {weights or ''}".rstrip()
    watch = "while grep VmHWM /proc/$p/status 2>/dev/null; do sleep 0.05; done; wait $p"
    line = f"cd {program.there} && {{ {call} >times.txt 2>&1 & p=$!; {watch}; }} && cat times.txt"
    printed = devices.shell(program.device, line).decode()
    start, *runs = map(float, re.findall(r"^\d+\.\d+$", printed, re.M))
    return start, runs, max((int(value) << 10 for value in re.findall(r"VmHWM:\s*(\d+)", printed)), default=0)


def outputs(program: Program, into: Path) -> list[Any]:
    """The results of the last turn's first run."""
    devices.pull(program.device, program.there, ["outputs.bin"], into)
    data, found = (into / "outputs.bin").read_bytes(), []
    for row in program.manifest["outputs"]:
        dtype, count = BY_NAME[row["dtype"]].numpy, int(np.prod(row["shape"]))
        found.append(np.frombuffer(data, dtype, count).reshape(row["shape"]))
        data = data[found[-1].nbytes :]
    return found


def serve(program: Program, job: dict[str, Any]) -> None:
    """Runs until standard input ends."""
    prepare(program, Path(job["inputs"]))
    start, (first,), memory = turn(program, 1)
    np.savez(job["results"], *outputs(program, program.artifact))
    answer(ready=tgc.__version__, startup=start, first=first, memory=memory or None, note=f"on {program.device.text}, one thread")
    for line in sys.stdin:
        answer(seconds=turn(program, int(line) + 1)[1][1:])


def main() -> None:
    job = json.loads(Path(sys.argv[2]).read_text())
    try:
        device, artifact = devices.parse(job["device"]), Path(job["folder"])
        there = devices.new_folder(device)
        try:
            serve(Program(artifact, json.loads((artifact / "manifest.json").read_text()), device, there), job)
        finally:
            devices.remove(device, there)
    except TgcError as error:
        answer(failure=" ".join(error.text().split())[:300])
    except Exception as error:
        answer(failure=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
