"""If, Loop and Scan: operators whose attributes are graphs.

A subgraph is lowered where its node stands, and may read any value around it. A condition that is known while compiling picks a
branch; otherwise both are computed and the condition selects. A Loop or Scan becomes a scan of the graph: its body is lowered
once, for what is bound in every iteration. Where that fails, because the body needs to know while compiling what
changes from one iteration to the next (a shape, the start of a slice), a Loop of a few iterations is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import GraphProto

from tgc.errors import ModelError, TgcError
from tgc.frontend_onnx import live
from tgc.frontend_onnx.attributes import Value
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.folding import SMALL, Array, fold, inputs_of
from tgc.frontend_onnx.open_axes import refusal
from tgc.ir import scalar
from tgc.ir.dtypes import BOOL, I64
from tgc.ir.graph import Bound, Input, Node, Scan, ScanResult, Shape, postorder
from tgc.ir.interpret import evaluate
from tgc.ir.lengths import Length
from tgc.ir.scan import scan_results

CONTROL = ("If", "Loop", "Scan")

MOST_ITERATIONS = 1 << 20
"""Trip counts above this are taken to mean "until the condition fails"."""
MOST_WRITTEN_OUT = 128
MOST_COUNTED = 1 << 16
"""Iterations that are followed to find out how often a Loop runs."""
UNKNOWN_LENGTH = ("a Loop whose number of iterations is only known at run time", "give it a constant trip count")


@dataclass(frozen=True, slots=True)
class Control:
    """One node. body: lowers a subgraph for the nodes that its inputs stand for; it answers None where it met a problem, which
    it has reported. attempt: the same for whatever lowers bodies, with problems and faults undone and answered as None."""

    b: LoweringBuilder
    inputs: tuple[Node | None, ...]
    attributes: Mapping[str, Value]
    body: Callable[[GraphProto, Sequence[Node]], list[Node] | None]
    attempt: Callable[[Callable[[], Sequence[Node] | None]], Sequence[Node] | TgcError | None]

    def graph(self, name: str) -> GraphProto:
        found = self.attributes.get(name)
        if not isinstance(found, GraphProto):
            raise self.b.invalid(f"attribute {name!r} is missing")
        return found

    def integers(self, name: str, count: int) -> tuple[int, ...]:
        """One number for each of `count` tensors; 0 where the model says nothing."""
        found = self.attributes.get(name, (0,) * count)
        if not isinstance(found, tuple) or len(found) != count:
            raise self.b.invalid(f"{name} is {found}, for {count} tensors")
        return tuple(int(number) for number in found if isinstance(number, int))

    def given(self, what: str, start: int = 0) -> list[Node]:
        """The inputs from `start` on, none of which may be left out."""
        found = [node for node in self.inputs[start:] if node is not None]
        if len(found) != len(self.inputs[start:]):
            raise self.b.invalid(f"{what} is left out")
        return found


def lower_control(op_type: str, control: Control) -> Sequence[Node] | None:
    """The node's results; None where a problem in a subgraph stood in the way. Raises TgcError."""
    match op_type:
        case "If":
            return _if(control)
        case "Loop":
            return _loop(control)
        case _:
            return _scan_8(control) if control.b.opset < 9 else _scan(control)


def _if(control: Control) -> Sequence[Node] | None:
    b = control.b
    (condition,) = control.given("the condition")
    branches = control.graph("then_branch"), control.graph("else_branch")
    known = b.decided(condition)
    if known is not None:
        return control.body(branches[0 if known else 1], ())
    try:
        taken, other = (control.body(branch, ()) for branch in branches)
    except ModelError as error:
        inputs = ", ".join(repr(node.name) for node in inputs_of(condition))
        hint = f"where that branch is never taken, compile the condition in, --const with a value of {inputs}"
        raise ModelError(error.what, error.where, hint) from error
    if taken is None or other is None:
        return None
    for x, y in zip(taken, other, strict=True):
        if x.dtype != y.dtype or x.shape != y.shape:
            kinds = f"{x.dtype} {list(x.shape)} and {y.dtype} {list(y.shape)}"
            raise b.unsupported(f"branches of different types, {kinds}, under a condition that is only known at run time")
    chosen = b.reshape(condition, ())
    return [x if x is y else b.where_(chosen, x, y) for x, y in zip(taken, other, strict=True)]


