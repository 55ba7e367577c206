"""One engine in one process, for benchmarks/cpu.py: prepares a model, then runs it as often as a line on standard input says.

    python cpu_engines.py ENGINE MODEL INPUTS.npz THREADS [FOLDER]

Answers lines of JSON: {"ready": version} or {"failure": why}, then for each number read {"wall": [...], "cpu": [...]} in seconds a run.
FOLDER is the compiled artifact for tgc, else a place for what an engine converts the model to. Every engine computes in f32.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

Inputs = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]
Prepared = tuple[str, Callable[[], object]]


def tgc_engine(_: Path, inputs: Inputs, threads: int, folder: Path) -> Prepared:
    """The artifact in `folder`; a model too small for threads runs on one."""
    import tgc

    shared = threads > 1 and (folder / "tgc_threads.c").exists()
    model = tgc.load(folder, threads=threads if shared else 1)
    arrays = [np.require(inputs[tensor.name], requirements=["C", "A"]) for tensor in model.inputs]
    outputs = [np.empty(tensor.shape, tensor.dtype.numpy) for tensor in model.outputs]
    return tgc.__version__, lambda: model.execute(arrays, outputs)


def onnxruntime_engine(model: Path, inputs: Inputs, threads: int, _: Path) -> Prepared:
    """All graph optimisations, inputs and outputs bound beforehand."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for given in session.get_inputs():
        binding.bind_cpu_input(given.name, inputs[given.name])
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return ort.__version__, lambda: session.run_with_iobinding(binding)


def openvino_engine(model: Path, inputs: Inputs, threads: int, _: Path) -> Prepared:
    """Latency mode, one stream, f32; threads that the system may move, which is twice as fast with two of them in a virtual machine."""
    import openvino as ov

    core = ov.Core()
    read = core.read_model(str(model))
    read.reshape({given.any_name: list(inputs[given.any_name].shape) for given in read.inputs})
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(read, "CPU", settings).create_infer_request()
    for given in read.inputs:
        request.set_tensor(given.any_name, ov.Tensor(inputs[given.any_name]))
    return ov.__version__.split("-")[0], request.infer


def torch_engine(model: Path, inputs: Inputs, threads: int, _: Path, compiled: bool = False) -> Prepared:
    """The model translated by onnx2torch, in inference mode; channels last for images."""
    import onnx
    import torch
    from onnx2torch import convert

    torch.set_num_threads(threads)
    module = convert(_without_aliases(onnx.load(str(model)))).eval()
    tensors = [torch.from_numpy(np.array(value)) for value in inputs.values()]
    if any(tensor.dim() == 4 for tensor in tensors):
        module = module.to(memory_format=torch.channels_last)
    call = torch.compile(module) if compiled else module

    def run() -> object:
        with torch.inference_mode():
            return call(*tensors)

    return torch.__version__, run


