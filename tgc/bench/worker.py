"""One engine in one process: prepares a model, then runs it whenever a line on standard input says so.

    python worker.py ENGINE SPECIFICATION.json

It imports nothing of tgc but where tgc is the engine, so any interpreter that has an engine can run it. SPECIFICATION: model (path),
inputs (.npz), outputs (names), results (.npz to write), threads, folder (the artifact for tgc, else a place for what an engine
converts the model to).
Answers lines of JSON: {"ready": version, "startup": s, "first": s, "memory": bytes, "note": text} or {"failure": why}; then for each
number N that it reads {"seconds": [...]}, N runs. startup: from the files on disk until the model is loaded; first: the run after.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], "list[Any]"]


def tgc_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """The artifact in the folder, its memory made beforehand."""
    import tgc

    model = tgc.load(job["folder"], threads=job["threads"])
    arrays, outputs = model.prepared(inputs)

    def run() -> list[Any]:
        model.execute(arrays, outputs)
        return list(outputs)

    return tgc.__version__, run


def onnxruntime_engine(job: dict[str, Any], inputs: dict[str, Any], provider: str = "CPUExecutionProvider") -> tuple[str, Run]:
    """All graph optimisations. A provider that cannot take the whole model fails, rather than leaving parts to the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = job["threads"], 1, 3
    if provider != "CPUExecutionProvider":
        if provider not in ort.get_available_providers():
            raise RuntimeError(f"this ONNX Runtime has no {provider}")
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(job["model"], options, providers=[provider])
    return ort.__version__, lambda: list(session.run(job["outputs"], inputs))


def qnn_provider_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """The HTP of the onnxruntime-qnn wheel, which is an emulator where the processor is none of Qualcomm's. No part is left to the CPU."""
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    ort.register_execution_provider_library(qnn.get_ep_name(), qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == qnn.get_ep_name()]
    if not devices:
        raise RuntimeError("the provider of onnxruntime-qnn finds no device")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = job["threads"], 1, 3
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices(devices[:1], {"backend_path": qnn.get_qnn_htp_path()})
    session = ort.InferenceSession(job["model"], options)
    return qnn.__version__, lambda: list(session.run(job["outputs"], inputs))


