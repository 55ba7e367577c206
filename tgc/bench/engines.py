"""What tgc is measured against. Each engine is prepared as a call without arguments that runs the model once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tgc.bench.timing import Runner
from tgc.errors import OptionError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Engine:
    """A model ready to run. startup: seconds from the file on disk to the first result."""

    name: str
    version: str
    startup: float
    run: Runner


def onnxruntime(model: Path, inputs: Mapping[str, Array], threads: int = 1) -> Engine:
    """ONNX Runtime on the CPU: `threads` threads, all graph optimisations, inputs and outputs bound beforehand."""
    if not find_spec("onnxruntime"):
        raise OptionError("ONNX Runtime is not installed", hint="pip install onnxruntime, or --against none")
    import onnxruntime as ort

    start = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    session.run_with_iobinding(binding)
    return Engine("ONNX Runtime", ort.__version__, time.perf_counter() - start, lambda: session.run_with_iobinding(binding))
