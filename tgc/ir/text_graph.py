"""The text form of graphs: one node a line, its type first.

    graph "example"
    %0: f32[1, 4] = input "image"
    %1: f32[4, 5] = constant sha256="5f1e0c0de4bd9a31" name="fc.weight"
    %2: f32[1, 4, 1] = reshape(%0)
    %3: f32[1, 4, 5] = expand(%2)
    %4: f32[1, 4, 5] = reshape(%1)
    %5: f32[1, 4, 5] = map(%3, %4) { a0 * a1 } from="MatMul_3"
    %6: f32[1, 1, 5] = reduce(%5) op=ADD axes=[1] from="MatMul_3"
    %7: f32[1, 5, 1] = permute(%6) order=[0, 2, 1]
    %8: f32[1, 3, 1] = slice(%7) starts=[0, 0, 0] steps=[1, 2, 1]
    %9: f32[1, 5, 1] = pad(%8) low=[0, 1, 0] high=[0, 1, 0] value=0.0
    %10: f32[1, 3, 1, 3] = window(%9) axis=1 size=3 stride=1 dilation=1
    %11: f32[2, 3, 1, 3] = concat(%10, %10) axis=0
    %12: i64[2] = constant [0, 4]
    %13: i64[2] = map() { i64(c0) }
    %14: f32[2] = gather(%1, %13, %12)
    %15: f32[4, 5] = scatter(%1, %13, %12, %14) op=ADD
    %16: f32[1] = input "start"
    %17: f32[1] = bound 0
    %18: f32[1] = bound 1
    %19: f32[1] = map(%17, %18) { a0 + a1 }
    %20: f32[2] = scan(%17, %18, %16, %14, %19, %19) counts=[1, 1, 1] length=2 reverse=0 position=1
    output "windows" = %11
    output "added" = %15
    output "sums" = %20

A node's type is checked; where a reshape, expand, slice, map or gather needs a shape, it is this one. `from` is the node's
origin. The sources of a scan are its states and elements as bound tensors, then what they begin as, what is scanned, the next
states and the slabs; `counts` are the numbers of states, elements and slabs. A constant of up to 16 elements is written out, in
row-major order. Of a larger one the text has the beginning of its digest, and `parse_graph` takes its values from a table:
`constants_of(graph)`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tgc.ir.dtypes import SMALL, DType
from tgc.ir.graph import (
    Bound,
    Concat,
    Constant,
    Expand,
    Gather,
    Graph,
    Input,
    Map,
    Node,
    Pad,
    Permute,
    Reduce,
    Reshape,
    ScanResult,
    Scatter,
    Slice,
    View,
    Window,
    sources,
)
from tgc.ir.text_expression import abbreviated, write_literal
from tgc.ir.text_tokens import quote, write_integers

Array = npt.NDArray[np.generic]
Scalar = int | float | bool

INLINE_ELEMENTS = 16
_DIGITS = 16


def print_graph(graph: Graph) -> str:
    """The text form of `graph`, inputs first, sources before users."""
    names: dict[Node, str] = {}
    lines = [f"graph {quote(graph.name)}"]
    for node in graph.nodes():
        lines.append(f"%{len(names)}: {node.dtype}{write_integers(node.shape)} = {_write_node(node, names)}{_write_origin(node)}")
        names[node] = f"%{len(names)}"
    lines += [f"output {quote(name)} = {names[node]}" for name, node in graph.outputs]
    return "\n".join(lines) + "\n"


def constants_of(graph: Graph) -> dict[str, Array]:
    """The values of the constants that the text form of `graph` does not hold, by what it holds instead."""
    found = [node for node in graph.nodes() if isinstance(node, Constant)]
    return {node.digest[:_DIGITS]: node.data for node in found if _write_values(node) is None}


def _write_origin(node: Node) -> str:
    return f" from={quote(node.origin)}" if node.origin else ""


def _write_node(node: Node, names: Mapping[Node, str]) -> str:
    args = ", ".join(names[source] for source in sources(node))
    call = f"{type(node).__name__.lower()}({args})"
    match node:
        case Input() | Constant() | Bound():
            return _write_leaf(node)
        case ScanResult(scan, position):
            return f"scan({args}) counts={write_integers(scan.counts)} length={scan.length} reverse={int(scan.reverse)} position={position}"
        case Map(expr):
            lines, write = abbreviated(expr)
            if not lines:
                return f"{call} {{ {write(expr)} }}"
            return "\n  ".join([f"{call} {{", *lines, write(expr)]) + "\n}"
        case Reduce(op, _, axes):
            return f"{call} op={op} axes={write_integers(axes)}"
        case Concat(_, axis):
            return f"{call} axis={axis}"
        case Scatter(op=how) if how is not None:
            return f"{call} op={how}"
        case Gather() | Scatter():
            return call
        case Reshape() | Permute() | Expand() | Slice() | Pad() | Window():
            return f"{call}{_view_attributes(node)}"


def _view_attributes(node: View) -> str:
    match node:
        case Permute(_, order):
            return f" order={write_integers(order)}"
        case Slice(_, starts, steps):
            return f" starts={write_integers(starts)} steps={write_integers(steps)}"
        case Pad(_, low, high, value):
            return f" low={write_integers(low)} high={write_integers(high)} value={write_literal(value)}"
        case Window(_, axis, size, stride, dilation):
            return f" axis={axis} size={size} stride={stride} dilation={dilation}"
        case Reshape() | Expand():
            return ""


def _write_leaf(node: Input | Constant | Bound) -> str:
    match node:
        case Input(name):
            return f"input {quote(name)}"
        case Bound(number):
            return f"bound {number}"
        case Constant():
            values = _write_values(node)
            name = f" name={quote(node.name)}" if node.name else ""
            return f'constant sha256="{node.digest[:_DIGITS]}"{name}' if values is None else f"constant {values}{name}"


def _write_values(node: Constant) -> str | None:
    """The elements, or None where there are too many, or one (a NaN with a payload) that its text does not give back."""
    if node.data.size > INLINE_ELEMENTS:
        return None
    plain = node.data.astype(np.float32) if node.dtype in SMALL and node.dtype.is_float else node.data
    texts = [str(value).lower() if node.dtype.kind == "bool" else str(value) for value in plain.reshape(-1)]
    read = array_of([_value_of(text) for text in texts], node.dtype, node.shape)
    return f"[{', '.join(texts)}]" if read.tobytes() == node.data.tobytes() else None


def _value_of(text: str) -> Scalar:
    return text == "true" if text in ("true", "false") else int(text) if text.lstrip("-").isdigit() else float(text)


def array_of(values: list[Scalar], dtype: DType, shape: tuple[int, ...]) -> Array:
    """A constant's array out of the elements that the text holds. Raises ValueError or OverflowError where they do not fit."""
    array = np.array(values, dtype=dtype.numpy).reshape(shape)
    array.flags.writeable = False
    return array
