"""From what a user asks for (states, entry points, several models) to one graph and its interface.

A state is tied by `OUTPUT=INPUT`: what the output is after one call, the input is in the next. OUTPUT may be a part, written as
Python slices it: `outputs[:,6097:]`; it stays an output then. Of a shifted state, INPUT is a window of the last values of OUTPUT
along the one axis in which their shapes differ: each call moves it on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from tgc.errors import OptionError
from tgc.ir.graph import Bound, Graph, Input, Node, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interface import Entry, Interface
from tgc.ir.rebuild import rebuild

_PART = re.compile(r"(?P<name>.*?)\[(?P<slices>[-0-9:, ]*)\]")
_RESERVED = frozenset(
    ("init", "select", "enqueue", "release", "selftest", "reset", "model", "context", "golden", "weights", "bind", "map", "bound")
)
_PREFIXES = ("bind_", "map_", "enqueue_", "set_")
MAIN = "run"


@dataclass(frozen=True, slots=True)
class Tie:
    """A state as the user writes it: an output or a part of one, and an input. shift: the input is a window over time."""

    output: str
    input: str
    shift: bool = False


def ties(states: Mapping[str, str], shifts: Mapping[str, str]) -> list[Tie]:
    """The states that a user lists, each an output and the input that it is tied to."""
    return [*(Tie(output, given) for output, given in states.items()), *(Tie(output, given, True) for output, given in shifts.items())]


def merge(graphs: Sequence[Graph]) -> Graph:
    """One graph of several models: inputs of one name are one input. Raises OptionError where names contradict each other."""
    if len(graphs) == 1:
        return graphs[0]
    if any(graph.open is not None for graph in graphs):
        raise OptionError("open dimensions do not go together with several models yet", "--dim", "pin them: --dim NAME=SIZE")
    builder = GraphBuilder()
    inputs: dict[str, Input] = {}
    outputs: dict[str, Node] = {}
    bounds = 0
    for graph in graphs:
        made: dict[Node, Node] = {}
        for node in graph.nodes():
            old = Bound(node.number + bounds, node.dtype, node.shape, node.origin) if isinstance(node, Bound) else node
            made[node] = new = rebuild(builder, old, tuple(made[source] for source in sources(node)))
            if isinstance(node, Input) and isinstance(new, Input):
                if (new.dtype, new.shape) != (node.dtype, node.shape):
                    raise OptionError(f"two models have an input {node.name!r} of different types", hint="rename it in one of them")
                inputs.setdefault(node.name, new)
        bounds += 1 + max((node.number for node in graph.nodes() if isinstance(node, Bound)), default=0)
        for name, node in graph.outputs:
            if name in outputs:
                raise OptionError(f"two models have an output {name!r}", hint="rename it in one of them")
            outputs[name] = made[node]
    return Graph(graphs[0].name, tuple(inputs.values()), tuple(outputs.items()))


def interface_of(graph: Graph, ties: Sequence[Tie], entries: Mapping[str, Sequence[str]]) -> tuple[Graph, Interface]:
    """`graph` with an output for each state's next value, and its interface. Raises OptionError where a name or a shape does not fit."""
    if graph.open is not None and (ties or entries):
        raise OptionError("open dimensions do not go together with states and entry points yet", "--dim", "pin them: --dim NAME=SIZE")
    states: list[tuple[str, str]] = []
    for tie in ties:
        if tie.input in [name for _, name in states]:
            raise OptionError(f"input {tie.input!r} is tied twice", "--state")
        graph, output = _tied(graph, tie)
        if output in [name for name, _ in states]:
            raise OptionError(f"output {output!r} is tied twice", "--state", "tie a part of it: 'NAME[:]=INPUT'")
        states.append((output, tie.input))
    follow = {tie.input: _PART.sub(r"\g<name>", tie.output) for tie in ties}
    return graph, Interface(tuple(states), _entries(graph, states, follow, entries))


def _tied(graph: Graph, tie: Tie) -> tuple[Graph, str]:
    """The graph in which an output, whose name is answered too, is the next value of the input."""
    given = next((node for node in graph.inputs if node.name == tie.input), None)
    if given is None:
        names = ", ".join(node.name for node in graph.inputs)
        raise OptionError(f"there is no input {tie.input!r}", "--state", f"the inputs are {names}")
    outputs = dict(graph.outputs)
    part = None if tie.output in outputs else _PART.fullmatch(tie.output)
    name = tie.output if part is None else part["name"]
    if name not in outputs:
        raise OptionError(f"there is no output {name!r}", "--state", f"the outputs are {', '.join(outputs)}")
    builder = GraphBuilder()
    node = outputs[name] if part is None else _sliced(builder, outputs[name], part["slices"], tie.output)
    following = _shifted(builder, given, node, tie) if tie.shift else _shaped(builder, given, node, tie)
    if following is outputs[name]:
        return graph, name
    fresh = f"{tie.input}.next"
    if fresh in outputs:
        raise OptionError(f"the model has an output {fresh!r} already", "--state")
    kept = graph.outputs if part is not None else tuple(entry for entry in graph.outputs if entry[0] != name)
    return replace(graph, outputs=(*kept, (fresh, following))), fresh