def _loop(control: Control) -> Sequence[Node] | None:
    b = control.b
    trips, condition, *_ = (*control.inputs, None, None)
    limit = MOST_ITERATIONS + 1 if trips is None else max(0, b.known_ints(trips, "the trip count")[0])
    begins = None if condition is None else fold(condition)
    if begins is not None and not begins.reshape(-1)[0]:
        limit = 0
    running = None if condition is None or begins is not None else b.reshape(condition, (1,))
    initial = control.given("an initial value", 2)

    def as_scan(length: int, counted: bool) -> Sequence[Node] | TgcError | None:
        return control.attempt(lambda: _loop_as_scan(control, length, running, initial, counted))

    results = as_scan(limit, False) if limit <= MOST_ITERATIONS else b.unsupported(*UNKNOWN_LENGTH)
    if isinstance(results, TgcError) and running is None:
        counted = _trips(control, limit, initial)
        if counted is not None:
            results, limit = as_scan(counted, True), counted
    if isinstance(results, TgcError) and MOST_WRITTEN_OUT < limit <= MOST_ITERATIONS:
        raise results
    return _written_out(control, limit, running, initial) if isinstance(results, TgcError) else results


def _trips(control: Control, limit: int, initial: Sequence[Node]) -> int | None:
    """How often a Loop runs whose condition follows counters: states that begin known and change without any input. None: not known.

    So exporters write loops over time, `while (step < steps)`. The counters are followed by themselves, the rest of the body is not run.
    """
    b, graph = control.b, control.graph("body")
    number = b.graph.bound(I64, (1,))
    states = [b.graph.bound(node.dtype, _buffer(node.shape)) for node in initial]
    mine = [b.graph.reshape(bound, node.shape) for bound, node in zip(states, initial, strict=True)]
    outputs = control.attempt(lambda: control.body(graph, (b.reshape(number, ()), b.scalar(True, BOOL), *mine)))
    if outputs is None or isinstance(outputs, TgcError):
        return None
    following: dict[Node, Node] = dict(zip(states, outputs[1:], strict=False))
    followed = _followed(outputs[0], following, number)
    if not followed:
        return None
    begins = {bound: fold(first) for bound, first in zip(states, initial, strict=True) if bound in followed}
    values: dict[Node, Array] = {bound: value.reshape(bound.shape) for bound, value in begins.items() if value is not None}
    if len(values) < len(begins):
        return None
    for count in range(min(limit, MOST_COUNTED)):
        known: dict[Node, Array] = {number: np.full(1, count, np.int64), **values}
        if not evaluate(outputs[0], known).reshape(-1)[0]:
            return count + 1
        values = {bound: evaluate(following[bound], known).reshape(bound.shape) for bound in values}
    return limit if limit <= MOST_COUNTED else None


def _followed(condition: Node, following: Mapping[Node, Node], number: Node) -> set[Node]:
    """`number` and the states, as far as `condition` depends on them, through the states' next values too. Empty where it depends on
    nothing that changes, on anything else, or on much."""
    found: set[Node] = set()
    pending = [condition]
    while pending:
        for node in postorder((pending.pop(),)):
            foreign = isinstance(node, Input | ScanResult) or (isinstance(node, Bound) and node != number and node not in following)
            if foreign or live.is_open(node.shape) or prod(node.shape) > SMALL:
                return set()
            if isinstance(node, Bound) and node not in found:
                found.add(node)
                pending.extend([following[node]] if node in following else [])
    return found


def _loop_as_scan(control: Control, limit: int, running: Node | None, initial: Sequence[Node], counted: bool) -> Sequence[Node] | None:
    """A Loop that runs `limit` times, `counted`, or until a flag that it carries falls; it goes on idly then."""
    b, graph = control.b, control.graph("body")
    goes_on = b.scalar(True, BOOL)
    flag = [b.constant(np.ones(1, np.bool_)) if running is None else running]
    numbers = b.constant(np.arange(limit, dtype=np.int64))
    always = True

    def step(states: Sequence[Node], elements: Sequence[Node]) -> tuple[list[Node], list[Node]] | None:
        nonlocal always
        outputs = control.body(graph, (elements[0], goes_on, *states[1:]))
        if outputs is None:
            return None
        after, following, slabs = outputs[0], outputs[1 : len(states)], outputs[len(states) :]
        known = fold(after)
        always = counted or (running is None and known is not None and bool(known.reshape(-1)[0]))
        if always:
            return [states[0], *following], slabs
        if slabs:
            raise b.unsupported("a Loop that collects results, as many as are only known at run time")
        kept = [b.where_(b.reshape(states[0], ()), new, old) for new, old in _matching(b, following, states[1:])]
        return [b.elementwise(scalar.logical_and, states[0], b.reshape(after, (1,))), *kept], slabs

    results = _repeated(b, [*flag, *initial], [numbers], limit, False, step)
    return None if results is None else results[1:]


