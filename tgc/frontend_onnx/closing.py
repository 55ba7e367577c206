"""The edges of a model with open axes: named dimensions become inputs, and what leaves the front end has plain extents only.

Callers pass and get dense tensors of the true shape, at the beginning of buffers of the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tgc.errors import OptionError
from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.ir import scalar
from tgc.ir.dtypes import I64
from tgc.ir.expr import Arg
from tgc.ir.graph import Expand as ExpandNode
from tgc.ir.graph import Gather, Graph, Input, Map, Node, Reshape, Shape, Slice, postorder, sources
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.lengths import Length, Polynomial, Symbol, of_symbol
from tgc.ir.open_shapes import Dimension, OpenShapes, Range, Sum
from tgc.ir.rebuild import rebuild


def extents(dims: Mapping[str, int | Range]) -> dict[str, int]:
    """The sizes that `dims` give names: open ones for ranges, of `step` times a symbol. Raises OptionError for a range that is none."""
    found: dict[str, int] = {}
    for name, size in dims.items():
        if isinstance(size, int):
            found[name] = size
            continue
        low, high, step = (*size, 1)[:3]
        if not 0 <= low <= high:
            raise OptionError("a range goes from a size to one that is not smaller", f"--dim {name}={low}..{high}")
        if step < 1 or low % step or high % step:
            raise OptionError(f"both ends of a range are multiples of its step, {step}", f"--dim {name}={low}..{high}:{step}")
        found[name] = low if low == high else step * of_symbol(Symbol(name, low // step, high // step, unit=step))
    return found


def dimensions(sizes: Sequence[int], inputs: Sequence[str]) -> tuple[Dimension, ...]:
    """The open ones of `sizes`; `inputs` are names that are taken."""
    found = [_symbol(size) for size in sizes if isinstance(size, Length)]
    return tuple(Dimension(s.name, s.low * s.unit, s.high * s.unit, f"dim_{s.name}" if s.name in inputs else s.name, s.unit) for s in found)


def _symbol(size: Length) -> Symbol:
    """The one that an input's extent is, or is a multiple of."""
    atom = size.polynomial[0][0][0]
    assert isinstance(atom, Symbol)
    return atom


def open_inputs(b: LoweringBuilder, dims: Sequence[Dimension], made: Mapping[str, Input], shapes: Mapping[str, Shape]) -> dict[str, Node]:
    """What the model's inputs stand for: their tensors of the largest shape, seen as what is dense in them."""
    for dim in dims:
        source = b.graph.input(dim.input, I64, ())
        low, high = dim.low // dim.step, dim.high // dim.step
        units = scalar.floor_div(Arg(0, I64), dim.step) if dim.step > 1 else Arg(0, I64)
        within = scalar.maximum(scalar.minimum(units, high), low)  # no number makes a kernel read elsewhere
        b.symbols[Symbol(dim.name, low, high, unit=dim.step)] = b.graph.map(within, source)
    return {name: live.padded_out(b, node, shapes[name]) if live.is_open(shapes[name]) else node for name, node in made.items()}


def closed(b: LoweringBuilder, graph: Graph, dims: Sequence[Dimension], shapes: Sequence[Shape]) -> Graph:
    """`graph`, whose outputs may have open axes, with plain extents, the dimensions as inputs and the lengths as an output.

    shapes: of the inputs.
    """
    outputs: list[tuple[str, Node]] = []
    places: dict[Polynomial, int] = {}
    axes: list[tuple[int | None, ...]] = []
    for name, node in graph.outputs:
        open_axes = [size.polynomial if isinstance(size, Length) else None for size in node.shape]
        axes.append(tuple(None if p is None else places.setdefault(p, len(places)) for p in open_axes))
        outputs.append((name, live.dense(b, node) if live.is_open(node.shape) else node))
    lengths = None
    if places:
        names = {name for name, _ in outputs}
        lengths = next(name for name in ("lengths", "output_lengths", "lengths_of_outputs") if name not in names)
        parts = [b.graph.reshape(live.length_node(b, Length(p)), (1,)) for p in places]
        outputs.append((lengths, b.graph.concat(tuple(parts), 0)))
    open_sizes = dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, Length))
    sums = tuple(dict.fromkeys(_sum(size, dims) for size in open_sizes if _own_number(size, dims) is None))
    numbers = {size: _number(size, dims, sums) for size in open_sizes}
    inputs = tuple(tuple(numbers[size] if isinstance(size, Length) else None for size in shape) for shape in shapes)
    sources_ = (*graph.inputs, *(b.graph.input(dim.input, I64, ()) for dim in dims))
    open_shapes = OpenShapes(tuple(dims), inputs, tuple(axes), lengths, sums)
    return replace(_plain(Graph(graph.name, sources_, tuple(outputs))), open=open_shapes)


def _own_number(size: Length, dims: Sequence[Dimension]) -> int | None:
    """The number of the dimension that an input's extent is."""
    if len(size.polynomial) == 1 and isinstance(size.polynomial[0][0][0], Symbol):
        symbol = _symbol(size)
        if size == symbol.unit * of_symbol(symbol):
            return [dim.name for dim in dims].index(symbol.name)
    return None


def _number(size: Length, dims: Sequence[Dimension], sums: Sequence[Sum]) -> int:
    own = _own_number(size, dims)
    return len(dims) + sums.index(_sum(size, dims)) if own is None else own


def _sum(size: Length, dims: Sequence[Dimension]) -> Sum:
    """An input's extent as a sum of dimensions. Raises OptionError where it is none."""
    constant, terms = 0, list[tuple[int, int]]()
    for monomial, factor in size.polynomial:
        match monomial:
            case ():
                constant = factor
            case (Symbol(name, unit=unit),) if factor % unit == 0:
                terms.append(([dim.name for dim in dims].index(name), factor // unit))
            case _:
                raise OptionError(f"an input's extent {size} is no sum of dimensions", hint="pin one of them")
    return Sum(constant, tuple(terms))


def _plain(graph: Graph) -> Graph:
    """`graph` with the largest extents for all that are open."""
    builder = GraphBuilder()
    made: dict[Node, Node] = {}
    for node in postorder(tuple(node for _, node in graph.outputs), graph.inputs):
        fixed = node
        if isinstance(node, Map | Reshape | ExpandNode | Slice | Gather) and live.is_open(node.shape):
            fixed = replace(node, shape=live.largest(node.shape))
        made[node] = rebuild(builder, fixed, tuple(made[source] for source in sources(node)))
    inputs = tuple(node for node in (made[old] for old in graph.inputs) if isinstance(node, Input))
    return Graph(graph.name, inputs, tuple((name, made[node]) for name, node in graph.outputs))
