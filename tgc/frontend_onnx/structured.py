"""Sequences, optionals and strings: values of the front end alone, which are gone where their structure is known while compiling.

A sequence is a tuple of nodes, an optional is a value or none, a string tensor is an array. Operators on them choose among nodes or
compute constants; none of them leaves anything in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto
from onnx.reference import ReferenceEvaluator

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx.attributes import Value as AttributeValue
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import fold
from tgc.frontend_onnx.lowerings.indexing import gather
from tgc.frontend_onnx.open_axes import refusal
from tgc.ir.graph import Node
from tgc.ir.lengths import Length

MOST_WRITTEN_OUT = 128
STRUCTURED = (
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
    "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence",
)  # fmt: skip
TEXTUAL = ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit")
"""Operators that are about strings alone."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A sequence."""

    elements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Maybe:
    """An optional; None where there is nothing in it."""

    value: Node | Listed | None


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A tensor of strings that is known while compiling: an array of objects."""

    data: npt.NDArray[np.object_]


Value = Node | Listed | Maybe | Text
Body = Callable[[GraphProto, Sequence[Value]], "list[Value] | None"]


@dataclass(frozen=True, slots=True)
class Call:
    """A node on structured values. body: lowers a subgraph; None where it met a problem, which it has reported."""

    b: LoweringBuilder
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, AttributeValue]
    body: Body

    def number(self, name: str, default: int) -> int:
        found = self.attributes.get(name, default)
        if not isinstance(found, int):
            raise self.b.invalid(f"{name} is {found}")
        return found

    def listed(self, at: int = 0) -> tuple[Node, ...]:
        found = self.inputs[at] if at < len(self.inputs) else None
        if isinstance(found, Maybe):
            found = found.value
        if not isinstance(found, Listed):
            raise self.b.invalid(f"input {at} is no sequence")
        return found.elements

    def node(self, at: int) -> Node | None:
        found = self.inputs[at] if at < len(self.inputs) else None
        if found is not None and not isinstance(found, Node):
            raise self.b.unsupported(f"a sequence, an optional or strings as input {at}")
        return found

    def tensor(self, at: int) -> Node:
        found = self.node(at)
        if found is None:
            raise self.b.invalid(f"input {at} is left out")
        return found

    def place(self, at: int, count: int, default: int) -> int:
        """The position that input `at` says, among `count`, counted from the front."""
        given = self.node(at)
        found = default if given is None else self.b.known_ints(given, "the position")[0]
        if not -count <= found < max(count, default + 1):
            raise self.b.invalid(f"position {found} of a sequence of {count}")
        return found if found >= 0 else found + count


def is_structured(node: NodeProto, inputs: Sequence[Value | None]) -> bool:
    """Whether the node, of ONNX's own domain, makes or reads sequences or optionals, itself or in its subgraphs."""
    if node.op_type in STRUCTURED:
        return True
    if node.op_type in ("Identity", "Loop") and any(isinstance(value, Listed | Maybe) for value in inputs):
        return True
    graphs = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH] if node.op_type in ("If", "Loop") else []
    return any(v.type.WhichOneof("value") in ("sequence_type", "optional_type") for g in graphs for v in (*g.input, *g.output))


def tensors(op_type: str, values: Sequence[Value | None]) -> tuple[Node | None, ...]:
    """`values`, which are all tensors. Raises UnsupportedError where one is not."""
    found = tuple(value for value in values if value is None or isinstance(value, Node))
    if len(found) != len(values):
        raise UnsupportedError(f"{op_type} of a sequence, an optional or strings")
    return found


def lower_structured(op_type: str, call: Call) -> list[Value] | None:
    """The node's results; None where a problem in a subgraph stood in the way. Raises TgcError."""
    match op_type:
        case "SequenceMap":
            return _mapped(call)
        case "If":
            return _branch(call)
        case "Loop":
            return _loop(call)
        case "Identity":
            return [value for value in call.inputs if value is not None]
        case "Optional" | "OptionalHasElement" | "OptionalGetElement":
            return [_optional(op_type, call)]
        case _:
            return [_sequence(op_type, call)]


def _sequence(op_type: str, call: Call) -> Value:
    match op_type:
        case "SequenceConstruct":
            return Listed(tuple(call.tensor(at) for at in range(len(call.inputs))))
        case "SequenceAt":
            return _element(call)
        case "SequenceInsert":
            return _with(call)
        case "SequenceErase":
            elements = call.listed()
            at = call.place(1, len(elements), len(elements) - 1)
            return Listed(elements[:at] + elements[at + 1 :])
        case "SequenceLength":
            return call.b.constant(np.array(len(call.listed()), np.int64))
        case "SplitToSequence":
            return _split(call)
        case "ConcatFromSequence":
            return _joined(call)
        case _:  # SequenceEmpty
            return Listed(())