def _without_aliases(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with no Identity of an initializer, which onnx2torch does not follow."""
    weights = {tensor.name for tensor in model.graph.initializer}
    aliases = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity" and n.input[0] in weights}
    kept = [node for node in model.graph.node if node.output[0] not in aliases]
    for node in kept:
        node.input[:] = [aliases.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def torch_compiled_engine(model: Path, inputs: Inputs, threads: int, folder: Path) -> Prepared:
    """The same through torch.compile (Inductor)."""
    return torch_engine(model, inputs, threads, folder, compiled=True)


def tinygrad_engine(model: Path, inputs: Inputs, threads: int, _: Path) -> Prepared:
    """TinyJit with beam search over kernels; it has no setting for threads but the processors it may use."""
    os.environ.update({"DEV": "CPU", "BEAM": os.environ.get("BEAM", "2"), "PARALLEL": "0"})
    os.environ["CPU_COUNT"] = str(threads)
    from importlib.metadata import version

    from tinygrad import Tensor, TinyJit
    from tinygrad.nn.onnx import OnnxRunner

    runner = OnnxRunner(str(model))
    tensors = {name: Tensor(np.array(value)).realize() for name, value in inputs.items()}

    @TinyJit
    def jitted(**given: Tensor) -> list[Tensor]:
        return [value.realize() for value in runner(given).values()]

    def run() -> object:
        return [value.numpy() for value in jitted(**tensors)]

    return version("tinygrad"), run


def mnn_engine(model: Path, inputs: Inputs, threads: int, folder: Path) -> Prepared:
    """Converted by mnnconvert, loaded as a module; normal precision is f32 on x86."""
    from importlib.metadata import version

    import MNN

    converted = folder / "model.mnn"
    # The converter without its command, which installs packages to tell its makers of each use.
    convert = [sys.executable, "-c", "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"]
    command = [*convert, "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(converted), "--bizCode", "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not converted.exists():
        raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])
    names = list(inputs)
    runtime = MNN.nn.create_runtime_manager(({"backend": 0, "precision": "high", "numThread": threads},))
    module = MNN.nn.load_module_from_file(str(converted), names, [], runtime_manager=runtime)
    given = [MNN.expr.const(value, list(value.shape), MNN.expr.NCHW) for value in inputs.values()]

    def run() -> object:
        return [value.read() for value in module.forward(given)]

    return version("mnn"), run


def iree_engine(model: Path, inputs: Inputs, threads: int, folder: Path) -> Prepared:
    """Imported from ONNX, compiled for this processor at -O3 with data tiling; one thread runs without a pool."""
    from importlib.metadata import version

    import iree.runtime as rt

    tools = Path(sys.executable).parent
    text, code = folder / "model.mlir", folder / "model.vmfb"
    subprocess.run([str(tools / "iree-import-onnx"), str(model), "--opset-version", "17", "-o", str(text)], check=True, capture_output=True)
    options = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host"]
    options += ["--iree-opt-level=O3", "--iree-opt-data-tiling", "--iree-llvmcpu-stack-allocation-limit=4194304"]
    done = subprocess.run([str(tools / "iree-compile"), str(text), *options, "-o", str(code)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    config = rt.Config("local-sync" if threads == 1 else "local-task")
    module = rt.load_vm_flatbuffer_file(str(code), driver="local-sync" if threads == 1 else "local-task")
    function = next(getattr(module, name) for name in module.vm_module.function_names if not name.startswith("__") and "$" not in name)
    given = [rt.asdevicearray(config.device, value) for value in inputs.values()]
    return version("iree-base-runtime"), lambda: function(*given)


ENGINES: dict[str, Callable[[Path, Inputs, int, Path], Prepared]] = {
    "tgc": tgc_engine, "onnxruntime": onnxruntime_engine, "openvino": openvino_engine, "torch": torch_engine,
    "torch-compiled": torch_compiled_engine, "tinygrad": tinygrad_engine, "mnn": mnn_engine, "iree": iree_engine,
}  # fmt: skip


def answer(**fields: object) -> None:
    """One line for the process that asked."""
    print(json.dumps(fields), flush=True)


def main() -> int:
    name, model, inputs, threads, folder = sys.argv[1], Path(sys.argv[2]), dict(np.load(sys.argv[3])), int(sys.argv[4]), Path(sys.argv[5])
    real = os.dup(1)
    os.dup2(2, 1)  # what engines print goes to standard error
    sys.stdout = os.fdopen(real, "w")
    try:
        version, run = ENGINES[name](model, inputs, threads, folder)
        for _ in range(3):
            run()
    except BaseException as error:
        answer(failure=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200])
        return 0
    answer(ready=version)
    for line in sys.stdin:
        wall, cpu = [], []
        for _ in range(int(line)):
            begun, used = time.perf_counter(), time.process_time()
            run()
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
        answer(wall=wall, cpu=cpu)
    return 0


if __name__ == "__main__":
    sys.exit(main())
