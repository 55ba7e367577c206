"""The shape of an ONNX graph: which nodes its outputs need, in what order, and whether it is one graph at all."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

import onnx
import onnx.checker
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from tgc.errors import ModelError
from tgc.frontend_onnx.registry import schema_of


def origin_of(node: NodeProto) -> str:
    """What tgc calls the node: its name, or one made of its operator and its first output."""
    return node.name or f"{node.op_type}_{next((name for name in node.output if name), '')}"


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The graphs among the node's attributes."""
    found = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    return found + [g for a in node.attribute if a.type == AttributeProto.GRAPHS for g in a.graphs]


def reads(node: NodeProto) -> list[str]:
    """The names of the values that the node reads, those that its subgraphs take from outside included."""
    inner = [name for graph in subgraphs(node) for name in _free(graph)]
    return list(dict.fromkeys([*(name for name in node.input if name), *inner]))


def _free(graph: GraphProto) -> list[str]:
    made = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {name for n in graph.node for name in n.output}
    wanted = [*(name for node in graph.node for name in reads(node)), *(v.name for v in graph.output)]
    return [name for name in wanted if name not in made]


def ordered_nodes(nodes: Sequence[NodeProto], given: Sequence[str], wanted: Iterable[str], where: str) -> list[NodeProto]:
    """The nodes that `wanted` values need, each after those it reads, else in the model's order.

    given: the values that are there without any node: inputs, initializers, for a subgraph what surrounds it.
    Raises ModelError where a value is made twice, read but never made, or made from itself.
    """
    producers = _producers(nodes, given, where)
    needed = _needed(nodes, producers, given, wanted, where)
    depends = {i: {producers[name] for name in reads(nodes[i]) if name in producers} for i in needed}
    users: dict[int, list[int]] = {}
    for index in sorted(depends):
        for source in sorted(depends[index]):
            users.setdefault(source, []).append(index)
    waiting = {index: len(sources) for index, sources in depends.items()}
    ready = [index for index in sorted(waiting) if waiting[index] == 0]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users.get(index, ()):
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    if len(order) < len(waiting):
        raise ModelError(f"nodes form a cycle: {_cycle(nodes, depends, set(waiting) - set(order))}", where)
    return [nodes[index] for index in order]


def _producers(nodes: Sequence[NodeProto], given: Sequence[str], where: str) -> dict[str, int]:
    """Which node makes each value."""
    producers: dict[str, int] = {}
    there = set(given)
    for index, node in enumerate(nodes):
        for name in node.output:
            if name in producers or name in there:
                first = repr(origin_of(nodes[producers[name]])) if name in producers else "an input or initializer of the same name"
                raise ModelError(f"value {name!r} is made twice: by {first} and by {origin_of(node)!r}", where)
            if name:
                producers[name] = index
    return producers


def _needed(nodes: Sequence[NodeProto], producers: Mapping[str, int], given: Sequence[str], wanted: Iterable[str], where: str) -> list[int]:
    """The nodes that `wanted` values need, in the model's order."""
    there = set(given)
    needed: set[int] = set()
    pending = [(name, "an output of the graph") for name in wanted]
    while pending:
        name, reader = pending.pop()
        if name in there:
            continue
        if name not in producers:
            raise ModelError(f"value {name!r} is read by {reader}, but nothing makes it", where)
        if producers[name] not in needed:
            needed.add(producers[name])
            node = nodes[producers[name]]
            pending.extend((source, repr(origin_of(node))) for source in reads(node))
    return sorted(needed)


def _cycle(nodes: Sequence[NodeProto], depends: Mapping[int, set[int]], stuck: set[int]) -> str:
    """One cycle among the `stuck` nodes in words: every one of them waits for another, so going back must come round."""
    path = [min(stuck)]
    while path.count(path[-1]) == 1:
        path.append(min(depends[path[-1]] & stuck))
    loop = path[path.index(path[-1]) :][::-1]
    names = [origin_of(nodes[index]) for index in loop]
    return " -> ".join(names if len(names) <= 8 else [*names[:4], "...", *names[-3:]])


def require_unique(names: Iterable[str], what: str, where: str) -> None:
    """Raises ModelError where a name occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ModelError(f"two {what} are named {name!r}", where)
        seen.add(name)


def check(model: onnx.ModelProto, nodes: Sequence[NodeProto], where: str) -> None:
    """onnx.checker on the model with `nodes` for its nodes and without its weights, which `tensors` checks as it reads them.

    So the cost does not grow with the weights, and a model of more than 2 GB is checked like any other. Raises ModelError.
    """
    try:
        onnx.checker.check_model(_skeleton(model, nodes))
    except onnx.checker.ValidationError as error:
        raise ModelError(f"is not valid ONNX: {' '.join(str(error).split())}", where) from error


FOREIGN = ("LayerNormalization", "SimplifiedLayerNormalization")
"""Operators that ONNX Runtime puts into ONNX's own domain in opsets that do not have them, so that the checker does not know them."""


def _hide_foreign(model: onnx.ModelProto) -> None:
    """Moves FOREIGN operators that the opset does not have to a domain that the checker does not look into."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    own = [node for node in model.graph.node if node.op_type in FOREIGN and node.domain in ("", "ai.onnx")]
    hidden = [node for node in own if schema_of("", node.op_type, opset) is None]
    for node in hidden:
        node.domain = "com.microsoft"
    if hidden and all(entry.domain != "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def _skeleton(model: onnx.ModelProto, nodes: Sequence[NodeProto]) -> onnx.ModelProto:
    small = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    small.graph.name = model.graph.name or "model"
    small.graph.node.extend(nodes)
    _hide_foreign(small)
    for node in small.graph.node:
        for attribute in node.attribute:
            if attribute.t.data_location == TensorProto.EXTERNAL:
                attribute.t.CopyFrom(TensorProto(data_type=attribute.t.data_type, dims=[0]))
    small.graph.input.extend(model.graph.input)
    small.graph.output.extend(model.graph.output)
    for value in (*small.graph.input, *small.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            value.type.tensor_type.shape.SetInParent()  # The checker wants a shape; dimensions are `dimensions`' business.
    taken = {value.name for value in model.graph.input}
    anything = onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    small.graph.input.extend(onnx.ValueInfoProto(name=t.name, type=anything) for t in model.graph.initializer if t.name not in taken)
    return small