def _matching(b: LoweringBuilder, following: Sequence[Node], states: Sequence[Node]) -> list[tuple[Node, Node]]:
    """Each state's next value beside it. Raises ModelError where one changes its type."""
    for new, old in zip(following, states, strict=True):
        if new.dtype != old.dtype or new.shape != old.shape:
            raise b.invalid(f"a state of {old.dtype} {list(old.shape)} becomes {new.dtype} {list(new.shape)} in a loop")
    return list(zip(following, states, strict=True))


Step = Callable[[Sequence[Node], Sequence[Node]], "tuple[list[Node], list[Node]] | None"]


def _repeated(
    b: LoweringBuilder, initial: Sequence[Node], scanned: Sequence[Node], length: int, reverse: bool, step: Step
) -> list[Node] | None:
    """The last states, then what the slabs make, stacked along a new axis 0; `step` sees states and elements in their own shapes."""
    states = tuple(b.graph.bound(node.dtype, _buffer(node.shape)) for node in initial)
    elements = tuple(b.graph.bound(node.dtype, (1, *live.largest(node.shape[1:]))) for node in scanned)
    mine = [b.graph.reshape(bound, node.shape) for bound, node in zip(states, initial, strict=True)]
    made = step(mine, [b.graph.reshape(bound, node.shape[1:]) for bound, node in zip(elements, scanned, strict=True)])
    if made is None:
        return None
    following, slabs = made
    _matching(b, following, mine)
    scan = Scan(
        states, elements, _settled(b, initial), tuple(b.graph.reshape(node, live.largest(node.shape)) for node in scanned),
        _settled(b, following), tuple(b.graph.reshape(node, (1, *live.largest(node.shape))) for node in slabs), length, reverse,
    )  # fmt: skip
    results = scan_results(b.graph, scan)
    shapes = [*(node.shape for node in initial), *((length, *node.shape) for node in slabs)]
    return [b.graph.reshape(value, shape) for value, shape in zip(results, shapes, strict=True)]


def _buffer(shape: Shape) -> Shape:
    """The shape in which a loop carries a state, which has an axis at least."""
    return live.largest(shape) or (1,)


def _settled(b: LoweringBuilder, nodes: Sequence[Node]) -> tuple[Node, ...]:
    return tuple(b.graph.reshape(node, _buffer(node.shape)) for node in nodes)


def _written_out(control: Control, limit: int, running: Node | None, initial: Sequence[Node]) -> Sequence[Node] | None:
    """A Loop of few iterations, its body lowered for each."""
    b, graph = control.b, control.graph("body")
    values, slabs = list(initial), []
    alive = None if running is None else b.reshape(running, ())
    for number in range(min(limit, MOST_WRITTEN_OUT + 1)):
        if number == MOST_WRITTEN_OUT:
            raise b.unsupported(*UNKNOWN_LENGTH)
        outputs = control.body(graph, (b.constant(np.array(number, np.int64)), b.scalar(True, BOOL), *values))
        if outputs is None:
            return None
        after, following = outputs[0], outputs[1 : 1 + len(values)]
        slabs.append(outputs[1 + len(values) :])
        if alive is not None:
            following = [b.where_(alive, new, old) for new, old in _matching(b, following, values)]
        values = following
        known = fold(after)
        if known is None:
            alive = b.reshape(after, ()) if alive is None else b.elementwise(scalar.logical_and, alive, b.reshape(after, ()))
        elif not known.reshape(-1)[0]:
            break
    if alive is not None and slabs and slabs[0]:
        raise b.unsupported("a Loop that collects results, as many as are only known at run time")
    if not slabs and len(graph.output) > 1 + len(values):
        raise b.unsupported("a Loop that never runs and whose body needs to know the iteration")
    return [*values, *(b.stack(column, 0) for column in zip(*slabs, strict=True))]


def _scan(control: Control) -> Sequence[Node] | None:
    b, graph = control.b, control.graph("body")
    given = control.given("an input")
    count = _scanned_count(control)
    states, wholes = given[: len(given) - count], given[len(given) - count :]
    slabs = len(graph.output) - len(states)
    directions = control.integers("scan_input_directions", count), control.integers("scan_output_directions", slabs)
    axes = control.integers("scan_input_axes", count)
    moved = [_to_front(b, whole, axis) for whole, axis in zip(wholes, axes, strict=True)]
    results = _scanned(control, states, moved, directions)
    if results is None:
        return None
    outputs = control.integers("scan_output_axes", slabs)
    return [*results[: len(states)], *(_from_front(b, whole, axis) for whole, axis in zip(results[len(states) :], outputs, strict=True))]


def _scanned_count(control: Control) -> int:
    count = control.attributes.get("num_scan_inputs")
    if not isinstance(count, int) or not 1 <= count <= len(control.inputs):
        raise control.b.invalid(f"num_scan_inputs is {count}")
    return count


