"""ONNX nodes into graph nodes, one after the other: lowerings, functions, and subgraphs."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto, numpy_helper

from tgc.errors import ModelError, TgcError, UnsupportedError
from tgc.frontend_onnx import independent
from tgc.frontend_onnx.attributes import attribute_value, attributes_of
from tgc.frontend_onnx.builder import LoweringBuilder, Site
from tgc.frontend_onnx.control import CONTROL, Control, lower_control
from tgc.frontend_onnx.dimensions import Declared
from tgc.frontend_onnx.folding import Folder
from tgc.frontend_onnx.functions import Key, arguments_of, key_of, opsets_of, schema_body
from tgc.frontend_onnx.registry import Lowering, Registry, normal_domain, parameters, schema_of
from tgc.frontend_onnx.structure import ordered_nodes, origin_of, reads
from tgc.frontend_onnx.structured import Call, Text, Value, is_structured, lower_structured, lower_text, tensors
from tgc.frontend_onnx.tensors import tensor_array
from tgc.frontend_onnx.type_variables import require_one_type
from tgc.frontend_onnx.unsupported import Problem, operator
from tgc.ir.dtypes import DType
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Length, UndecidedError, symbols

Values = MutableMapping[str, "Value | None"]
"""What each name stands for; None for an optional input that a function's caller leaves out. A name that is missing though the
model makes it comes from a node that is not supported, which is reported already."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a node list is read under: the model itself, or the body of a function.

    opsets: by domain. arguments: what references to the function's attributes see. origin: the calling node, "" in the model.
    depth: how many functions and subgraphs are around.
    """

    opsets: Mapping[str, int]
    arguments: Mapping[str, AttributeProto] = field(default_factory=dict)
    origin: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Importer:
    """The state of one import.

    folder: where weights outside of the model lie; None for a model in memory. declared: what the model says about its values.
    problems: what is not supported, found so far. contradicted: values that have another shape than the model declares, and what it is.
    """

    folder: Path | None
    registry: Registry
    functions: Mapping[Key, FunctionProto]
    declared: Mapping[str, tuple[DType, Declared]]
    b: LoweringBuilder = field(default_factory=LoweringBuilder)
    problems: list[Problem] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    runtime: set[int] = field(default_factory=set)


def enter_initializers(importer: Importer, graph: GraphProto, needed: set[str], values: Values) -> None:
    """Enters the graph's weights that are `needed` into `values`."""
    for tensor in graph.initializer:
        if tensor.name in needed and tensor.data_type == TensorProto.STRING:
            values[tensor.name] = Text(numpy_helper.to_array(tensor).astype(object))
        elif tensor.name in needed:
            try:
                array = tensor_array(tensor, importer.folder, f"initializer {tensor.name!r}")
                values[tensor.name] = importer.b.graph.constant(array, tensor.name)
            except UnsupportedError as error:
                importer.problems.append(Problem(f"initializer with {error.what}", tensor.name))


def lower_nodes(importer: Importer, nodes: Sequence[NodeProto], values: Values, frame: Frame) -> None:
    """Lowers `nodes`, which are in order, and enters their results into `values`. What is not supported goes to `problems`."""
    for node in nodes:
        if any(name not in values for name in reads(node)):
            continue  # It reads a result of something that is not supported.
        inputs = tuple(values[name] if name else None for name in node.input)
        try:
            results = _lower(importer, node, inputs, values, frame)
        except UnsupportedError as error:
            what = error.what if error.where == "" else f"{node.op_type}: {error.what}"
            importer.problems.append(Problem(what, _place(node, frame), error.hint))
            continue
        for name, result in zip(node.output, results, strict=False):
            if name and result is not None:
                values[name] = result if frame.depth or not isinstance(result, Node) else _as_declared(importer, name, result, node)


def _place(node: NodeProto, frame: Frame) -> str:
    """The node's origin: inside a function, that of the calling node and, where it has one, its own name."""
    if not frame.origin:
        return origin_of(node)
    return f"{frame.origin}/{node.name}" if node.name else frame.origin


