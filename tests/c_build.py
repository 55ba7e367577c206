"""Builds generated C as a program and runs it, so that sanitizers, other compilers and emulators can be tried."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tgc.backends.c import emit
from tgc.backends.options import EmitOptions
from tgc.ir.program import Program
from tgc.targets import C

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror")
DRIVER = Path(__file__).with_name("run_model.c")


def compiler(*names: str) -> str:
    """The first of these compilers that is installed; skips the test where none is."""
    for name in names:
        if shutil.which(name):
            return name
    pytest.skip(f"needs {' or '.join(names)}")


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files in the folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def checked(command: Sequence[str], folder: Path) -> None:
    """Runs a command; the test fails with its messages where it does."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{(done.stderr + done.stdout)[:4000]}"


def run(
    program: Program, inputs: Mapping[str, np.ndarray], folder: Path, cc: str, flags: Sequence[str], options: EmitOptions | None = None,
    runner: Sequence[str] = (),
) -> dict[str, np.ndarray]:  # fmt: skip
    """The outputs of the C that is made of `program`, compiled with `cc` and `flags` (strict warnings too) and run on its own."""
    files = emit(program, C, options or EmitOptions())
    write(folder, files)
    sources = [name for name in files if name.endswith(".c") and name != "example_main.c"]
    checked([cc, *STRICT, *flags, "-c", *sources], folder)
    objects = [name.removesuffix(".c") + ".o" for name in sources]
    driver = ["-D_POSIX_C_SOURCE=200809L", f"-DMODEL={program.name}_model", "-I.", str(DRIVER)]
    checked([cc, "-std=c99", *flags, "-o", "run_model", *driver, *objects, "-lm"], folder)
    (folder / "inputs.bin").write_bytes(b"".join(inputs[tensor.name].tobytes() for tensor in program.inputs))
    weights = [f"{program.name}.weights"] if f"{program.name}.weights" in files else []
    checked([*runner, "./run_model", "inputs.bin", "outputs.bin", *weights], folder)
    data, outputs = (folder / "outputs.bin").read_bytes(), {}
    for tensor in program.outputs:
        count = int(np.prod(tensor.shape))
        outputs[tensor.name] = np.frombuffer(data, tensor.dtype.numpy, count).reshape(tensor.shape)
        data = data[count * tensor.dtype.bytes :]
    return outputs