def _scanned(
    control: Control, states: Sequence[Node], wholes: Sequence[Node], directions: tuple[tuple[int, ...], tuple[int, ...]]
) -> list[Node] | None:
    """The last states and the stacked slabs of a Scan along axis 0; tensors in another direction than the loop's are turned round.

    Over an open axis the loop runs as often as the largest asks for, and what is beyond the live part changes no state.
    """
    b, graph = control.b, control.graph("body")
    length = wholes[0].shape[0]
    if any(whole.shape[0] != length for whole in wholes):
        raise b.invalid(f"scanned tensors of lengths {[whole.shape[0] for whole in wholes]}")
    reverse = all(directions[0]) and all(directions[1])
    if isinstance(length, Length) and any(way != reverse for way in (*directions[0], *directions[1])):
        raise refusal(b, length)
    turned = [_turned(b, whole) if way != reverse else whole for whole, way in zip(wholes, directions[0], strict=True)]

    def step(mine: Sequence[Node], elements: Sequence[Node]) -> tuple[list[Node], list[Node]] | None:
        outputs = control.body(graph, (*mine, *elements[: len(wholes)]))
        if outputs is None:
            return None
        following, slabs = outputs[: len(mine)], outputs[len(mine) :]
        if isinstance(length, Length):
            following = [b.where_(elements[-1], new, old) for new, old in _matching(b, following, mine)]
        return following, slabs

    results = _repeated(b, states, [*turned, *_steps(b, length)], int(length), reverse, step)
    if results is None:
        return None
    count = len(states)
    results = [*results[:count], *(b.graph.reshape(r, (length, *r.shape[1:])) for r in results[count:])]
    return [*results[:count], *(_turned(b, r) if way != reverse else r for r, way in zip(results[count:], directions[1], strict=True))]


def _steps(b: LoweringBuilder, length: int) -> list[Node]:
    """Whether each step is one of an open number of them, [largest] bool; nothing where the number is known."""
    if not isinstance(length, Length):
        return []
    return [live.formula(b, (int(length),), lambda size: scalar.lt(live.place(0), size), length)]


def _turned(b: LoweringBuilder, whole: Node) -> Node:
    """`whole` from the last slab to the first."""
    return b.narrow(whole, 0, whole.shape[0] - 1, whole.shape[0], -1) if whole.shape[0] else whole


def _to_front(b: LoweringBuilder, whole: Node, axis: int) -> Node:
    at = b.axis(axis, len(whole.shape))
    return b.permute(whole, (at, *(other for other in range(len(whole.shape)) if other != at)))


def _from_front(b: LoweringBuilder, whole: Node, axis: int) -> Node:
    at = b.axis(axis, len(whole.shape))
    order = list(range(1, len(whole.shape)))
    order.insert(at, 0)
    return b.permute(whole, order)


def _scan_8(control: Control) -> Sequence[Node] | None:
    """Scan of opset 8: everything has a leading batch axis, and each entry of the batch is a scan of its own length."""
    b, graph = control.b, control.graph("body")
    lengths, *given = control.inputs
    count = _scanned_count(control)
    nodes = [node for node in given if node is not None]
    states, wholes = nodes[: len(nodes) - count], nodes[len(nodes) - count :]
    for size in (size for node in nodes for size in node.shape[:2] if isinstance(size, Length)):
        raise refusal(b, size)
    whole = wholes[0].shape[1]
    counts = [whole] * wholes[0].shape[0] if lengths is None else list(b.known_ints(lengths, "sequence_lens"))
    if len(counts) != wholes[0].shape[0] or not all(0 <= count <= whole for count in counts):
        raise b.invalid(f"sequences of lengths {counts} in tensors of shape {list(wholes[0].shape)}")
    directions = control.integers("directions", count), (0,) * (len(graph.output) - len(states))
    entries: list[list[Node]] = []
    for at, length in enumerate(counts):
        own = [b.reshape(b.narrow(node, 0, at, 1), node.shape[1:]) for node in nodes]
        kept = [b.narrow(node, 0, 0, length) for node in own[len(states) :]]
        results = _scanned(control, own[: len(states)], kept, directions)
        if results is None:
            return None
        slabs = [_filled(b, slab, whole) for slab in results[len(states) :]]
        entries.append([*results[: len(states)], *slabs])
    return [b.stack(column, 0) for column in zip(*entries, strict=True)]


def _filled(b: LoweringBuilder, x: Node, length: int) -> Node:
    """`x` with 0 behind it along axis 0, `length` long."""
    rest = [length - x.shape[0], *(0 for _ in x.shape[1:])]
    return b.pad(x, [0] * len(rest), rest)
