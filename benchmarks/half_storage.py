"""An ONNX model in single precision whose weights, and whatever a node computes, are rounded to half: what half storage alone costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with a pair of casts after each node that computes floats. Nodes of subgraphs are left as they are."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    known = onnx.shape_inference.infer_shapes(model).graph
    floats = {value.name for value in (*known.value_info, *known.output) if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for tensor in found.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32), tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in found.graph.node:
        nodes.append(node)
        for number, name in enumerate(node.output):
            if name in floats and node.op_type != "Constant":
                node.output[number] = f"{name} exact"
                nodes.append(helper.make_node("Cast", [f"{name} exact"], [f"{name} half"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name} half"], [name], to=TensorProto.FLOAT))
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del found.graph.node[:]
    found.graph.node.extend(made)
    return found


def run(model: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of `model` with its values rounded, and nothing optimised away."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    content = rounded(onnx.load(model)).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