def _element(call: Call) -> Node:
    elements = call.listed()
    position = call.tensor(1)
    if fold(position) is not None or len({(e.dtype, e.shape) for e in elements}) != 1:
        return elements[call.place(1, len(elements), 0)]
    return gather(call.b, call.b.stack(elements, 0), call.b.reshape(position, ()))


def _with(call: Call) -> Listed:
    elements = call.listed()
    at = call.place(2, len(elements), len(elements))
    return Listed((*elements[:at], call.tensor(1), *elements[at:]))


def _split(call: Call) -> Listed:
    """Pieces as long as `split` says (one number for all but the last, which may be shorter), or of one element each."""
    b, x = call.b, call.tensor(0)
    axis = b.axis(call.number("axis", 0), len(x.shape))
    given, size = call.node(1), x.shape[axis]
    if isinstance(size, Length):
        raise refusal(b, size)
    if given is None:
        parts = [b.narrow(x, axis, n, 1) for n in range(size)]
        return Listed(tuple(parts if call.number("keepdims", 1) else [b.squeeze(p, (axis,)) for p in parts]))
    lengths = list(b.known_ints(given, "split"))
    if not given.shape:
        whole = lengths[0]
        if whole < 1:
            raise b.invalid(f"pieces of {whole}")
        lengths = [min(whole, size - start) for start in range(0, size, whole)]
    if sum(lengths) != size or min(lengths, default=0) < 0:
        raise b.invalid(f"pieces of {lengths} on an axis of {size}")
    starts = np.cumsum([0, *lengths]).tolist()
    return Listed(tuple(b.narrow(x, axis, start, length) for start, length in zip(starts, lengths, strict=False)))


def _joined(call: Call) -> Node:
    elements = call.listed()
    if not elements:
        raise call.b.unsupported("an empty sequence put together")
    axis = call.number("axis", 0)
    return call.b.stack(elements, axis) if call.number("new_axis", 0) else call.b.concat(elements, axis)


def _mapped(call: Call) -> list[Value] | None:
    """The body for each element, beside the elements of further sequences, and tensors as they are."""
    graph = _graph(call, "body")
    columns: list[list[Node]] = [[] for _ in graph.output]
    for number in range(len(call.listed())):
        arguments = [_piece(call, at, number) for at in range(len(call.inputs))]
        results = call.body(graph, arguments)
        if results is None:
            return None
        for column, result in zip(columns, results, strict=True):
            if not isinstance(result, Node):
                raise call.b.unsupported("a SequenceMap of sequences")
            column.append(result)
    return [Listed(tuple(column)) for column in columns]


def _piece(call: Call, at: int, number: int) -> Node:
    if isinstance(call.inputs[at], Listed):
        elements = call.listed(at)
        if number >= len(elements):
            raise call.b.invalid(f"sequences of different lengths, {len(call.listed())} and {len(elements)}")
        return elements[number]
    return call.tensor(at)


def _graph(call: Call, name: str) -> GraphProto:
    graph = call.attributes.get(name)
    if not isinstance(graph, GraphProto):
        raise call.b.invalid(f"attribute {name!r} is missing")
    return graph


def _branch(call: Call) -> list[Value] | None:
    """The branch that a known condition takes; otherwise sequences of one length, each element selected."""
    b, condition = call.b, call.tensor(0)
    known = fold(condition)
    if known is not None:
        return call.body(_graph(call, "then_branch" if known.reshape(-1)[0] else "else_branch"), ())
    taken, other = (call.body(_graph(call, name), ()) for name in ("then_branch", "else_branch"))
    if taken is None or other is None:
        return None
    chosen = b.reshape(condition, ())
    return [_selected(b, chosen, x, y) for x, y in zip(taken, other, strict=True)]


def _selected(b: LoweringBuilder, condition: Node, x: Value, y: Value) -> Value:
    if isinstance(x, Node) and isinstance(y, Node) and (x.dtype, x.shape) == (y.dtype, y.shape):
        return b.where_(condition, x, y)
    if isinstance(x, Listed) and isinstance(y, Listed) and len(x.elements) == len(y.elements):
        pairs = zip(x.elements, y.elements, strict=True)
        return Listed(tuple(v for p, q in pairs if isinstance(v := _selected(b, condition, p, q), Node)))
    raise b.unsupported("branches of different types under a condition that is only known at run time")


