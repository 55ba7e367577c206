"""AttributeProto into plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import AttributeProto, NodeProto

from tgc.errors import ModelError
from tgc.frontend_onnx.tensors import Array, tensor_array

Value = float | int | str | Array | onnx.GraphProto | tuple["Value", ...]


def attributes_of(node: NodeProto, arguments: Mapping[str, AttributeProto]) -> dict[str, AttributeProto]:
    """The node's attributes by name, those that refer to an attribute of the enclosing function replaced by `arguments`.

    A reference to one that the caller left out is left out too.
    """
    found: dict[str, AttributeProto] = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            found[attribute.name] = attribute
        elif attribute.ref_attr_name in arguments:
            found[attribute.name] = _renamed(arguments[attribute.ref_attr_name], attribute.name)
    return found


def _renamed(attribute: AttributeProto, name: str) -> AttributeProto:
    copy = AttributeProto()
    copy.CopyFrom(attribute)
    copy.name = name
    return copy


def attribute_value(attribute: AttributeProto, folder: Path | None, where: str) -> Value:
    """The value: text for bytes, tuples for lists, arrays for tensors. Raises ModelError for kinds that no lowering reads."""
    match attribute.type:
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.STRING:
            return attribute.s.decode("utf-8", "surrogateescape")
        case AttributeProto.TENSOR:
            return tensor_array(attribute.t, folder, f"attribute {attribute.name!r} of {where}")
        case AttributeProto.GRAPH:
            return attribute.g
        case AttributeProto.FLOATS:
            return tuple(float(f) for f in attribute.floats)
        case AttributeProto.INTS:
            return tuple(int(i) for i in attribute.ints)
        case AttributeProto.STRINGS:
            return tuple(s.decode("utf-8", "surrogateescape") for s in attribute.strings)
        case AttributeProto.TENSORS:
            return tuple(tensor_array(t, folder, f"attribute {attribute.name!r} of {where}") for t in attribute.tensors)
        case AttributeProto.GRAPHS:
            return tuple(attribute.graphs)
        case kind:
            raise ModelError(f"attribute {attribute.name!r} is of kind {kind}, which tgc does not read", where)
