"""A compiled model on another machine: compiled there or here, sent with its weights, run, its outputs fetched.

The program is bench_main.c of the templates around the artifact's own files. It is compiled here by `TGC_DEVICE_CC` where that is
set, else on the device by its cc.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tgc.backends.files import templates_folder
from tgc.errors import OptionError, ToolchainError
from tgc.ir.packing import to_stored
from tgc.run import device as devices
from tgc.run.model import described

Array = npt.NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
COMPILER = "TGC_DEVICE_CC"
_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-std=c99")


@dataclass(frozen=True, slots=True)
class Program:
    """An artifact's folder and manifest, and the device's folder where it runs."""

    artifact: Path
    manifest: dict[str, Any]
    device: devices.Device
    there: str


@contextmanager
def on_device(device: devices.Device) -> Iterator[Callable[[Path], Run]]:
    """What makes of an artifact's folder something that runs it on `device`, until the block ends and all is taken away there."""
    parent = devices.new_folder(device)
    sent: list[str] = []

    def prepared(artifact: Path) -> Run:
        sent.append(f"{parent}/{len(sent)}")
        devices.shell(device, f"mkdir {sent[-1]}")
        program = Program(artifact, json.loads((artifact / "manifest.json").read_text()), device, sent[-1])
        prepare(program)
        return lambda inputs: _run(program, inputs)

    try:
        yield prepared
    finally:
        devices.remove(device, parent)


def prepare(program: Program) -> None:
    """Compiles the program and sends it with its weights. Raises ToolchainError, and OptionError for what runs otherwise."""
    manifest = program.manifest
    if manifest["open"] or manifest["target"]["backend"] == "opencl":
        raise OptionError("has open dimensions or is for OpenCL, and is not run on a device", manifest["name"], "pin them, or take a CPU")
    needed = [name for name in manifest["files"] if name.endswith((".c", ".h", ".o", ".weights")) and name != "example_main.c"]
    files = {name: program.artifact / name for name in needed}
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


def send_inputs(program: Program, inputs: Mapping[str, Array]) -> None:
    """Writes the inputs of the turns to come to a file on the device."""
    packed = b"".join(np.ascontiguousarray(to_stored(inputs[row["name"]])).tobytes() for row in program.manifest["inputs"])
    with tempfile.TemporaryDirectory(prefix="tgc-inputs-") as folder:
        (Path(folder) / "inputs.bin").write_bytes(packed)
        devices.push(program.device, {"inputs.bin": Path(folder) / "inputs.bin"}, program.there)


def turn(program: Program, count: int) -> tuple[float, list[float], int]:
    """Seconds until it was ready, seconds of each run, and the most bytes that the process held, where the device tells."""
    weights = program.manifest["weights"]["file"]
    call = f"./bench_main {count} inputs.bin outputs.bin {weights or ''}".rstrip()
    watch = "while grep VmHWM /proc/$p/status 2>/dev/null; do sleep 0.05; done; wait $p"
    line = f"cd {program.there} && {{ {call} >times.txt 2>&1 & p=$!; {watch}; }} && cat times.txt"
    printed = devices.shell(program.device, line).decode()
    start, *runs = map(float, re.findall(r"^\d+\.\d+$", printed, re.M))
    return start, runs, max((int(value) << 10 for value in re.findall(r"VmHWM:\s*(\d+)", printed)), default=0)


def outputs(program: Program) -> dict[str, Array]:
    """The results of the last turn's first run, by name."""
    with tempfile.TemporaryDirectory(prefix="tgc-outputs-") as folder:
        devices.pull(program.device, program.there, ["outputs.bin"], Path(folder))
        data = (Path(folder) / "outputs.bin").read_bytes()
    found: dict[str, Array] = {}
    for described_output in described(program.manifest["outputs"]):
        memory = described_output.memory()
        stored = np.frombuffer(data, memory.dtype, memory.size).reshape(memory.shape)
        found[described_output.name] = described_output.value(stored)
        data = data[memory.nbytes :]
    return found


def _run(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    send_inputs(program, inputs)
    turn(program, 1)
    return outputs(program)