def _loop(call: Call) -> list[Value] | None:
    """A loop that carries sequences, its body written out for each iteration."""
    b, graph = call.b, _graph(call, "body")
    trips, condition = call.node(0), call.node(1)
    limit = MOST_WRITTEN_OUT + 1 if trips is None else b.known_ints(trips, "the trip count")[0]
    going = condition is None or bool(b.known(condition, "the condition").reshape(-1)[0])
    states = [Maybe(None) if value is None else value for value in call.inputs[2:]]
    slabs: list[list[Value]] = []
    for number in range(limit):
        if not going:
            break
        if number == MOST_WRITTEN_OUT:
            raise b.unsupported(f"a Loop over sequences of more than {MOST_WRITTEN_OUT} iterations")
        results = call.body(graph, [b.constant(np.array(number, np.int64)), b.constant(np.array(True)), *states])
        if results is None:
            return None
        going = bool(b.known(tensors("Loop", results[:1])[0] or b.constant(np.array(True)), "the condition").reshape(-1)[0])
        states, rest = results[1 : 1 + len(states)], results[1 + len(states) :]
        slabs.append(rest)
    columns = [[node for node in tensors("Loop", column) if node is not None] for column in zip(*slabs, strict=True)]
    return [*states, *(b.stack(column, 0) for column in columns)]


def _optional(op_type: str, call: Call) -> Value:
    given = call.inputs[0] if call.inputs else None
    inside = given.value if isinstance(given, Maybe) else given
    match op_type:
        case "Optional":
            if isinstance(inside, Text | Maybe):
                raise call.b.unsupported("an optional of strings")
            return Maybe(inside)
        case "OptionalHasElement":
            return call.b.constant(np.array(inside is not None))
    if inside is None:
        raise call.b.invalid("the element of an optional that has none")
    return inside


def lower_text(b: LoweringBuilder, node: NodeProto, opset: Mapping[str, int], inputs: Sequence[Value | None]) -> list[Value]:
    """The results of a node on strings, computed now by ONNX's reference. Raises UnsupportedError where an input is not known."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, value in zip(node.input, inputs, strict=True):
        known = value.data if isinstance(value, Text) else fold(value) if isinstance(value, Node) else None
        if name and known is None:
            raise b.unsupported("element type string beside values that are only known at run time")
        if name and known is not None:
            arrays[name] = known
    inputs_, outputs = ([onnx.ValueInfoProto(name=name) for name in names] for names in (arrays, node.output))
    graph = onnx.helper.make_graph([node], "text", inputs_, outputs)
    entries = [onnx.helper.make_opsetid(domain, version) for domain, version in opset.items()]
    try:
        results = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=entries)).run(None, arrays)
    except Exception as error:  # The reference raises whatever its operators raise.
        raise ModelError(f"strings that the operator cannot take: {error}", b.where) from error
    return [_value_of(b, np.asarray(result)) for result in results]


def _value_of(b: LoweringBuilder, array: npt.NDArray[np.generic]) -> Value:
    return Text(array.astype(object)) if array.dtype.kind in "OUS" else b.constant(array)


def pieces_of(value: onnx.ValueInfoProto, shapes: Mapping[str, Sequence[int]]) -> list[onnx.ValueInfoProto]:
    """The inputs of the graph that make up the model's input `value`: itself; the tensor in an optional; for a sequence x
    the tensors x_0, x_1, .., as many as `shapes` pins. Without any, the sequence itself."""
    kind = value.type
    while kind.WhichOneof("value") == "optional_type":
        kind = kind.optional_type.elem_type
    if kind.WhichOneof("value") != "sequence_type":
        return [value if kind is value.type else onnx.ValueInfoProto(name=value.name, type=kind)]
    element = onnx.TypeProto()
    element.CopyFrom(kind.sequence_type.elem_type)
    for dim in element.tensor_type.shape.dim:
        if dim.HasField("dim_param"):
            dim.Clear()  # The same name in every element, but not the same size.
    count = next(n for n in range(len(shapes) + 1) if f"{value.name}_{n}" not in shapes)
    return [onnx.ValueInfoProto(name=f"{value.name}_{n}", type=element) for n in range(count)] or [value]


def gathered(value: onnx.ValueInfoProto, made: Mapping[str, Node]) -> Listed:
    """The sequence that the model's input `value` is, of the graph's inputs."""
    count = next(n for n in range(len(made) + 1) if f"{value.name}_{n}" not in made)
    return Listed(tuple(made[f"{value.name}_{n}"] for n in range(count)))


def named_pieces(name: str, value: Value) -> list[tuple[str, Node]]:
    """What the graph gives for the model's output `name`: a sequence as name_0, name_1, .. Raises UnsupportedError."""
    if isinstance(value, Maybe):
        if value.value is None:
            raise UnsupportedError(f"output {name!r} that is an optional with nothing in it")
        return named_pieces(name, value.value)
    if isinstance(value, Text):
        raise UnsupportedError(f"output {name!r} of strings")
    return [(name, value)] if isinstance(value, Node) else [(f"{name}_{n}", element) for n, element in enumerate(value.elements)]