def openvino_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """For latency, one stream, in single precision."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(job["model"])
    model.reshape({name: list(value.shape) for name, value in inputs.items()})
    settings = {"INFERENCE_NUM_THREADS": job["threads"], "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    for name, value in inputs.items():
        request.set_tensor(name, ov.Tensor(value))

    def run() -> list[Any]:
        request.infer()
        return [request.get_tensor(name).data for name in job["outputs"]]

    return ov.__version__.split("-")[0], run


def torch_engine(job: dict[str, Any], inputs: dict[str, Any], compiled: bool = False) -> tuple[str, Run]:
    """Translated by onnx2torch, in inference mode. It wants every shape, and weights themselves, where exporters write Identity of one."""
    import onnx
    import torch
    from onnx2torch import convert

    torch.set_num_threads(job["threads"])
    model = onnx.shape_inference.infer_shapes(onnx.load(job["model"]))
    weights = {tensor.name for tensor in model.graph.initializer}
    same = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity" and node.input[0] in weights}
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    module = convert(model).eval()
    call = torch.compile(module) if compiled else module
    tensors = [torch.from_numpy(np.array(value)) for value in inputs.values()]

    def run() -> list[Any]:
        with torch.inference_mode():
            found = call(*tensors)
        return [value.numpy() for value in (found if isinstance(found, (list, tuple)) else [found])]

    return torch.__version__, run


def tinygrad_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """TinyJit; BEAM in the environment is its search."""
    os.environ.update({"DEV": "CPU", "CPU_COUNT": str(job["threads"])})
    from importlib.metadata import version

    from tinygrad import Tensor, TinyJit
    from tinygrad.nn.onnx import OnnxRunner

    runner = OnnxRunner(job["model"])
    tensors = {name: Tensor(np.array(value)).realize() for name, value in inputs.items()}

    def whole(**given: Any) -> list[Any]:
        found = runner(given)
        return [found[name].realize() for name in job["outputs"]]

    jitted = TinyJit(whole)
    return version("tinygrad"), lambda: [value.numpy() for value in jitted(**tensors)]


def mnn_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """Converted by mnnconvert; high precision is f32."""
    from importlib.metadata import version

    import MNN

    converted = Path(job["folder"]) / "model.mnn"
    # The converter without its command, which installs packages to tell its makers of each use.
    convert = [sys.executable, "-c", "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"]
    command = [*convert, "-f", "ONNX", "--modelFile", job["model"], "--MNNModel", str(converted), "--bizCode", "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not converted.exists():
        raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])
    runtime = MNN.nn.create_runtime_manager(({"backend": 0, "precision": "high", "numThread": job["threads"]},))
    module = MNN.nn.load_module_from_file(str(converted), list(inputs), job["outputs"], runtime_manager=runtime)
    given = [MNN.expr.const(value, list(value.shape), MNN.expr.NCHW) for value in inputs.values()]

    def run() -> list[Any]:
        return [MNN.expr.convert(value, MNN.expr.NCHW).read() for value in module.forward(given)]

    return version("mnn"), run


def iree_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """Imported from ONNX and compiled for this processor at its highest level; one thread runs without a pool."""
    from importlib.metadata import version

    import iree.runtime as rt

    folder, tools = Path(job["folder"]), Path(sys.executable).parent
    text, code = str(folder / "model.mlir"), str(folder / "model.vmfb")
    _tool([str(tools / "iree-import-onnx"), job["model"], "--opset-version", "17", "-o", text])
    device = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host"]
    _tool([str(tools / "iree-compile"), text, *device, "--iree-opt-level=O3", "--iree-opt-data-tiling", "-o", code])
    driver = "local-sync" if job["threads"] == 1 else "local-task"
    module = rt.load_vm_flatbuffer_file(code, driver=driver)
    function = next(getattr(module, name) for name in module.vm_module.function_names if not name.startswith("__") and "$" not in name)
    given = [rt.asdevicearray(rt.Config(driver).device, value) for value in inputs.values()]

    def run() -> list[Any]:
        found = function(*given)
        return [value.to_host() for value in (found if isinstance(found, (list, tuple)) else [found])]

    return version("iree-base-runtime"), run


def _tool(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if "rror" in line] or [f"{Path(command[0]).name} fails"]
        raise RuntimeError(told[0].strip())


def tvm_engine(job: dict[str, Any], inputs: dict[str, Any]) -> tuple[str, Run]:
    """Relax, with the passes that need no tuning; schedules as they come. Inputs go by position, as the model has them."""
    os.environ["TVM_NUM_THREADS"] = str(job["threads"])
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    model = onnx.load(job["model"])
    known = {tensor.name for tensor in model.graph.initializer}
    order = [value.name for value in model.graph.input if value.name not in known]
    target = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
    with target:
        module = relax.get_pipeline("zero")(from_onnx(model, shape_dict={name: list(value.shape) for name, value in inputs.items()}))
        machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    given = [tvm.runtime.tensor(inputs[name], tvm.cpu()) for name in order]

    def run() -> list[Any]:
        found = machine["main"](*given)
        return [found.numpy()] if hasattr(found, "numpy") else [value.numpy() for value in found]

    return tvm.__version__, run


ENGINES: dict[str, Callable[[dict[str, Any], dict[str, Any]], tuple[str, Run]]] = {
    "tgc": tgc_engine,
    "onnxruntime": onnxruntime_engine,
    "onnxruntime-cuda": lambda job, inputs: onnxruntime_engine(job, inputs, "CUDAExecutionProvider"),
    "onnxruntime-tensorrt": lambda job, inputs: onnxruntime_engine(job, inputs, "TensorrtExecutionProvider"),
    "onnxruntime-qnn": qnn_provider_engine,
    "openvino": openvino_engine,
    "torch": torch_engine,
    "torch-compiled": lambda job, inputs: torch_engine(job, inputs, compiled=True),
    "tinygrad": tinygrad_engine,
    "mnn": mnn_engine,
    "iree": iree_engine,
    "tvm": tvm_engine,
}


def peak_memory() -> int:
    """Bytes that this process held at most. Where Linux tells it is of this process alone; getrusage may still know of its parent."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def answer(**fields: object) -> None:
    """One line for the process that asked."""
    print(json.dumps(fields), flush=True)


def serve(name: str, job: dict[str, Any]) -> None:
    """Prepares and runs until standard input ends."""
    inputs = dict(np.load(job["inputs"]))
    begin = time.perf_counter()
    version, run = ENGINES[name](job, inputs)
    loaded = time.perf_counter()
    results = run()
    first = time.perf_counter() - loaded
    np.savez(job["results"], *map(np.asarray, results))
    for _ in range(2):
        run()
    emulated = name == "onnxruntime-qnn" and platform.machine().lower() in ("x86_64", "amd64")
    answer(ready=version, startup=loaded - begin, first=first, memory=peak_memory(), note="emulated" if emulated else "")
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        answer(seconds=seconds)


def main() -> None:
    real = os.dup(1)
    os.dup2(2, 1)  # what engines print goes to standard error
    sys.stdout = os.fdopen(real, "w")
    try:
        serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
    except Exception as error:
        first = re.sub(r"^\[ONNXRuntimeError\].*&\) ", "", next(iter(str(error).splitlines()), ""))
        answer(failure=f"{type(error).__name__}: {first}"[:200])


if __name__ == "__main__":
    main()
