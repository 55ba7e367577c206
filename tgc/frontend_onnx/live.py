"""Tensors with open axes: buffers of the largest shape, of which only a part, the live one, means anything.

An open axis has a `Length` for its extent. What lies beyond the live part is any number at all, so whoever reduces over such an
axis, pads it or divides by it puts a harmless value there first (`masked`). Where rows of a smaller extent would have to move,
because two axes become one or one becomes two, elements are read at computed coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from tgc.ir import expr as ex
from tgc.ir import scalar
from tgc.ir.dtypes import BOOL, I64
from tgc.ir.expr import Arg, Coordinate, Expr, Lit
from tgc.ir.graph import Node, Shape
from tgc.ir.lengths import Atom, Larger, Length, Polynomial, Quotient, Symbol, larger, polynomial

if TYPE_CHECKING:
    from tgc.frontend_onnx.builder import LoweringBuilder


MIXED = "extents count as equal where they are the same sum of dimensions: say what is equal, as in --dim total=past+new, or pin them"
"""What to do about open extents that would have to be equal."""


def is_open(shape: Sequence[int]) -> bool:
    """Whether some extent is only known at run time."""
    return any(isinstance(size, Length) for size in shape)


def largest(shape: Sequence[int]) -> Shape:
    """The largest that each extent can be."""
    return tuple(int(size) for size in shape)


def settled(b: LoweringBuilder, x: Node) -> Node:
    """`x` with all of its buffer, live or not, for its shape."""
    return b.graph.reshape(x, largest(x.shape))


def opened(b: LoweringBuilder, x: Node, shape: Shape) -> Node:
    """`x`, of the largest extents of `shape`, with `shape` for its live part."""
    return b.graph.reshape(x, shape)


def length_node(b: LoweringBuilder, size: int) -> Node:
    """`size` as a scalar i64."""
    if not isinstance(size, Length):
        return b.scalar(size, I64)
    return _polynomial_node(b, size.polynomial)


def _polynomial_node(b: LoweringBuilder, value: Polynomial) -> Node:
    atoms = list(dict.fromkeys(atom for monomial, _ in value for atom in monomial))
    nodes = [_atom_node(b, atom) for atom in atoms]
    total: Expr = Lit(0, I64)
    for monomial, factor in value:
        term: Expr = Lit(factor, I64)
        for atom in monomial:
            term = scalar.mul(term, Arg(atoms.index(atom), I64))
        total = scalar.add(total, term)
    return b.graph.map(total, *nodes, shape=())


def _atom_node(b: LoweringBuilder, atom: Atom) -> Node:
    match atom:
        case Symbol():
            return b.symbols[atom]
        case Quotient(dividend, divisor):
            return b.graph.map(scalar.floor_div(Arg(0, I64), divisor), _polynomial_node(b, dividend))
        case Larger(first, second):
            pair = (_polynomial_node(b, first), _polynomial_node(b, second))
            return b.graph.map(scalar.maximum(Arg(0, I64), Arg(1, I64)), *pair, shape=())


def formula(b: LoweringBuilder, shape: Shape, function: Callable[..., Expr], *sizes: int) -> Node:
    """`function` of the i64 values of `sizes` for every element of `shape`; it may use coordinates."""
    nodes: list[Node] = []
    arguments: list[Expr] = []
    for size in sizes:
        if isinstance(size, Length):
            arguments.append(Arg(len(nodes), I64))
            nodes.append(spread(b, length_node(b, size), shape))
        else:
            arguments.append(Lit(int(size), I64))
    return b.graph.map(function(*arguments), *nodes, shape=shape)


def spread(b: LoweringBuilder, value: Node, shape: Shape) -> Node:
    """A scalar repeated to `shape`."""
    return b.graph.expand(b.graph.reshape(value, (1,) * len(shape)), shape)


def place(axis: int) -> Expr:
    """The coordinate along `axis`, i64."""
    return ex.cast(Coordinate(axis), I64)


def masked(b: LoweringBuilder, x: Node, axes: Sequence[int], value: Lit) -> Node:
    """`x` with `value` wherever an open one of `axes` is beyond its live part."""
    chosen = [axis for axis in axes if isinstance(x.shape[axis], Length)]
    if not chosen:
        return x

    def live(*sizes: Expr) -> Expr:
        inside: Expr = Lit(True, BOOL)
        for axis, size in zip(chosen, sizes, strict=True):
            inside = scalar.logical_and(inside, scalar.lt(place(axis), size))
        return inside

    inside = formula(b, x.shape, live, *(x.shape[axis] for axis in chosen))
    return b.graph.map(scalar.where(Arg(0, BOOL), Arg(1, x.dtype), value), inside, x)


# Reshape.


def reshaped(b: LoweringBuilder, x: Node, shape: Shape) -> Node:
    """The live elements of `x` in row-major order under another shape. Raises ModelError where that is not seen to fit."""
    if polynomial(prod(x.shape)) != polynomial(prod(shape)):
        hint = "the model may have been exported for one size: export it with that axis dynamic, or pin the dimension"
        raise b.invalid(f"{prod(x.shape)} elements of shape {list(x.shape)} in shape {list(shape)}", hint)
    if shape == x.shape:
        return x
    blocks = _blocks(x.shape, shape)
    if all(_lies_alike(x.shape[s], shape[t]) for s, t in blocks):
        return b.graph.reshape(x, shape)
    coordinates: list[Node] = []
    for old, new in blocks:
        if old.stop - old.start == 1 == new.stop - new.start:
            coordinates.append(b.coordinate(shape, new.start, I64))
            continue
        flat = formula(b, shape, lambda *sizes, new=new: _flat(sizes, new.start), *shape[new])
        coordinates += unflattened(b, flat, x.shape[old])
    return b.graph.gather(x, tuple(coordinates), shape)


def _blocks(old: Shape, new: Shape) -> list[tuple[slice, slice]]:
    """The axes of both shapes cut into as many groups as there are, each with as many elements as its partner."""
    ends = [[polynomial(prod(shape[: n + 1])) for n in range(len(shape))] for shape in (old, new)]
    blocks: list[tuple[slice, slice]] = []
    s = t = 0
    for i, count in enumerate(ends[0]):
        found = next((j for j in range(t, len(new)) if ends[1][j] == count), None)
        if found is not None:
            blocks.append((slice(s, i + 1), slice(t, found + 1)))
            s, t = i + 1, found + 1
    if blocks:  # what is left has extent 1
        (a, b) = blocks.pop()
        blocks.append((slice(a.start, len(old)), slice(b.start, len(new))))
    return blocks or [(slice(0, len(old)), slice(0, len(new)))]


def _lies_alike(old: Shape, new: Shape) -> bool:
    """Whether equal elements lie in equal places of both buffers: only what varies slowest is open."""
    plain = [tuple(size for size in shape if size != 1) for shape in (old, new)]
    return plain[0] == plain[1] or not any(is_open(shape[1:]) for shape in plain)


def _flat(sizes: Sequence[Expr], first: int) -> Expr:
    total: Expr = Lit(0, I64)
    for number, size in enumerate(sizes):
        total = scalar.add(scalar.mul(total, size), place(first + number))
    return total


def unflattened(b: LoweringBuilder, flat: Node, shape: Shape) -> list[Node]:
    """The indices in the live part of `shape` that lie at row-major offsets `flat`."""
    found: list[Node] = []
    for size in reversed(shape[1:]):
        divisor = spread(b, length_node(b, size), flat.shape)
        # An empty axis has no elements to read, but its length must not be divided by.
        safe = b.graph.map(scalar.maximum(Arg(0, I64), 1), divisor)
        quotient = b.graph.map(scalar.int_div(Arg(0, I64), Arg(1, I64)), flat, safe)
        found.append(b.graph.map(scalar.sub(Arg(0, I64), scalar.mul(Arg(1, I64), Arg(2, I64))), flat, quotient, safe))
        flat = quotient
    return [flat, *reversed(found)]


def dense(b: LoweringBuilder, x: Node) -> Node:
    """The live elements of `x` one after the other, at the beginning of a tensor of the largest shape."""
    if _lies_alike(x.shape, (prod(x.shape),)):
        return settled(b, x)
    sizes = largest(x.shape)
    flat = b.coordinate((prod(sizes),), 0, I64)
    read = b.graph.gather(settled(b, x), tuple(unflattened(b, flat, x.shape)), flat.shape)
    return b.graph.reshape(read, sizes)


def padded_out(b: LoweringBuilder, x: Node, shape: Shape) -> Node:
    """`dense` undone: `x`, of the largest extents of `shape`, holds the live elements at its beginning."""
    if _lies_alike(shape, (prod(shape),)):
        return opened(b, x, shape)
    flat = formula(b, shape, lambda *sizes: _flat(sizes, 0), *shape)
    return b.graph.gather(b.graph.reshape(x, (prod(x.shape),)), (flat,), shape)


# Concat and slice.


def concatenated(b: LoweringBuilder, xs: Sequence[Node], axis: int) -> Node:
    """`xs` one after the other along `axis`, live parts only."""
    sizes = [x.shape[axis] for x in xs]
    total = sum(sizes)
    rest = next((x.shape for x in xs if is_open(x.shape)), xs[0].shape)
    shape = (*rest[:axis], total, *rest[axis + 1 :])
    whole = b.graph.concat(tuple(settled(b, x) for x in xs), axis)
    if not is_open(sizes[:-1]):
        return opened(b, whole, shape)

    def shifted(*lengths: Expr) -> Expr:
        where = place(axis)
        out, live, buffer = where, lengths[0], int(sizes[0])
        for size, extent in zip(lengths[1:], sizes[1:], strict=True):
            out = scalar.where(scalar.ge(where, live), scalar.add(scalar.sub(where, live), buffer), out)
            live, buffer = scalar.add(live, size), buffer + int(extent)
        return out

    return along(b, whole, axis, formula(b, shape, shifted, *sizes), shape)


def along(b: LoweringBuilder, x: Node, axis: int, index: Node, shape: Shape) -> Node:
    """`x` read at `index` along one axis, at the output's own coordinates along the others."""
    places = tuple(index if d == axis else b.coordinate(shape, d, I64) for d in range(len(shape)))
    return b.graph.gather(x, places, shape)


