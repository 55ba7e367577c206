"""Branches: a sum of convolutions of one tensor, and of the tensor itself, is one convolution.

    A * x + B * x + s x + t    ->    (A + B + diag(s)) * x + t
    s (A * x) + t              ->    (s A) * x + t

Networks that are trained with branches side by side (RepVGG, X. Ding et al., 2021; MobileOne, P. Vasu et al., 2022) are often exported with
them. A small window stands inside a larger one, surrounded by zeros; what is scaled channel by channel, batch normalisation among it, is
a window of one element; a group's weights are a part of a larger group's. The weights are put together here, in double precision, and so
are those of a single convolution with what scales its channels.

It is done where the one convolution has no more products than its parts have and weights that halves hold well, and no part is wanted by
anyone else.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32
from tgc.ir.expr import Apply, Arg, Expr, Lit, Var
from tgc.ir.graph import Constant, Expand, Graph, Map, Node, Pad, Permute, Reduce, Reshape, Slice, Window, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.rebuild import rebuild
from tgc.ir.views import Vector, source_index
from tgc.passes.contractions import product_operands
from tgc.passes.fold import rebuilt

Doubles = npt.NDArray[np.float64]
SMALLEST, LARGEST = 2.0**-10, 2.0**15  # of a channel's weights, the largest
RESULT = tuple(Var(name) for name in ("n", "o", "h", "w"))


@dataclass(frozen=True, slots=True)
class Linear:
    """[N, O, H, W] = bias[o] + sum over c, r, q of weights[o, c, r, q] * image[n, first(o) + c, h * step + r - low, w * step + q - low].

    image is 0 outside of itself; first(o) is the first channel of o's group. steps, low: of height and width. products: of one place of
    the result, by the parts that this was put together from. parts: how many of these there are, products of windows or not, and of what
    scales them. origin: the ONNX node of the largest window.
    """

    image: Node
    weights: Doubles
    bias: Doubles
    steps: tuple[int, int] = (1, 1)
    low: tuple[int, int] = (0, 0)
    products: int = 0
    parts: int = 1
    origin: str = ""


Forms = dict[Node, Linear]
"""A tensor as a linear function of each of some tensors: of itself, or of what its parts convolve."""


def branches(graph: Graph) -> Graph:
    """`graph` with sums of convolutions of one tensor computed as one convolution."""
    if graph.open:
        return graph
    chosen = _choose(graph)
    if not chosen:
        return graph
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        builder.origin = node.origin
        if node in chosen:
            made[node] = _convolution(builder, chosen[node], made[chosen[node].image], node.shape)
        else:
            made[node] = rebuild(builder, node, tuple(made[source] for source in sources(node)))
    return rebuilt(graph, made)


def _choose(graph: Graph) -> Forms:
    """The sums that are made one convolution: from the results down, so that none stands in another."""
    nodes = graph.nodes()
    users: dict[Node, int] = defaultdict(int)
    for read in (*(source for node in nodes for source in dict.fromkeys(sources(node))), *(result for _, result in graph.outputs)):
        users[read] += 1
    forms: dict[Node, Forms] = {}
    for node in nodes:
        forms[node] = _forms(node, forms, users)
    wanted = {node for _, node in graph.outputs} | set(graph.inputs)
    chosen: Forms = {}
    for node in reversed(nodes):
        if node not in wanted:
            continue
        found = next((form for form in forms[node].values() if _worth(form)), None)
        if found is not None:
            chosen[node] = found
        wanted.update((found.image,) if found is not None else sources(node))
    return chosen


def _worth(form: Linear) -> bool:
    """Whether `form` is put together from parts, has no more products than these, and weights that halves hold well."""
    largest = np.abs(form.weights).max(axis=(1, 2, 3), initial=0.0)
    held = bool(np.all((largest == 0) | ((largest >= SMALLEST) & (largest <= LARGEST))))
    return form.parts > 1 and 0 < form.weights[0].size <= form.products and held


def _forms(node: Node, forms: dict[Node, Forms], users: dict[Node, int]) -> Forms:
    """`node` as a function of other tensors."""
    if node.dtype != F32 or len(node.shape) != 4:
        return {}
    if isinstance(node, Map):
        found = _value(node.expr, node, forms, users)
        return found if isinstance(found, dict) else {}
    single = _window(node)
    return {} if single is None else {single.image: single}


def _value(expr: Expr, node: Map, forms: dict[Node, Forms], users: dict[Node, int]) -> Forms | Doubles | None:
    """What `expr` of `node` is of other tensors; or its value for each channel where that is known; None where it is neither."""
    channels = node.shape[1]
    match expr:
        case Lit(value=value) if expr.dtype == F32:
            return np.full(channels, float(value))
        case Arg(position=number):
            source = node.sources[number]
            known = _by_channel(source)
            if known is not None:
                return known
            inside = {image: form for image, form in forms[source].items() if users[source] == 1 or not form.products}
            return {source: Linear(source, np.ones((channels, 1, 1, 1)), np.zeros(channels)), **inside}
        case Apply(op=op, args=(first, second)) if op in (ops.ADD, ops.MUL):
            a, b = (_value(part, node, forms, users) for part in (first, second))
            if a is None or b is None:
                return None
            return _added(a, b) if op is ops.ADD else _multiplied(a, b)
        case _:
            return None


def _added(a: Forms | Doubles, b: Forms | Doubles) -> Forms | Doubles | None:
    if isinstance(a, dict) and isinstance(b, dict):
        sums = {image: together for image, form in a.items() if image in b and (together := _sum(form, b[image])) is not None}
        return sums or None
    if isinstance(a, dict):
        assert not isinstance(b, dict)
        return {image: replace(form, bias=form.bias + b) for image, form in a.items()}
    return _added(b, a) if isinstance(b, dict) else a + b


def _multiplied(a: Forms | Doubles, b: Forms | Doubles) -> Forms | Doubles | None:
    if isinstance(a, dict) and isinstance(b, dict):
        return None
    if isinstance(a, dict):
        assert not isinstance(b, dict)
        factors = b.reshape(-1, 1, 1, 1)
        return {
            image: replace(form, weights=form.weights * factors, bias=form.bias * b, parts=form.parts + (form.products > 0))
            for image, form in a.items()
        }
    return _multiplied(b, a) if isinstance(b, dict) else a * b


def _sum(a: Linear, b: Linear) -> Linear | None:
    """The sum of two functions of one tensor; None where they step differently, or their groups do not stand in each other."""
    if a.steps != b.steps:
        return None
    inner = max(a.weights.shape[1], b.weights.shape[1])
    low = (max(a.low[0], b.low[0]), max(a.low[1], b.low[1]))
    sizes = [low[d] + max(each.weights.shape[2 + d] - each.low[d] for each in (a, b)) for d in range(2)]
    total = np.zeros((len(a.bias), inner, *sizes))
    for each in (a, b):
        first = _first_channels(each.image, len(a.bias), each.weights.shape[1]) - _first_channels(each.image, len(a.bias), inner)
        own = each.weights.shape[1:]
        if first.min() < 0 or first.max() + own[0] > inner:
            return None
        (y, x) = (low[d] - each.low[d] for d in range(2))
        for channel, at in enumerate(first):
            total[channel, at : at + own[0], y : y + own[1], x : x + own[2]] += each.weights[channel]
    origin = max(a, b, key=lambda each: each.weights.size).origin or a.origin or b.origin
    return Linear(a.image, total, a.bias + b.bias, a.steps, low, a.products + b.products, a.parts + b.parts, origin)


def _first_channels(image: Node, outputs: int, inner: int) -> npt.NDArray[np.int64]:
    """The first channel that each of `outputs` channels reads, where groups have `inner` channels."""
    groups = image.shape[1] // inner
    return np.arange(outputs) * groups // outputs * inner


def _window(node: Node) -> Linear | None:
    """`node` [N, O, H, W] as one convolution by constants; None where it is anything else."""
    outputs = node.shape[1]
    at: Vector = tuple(ix.axis(var, size) for var, size in zip(RESULT, node.shape, strict=True))
    node, at = _base(node, at)
    summed: dict[Var, int] = {}
    if isinstance(node, Reduce) and node.op is ops.ADD:
        summed = {Var(f"k{axis}"): node.source.shape[axis] for axis in node.axes}
        at = tuple(ix.axis(Var(f"k{d}"), node.source.shape[d]) if d in node.axes else index for d, index in enumerate(at))
        node = node.source
    origin = node.origin
    if not isinstance(node, Map) or product_operands(node.expr) is None or len(node.sources) != 2:
        return None
    (image, where), (weights, of) = sorted((_base(source, at) for source in node.sources), key=lambda base: isinstance(base[0], Constant))
    if not isinstance(weights, Constant) or isinstance(image, Constant) or weights.dtype != F32:
        return None
    low = (0, 0)
    if isinstance(image, Pad) and len(image.low) == 4 and image.value == s.lit(0.0, F32) and not any((*image.low[:2], *image.high[:2])):
        low = (image.low[2], image.low[3])
        image = image.source
    if len(image.shape) != 4 or image.dtype != F32:
        return None
    placed = _placed((image, where, low), (weights, of), summed, outputs)
    return None if placed is None else replace(placed, origin=origin)


def _placed(read: tuple[Node, Vector, tuple[int, int]], by: tuple[Constant, Vector], summed: dict[Var, int], outputs: int) -> Linear | None:
    """The convolution to `outputs` channels that reads a tensor at some place, padded by so much below, and weights at some place."""
    (image, where, low), (weights, of) = read, by
    n, o, h, w = RESULT
    slid = [_slid(where[2], h, summed), _slid(where[3], w, summed)]
    if slid[0] is None or slid[1] is None or any(each is not None and each[2] for each in slid):
        return None
    (step_h, tap_h, _), (step_w, tap_w, _) = slid[0], slid[1]
    inner = [var for var in summed if summed[var] > 1 and var not in (tap_h, tap_w)]
    if where[0] != (ix.axis(n, image.shape[0])) or len(inner) > 1 or (tap_h is not None and tap_h == tap_w):
        return None
    order = [inner[0] if inner else None, tap_h, tap_w]
    grid = np.ix_(np.arange(outputs), *(np.arange(summed[var] if var is not None else 1) for var in order))
    values = {o: grid[0], **{var: grid[1 + place] for place, var in enumerate(order) if var is not None}}
    channels, taken = _evaluated(where[1], values), [_evaluated(index, values) for index in of]
    if channels is None or any(index is None for index in taken):
        return None
    size = grid[1].shape[1]
    if image.shape[1] % size or outputs % (image.shape[1] // size):
        return None
    wanted = _first_channels(image, outputs, size).reshape(-1, 1, 1, 1) + grid[1]
    if not np.array_equal(np.broadcast_to(channels, wanted.shape), wanted):
        return None
    data = np.broadcast_to(weights.data[tuple(index for index in taken if index is not None)], [part.size for part in grid])
    return Linear(image, data.astype(np.float64), np.zeros(outputs), (step_h, step_w), low, data[0].size)


def _slid(component: ix.Index, along: Var, summed: dict[Var, int]) -> tuple[int, Var | None, int] | None:
    """(step, the window's variable if it has one, offset) of `along` * step + window + offset; None where `component` is anything else."""
    step, tap = 1, None
    for atom, factor in component.terms:
        if not isinstance(atom, ix.Axis):
            return None
        if atom.var == along:
            step = factor
        elif atom.var in summed and factor == 1 and tap is None:
            tap = atom.var
        else:
            return None
    return step, tap, component.offset


def _base(node: Node, at: Vector) -> tuple[Node, Vector]:
    while isinstance(node, (Reshape, Permute, Expand, Slice, Window)):
        at = source_index(node, at)
        node = node.source
    return node, at


def _by_channel(node: Node) -> Doubles | None:
    """The value of `node` for each channel where it is constant, and the same all over a channel; None elsewhere."""
    channels = node.shape[1]
    base, at = _base(node, tuple(ix.axis(var, size) for var, size in zip(RESULT, node.shape, strict=True)))
    if not isinstance(base, Constant):
        return None
    values = {RESULT[1]: np.arange(channels)}
    taken = [_evaluated(index, values) for index in at]
    if any(index is None for index in taken):
        return None
    return np.broadcast_to(base.data[tuple(index for index in taken if index is not None)], (channels,)).astype(np.float64)


def _evaluated(index: ix.Index, values: dict[Var, npt.NDArray[np.int64]]) -> npt.NDArray[np.int64] | None:
    """`index` for all values of its variables; None where it has others."""
    total = np.array(index.offset)
    for atom, factor in index.terms:
        match atom:
            case ix.Axis(var=var) if var in values:
                part: npt.NDArray[np.int64] | None = values[var]
            case ix.Quotient(dividend=dividend, divisor=divisor):
                inside = _evaluated(dividend, values)
                part = None if inside is None else inside // divisor
            case _:
                part = None
        if part is None:
            return None
        total = total + part * factor
    return total


def _convolution(b: GraphBuilder, form: Linear, image: Node, shape: tuple[int, ...]) -> Node:
    """`form` of `image`, as a contraction over [N, G, O, H, W | window, I], with axes of extent 1 for what there is one of."""
    whole_of, b.origin = b.origin, form.origin or b.origin
    outputs, inner, *kernel = form.weights.shape
    groups = image.shape[1] // inner
    count = shape[2:]
    high = [(count[d] - 1) * form.steps[d] + kernel[d] - form.low[d] - image.shape[2 + d] for d in range(2)]
    whole = b.pad(image, (0, 0, *form.low), (0, 0, *(max(0, size) for size in high)), s.lit(0.0, F32))
    split = b.reshape(whole, (shape[0], groups, inner, *whole.shape[2:]))
    windows = b.window(b.window(split, 3, kernel[0], form.steps[0]), 4, kernel[1], form.steps[1])
    windows = b.slice(windows, (0,) * 7, (1,) * 7, (*windows.shape[:3], *count, *kernel))
    ordered = b.permute(windows, (0, 1, 3, 4, 5, 6, 2))
    depthwise = inner == 1 and outputs == groups
    data = np.moveaxis(form.weights, 1, 3).astype(np.float32)
    if depthwise:
        left = b.reshape(ordered, (shape[0], outputs, *count, *kernel))
        right = b.reshape(b.constant(data), (1, outputs, 1, 1, *kernel))
    elif groups == 1:
        left = b.reshape(ordered, (shape[0], 1, *count, *kernel, inner))
        right = b.reshape(b.constant(data), (1, outputs, 1, 1, *kernel, inner))
    else:
        left = b.reshape(ordered, (shape[0], groups, 1, *count, *kernel, inner))
        right = b.reshape(b.constant(data), (1, groups, outputs // groups, 1, 1, *kernel, inner))
    space = tuple(max(pair) for pair in zip(left.shape, right.shape, strict=True))
    product = b.map(s.mul(Arg(0, F32), Arg(1, F32)), b.expand(left, space), b.expand(right, space))
    rank = len(space)
    total = b.reshape(b.reduce(ops.ADD, product, tuple(range(rank - (2 if depthwise else 3), rank))), shape)
    b.origin = whole_of
    bias = b.reshape(b.constant(form.bias.astype(np.float32)), (1, outputs, 1, 1))
    return b.map(s.add(Arg(0, F32), Arg(1, F32)), total, b.expand(bias, shape))
