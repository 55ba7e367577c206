"""Dimensions of the model's inputs: read from the model, pinned by name (`--dim N=1`) or by input (`--shape x=1x3x224x224`)."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from tgc.errors import OptionError
from tgc.ir.graph import Shape

Dim = int | str
"""An extent, or a name; "" has neither."""


@dataclass(frozen=True, slots=True)
class Declared:
    """An input's shape as the model writes it; None where it does not even say how many axes there are."""

    name: str
    dims: tuple[Dim, ...] | None

    def __str__(self) -> str:
        if self.dims is None:
            return f"{self.name!r} of unknown rank"
        return f"{self.name!r} [{', '.join(str(d) or '?' for d in self.dims)}]"


def declared(value: onnx.ValueInfoProto) -> Declared:
    """The shape of `value`. Names that exporters write for "unknown" count as none, since equal ones need not be equal sizes."""
    if not value.type.tensor_type.HasField("shape"):
        return Declared(value.name, None)
    return Declared(value.name, tuple(_dim(d) for d in value.type.tensor_type.shape.dim))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else ""
    return "" if dim.dim_param in ("?", "-1", "None") else dim.dim_param


def pin(inputs: Sequence[Declared], dims: Mapping[str, int], shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shape of every input.

    A name that one input's pinned shape fixes holds for every input. Raises OptionError where a pin fits nothing or
    contradicts the model or another pin, and one that lists everything that is not pinned yet.
    """
    _require_sensible(inputs, dims, shapes)
    sizes: dict[str, int] = dict(dims)
    for one in inputs:
        if one.name in shapes:
            _learn(one, shapes[one.name], sizes)
    resolved = {one.name: _resolve(one, shapes.get(one.name), sizes) for one in inputs}
    missing = [one for one in inputs if resolved[one.name] is None]
    if missing:
        raise _unpinned(missing, sizes)
    return {name: shape for name, shape in resolved.items() if shape is not None}


def renamed(model: onnx.ModelProto, equal: Mapping[str, str]) -> onnx.ModelProto:
    """`model` with dimensions of its inputs called what they are equal to: another dimension, or a formula of some.

    Raises OptionError for a dimension that is not there, and a formula of others than are.
    """
    if not equal:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    found = [dim for value in made.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    names = list(dict.fromkeys(dim.dim_param for dim in found))
    hint = f"named dimensions: {', '.join(names) or 'none'}"
    for name, formula in equal.items():
        if name not in names:
            raise OptionError(f"no input has a dimension named {name!r}", f"--dim {name}={formula}", hint)
        if size_of(formula, dict.fromkeys((other for other in names if other not in equal), 1)) is None:
            raise OptionError(f"{formula!r} is no other dimension, and no sum or product of some", f"--dim {name}={formula}", hint)
    for dim in found:
        dim.dim_param = equal.get(dim.dim_param, dim.dim_param)
    return made


def _require_sensible(inputs: Sequence[Declared], dims: Mapping[str, int], shapes: Mapping[str, Shape]) -> None:
    named = list(dict.fromkeys(d for one in inputs for d in one.dims or () if isinstance(d, str) and d))
    for name, size in dims.items():
        if name not in named:
            hint = f"named dimensions: {', '.join(named) or 'none'}"
            raise OptionError(f"no input has a dimension named {name!r}", f"--dim {name}={size}", hint)
        if size < 0:
            raise OptionError("a dimension is not negative", f"--dim {name}={size}")
    for name, shape in shapes.items():
        where = f"--shape {name}={text(shape)}"
        if name not in [one.name for one in inputs]:
            raise OptionError(f"there is no input {name!r}", where, f"inputs: {', '.join(str(one) for one in inputs) or 'none'}")
        if min(shape, default=0) < 0:
            raise OptionError("a dimension is not negative", where)


def _learn(one: Declared, shape: Shape, sizes: dict[str, int]) -> None:
    """Enters what `shape` says about the names in `one` into `sizes`."""
    where = f"--shape {one.name}={text(shape)}"
    if one.dims is None:
        return
    if len(shape) != len(one.dims):
        raise OptionError(f"input {one} has {len(one.dims)} axes, not {len(shape)}", where)
    for dim, size in zip(one.dims, shape, strict=True):
        fixed = sizes.setdefault(dim, size) if isinstance(dim, str) and dim else dim
        if fixed not in (size, ""):
            raise OptionError(f"input {one} has {f'{dim} = ' if dim != fixed else ''}{fixed} where the shape has {size}", where)


def _resolve(one: Declared, shape: Shape | None, sizes: Mapping[str, int]) -> Shape | None:
    if shape is not None:
        return shape
    if one.dims is None:
        return None
    found = [size_of(d, sizes) if isinstance(d, str) else d for d in one.dims]
    return None if None in found else tuple(size for size in found if size is not None)


def size_of(text: str, sizes: Mapping[str, int]) -> int | None:
    """The size of a dimension that is called so, or what a formula of sizes such as "past + length" comes to; None for neither."""
    if text in sizes:
        return sizes[text]
    try:
        return _value(ast.parse(text, mode="eval").body, sizes)
    except (SyntaxError, KeyError, ValueError):
        return None


def _value(formula: ast.expr, sizes: Mapping[str, int]) -> int:
    """Raises KeyError for a name without a size, and ValueError for what is no sum or product."""
    match formula:
        case ast.Name(name):
            return sizes[name]
        case ast.Constant(int(value)):
            return value
        case ast.BinOp(left, ast.Add(), right):
            return _value(left, sizes) + _value(right, sizes)
        case ast.BinOp(left, ast.Sub(), right):
            return _value(left, sizes) - _value(right, sizes)
        case ast.BinOp(left, ast.Mult(), right):
            return _value(left, sizes) * _value(right, sizes)
    raise ValueError(formula)


def _unpinned(missing: Sequence[Declared], sizes: Mapping[str, int]) -> OptionError:
    names = list(dict.fromkeys(d for one in missing for d in one.dims or () if isinstance(d, str) and d and d not in sizes))
    unnamed = [one for one in missing if one.dims is None or "" in one.dims]
    flags = [f"--dim {name}=1" for name in names]
    flags += [f"--shape {one.name}={'x'.join(str(d or 1) for d in one.dims) if one.dims is not None else '1x...'}" for one in unnamed]
    return OptionError(
        f"the model leaves dimensions open: {', '.join(str(one) for one in missing)}",
        hint=f"pin them, for example with {' '.join(flags)}",
    )


def text(shape: Shape) -> str:
    """A shape as `--shape` reads it."""
    return "x".join(map(str, shape))
