"""Functions: the bodies that a model brings along, and those that the ONNX schemas carry.

A body is lowered in place of the node that calls it, under the opsets that the body itself imports. So a function written for
another opset than the model's keeps its meaning, which inlining into the model's node list would not give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto

from tgc.errors import ModelError
from tgc.frontend_onnx.attributes import attributes_of
from tgc.frontend_onnx.registry import normal_domain, schema_of
from tgc.frontend_onnx.tensors import onnx_type
from tgc.ir.graph import Node


class _Bodies(Protocol):
    """The part of OpSchema about bodies, which its type stub leaves out."""

    has_function: bool
    has_context_dependent_function: bool
    function_opset_versions: list[int]
    context_dependent_function_opset_versions: list[int]

    def get_function_with_opset_version(self, opset: int) -> bytes: ...

    def get_context_dependent_function_with_opset_version(self, opset: int, node: bytes, types: list[bytes]) -> bytes: ...


Key = tuple[str, str, str]
"""Domain, name, overload."""


def model_functions(model: onnx.ModelProto) -> dict[Key, FunctionProto]:
    """The functions that the model defines."""
    return {(normal_domain(f.domain), f.name, f.overload): f for f in model.functions}


def key_of(node: NodeProto) -> Key:
    """What `node` calls."""
    return (normal_domain(node.domain), node.op_type, node.overload)


def has_schema_body(node: NodeProto, opset: int) -> bool:
    """Whether the operator's schema carries a body, possibly one that depends on the types of the node's inputs."""
    schema = _bodies(node, opset)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def schema_body(node: NodeProto, opset: int, inputs: Sequence[Node | None]) -> FunctionProto | None:
    """The body that the operator's schema gives for a node with these inputs; None where it gives none."""
    schema = _bodies(node, opset)
    if schema is None:
        return None
    # A schema has bodies for some opsets; the newest that is old enough means the same today, under the opset it was written for.
    written = b""
    if schema.has_context_dependent_function:
        version = max((v for v in schema.context_dependent_function_opset_versions if v <= opset), default=0)
        types = [_type_of(value).SerializeToString() for value in inputs]
        written = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), types)
    elif schema.has_function:
        written = schema.get_function_with_opset_version(max((v for v in schema.function_opset_versions if v <= opset), default=0))
    return FunctionProto.FromString(written) if written else None


def _bodies(node: NodeProto, opset: int) -> _Bodies | None:
    return cast("_Bodies | None", schema_of(normal_domain(node.domain), node.op_type, opset))


def _type_of(value: Node | None) -> onnx.TypeProto:
    return onnx.TypeProto() if value is None else onnx.helper.make_tensor_type_proto(onnx_type(value.dtype), value.shape)


def opsets_of(function: FunctionProto) -> dict[str, int]:
    """The opset that the body uses, by domain."""
    return {normal_domain(entry.domain): entry.version for entry in function.opset_import}


def arguments_of(function: FunctionProto, node: NodeProto, opset: int, outer: Mapping[str, AttributeProto]) -> dict[str, AttributeProto]:
    """The attributes that the body's references see: the node's own, else the function's or the schema's defaults.

    outer: what the references of `node` itself see. Raises ModelError where one without a default is left out.
    """
    found = {attribute.name: attribute for attribute in function.attribute_proto}
    schema = schema_of(normal_domain(node.domain), node.op_type, opset)
    for name in function.attribute:
        if schema is not None and name in schema.attributes and schema.attributes[name].default_value.name:
            found[name] = schema.attributes[name].default_value
    found.update(attributes_of(node, outer))
    missing = [name for name in function.attribute if name not in found]
    if missing and schema is None:
        raise ModelError(f"function {function.name!r} needs attribute {missing[0]!r}", f"{node.op_type} {node.name!r}")
    return found
