"""How many channels ONNX Runtime put into a block when it saved a model with its optimisations at level "all".

Such a model has operators of com.microsoft.nchwc, whose weights lie in memory in blocks of 8 or 16 channels, whichever the processor
of the machine that wrote it prefers. The model does not say which; its shapes mostly do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import GraphProto, NodeProto, helper

BLOCKED = "com.microsoft.nchwc"
BLOCKS = (8, 16)


def channels_in_a_block(graph: GraphProto) -> int:
    """The one number of channels that the shapes of the model allow; 0 where they allow several, or there are no blocks."""
    nodes = [node for node in graph.node if node.domain == BLOCKED]
    if not nodes:
        return 0
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    fitting = [block for block in BLOCKS if all(fits for node in nodes for fits in _evidence(node, shapes, makers, block))]
    return fitting[0] if len(fitting) == 1 else 0


def _evidence(node: NodeProto, shapes: Mapping[str, tuple[int, ...]], makers: Mapping[str, NodeProto], block: int) -> Iterator[bool]:
    """Whether what the node says could be said of blocks of `block` channels."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    maker = makers.get(node.input[0])
    if node.op_type == "Conv" and node.input[1] in shapes:
        outer, inner = shapes[node.input[1]][:2]
        group = int(attributes.get("group", 1))
        yield outer % block == 0
        if group == 1:
            yield inner < block or inner % block == 0
            yield not (inner < block and maker is not None and maker.op_type == "ReorderInput")
        else:
            yield inner == 1 or (inner % block == 0 and outer // group % block == 0)
    elif node.op_type == "ReorderOutput" and maker is not None and maker.op_type == "Conv" and maker.domain == BLOCKED:
        whole = shapes.get(maker.input[1], (0,))[0]
        yield whole in (0, -(-int(attributes["channels"]) // block) * block)
