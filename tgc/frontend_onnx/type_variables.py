"""Type variables: what an operator's schema gives one letter for has one type.

ONNX converts nothing by itself (Overview of the ONNX intermediate representation, "Operators"): a product of f32 with f64 is a mistake of
whoever wrote the model, who has to say which of the two is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat

from onnx.defs import OpSchema

from tgc.errors import ModelError
from tgc.ir.graph import Node


def require_one_type(schema: OpSchema | None, inputs: Sequence[Node | None], where: str) -> None:
    """Raises ModelError where two of a node's inputs share a type variable in its schema and differ in type."""
    if schema is None:
        return
    variables = {constraint.type_param_str for constraint in schema.type_constraints}
    known: dict[str, tuple[str, Node]] = {}
    for formal, node in zip(_formals(schema), inputs, strict=False):
        if node is None or formal.type_str not in variables or not formal.is_homogeneous:
            continue
        name, first = known.setdefault(formal.type_str, (formal.name, node))
        if first.dtype != node.dtype:
            other = "another input" if name == formal.name else f"its input {formal.name}"
            what = f"its input {name} is of {first.dtype} and {other} of {node.dtype}, where the operator has one type for both"
            raise ModelError(what, where, "put a Cast before it")


def _formals(schema: OpSchema) -> Iterator[OpSchema.FormalParameter]:
    """What each input of a node is in the schema; the last parameter again and again where it is variadic."""
    yield from schema.inputs
    if schema.inputs and schema.inputs[-1].option == OpSchema.FormalParameterOption.Variadic:
        yield from repeat(schema.inputs[-1])
