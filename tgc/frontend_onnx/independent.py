"""Axes that an operator may have open because what it makes of their live part depends on nothing beyond: the batch of a GridSample.

Such an operator is lowered for the largest extents, knowing of nothing, and the axes of its results are opened again. `independent_rules`
says which axes these are, for each operator in a line like

    "n c *, n ... _ -> n c ..."

with one term for each input and each output; spaces do not count.

    a .. z    an axis that may be open; where inputs share a letter they share the extent, but for one of extent 1, which is repeated
    A .. Z    an axis that may be open and is only read at indices, so that no result has it
    _         one axis that may not be open
    ...       any number of axes that may be open, shared by their places from the end
    *         any number of axes that may not be open

Inputs beyond the last term, and inputs left out, may not be open. What does not fit its term is refused, so a line that is too narrow
costs an error and never a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tgc.frontend_onnx.independent_rules import RULES, Call
from tgc.frontend_onnx.live import is_open, largest, length_node, opened, settled, spread
from tgc.frontend_onnx.open_axes import ADMITTED, admitted, refusal
from tgc.frontend_onnx.registry import Lowering
from tgc.ir.dtypes import I32
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Length

if TYPE_CHECKING:
    from tgc.frontend_onnx.builder import LoweringBuilder

Names = tuple[str, ...]
"""A name for each axis; "" for one that may not be open."""


def call(
    b: LoweringBuilder, lowering: Lowering, inputs: Sequence[Node | None], attributes: Mapping[str, object]
) -> Node | tuple[Node, ...]:
    """What `lowering` makes of inputs of which some may have open axes. Raises UnsupportedError where it cannot have them open."""
    if not any(node is not None and is_open(node.shape) for node in inputs):
        return lowering.apply(b, inputs, attributes)
    rule = RULES.get((lowering.domain, lowering.op_type))
    if rule is not None:
        text = rule if isinstance(rule, str) else rule(Call(b, tuple(inputs), attributes))
        extents = None if text is None else _open_extents(_terms(text, 0), inputs)
        if text is not None and extents is not None:
            return _largest(b, lowering, text, extents, inputs, attributes)
    if rule is not None and lowering.op_type not in ADMITTED:
        raise refusal(b, _first_open(inputs))
    return lowering.apply(b, admitted(b, inputs), attributes)


def _largest(
    b: LoweringBuilder,
    lowering: Lowering,
    text: str,
    extents: Mapping[str, Length],
    inputs: Sequence[Node | None],
    attributes: Mapping[str, object],
) -> Node | tuple[Node, ...]:
    plain = [node if node is None or not is_open(node.shape) else settled(b, node) for node in _with_lengths(b, inputs, attributes)]
    b.values = tuple(plain)
    made = lowering.apply(b, plain, attributes)
    results = made if isinstance(made, tuple) else (made,)
    terms = _terms(text, 1)
    shapes = [_opened_shape(b, term, result, extents) for term, result in zip(terms, results, strict=False)]
    return tuple(opened(b, result, shapes[n]) if n < len(shapes) and is_open(shapes[n]) else result for n, result in enumerate(results))


def _with_lengths(b: LoweringBuilder, inputs: Sequence[Node | None], attributes: Mapping[str, object]) -> Sequence[Node | None]:
    """`inputs`; a recurrent network over an open number of steps is told how many of the largest there are."""
    if b.site.op_type not in ("RNN", "GRU", "LSTM") or inputs[0] is None or inputs[4] is not None:
        return inputs
    steps, batch = inputs[0].shape[:2] if not attributes.get("layout") else inputs[0].shape[1::-1]
    if not isinstance(steps, Length):
        return inputs
    lengths = spread(b, b.cast(length_node(b, steps), I32), largest((batch,)))
    return (*inputs[:4], lengths, *inputs[5:])


def _terms(text: str, side: int) -> list[str]:
    """The terms of the inputs (0) or outputs (1)."""
    return text.replace(" ", "").replace("...", ".").split("->")[side].split(",")


def _named(term: str, rank: int) -> Names | None:
    """A name for each of `rank` axes; None where the term has another number of them."""
    at = next((place for place, sign in enumerate(term) if sign in ".*"), None)
    if at is None:
        return tuple(map(_name, term)) if len(term) == rank else None
    count = rank - (len(term) - 1)
    if count < 0:
        return None
    several = tuple(f"{place}" if term[at] == "." else "" for place in reversed(range(count)))
    return (*map(_name, term[:at]), *several, *map(_name, term[at + 1 :]))


def _name(sign: str) -> str:
    return "" if sign == "_" else sign


def _open_extents(terms: Sequence[str], inputs: Sequence[Node | None]) -> dict[str, Length] | None:
    """The extent of each name that is open; None where an axis is open that may not be, or extents do not fit."""
    found: dict[str, list[int]] = {}
    for number, node in enumerate(inputs):
        if node is None:
            continue
        names = _named(terms[number] if number < len(terms) else "*", len(node.shape))
        if names is None:
            if is_open(node.shape):
                return None
            continue
        for name, size in zip(names, node.shape, strict=True):
            if isinstance(size, Length) and not name:
                return None
            found.setdefault(name, []).append(size)
    return _one_each({name: sizes for name, sizes in found.items() if is_open(sizes) and not name.isupper()})


def _one_each(found: Mapping[str, Sequence[int]]) -> dict[str, Length] | None:
    """The one open extent of each name; None where there are several, or others than that and 1."""
    extents: dict[str, Length] = {}
    for name, sizes in found.items():
        distinct = dict.fromkeys(size for size in sizes if isinstance(size, Length) or size != 1)
        (only, *others) = distinct
        if others or not isinstance(only, Length):
            return None
        extents[name] = only
    return extents


def _first_open(inputs: Sequence[Node | None]) -> Length:
    return next(size for node in inputs if node is not None for size in node.shape if isinstance(size, Length))


def _opened_shape(b: LoweringBuilder, term: str, result: Node, extents: Mapping[str, Length]) -> Shape:
    """The shape of a result with the axes open that its term names."""
    names = _named(term, len(result.shape))
    if names is None:
        raise b.unsupported(f"a result of shape {list(result.shape)} where {term!r} is open")
    shape = tuple(extents.get(name, size) for name, size in zip(names, result.shape, strict=True))
    if largest(shape) != result.shape:
        raise b.unsupported(f"a result of shape {list(result.shape)} for the open shape {list(shape)}")
    return shape