def _lower(importer: Importer, node: NodeProto, inputs: tuple[Value | None, ...], values: Values, frame: Frame) -> Sequence[Value | None]:
    """The node's results, one for each output; None for one that the model leaves out. Raises TgcError."""
    domain = normal_domain(node.domain)
    opset = frame.opsets.get(domain, 0)
    if domain == "" and is_structured(node, inputs):
        return _call_structured(importer, node, inputs, values, frame, opset)
    if any(isinstance(value, Text) for value in inputs) or _makes_text(node):
        importer.b.site = Site(_place(node, frame), node.op_type, opset, tuple(node.input), tuple(node.output))
        return lower_text(importer.b, _resolved(node, frame), frame.opsets, inputs)
    return _lower_tensors(importer, node, tensors(node.op_type, inputs), values, frame)


def _makes_text(node: NodeProto) -> bool:
    """Whether the node is a constant of strings."""
    kinds = {a.name: a.t.data_type for a in node.attribute} if node.op_type == "Constant" else {}
    return kinds.get("value") == TensorProto.STRING or bool({"value_string", "value_strings"} & set(kinds))


def _lower_tensors(
    importer: Importer, node: NodeProto, inputs: tuple[Node | None, ...], values: Values, frame: Frame
) -> Sequence[Value | None]:
    """`_lower` for tensors of numbers."""
    domain = normal_domain(node.domain)
    opset = frame.opsets.get(domain, 0)
    lowering = importer.registry.find(domain, node.op_type, opset)
    if lowering is not None:
        return _call_lowering(importer, lowering, node, inputs, frame, opset)
    if key_of(node) in importer.functions:
        return _call_function(importer, importer.functions[key_of(node)], node, inputs, frame, opset)
    if domain == "" and node.op_type in CONTROL:
        return _call_control(importer, node, inputs, values, frame, opset)
    body = schema_body(_resolved(node, frame), opset, inputs)
    if body is None:
        raise UnsupportedError(operator(importer.registry, node, opset))
    return _call_function(importer, body, node, inputs, frame, opset)


def _resolved(node: NodeProto, frame: Frame) -> NodeProto:
    """`node` without references to attributes of the function around it: a body that depends on the node reads their values."""
    if not frame.arguments:
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(attributes_of(node, frame.arguments).values())
    return copy


def _call_lowering(
    importer: Importer, lowering: Lowering, node: NodeProto, inputs: tuple[Node | None, ...], frame: Frame, opset: int
) -> Sequence[Node | None]:
    b, place = importer.b, _place(node, frame)
    b.site = Site(place, node.op_type, opset, tuple(node.input), tuple(node.output))
    b.values = inputs
    b.graph.origin = place
    require_one_type(schema_of(normal_domain(node.domain), node.op_type, opset), inputs, b.where)
    given = attributes_of(node, frame.arguments)
    attributes = {name: attribute_value(a, importer.folder, b.where) for name, a in given.items() if name not in IGNORED_ATTRIBUTES}
    arguments = _fitting(b, lowering, inputs, attributes)
    try:
        made = independent.call(b, lowering, arguments, attributes)
    except UndecidedError as error:
        raise b.unsupported(error.what, error.hint or "pin the dimension, --dim NAME=SIZE") from error
    except TgcError as error:
        raise error if error.where else type(error)(error.what, b.where, error.hint) from error
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise ModelError(f"its operands do not fit: {error}", b.where) from error
    results = made if isinstance(made, tuple) else (made,)
    for result in results:
        require_possible(result.shape, b.where)
    if any(node.output[len(results) :]):
        raise b.unsupported(f"output number {len(results) + 1}")
    folder = Folder(b.graph, importer.runtime)
    small = [folder.small(result) for result in results]
    for before, kept in zip(results, small, strict=True):
        if before in b.stored:
            b.stored[kept] = b.stored[before]
    return small


