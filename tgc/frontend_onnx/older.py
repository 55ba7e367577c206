"""Models from before opset 7, brought to it: broadcasting by numpy's rules here, everything else by onnx's own converter.

The converter aligns the second operand of `broadcast=1, axis=n` with axis 0 whatever n is, and leaves the slopes of PRelu alone;
so those are rewritten before it sees them.
"""

from __future__ import annotations

import onnx
from onnx import NodeProto, helper, shape_inference, version_converter

from tgc.errors import UnsupportedError

_ODD = 10007
"""The first number that stands for a dimension with a name."""
FIRST = 7
"""The first opset whose operators have lowerings."""


def modernised(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """`model`, converted to opset 7 where it is older. Raises UnsupportedError where the converter does not know how."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or versions[0] >= FIRST:
        return model
    try:
        return _with_names(version_converter.convert_version(_with_numbers(_broadcast_as_numpy(model)), FIRST), model)
    except (RuntimeError, ValueError, TypeError, version_converter.ConvertError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = f"export it again to opset {FIRST} or newer"
        raise UnsupportedError(f"opset {versions[0]}, which onnx cannot convert to {FIRST}: {reason}", where, hint) from error


def _broadcast_as_numpy(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with axes of extent 1 added to second operands, so that they broadcast from the last axis on."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    inferred = shape_inference.infer_shapes(model).graph
    known = (*inferred.value_info, *inferred.input, *inferred.output)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in known if value.type.tensor_type.HasField("shape")}
    ranks.update({tensor.name: len(tensor.dims) for tensor in model.graph.initializer})
    nodes: list[NodeProto] = []
    for node in made.graph.node:
        if added := _missing_axes(node, ranks):
            name = f"{node.input[1]}/{len(nodes)}"
            nodes.append(helper.make_node("Unsqueeze", [node.input[1]], [name], axes=added))
            node.input[1] = name
        nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _with_numbers(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with an odd number for each dimension that has a name, which the converter cannot read."""
    numbers: dict[str, int] = {}
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = numbers.setdefault(dim.dim_param, _ODD + 2 * len(numbers))
    return model


def _with_names(converted: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """`converted` with inputs and outputs of the shapes that `model` says, and nothing said about what is between."""
    del converted.graph.value_info[:]
    declared = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    for value in (*converted.graph.input, *converted.graph.output):
        value.type.CopyFrom(declared[value.name].type)
    return converted


def _missing_axes(node: NodeProto, ranks: dict[str, int]) -> list[int]:
    """The axes that the node's second operand lacks at its end; removes the attributes that say so."""
    given = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "PRelu":
        axis = 1
    elif given.get("broadcast") and len(node.input) == 2:
        axis = given.get("axis", -1)
        kept = [attribute for attribute in node.attribute if attribute.name not in ("broadcast", "axis")]
        del node.attribute[:]
        node.attribute.extend(kept)
    else:
        return []
    if "axis" not in given and node.op_type != "PRelu":
        return []
    if any(name not in ranks for name in node.input):
        raise ValueError(f"{node.op_type} {node.name!r} broadcasts along axis {axis} of a tensor whose rank is not known")
    whole, second = (ranks[name] for name in node.input)
    if node.op_type == "PRelu" and second != 1:
        return []
    return list(range(second, whole - axis % max(whole, 1)))
