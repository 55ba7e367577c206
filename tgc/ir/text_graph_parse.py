"""Reads the text form of graphs, which `tgc.ir.text_graph` describes and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tgc.errors import InvalidIrError, ModelError
from tgc.ir import ops
from tgc.ir.dtypes import INDEX, DType
from tgc.ir.expr import Arg, Coordinate, Expr, Lit
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
    Shape,
    Slice,
    Window,
    make_scan,
)
from tgc.ir.text_expression import parse_abbreviations, parse_dtype, parse_expression, parse_literal
from tgc.ir.text_graph import Array, Scalar, array_of
from tgc.ir.text_tokens import Cursor, tokenize, write_integers
from tgc.ir.verify_graph import verify_graph, verify_node

Missing = Literal["error", "zeros"]
Attribute = str | int | tuple[int, ...] | Lit


def parse_graph(text: str, constants: Mapping[str, Array] | None = None, missing: Missing = "error") -> Graph:
    """The graph that `text` describes, its nodes exactly as written (nothing is simplified or merged), and verified.

    constants: the values of large constants, as `constants_of` gives them. Where one is missing, that is an error, or with
    missing="zeros" it is filled with zeros, which will do for a test that looks at the structure only.
    Raises ModelError, which names the line.
    """
    graph = _Parser(Cursor(tokenize(text)), {} if constants is None else constants, missing).graph()
    try:
        verify_graph(graph)
    except InvalidIrError as error:
        raise ModelError(str(error)) from error
    return graph


@dataclass(frozen=True, slots=True)
class _Parser:
    cursor: Cursor
    constants: Mapping[str, Array]
    missing: Missing
    nodes: dict[str, Node] = field(default_factory=dict)

    def graph(self) -> Graph:
        cursor = self.cursor
        cursor.skip_newlines()
        cursor.expect("graph")
        name = cursor.string() if cursor.next.kind == "string" else cursor.take("name")
        cursor.end_statement()
        while cursor.next.kind == "reference":
            self.node()
            cursor.end_statement()
        outputs: list[tuple[str, Node]] = []
        while cursor.accept("output"):
            output = cursor.string()
            cursor.expect("=")
            outputs.append((output, self.reference()))
            cursor.end_statement()
        if cursor.next.kind != "end":
            cursor.fail(f"unexpected {cursor.next.text!r}")
        return Graph(name, tuple(node for node in self.nodes.values() if isinstance(node, Input)), tuple(outputs))

    def reference(self) -> Node:
        if self.cursor.next.text not in self.nodes:
            self.cursor.fail(f"{self.cursor.next.text} is no node defined above")
        return self.nodes[self.cursor.take("reference")]

    def node(self) -> None:
        cursor = self.cursor
        name = cursor.take("reference")
        cursor.expect(":")
        dtype = parse_dtype(cursor)
        shape = cursor.integers()
        cursor.expect("=")
        kind = cursor.take("name")
        made = self.leaf(kind, dtype, shape) if kind in ("input", "constant", "bound") else self.inner(kind, shape)
        if name in self.nodes:
            cursor.fail(f"{name} is defined twice")
        try:
            verify_node(made)
        except InvalidIrError as error:
            cursor.fail(f"{kind} {name}: {error}")
        if made.dtype != dtype or made.shape != shape:
            cursor.fail(f"{kind} {name} gives {made.dtype}{write_integers(made.shape)}")
        self.nodes[name] = made

    def leaf(self, kind: str, dtype: DType, shape: Shape) -> Node:
        if kind == "input":
            name = self.cursor.string()
            return Input(name, dtype, shape, self.text(self.attributes(), "from"))
        if kind == "bound":
            return Bound(int(parse_literal(self.cursor).value), dtype, shape, self.text(self.attributes(), "from"))
        data = self.elements(dtype, shape) if self.cursor.next.text == "[" else None
        given = self.attributes()
        data = self.stored(self.text(given, "sha256"), dtype, shape) if data is None else data
        return Constant(data, self.text(given, "name"), self.text(given, "from"))

    def elements(self, dtype: DType, shape: Shape) -> Array:
        self.cursor.expect("[")
        values: list[Scalar] = []
        while not self.cursor.accept("]"):
            values.append(parse_literal(self.cursor).value)
            if self.cursor.next.text != "]":
                self.cursor.expect(",")
        try:
            return array_of(values, dtype, shape)
        except (ValueError, OverflowError) as error:
            return self.cursor.fail(str(error))

    def stored(self, digest: str, dtype: DType, shape: Shape) -> Array:
        """The values of a constant that the text does not hold."""
        if digest not in self.constants and self.missing == "error":
            self.cursor.fail(f"the values of constant {digest!r} are not here, and have to be passed as constants")
        array = np.array(self.constants.get(digest, np.zeros(shape, dtype.numpy)), order="C")
        if array.shape != shape or array.dtype != np.dtype(dtype.numpy):
            self.cursor.fail(f"the values of constant {digest} are {array.dtype}{list(array.shape)}")
        array.flags.writeable = False
        return array

    def inner(self, kind: str, shape: Shape) -> Node:
        srcs = self.arguments()
        expr = self.body(srcs, shape) if kind == "map" else None
        given = self.attributes()
        origin = self.text(given, "from")
        if expr is not None and not given:
            return Map(expr, srcs, shape, origin)
        made = _make(kind, srcs, given, shape, origin)
        return self.cursor.fail(f"{kind} does not take {len(srcs)} sources and {sorted(given)}") if made is None else made

    def arguments(self) -> tuple[Node, ...]:
        self.cursor.expect("(")
        found: list[Node] = []
        while not self.cursor.accept(")"):
            found.append(self.reference())
            if self.cursor.next.text != ")":
                self.cursor.expect(",")
        return tuple(found)

    def body(self, srcs: tuple[Node, ...], shape: Shape) -> Expr:
        names: dict[str, Expr] = {f"a{position}": Arg(position, node.dtype) for position, node in enumerate(srcs)}
        names |= {f"c{axis}": Coordinate(axis) for axis in range(len(shape))}
        self.cursor.expect("{")
        self.cursor.skip_newlines()
        expr = parse_expression(self.cursor, parse_abbreviations(self.cursor, names))
        self.cursor.skip_newlines()
        self.cursor.expect("}")
        return expr

    def attributes(self) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {}
        while self.cursor.next.kind == "name":
            name = self.cursor.take("name")
            self.cursor.expect("=")
            found[name] = self.attribute()
        return found

    def attribute(self) -> Attribute:
        cursor = self.cursor
        if cursor.next.kind == "string":
            return cursor.string()
        if cursor.next.text == "[":
            return cursor.integers()
        if cursor.next.text in ops.BY_NAME:
            return cursor.take("name")
        lit = parse_literal(cursor)
        return int(lit.value) if lit.dtype == INDEX else lit

    def text(self, given: dict[str, Attribute], name: str) -> str:
        """Takes the string `name` out of the attributes; "" where it is not given."""
        value = given.pop(name, "")
        return value if isinstance(value, str) else self.cursor.fail(f"{name} is a string")


def _make(kind: str, srcs: tuple[Node, ...], given: dict[str, Attribute], shape: Shape, origin: str) -> Node | None:
    """The node, or None where `kind` is none, or has other attributes or another number of sources."""
    match kind, srcs, given:
        case "concat", _, {"axis": int(axis), **rest} if not rest:
            return Concat(srcs, axis, origin)
        case "gather", (source, *coordinates), {**rest} if not rest:
            return Gather(source, tuple(coordinates), shape, origin)
        case "scatter", (source, *coordinates, updates), {**rest} if not rest:
            return Scatter(source, tuple(coordinates), updates, None, origin)
        case "scatter", (source, *coordinates, updates), {"op": str(op), **rest} if not rest and op in ops.BY_NAME:
            return Scatter(source, tuple(coordinates), updates, ops.BY_NAME[op], origin)
        case "reduce", (source,), {"op": str(op), "axes": tuple(axes), **rest} if not rest and op in ops.BY_NAME:
            return Reduce(ops.BY_NAME[op], source, axes, origin)
        case "scan", _, _:
            return _make_scan(srcs, given, origin)
        case _, (source,), _:
            return _make_view(kind, source, given, shape, origin)
    return None


def _make_scan(srcs: tuple[Node, ...], given: dict[str, Attribute], origin: str) -> Node | None:
    match given:
        case {"counts": (int(a), int(b), int(c)), "length": int(length), "reverse": int(reverse), "position": int(at), **rest} if not rest:
            try:
                return ScanResult(make_scan(srcs, (a, b, c), length, bool(reverse)), at, origin)
            except TypeError:
                return None
    return None


def _make_view(kind: str, source: Node, given: dict[str, Attribute], shape: Shape, origin: str) -> Node | None:
    match kind, given:
        case "reshape", {**rest} if not rest:
            return Reshape(source, shape, origin)
        case "expand", {**rest} if not rest:
            return Expand(source, shape, origin)
        case "permute", {"order": tuple(order), **rest} if not rest:
            return Permute(source, order, origin)
        case "slice", {"starts": tuple(starts), "steps": tuple(steps), **rest} if not rest:
            return Slice(source, starts, steps, shape, origin)
        case "pad", {"low": tuple(low), "high": tuple(high), "value": Lit() as value, **rest} if not rest:
            return Pad(source, low, high, value, origin)
        case "window", {"axis": int(axis), "size": int(size), "stride": int(stride), "dilation": int(dilation), **rest} if not rest:
            return Window(source, axis, size, stride, dilation, origin)
    return None