def _sliced(builder: GraphBuilder, node: Node, text: str, where: str) -> Node:
    """Part of `node`, as Python slices an array; an axis without a slice is whole, and an index keeps its axis."""
    starts, shape = [0] * len(node.shape), list(node.shape)
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    try:
        if len(parts) > len(shape):
            raise ValueError
        for axis, part in enumerate(parts):
            numbers = [int(number) if number.strip() else None for number in part.split(":")]
            if len(numbers) == 1 and numbers[0] is not None:
                numbers = [numbers[0], None if numbers[0] == -1 else numbers[0] + 1]
            if len(numbers) != 2:
                raise ValueError
            low, high, _ = slice(*numbers).indices(shape[axis])
            starts[axis], shape[axis] = low, high - low
        if min(shape, default=1) < 1:
            raise ValueError
    except ValueError:
        raise OptionError(f"no part of an output of shape {list(node.shape)}", where, "write it like outputs[:,6097:]") from None
    return builder.slice(node, tuple(starts), (1,) * len(shape), tuple(shape))


def _shaped(builder: GraphBuilder, given: Input, node: Node, tie: Tie) -> Node:
    if node.dtype != given.dtype or prod(node.shape) != prod(given.shape):
        what = f"{tie.output} is {node.dtype}{list(node.shape)}, and {tie.input} {given.dtype}{list(given.shape)}"
        raise OptionError(what, "--state", "tie a part of the output, as in outputs[:,6097:]=state, or --shift it into a window")
    return builder.reshape(node, given.shape)


def _shifted(builder: GraphBuilder, given: Input, node: Node, tie: Tie) -> Node:
    """The window without its oldest values, and the newest at its end."""
    same = node.dtype == given.dtype and len(node.shape) == len(given.shape)
    axes = [axis for axis, (a, b) in enumerate(zip(node.shape, given.shape, strict=False)) if a != b]
    if not same or len(axes) != 1 or node.shape[axes[0]] > given.shape[axes[0]]:
        what = f"{tie.output} is {node.dtype}{list(node.shape)}, no step of a window {given.dtype}{list(given.shape)}"
        raise OptionError(what, "--shift", "their shapes have to be equal but for one axis, in which the input is longer")
    (axis,) = axes
    rows = node.shape[axis]
    starts = tuple(rows if a == axis else 0 for a in range(len(given.shape)))
    kept = tuple(size - rows if a == axis else size for a, size in enumerate(given.shape))
    return builder.concat((builder.slice(given, starts, (1,) * len(starts), kept), node), axis)


def _entries(
    graph: Graph, states: Sequence[tuple[str, str]], follow: Mapping[str, str], wanted: Mapping[str, Sequence[str]]
) -> tuple[Entry, ...]:
    """The entries, the main one first. An entry's list names outputs, and states by their inputs; an output brings its states along."""
    following = {given: output for output, given in states}
    names = [name for name, _ in graph.outputs]
    made: list[Entry] = []
    for entry, listed in wanted.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", entry) or entry in _RESERVED or entry.startswith(_PREFIXES):
            raise OptionError(f"an entry point cannot be called {entry!r}", "--entry", "take another C identifier")
        chosen = set()
        for name in listed:
            brought = [following[given] for given, output in follow.items() if output == name]
            found = [name] if name in names else [following[name]] if name in following else []
            if not found and not brought:
                known = ", ".join([*names, *following])
                raise OptionError(f"{name!r} is neither an output nor a state", f"--entry {entry}", f"there are {known}")
            chosen.update(found + brought)
        made.append(Entry(entry, tuple(name for name in names if name in chosen)))
    return tuple(sorted(made, key=lambda entry: entry.name != MAIN))


def split(graph: Graph, interface: Interface) -> tuple[tuple[str, Graph], ...]:
    """The graph of each entry, the main one first. All have every input, whether they read it or not."""
    if not interface.entries:
        return ((MAIN, graph),)
    return tuple((e.name, replace(graph, outputs=tuple(o for o in graph.outputs if o[0] in e.outputs))) for e in interface.entries)
