"""Which function lowers which operator, in which of the operator's versions.

    @lowers("Softmax", since=13)
    def softmax(b: LoweringBuilder, x: Node, *, axis: int = -1) -> Node: ...

Positional parameters are the operator's inputs: an optional input that is left out is None, a variadic one is `*xs`.
Keyword-only parameters are its attributes, as plain values: int, float, str, tuples of them, ndarray for a tensor,
GraphProto for a subgraph. One whose default is a dataclass, `windows: Windows = WINDOWS`, stands for its fields: attributes that
operators share. The result is a node, or a tuple with one node for each output.

`since` lists the operator versions (the `since_version` of the ONNX schema) that the function implements. A model's opset
selects one version of each operator; lookup answers the lowering that lists exactly that version, so it never falls
forward to a newer meaning nor back to an older one. Decorators stack: one function may lower several operators.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, TypeVar

import onnx
import onnx.defs

from tgc.ir.graph import Node

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from tgc.frontend_onnx.builder import LoweringBuilder

Function = Callable[..., "Node | tuple[Node, ...]"]
FunctionT = TypeVar("FunctionT", bound=Function)


@dataclass(frozen=True, slots=True)
class Lowering:
    """A function, and the versions `since` of one operator that it implements. `domain` "" is ONNX itself."""

    op_type: str
    domain: str
    since: tuple[int, ...]
    function: Function

    def apply(self, b: LoweringBuilder, inputs: Iterable[Node | None], attributes: Mapping[str, object]) -> Node | tuple[Node, ...]:
        """What the function makes of inputs and attributes that fit it."""
        return self.function(b, *inputs, **parameters(self.function).arranged(attributes))


@dataclass(frozen=True, slots=True)
class Parameters:
    """A lowering's inputs in order, whether the last repeats, and its attributes; `required` attributes have no default.

    groups: keyword parameters that stand for attributes, as they are without any.
    """

    inputs: tuple[str, ...]
    variadic: bool
    attributes: tuple[str, ...]
    required: tuple[str, ...]
    groups: Mapping[str, DataclassInstance]

    def arranged(self, attributes: Mapping[str, object]) -> dict[str, object]:
        """Keyword arguments: each attribute by itself or, where it belongs to one, in its group."""
        grouped = {name: [field.name for field in fields(group)] for name, group in self.groups.items()}
        alone = {name: value for name, value in attributes.items() if not any(name in names for names in grouped.values())}
        return alone | {
            name: replace(self.groups[name], **{field: attributes[field] for field in names if field in attributes})
            for name, names in grouped.items()
        }


def lowers(op_type: str, *, since: int | tuple[int, ...], domain: str = "") -> Callable[[FunctionT], FunctionT]:
    """Marks a function as the lowering of `op_type` in the versions `since`. It stays callable as it is."""
    versions = (since,) if isinstance(since, int) else since

    def mark(function: FunctionT) -> FunctionT:
        earlier: tuple[Lowering, ...] = function.__dict__.get("lowerings", ())
        function.__dict__["lowerings"] = (*earlier, Lowering(op_type, normal_domain(domain), versions, function))
        return function

    return mark


@cache
def parameters(function: Function) -> Parameters:
    """What `function` takes, after its first parameter, the builder."""
    taken = list(inspect.signature(function).parameters.values())[1:]
    keywords = [p for p in taken if p.kind is p.KEYWORD_ONLY]
    groups = {p.name: p.default for p in keywords if is_dataclass(p.default) and not isinstance(p.default, type)}
    attributes = [p for p in keywords if p.name not in groups]
    return Parameters(
        inputs=tuple(p.name for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)),
        variadic=any(p.kind is p.VAR_POSITIONAL for p in taken),
        attributes=(*(p.name for p in attributes), *(field.name for group in groups.values() for field in fields(group))),
        required=tuple(p.name for p in attributes if p.default is p.empty),
        groups=MappingProxyType(groups),
    )


def normal_domain(domain: str) -> str:
    """ "ai.onnx" and "" name the same domain."""
    return "" if domain == "ai.onnx" else domain


def schema_of(domain: str, op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """The ONNX schema of the operator as opset `opset` defines it; None where there is none."""
    try:
        return onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None


@dataclass(frozen=True, slots=True)
class Registry:
    """Every lowering, by (domain, operator)."""

    table: Mapping[tuple[str, str], tuple[Lowering, ...]]

    def find(self, domain: str, op_type: str, opset: int) -> Lowering | None:
        """The lowering for the version of the operator that opset `opset` has; None where that version has none."""
        candidates = self.table.get((normal_domain(domain), op_type), ())
        schema = schema_of(normal_domain(domain), op_type, opset)
        # In a domain without schemas, operators change where our own lowerings say so.
        ours = max((v for c in candidates for v in c.since if v <= opset), default=0)
        version = ours if schema is None else schema.since_version
        return next((c for c in candidates if version in c.since), None)

    def versions(self, domain: str, op_type: str) -> tuple[int, ...]:
        """The versions of the operator that have a lowering, in order."""
        return tuple(sorted(v for c in self.table.get((normal_domain(domain), op_type), ()) for v in c.since))

    def __iter__(self) -> Iterator[Lowering]:
        """Every lowering, by domain and operator."""
        for key in sorted(self.table):
            yield from self.table[key]


def make_registry(lowerings: Iterable[Lowering]) -> Registry:
    """The registry of `lowerings`. Raises ValueError where two claim the same version of an operator."""
    table: dict[tuple[str, str], tuple[Lowering, ...]] = {}
    for lowering in lowerings:
        key = (lowering.domain, lowering.op_type)
        others = table.get(key, ())
        if any(set(other.since) & set(lowering.since) for other in others):
            raise ValueError(f"two lowerings of {lowering.op_type} claim one of the versions {lowering.since}")
        table[key] = (*others, lowering)
    return Registry(MappingProxyType(table))


def lowerings_in(module: ModuleType) -> Iterator[Lowering]:
    """The lowerings among the module's top-level values: marked functions, and tuples of them."""
    for value in vars(module).values():
        for function in value if isinstance(value, tuple) else (value,):
            if inspect.isfunction(function):
                yield from function.__dict__.get("lowerings", ())


@cache
def standard_registry() -> Registry:
    """The lowerings of every module in `tgc.frontend_onnx.lowerings`: adding a file there adds its operators."""
    package = importlib.import_module("tgc.frontend_onnx.lowerings")
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    # A function that one module imports from another is seen twice and counts once.
    return make_registry(dict.fromkeys(lowering for module in modules for lowering in lowerings_in(module)))