def padded(b: LoweringBuilder, x: Node, axis: int, low: int, high: int, value: Lit) -> Node:
    """`x` with so many elements of `value` at the ends of `axis`, both open or not; a negative number crops."""
    size = x.shape[axis]
    shape = (*x.shape[:axis], larger(low + size + high, 0), *x.shape[axis + 1 :])
    index = formula(b, shape, lambda first: scalar.sub(place(axis), first), low)
    inside = b.graph.map(scalar.ge(Arg(0, I64), 0), index)
    before_end = formula(b, shape, lambda first, count: scalar.lt(scalar.sub(place(axis), first), count), low, size)
    both = scalar.logical_and(Arg(0, BOOL), Arg(1, BOOL))
    read = along(b, x, axis, index, shape)
    return b.graph.map(scalar.where(both, Arg(2, x.dtype), value), inside, before_end, read)


def mirrored(b: LoweringBuilder, x: Node, axis: int, low: int, high: int, mode: str) -> Node:
    """`x` with `low` and `high` copies of its own elements at the ends of `axis`, none of them negative, as numpy.pad does."""
    size = x.shape[axis]
    shape = (*x.shape[:axis], low + size + high, *x.shape[axis + 1 :])

    def source(first: Expr, count: Expr) -> Expr:
        at, last = scalar.sub(place(axis), first), scalar.sub(count, 1)
        match mode:
            case "edge":
                return scalar.maximum(scalar.minimum(at, last), 0)
            case "wrap":
                return scalar.mod(at, scalar.maximum(count, 1))
            case _:  # there and back again
                lap = scalar.mod(at, scalar.maximum(scalar.mul(last, 2), 1))
                return scalar.minimum(lap, scalar.sub(scalar.mul(last, 2), lap))

    return along(b, x, axis, formula(b, shape, source, low, size), shape)


def cut(b: LoweringBuilder, x: Node, axis: int, start: int, count: int, step: int) -> Node:
    """`count` elements of `x` along `axis` from `start` on, any of the three numbers but `step` open."""
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if not isinstance(start, Length) and step == 1 and int(start) + int(count) <= int(x.shape[axis]):
        starts = tuple(start if d == axis else 0 for d in range(len(shape)))
        return b.graph.slice(x, starts, (1,) * len(shape), shape)
    index = formula(b, shape, lambda first: scalar.add(scalar.mul(place(axis), step), first), start)
    return along(b, x, axis, index, shape)