def require_possible(shape: Shape, where: str) -> None:
    """Raises ModelError for a shape that no machine could hold, before anything downstream counts its elements."""
    if any(size < 0 for size in map(int, shape)) or prod(map(int, shape)) > LARGEST:
        raise ModelError(f"a tensor of shape {list(shape)} cannot exist", where)
    for size in shape:
        if isinstance(size, Length) and size.low < 0:
            hint = f"give {' and '.join(s.name for s in symbols(size.polynomial))} a larger lower bound"
            raise ModelError(f"an axis of {size} elements, which can be negative", where, hint)


LARGEST = 1 << 40
"""Elements of the largest tensor that can be meant."""

IGNORED_ATTRIBUTES = frozenset({"consumed_inputs"})
"""Hints of the oldest opsets about memory, which change no result."""


def _fitting(
    b: LoweringBuilder, lowering: Lowering, inputs: tuple[Node | None, ...], attributes: Mapping[str, object]
) -> tuple[Node | None, ...]:
    """The inputs as the lowering takes them, absent ones at the end as None. Raises where it does not take what the node has."""
    takes = parameters(lowering.function)
    for name in attributes:
        if name not in takes.attributes:
            raise b.unsupported(f"attribute {name!r}")
    for name in takes.required:
        if name not in attributes:
            raise b.invalid(f"attribute {name!r} is missing")
    if takes.variadic:
        return inputs
    while len(inputs) > len(takes.inputs) and inputs[-1] is None:
        inputs = inputs[:-1]
    if len(inputs) > len(takes.inputs):
        raise b.unsupported(f"input number {len(takes.inputs) + 1}")
    return inputs + (None,) * (len(takes.inputs) - len(inputs))


def _call_function(
    importer: Importer, function: FunctionProto, node: NodeProto, inputs: tuple[Node | None, ...], frame: Frame, opset: int
) -> Sequence[Value | None]:
    """The results of the function's body, lowered in place. Nodes in it that are not supported are reported one by one.

    A function of the model says which opsets it uses; a schema's body may leave some to the model.
    """
    place = _place(node, frame)
    opsets = opsets_of(function) if key_of(node) in importer.functions else {**frame.opsets, **opsets_of(function)}
    inner = Frame(opsets, arguments_of(function, node, opset, frame.arguments), place, frame.depth + 1)
    padded = [*inputs, *(None for _ in function.input)]
    values: Values = dict(zip(function.input, padded, strict=False))
    wanted = [name for name, asked in zip(function.output, node.output, strict=False) if asked]
    body = ordered_nodes(function.node, function.input, wanted, f"function {function.name!r}")
    lower_nodes(importer, body, values, inner)
    return _results(values, function.output, node)


def _call_control(
    importer: Importer, node: NodeProto, inputs: tuple[Node | None, ...], values: Values, frame: Frame, opset: int
) -> Sequence[Node | None]:
    """The results of an If, Loop or Scan."""
    b, place = importer.b, _place(node, frame)
    site = Site(place, node.op_type, opset, tuple(node.input), tuple(node.output))
    inside = Frame(frame.opsets, frame.arguments, place, frame.depth + 1)

    def enter() -> None:
        b.site, b.values, b.graph.origin = site, inputs, place

    def body(graph: GraphProto, arguments: Sequence[Node]) -> list[Node] | None:
        results = _subgraph(importer, graph, arguments, values, inside, node)
        enter()
        return None if results is None else [result for result in tensors(node.op_type, results) if result is not None]

    def attempt(make: Callable[[], Sequence[Node] | None]) -> Sequence[Node] | TgcError | None:
        known = len(importer.problems)
        try:
            return make()
        except TgcError as error:
            enter()
            del importer.problems[known:]
            return error

    enter()
    given = attributes_of(node, frame.arguments)
    attributes = {name: attribute_value(a, importer.folder, b.where) for name, a in given.items()}
    results = lower_control(node.op_type, Control(b, inputs, attributes, body, attempt))
    if results is None:
        return [None] * len(node.output)
    folder = Folder(b.graph, importer.runtime)
    return [folder.small(result) for result in results]


