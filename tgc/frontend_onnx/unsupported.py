"""Everything in a model that tgc does not do, in one message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnx import FunctionProto, NodeProto

from tgc.errors import UnsupportedError
from tgc.frontend_onnx.control import CONTROL
from tgc.frontend_onnx.functions import Key, has_schema_body, key_of, opsets_of
from tgc.frontend_onnx.registry import Registry, normal_domain, schema_of
from tgc.frontend_onnx.structure import origin_of
from tgc.frontend_onnx.structured import STRUCTURED, TEXTUAL

LISTED = 12
"""Places that a message names for one problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that tgc does not do (`what`), and the ONNX node or value that asks for it."""

    what: str
    place: str
    hint: str = ""


def report(problems: Sequence[Problem], where: str) -> UnsupportedError:
    """One error that lists each problem once, with the places where it occurs: all, or the first few of a long list."""
    places: dict[str, list[str]] = {}
    for problem in dict.fromkeys(problems):
        places.setdefault(problem.what, []).append(repr(problem.place))
    lines = [f"{what}: {_listed(list(dict.fromkeys(at)))}" for what, at in places.items()]
    hints = list(dict.fromkeys(problem.hint for problem in problems if problem.hint))
    if len(lines) == 1:
        return UnsupportedError(f"not supported: {lines[0]}", where, "; ".join(hints))
    return UnsupportedError("\n  ".join([f"{len(lines)} things are not supported:", *lines]), where, "; ".join(hints))


def _listed(places: Sequence[str]) -> str:
    rest = f" and {len(places) - LISTED} more" if len(places) > LISTED else ""
    return ", ".join(places[:LISTED]) + rest


@dataclass(frozen=True, slots=True)
class Support:
    """What can be lowered: by a function of our own, by a function of the model, or by the body that the schema carries."""

    registry: Registry
    functions: Mapping[Key, FunctionProto] = field(default_factory=dict)

    def problems(self, nodes: Sequence[NodeProto], opsets: Mapping[str, int]) -> Iterator[Problem]:
        """The nodes that nothing lowers, functions of the model looked into. A schema's body is looked into when it is used."""
        for node in nodes:
            for what in self._missing(node, opsets, ()):
                yield Problem(what, origin_of(node))

    def _missing(self, node: NodeProto, opsets: Mapping[str, int], callers: tuple[Key, ...]) -> Iterator[str]:
        key = key_of(node)
        opset = opsets.get(key[0], 0)
        if self.registry.find(key[0], node.op_type, opset) is not None:
            return
        if key in callers:
            yield f"function {node.op_type}, which calls itself"
        elif key in self.functions:
            body = self.functions[key]
            for inner in body.node:
                yield from self._missing(inner, opsets_of(body), (*callers, key))
        elif not (key[0] == "" and node.op_type in (*CONTROL, *STRUCTURED, *TEXTUAL)) and not has_schema_body(node, opset):
            yield operator(self.registry, node, opset)


def operator(registry: Registry, node: NodeProto, opset: int) -> str:
    """The operator of `node` in words, and what is known about it."""
    domain = normal_domain(node.domain)
    name = f"operator {node.op_type} of {domain or 'ai.onnx'}, opset {opset}"
    if opset == 0:
        return f"operator {node.op_type} of {domain or 'ai.onnx'}, for which the model imports no opset"
    known = registry.versions(domain, node.op_type)
    schema = schema_of(domain, node.op_type, opset)
    if known:
        version = f"version {schema.since_version}" if schema is not None else "this version"
        return f"{name} ({version}; there is a lowering for {', '.join(map(str, known))})"
    return name if schema is not None or domain != "" else f"{name} (ONNX has no such operator)"
