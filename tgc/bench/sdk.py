"""Qualcomm's two SDKs, SNPE and QNN (QAIRT): what their tools are told, and what their tools say.

Formats and flags: the tool references of release 2.39 (docs/SNPE/html/general/tools.html, docs/QNN/general/tools.html in the SDK).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tgc.errors import ToolchainError
from tgc.run.device import last_line

Array = npt.NDArray[np.generic]
HOST = "x86_64-linux-clang"
_VARIABLES = {"snpe": ("SNPE_ROOT", "QAIRT_ROOT"), "qnn": ("QNN_SDK_ROOT", "QAIRT_ROOT")}
_PROCESSORS = {
    "snpe": {"": "", "gpu": "--use_gpu", "dsp": "--use_dsp"},
    "qnn": {"": "libQnnCpu.so", "gpu": "libQnnGpu.so", "htp": "libQnnHtp.so"},
}
ENGINES = tuple(f"{family}-{name}" if name else family for family, found in _PROCESSORS.items() for name in found)


@dataclass(frozen=True, slots=True)
class Sdk:
    """An installed SDK. processor: empty for the CPU, else gpu, dsp (SNPE) or htp (QNN). platform: the device's, a folder in bin/."""

    family: Literal["snpe", "qnn"]
    processor: str
    root: Path
    platform: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds. start: until a model that was converted beforehand can run; run: one run, the mean of those in the profile."""

    start: float
    run: float
    version: str


def find(engine: str, kind: str) -> Sdk:
    """The SDK of an engine such as qnn-htp, and the platform of a `kind` of device. Raises ToolchainError where there is none."""
    family, _, processor = engine.partition("-")
    variables = _VARIABLES[family]
    root = next((Path(os.environ[name]) for name in variables if os.environ.get(name)), None)
    if root is None:
        raise ToolchainError(f"neither {' nor '.join(variables)} is set", engine)
    platforms = {"local": HOST, "adb": "aarch64-android"}
    platform = os.environ.get("TGC_SDK_PLATFORM") or platforms.get(kind) or _linux(root)
    return Sdk("snpe" if family == "snpe" else "qnn", processor, root, platform)


def _linux(root: Path) -> str:
    """Of several builds for Linux on Arm the last, which is the one with the newest compiler."""
    found = [path.name for pattern in ("aarch64-ubuntu*", "aarch64-*linux*") for path in sorted((root / "bin").glob(pattern))]
    if not found:
        raise ToolchainError("has no programs for Linux on Arm", str(root), "TGC_SDK_PLATFORM names a folder of its bin/")
    return found[-1]


def convert(sdk: Sdk, model: Path, inputs: Mapping[str, Array], folder: Path) -> Path:
    """The model as the SDK runs it, made here: a .dlc (SNPE), or a library (QNN). Inputs and outputs keep their layout (--preserve_io)."""
    sizes = [part for name, value in inputs.items() for part in ("--input_dim", name, ",".join(map(str, value.shape)))]
    common = ["--input_network", str(model), *sizes, "--preserve_io"]
    if sdk.family == "snpe":
        tool(sdk, "snpe-onnx-to-dlc", [*common, "--output_path", "model.dlc"], folder)
        return _made(folder / "model.dlc")
    tool(sdk, "qnn-onnx-converter", [*common, "--output_path", "model.cpp"], folder)
    weights = ["-b", "model.bin"] if (folder / "model.bin").exists() else []
    tool(sdk, "qnn-model-lib-generator", ["-c", "model.cpp", *weights, "-o", "libs", "-t", sdk.platform], folder)
    return _made(folder / "libs" / sdk.platform / "libmodel.so")


def _made(path: Path) -> Path:
    if not path.exists():
        raise ToolchainError("was not written", path.name)
    return path


def tool(sdk: Sdk, name: str, arguments: Sequence[str], folder: Path) -> str:
    """Runs one of the SDK's programs here; what it prints."""
    path = sdk.root / "bin" / HOST / name
    if not path.exists():
        raise ToolchainError(f"has no {name} in bin/{HOST}", str(sdk.root))
    add = {"PATH": sdk.root / "bin" / HOST, "LD_LIBRARY_PATH": sdk.root / "lib" / HOST, "PYTHONPATH": sdk.root / "lib" / "python"}
    first = {key: os.pathsep.join([str(value), os.environ.get(key, "")]).rstrip(os.pathsep) for key, value in add.items()}
    environment = {**os.environ, **first}
    done = subprocess.run([str(path), *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        raise ToolchainError(f"{name} failed: {last_line(done.stderr, done.stdout)}", str(sdk.root))
    return done.stdout.decode(errors="replace")


def programs(sdk: Sdk) -> dict[str, Path]:
    """What a device needs of the SDK: the runner, its libraries, and those of the DSP."""
    runner = sdk.root / "bin" / sdk.platform / f"{sdk.family}-net-run"
    libraries = sorted((sdk.root / "lib" / sdk.platform).glob("*.so"))
    dsp = sorted((sdk.root / "lib").glob("hexagon-v*/unsigned/*.so")) if sdk.processor in ("dsp", "htp") else []
    return {path.name: path for path in [_made(runner), *libraries, *dsp]}


def command(sdk: Sdk, model: str, count: int) -> str:
    """The line for the device's shell, in the folder with everything: `count` runs that leave results and a profile in `out`.

    It prints the kernel's VmHWM of the runner, 20 times a second, until that has ended, and then what is in `out`.
    """
    options = "--input_list list.txt --output_dir out --profiling_level basic" + (" --perf_profile burst" if sdk.processor else "")
    processor = _PROCESSORS[sdk.family][sdk.processor]
    if sdk.family == "snpe":
        line = f"./snpe-net-run --container {model} {options} {processor}".rstrip()
    else:
        line = f"./qnn-net-run --model {model} --backend {processor} {options} --num_inferences {count} --keep_num_outputs 1"
    return (f'rm -rf out; LD_LIBRARY_PATH=".:$LD_LIBRARY_PATH" ADSP_LIBRARY_PATH="." {line} </dev/null >log.txt 2>&1 & p=$!; '
            "while grep VmHWM /proc/$p/status 2>/dev/null; do sleep 0.05; done; wait $p && ls out")  # fmt: skip


def input_list(sdk: Sdk, inputs: Mapping[str, Array], count: int) -> str:
    """A line a run; SNPE repeats lines, QNN is told a number."""
    line = " ".join(f"{name}:=input_{n}.raw" for n, name in enumerate(inputs))
    return f"{line}\n" * (count if sdk.family == "snpe" else 1)


def outputs(folder: Path, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> list[Array]:
    """The results of the first run, which the runners write as f32. shapes: of each output by name, and its dtype.

    A file is called as the output, but for characters that do not belong into file names. Raises ToolchainError where one is missing.
    """
    files = {_plain(str(path.relative_to(folder).with_suffix(""))): path for path in sorted(folder.rglob("*.raw"))}
    found: list[Array] = []
    for name, (shape, dtype) in shapes.items():
        path = files.get(_plain(name)) or (next(iter(files.values())) if len(files) == len(shapes) == 1 else None)
        if path is None:
            raise ToolchainError(f"left no result for the output {name}", folder.name, f"it left {', '.join(files) or 'none'}")
        values = np.fromfile(path, np.float32)
        found.append(values.reshape(shape).astype(dtype) if values.size == int(np.prod(shape)) else values)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "_", name)


LOG = r"SNPEDiag_0\.log|qnn-profiling-data(_0)?\.log"
_MICROSECONDS = r":\s*([0-9.]+)\s*us"


def profile(sdk: Sdk, folder: Path, log: str) -> Profile:
    """What the SDK's viewer makes of a profile."""
    if sdk.family == "snpe":
        return snpe_profile(tool(sdk, "snpe-diagview", ["--input_log", log], folder))
    return qnn_profile(tool(sdk, "qnn-profile-viewer", ["--input_log", log], folder))


def snpe_profile(text: str) -> Profile:
    """Of what snpe-diagview prints of an SNPEDiag_0.log."""
    head, _, average = text.partition("Average SNPE Statistics:")
    start, run = re.search(rf"^\s*Init{_MICROSECONDS}", head, re.M), re.search(rf"^\s*Total Inference Time{_MICROSECONDS}", average, re.M)
    if run is None:
        raise ToolchainError("tells no Total Inference Time", "snpe-diagview")
    version = re.search(r"Software library version:\s*(\S+)", text)
    return Profile(float(start[1]) / 1e6 if start else 0.0, float(run[1]) / 1e6, version[1] if version else "")


def qnn_profile(text: str) -> Profile:
    """Of what qnn-profile-viewer prints of a qnn-profiling-data_0.log. start: init, composing and finalizing the graph together."""
    parts = re.split(r"^\s*((?:Init|Compose Graphs|Finalize|De-Init|Execute) Stats(?: \(\w+\))?):", text, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=False))
    times = {name: [float(value) for value in re.findall(rf"^\s*NetRun{_MICROSECONDS}", body, re.M)] for name, body in sections.items()}
    if not times.get("Execute Stats (Average)"):
        raise ToolchainError("tells no Execute Stats (Average)", "qnn-profile-viewer")
    version = re.search(r"qnn-net-run\s+v?(\d\S*)", text)
    start = sum(sum(times.get(name, [])) for name in ("Init Stats", "Compose Graphs Stats", "Finalize Stats"))
    return Profile(start / 1e6, sum(times["Execute Stats (Average)"]) / 1e6, version[1] if version else "")