def _call_structured(
    importer: Importer, node: NodeProto, inputs: tuple[Value | None, ...], values: Values, frame: Frame, opset: int
) -> Sequence[Value | None]:
    """The results of a node on sequences or optionals."""
    b, place = importer.b, _place(node, frame)
    site = Site(place, node.op_type, opset, tuple(node.input), tuple(node.output))
    inside = Frame(frame.opsets, frame.arguments, place, frame.depth + 1)

    def body(graph: GraphProto, arguments: Sequence[Value]) -> list[Value] | None:
        results = _subgraph(importer, graph, arguments, values, inside, node)
        b.site, b.graph.origin = site, place
        return results

    b.site, b.values, b.graph.origin = site, (), place
    given = {name: a for name, a in attributes_of(node, frame.arguments).items() if a.type != AttributeProto.TYPE_PROTO}
    attributes = {name: attribute_value(a, importer.folder, b.where) for name, a in given.items()}
    results = lower_structured(node.op_type, Call(b, inputs, attributes, body))
    folder = Folder(b.graph, importer.runtime)
    return [None] * len(node.output) if results is None else [folder.small(r) if isinstance(r, Node) else r for r in results]


def _subgraph(
    importer: Importer, graph: GraphProto, arguments: Sequence[Value], values: Values, frame: Frame, node: NodeProto
) -> list[Value] | None:
    """The outputs of `graph` for `arguments`, its inputs; None where a problem, which is reported, stood in the way."""
    where = f"a subgraph of {origin_of(node)!r}"
    inner: Values = ChainMap({}, values)
    if len(graph.input) != len(arguments):
        raise ModelError(f"{where} takes {len(graph.input)} inputs, not {len(arguments)}", f"{node.op_type} {origin_of(node)!r}")
    inner.update(zip((value.name for value in graph.input), arguments, strict=True))
    names = [value.name for value in graph.output]
    body = ordered_nodes(graph.node, [*(t.name for t in graph.initializer), *inner], names, where)
    enter_initializers(importer, graph, {name for n in body for name in reads(n)} | set(names), inner)
    lower_nodes(importer, body, inner, frame)
    results = [result for result in map(inner.get, names) if result is not None]
    return results if len(results) == len(names) else None


def _results(values: Values, names: Sequence[str], node: NodeProto) -> list[Value | None]:
    """What `names` stand for, up to the outputs that `node` has; None where a problem stood in the way."""
    return [values.get(name) for name, _ in zip(names, node.output, strict=False)]


def _can_be(size: int, declared: int | str) -> bool:
    """Whether an extent is what the model says it is, or, where it is only known at run time, can be."""
    if isinstance(declared, str) or isinstance(size, Length):
        return isinstance(declared, str) or (isinstance(size, Length) and size.low <= declared <= int(size))
    return size == declared


def _as_declared(importer: Importer, name: str, result: Node, node: NodeProto) -> Node:
    """`result`; notes where its shape is not what the model says about value `name`. Raises ModelError where its type is not.

    The operators decide: a declaration may be left from another size, or be wrong as some exporters make it.
    """
    if name not in importer.declared:
        return result
    dtype, shape = importer.declared[name]
    dims = result.shape if shape.dims is None else shape.dims
    same = len(dims) == len(result.shape) and all(_can_be(s, d) for d, s in zip(dims, result.shape, strict=True))
    if dtype != result.dtype:
        raise ModelError(
            f"value {shape} is declared as {dtype}, but the operators make {result.dtype} {list(result.shape)}",
            f"{node.op_type} {origin_of(node)!r}",
            "export the model again, or remove the declaration",
        )
    if not same:
        importer.contradicted.append(f"{shape} is {list(result.shape)}")
    return result
