"""Programs with the names, flags and formats of Qualcomm's SDKs, for tests of what calls them; ONNX Runtime computes behind them.

    install(ROOT)   writes ROOT/bin/x86_64-linux-clang/snpe-onnx-to-dlc and so on

Each program is this file under another name. Formats: the tool references in the SDKs' documentation.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

PLATFORM = "x86_64-linux-clang"
SNPE = ("snpe-onnx-to-dlc", "snpe-net-run", "snpe-diagview")
QNN = ("qnn-onnx-converter", "qnn-model-lib-generator", "qnn-net-run", "qnn-profile-viewer")

DIAGVIEW = """Interpreting file serialized with Flatbuffer
Log File Created: Mon Jan  5 10:00:00 2026
Time Scale: 1e-06
Epoch Timestamp: 1767607200000000 Steady Clock Timestamp: 4711
Software library version: 2.39.0.1

Dnn Runtime Load/Deserialize/Create/De-Init Statistics:
--------------------------------------------------
Load: 149 us
Deserialize: 1597 us
Create: 2890 us

Init: {init} us
De-Init: 669 us

Create Network(s): 2554 us
RPC Init Time: 0 NONE
Snpe Accelerator Init Time: 0 NONE
Accelerator Init Time: 0 NONE

Average SNPE Statistics:
------------------------------
Total Inference Time: {run} us
Forward Propagate Time: {run} us
RPC Execute Time: 0 us
Snpe Accelerator Time: 0 us

Layer Times:
---------------
0: 19 us : CPU
1: 21 us : CPU
"""

PROFILE_VIEWER = """Input Log File Location: out/qnn-profiling-data_0.log
Log File Created: Mon Jan  5 10:00:00 2026
Time Scale: 1e-06
Epoch Timestamp: 1767607200000000 Steady Clock Timestamp: 4711
Generated using:
qnn-profile-viewer v2.39.0.1
qnn-net-run        v2.39.0.1

Qnn Init/Prepare/Finalize/De-Init/Execute/Lib-Load Statistics:
------------------------------------------------------------
Init Stats:
-----------
    NetRun:  {init} us

Compose Graphs Stats:
--------------
    NetRun:  74 us

Finalize Stats:
---------------
Graph 0 (model):
    NetRun:  256 us
    Backend (QNN (finalize) time): 250 us

De-Init Stats:
--------------
    NetRun:  1581 us

Execute Stats (Average):
------------------------
Total Inference Time:
---------------------
Graph 0 (model):
    NetRun:  {run} us
    Backend (Number of HVX threads used): 4 count
    Backend (QNN accelerator (execute) time): 26 us

Execute Stats (Min):
------------------------
Total Inference Time:
---------------------
Graph 0 (model):
    NetRun:  1 us

Execute Stats (Overall):
------------------------
    NetRun IPS:  214.8888 inf/sec
"""


def install(root: Path) -> Path:
    """The programs and an empty library each, under `root`."""
    programs = root / "bin" / PLATFORM
    programs.mkdir(parents=True)
    for name in (*SNPE, *QNN):
        (programs / name).write_text(f"#!{sys.executable}\n" + Path(__file__).read_text())
        (programs / name).chmod(0o755)
    libraries = root / "lib" / PLATFORM
    libraries.mkdir(parents=True)
    for name in ("libSNPE.so", "libQnnCpu.so", "libQnnHtp.so"):
        (libraries / name).write_bytes(b"library")
    return root


def convert(arguments: list[str], default: str) -> None:
    """snpe-onnx-to-dlc, qnn-onnx-converter."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input_network", "-i", required=True)
    parser.add_argument("--output_path", "-o", default=default)
    parser.add_argument("--input_dim", "-d", nargs=2, action="append")
    parser.add_argument("--preserve_io", nargs="*")
    given = parser.parse_args(arguments)
    if "refused" in Path(given.input_network).name:
        sys.exit("2026-01-05 10:00:00,000 - 235 - ERROR - Node Foo: no translation for op type Foo")
    shutil.copy(given.input_network, given.output_path)
    if default.endswith(".cpp"):
        Path(given.output_path).with_suffix(".bin").write_bytes(b"weights")


def library(arguments: list[str]) -> None:
    """qnn-model-lib-generator."""
    parser = argparse.ArgumentParser()
    for flag in ("-c", "-b", "-o", "-t"):
        parser.add_argument(flag, required=True)
    given = parser.parse_args(arguments)
    folder = Path(given.o) / given.t
    folder.mkdir(parents=True)
    shutil.copy(given.c, folder / f"lib{Path(given.c).stem}.so")


def net_run(arguments: list[str], family: str) -> None:
    """snpe-net-run, qnn-net-run: floats in files, in and out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--container" if family == "snpe" else "--model", dest="model", required=True)
    parser.add_argument("--input_list", required=True)
    parser.add_argument("--output_dir", default="output")
    parser.add_argument("--profiling_level", choices=["basic", "detailed"])
    parser.add_argument("--perf_profile", choices=["burst", "default"])
    if family == "snpe":
        parser.add_argument("--use_gpu", action="store_true")
        parser.add_argument("--use_dsp", action="store_true")
    else:
        parser.add_argument("--backend", required=True)
        parser.add_argument("--num_inferences", type=int, default=1)
        parser.add_argument("--keep_num_outputs", type=int)
    given = parser.parse_args(arguments)
    if getattr(given, "use_gpu", False):
        sys.exit("error_code=500; error_message=Target runtime is not available.")
    lines = Path(given.input_list).read_text().splitlines()
    seconds = [infer(given.model, line, Path(given.output_dir) / f"Result_{n}") for n, line in enumerate(lines)]
    log = "SNPEDiag_0.log" if family == "snpe" else "qnn-profiling-data_0.log"
    runs = len(lines) if family == "snpe" else given.num_inferences
    (Path(given.output_dir) / log).write_bytes(json.dumps({"run": seconds[0], "runs": runs}).encode())


def infer(model: str, line: str, folder: Path) -> float:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    files = dict(part.split(":=") for part in line.split())
    feed = {tensor.name: np.fromfile(files[tensor.name], np.float32).reshape(tensor.shape) for tensor in session.get_inputs()}
    start = time.perf_counter()
    results = session.run(None, feed)
    seconds = time.perf_counter() - start
    folder.mkdir(parents=True)
    for tensor, value in zip(session.get_outputs(), results, strict=True):
        value.astype(np.float32).tofile(folder / f"{tensor.name}.raw")
    return seconds


def view(arguments: list[str], text: str) -> None:
    """snpe-diagview, qnn-profile-viewer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input_log", required=True)
    profile = json.loads(Path(parser.parse_args(arguments).input_log).read_bytes())
    print(text.format(init=48856, run=max(1, round(profile["run"] * 1e6))))


if __name__ == "__main__":
    name, rest = Path(sys.argv[0]).name, sys.argv[1:]
    if name in ("snpe-onnx-to-dlc", "qnn-onnx-converter"):
        convert(rest, "model.dlc" if name.startswith("snpe") else "model.cpp")
    elif name == "qnn-model-lib-generator":
        library(rest)
    elif name.endswith("net-run"):
        net_run(rest, name.partition("-")[0])
    else:
        view(rest, DIAGVIEW if name == "snpe-diagview" else PROFILE_VIEWER)
