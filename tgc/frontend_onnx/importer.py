"""ONNX into a graph.

    read, check structure, list what is not supported, pin dimensions     before anything is built
    initializers, then one node after the other: lower, fold, compare     with what the model declares

An operator is lowered by our own function for its version, else by the model's function of that name, else by the body that its
ONNX schema carries. Small results that no input reaches become constants at once, so shape arithmetic is gone by the time
that a Reshape needs it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy.typing as npt
import onnx
from onnx import GraphProto, NodeProto

from tgc.errors import ModelError, TgcError, TgcWarning, UnsupportedError
from tgc.frontend_onnx.blocking import channels_in_a_block
from tgc.frontend_onnx.closing import closed, dimensions, extents, open_inputs
from tgc.frontend_onnx.dimensions import Declared, declared, pin, renamed
from tgc.frontend_onnx.fixing import fix_inputs
from tgc.frontend_onnx.functions import model_functions
from tgc.frontend_onnx.live import largest
from tgc.frontend_onnx.older import modernised
from tgc.frontend_onnx.reading import read_model, require_model
from tgc.frontend_onnx.registry import Registry, normal_domain, standard_registry
from tgc.frontend_onnx.structure import check, ordered_nodes, reads, require_unique
from tgc.frontend_onnx.structured import Value, gathered, named_pieces, pieces_of
from tgc.frontend_onnx.tensors import require_dtype
from tgc.frontend_onnx.unsupported import Problem, Support, report
from tgc.frontend_onnx.walk import Frame, Importer, Values, enter_initializers, lower_nodes, require_possible
from tgc.ir.dtypes import DType
from tgc.ir.graph import Graph, Input, Shape
from tgc.ir.open_shapes import Sizes


def import_model(
    source: str | Path | onnx.ModelProto,
    *,
    dims: Mapping[str, Sizes] | None = None,
    shapes: Mapping[str, Shape] | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
    registry: Registry | None = None,
) -> Graph:
    """The graph of an ONNX model.

    dims: sizes of named dimensions, or ranges (least, most) or (least, most, step) of those that stay open until run time, or, as text,
        other dimensions that they are equal to, or sums and products of such.
    shapes: whole shapes of inputs.
    constants: values of inputs, to be compiled in.
    registry: lowerings to use instead of tgc's own.
    Raises ModelError for a file or model that is not valid, UnsupportedError that lists all that tgc does not do, OptionError
    for pins that do not fit, and for dimensions that are still open. Inputs that have an initializer are constants.
    """
    if isinstance(source, onnx.ModelProto):
        model, where, folder, stem = source, "the model", None, "model"
        require_model(model, where)
    else:
        path = Path(source)
        model, where, folder, stem = read_model(path), str(path), path.parent, path.stem
    lowerings = standard_registry() if registry is None else registry
    try:
        equal = {name: size for name, size in (dims or {}).items() if isinstance(size, str)}
        sizes = extents({name: size for name, size in (dims or {}).items() if not isinstance(size, str)})
        model = renamed(fix_inputs(modernised(model, where), constants or {}), equal)
        return _import(model, where, folder, stem, lowerings, sizes, {n: tuple(s) for n, s in (shapes or {}).items()})
    except TgcError as error:
        if where in error.where:
            raise
        raise type(error)(error.what, f"{where}: {error.where}" if error.where else where, error.hint) from error


def _import(
    model: onnx.ModelProto,
    where: str,
    folder: Path | None,
    stem: str,
    registry: Registry,
    dims: Mapping[str, int],
    shapes: Mapping[str, Shape],
) -> Graph:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    whole = [value for value in graph.input if value.name not in weights]
    inputs = [piece for value in whole for piece in pieces_of(value, shapes)]
    nodes = _structure(graph, where)
    opsets = {normal_domain(entry.domain): entry.version for entry in model.opset_import}
    functions = model_functions(model)
    unsupported = [*_foreign_values(graph, inputs), *Support(registry, functions).problems(nodes, opsets)]
    if unsupported:
        raise report(unsupported, where)
    check(model, nodes, where)
    sizes = pin([declared(value) for value in inputs], dims, shapes)
    for name, shape in sizes.items():
        require_possible(shape, f"input {name!r}")
    importer = Importer(folder, registry, functions, _declarations(graph))
    importer.b.block = channels_in_a_block(graph)
    made = _inputs(importer, inputs, sizes)
    kept = dimensions(tuple(dims.values()), tuple(made))
    given = open_inputs(importer.b, kept, made, sizes)
    values: Values = {**given, **{value.name: gathered(value, given) for value in whole if value.name not in made}}
    enter_initializers(importer, graph, {name for node in nodes for name in reads(node)} | {v.name for v in graph.output}, values)
    lower_nodes(importer, nodes, values, Frame(opsets))
    if importer.problems:
        raise report(importer.problems, where)
    if importer.contradicted:
        count = len(importer.contradicted)
        more = f" and {count - 1} more, which the operators decide" if count > 1 else ", which the operators decide"
        warnings.warn(TgcWarning(f"{where}: of another shape than the model declares: {importer.contradicted[0]}{more}"), stacklevel=2)
    outputs = [piece for v in graph.output for piece in named_pieces(v.name, _present(values, v.name))]
    result = Graph(graph.name or stem, tuple(made.values()), tuple(outputs))
    return closed(importer.b, result, kept, tuple(sizes.values())) if importer.b.symbols else result


def _structure(graph: GraphProto, where: str) -> list[NodeProto]:
    """The nodes that the outputs need, in order."""
    require_unique((v.name for v in graph.input), "inputs", where)
    require_unique((v.name for v in graph.output), "outputs", where)
    require_unique((t.name for t in graph.initializer), "initializers", where)
    given = [*(v.name for v in graph.input), *(t.name for t in graph.initializer), *(t.values.name for t in graph.sparse_initializer)]
    return ordered_nodes(graph.node, given, [v.name for v in graph.output], where)


def _foreign_values(graph: GraphProto, inputs: Sequence[onnx.ValueInfoProto]) -> list[Problem]:
    """Inputs and outputs that are no tensors of a type that tgc has, and weights in forms it does not read."""
    problems = [Problem("sparse initializer", tensor.values.name) for tensor in graph.sparse_initializer]
    for kind, value in (*(("input", v) for v in inputs), *(("output", v) for v in graph.output)):
        form = value.type.WhichOneof("value")
        if kind == "output" and form in ("sequence_type", "optional_type"):
            continue  # Whether it is tensors in the end shows when they are made.
        if form is not None and form != "tensor_type":
            hint = f"for a sequence of two tensors, --shape {value.name}_0=.. --shape {value.name}_1=.." if form == "sequence_type" else ""
            problems.append(Problem(f"{kind} that is not a tensor ({form.removesuffix('_type')})", value.name, hint))
        elif kind == "input" or value.type.tensor_type.elem_type:
            try:
                require_dtype(value.type.tensor_type.elem_type, "")
            except UnsupportedError as error:
                problems.append(Problem(f"{kind} with {error.what}", value.name))
    return problems


def _declarations(graph: GraphProto) -> dict[str, tuple[DType, Declared]]:
    """What the model says about the types of its own results, where it says it in full."""
    found = {}
    for value in (*graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if value.type.HasField("tensor_type") and tensor.elem_type:
            found[value.name] = (require_dtype(tensor.elem_type, f"value {value.name!r}"), declared(value))
    return found


def _inputs(importer: Importer, inputs: Sequence[onnx.ValueInfoProto], sizes: Mapping[str, Shape]) -> dict[str, Input]:
    return {
        value.name: importer.b.graph.input(value.name, require_dtype(value.type.tensor_type.elem_type, ""), largest(sizes[value.name]))
        for value in inputs
    }


def _present(values: Values, name: str) -> Value:
    value = values.get(name)
    if value is None:
        raise ModelError(f"output {name!r} is left out by the function that should make it")
    return value
