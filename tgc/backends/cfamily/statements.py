"""Kernels and statements as text."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tgc.backends.cfamily.dialect import ATOM, UNARY, Dialect
from tgc.backends.cfamily.expressions import Scope, Use, Writer, address, atom, element, expression, name_deep, slot_name, spell
from tgc.backends.cfamily.squares import squares
from tgc.backends.cfamily.texels import narrowing
from tgc.backends.cfamily.uses import body_of, constant_slot, count_uses, local_names, register_slots, written
from tgc.errors import InvalidIrError
from tgc.ir.expr import Buffer, Expr, Load, Ramp, Var
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Parameter, Statement, Store, shared_loop
from tgc.ir.rewrite import expressions, statements, walk

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Printed:
    """A kernel's definition, and the forms that it needs defined before it."""

    text: str
    uses: tuple[Use, ...]


def print_kernel(kernel: Kernel, dialect: Dialect, outer: tuple[For, ...] = ()) -> Printed:
    """The definition of `kernel` in `dialect`, preceded by a comment with the ONNX nodes that it computes.

    outer: loops around the body that a launch stands for; `dialect.grids` declares their variables.
    """
    writer = _writer(kernel, dialect, outer)
    body = kernel.body
    lines = _braced(writer, body, _entry(writer, kernel.parameters, outer))
    head = dialect.kernel.format(name=kernel.name, parameters=_parameters(writer, kernel.parameters, writer.shared is not None))
    text = "\n".join([*_comment(kernel), f"{head} {{", *(INDENT + line for line in lines), "}", ""])
    return Printed(text, tuple(writer.used))


def _entry(writer: Writer, parameters: tuple[Parameter, ...], outer: tuple[For, ...]) -> tuple[str, ...]:
    """The lines that a kernel begins with."""
    dialect = writer.dialect
    lines: list[str] = []
    for position, parameter in enumerate(parameters):
        name = writer.names[parameter.buffer.name]
        if parameter.buffer.space == "image":
            start = Var(f"start of {parameter.buffer.name}")
            writer.starts[parameter.buffer.name] = start
            writer.names[start.name], writer.depths[start.name] = f"start{position}", 0
        elif dialect.entry:
            lines.append(dialect.entry.format(name=name, position=position))
    for loop in outer:
        writer.depths[loop.var.name] = 0
        lines.append(dialect.grids[loop.kind].format(var=writer.names[loop.var.name], extent=loop.extent))
    return tuple(lines)


def _writer(kernel: Kernel, dialect: Dialect, outer: tuple[For, ...]) -> Writer:
    buffers = [parameter.buffer.name for parameter in kernel.parameters]
    extents = {loop.var.name: loop.extent for loop in outer}
    for part in statements(kernel.body):
        if isinstance(part, Alloc):
            buffers.append(part.buffer.name)
        if isinstance(part, For):
            extents[part.var.name] = max(part.extent, extents.get(part.var.name, 0))
    free = [expr.name for expr in walk(*expressions(kernel.body)) if isinstance(expr, Var)]
    taken: set[str] = set()
    names: dict[str, str] = {}
    for name in dict.fromkeys([*buffers, *extents, *free]):
        names[name] = identifier(name, taken | dialect.reserved, dialect.functions)
        taken.add(names[name])
    slots = register_slots(kernel.body, elements=bool(dialect.image))
    for buffer, places in slots.items():
        while len(places) > 1 and any(f"{names[buffer]}_{first}" in taken for first, _ in places):
            names[buffer] += "_"
        taken.update(f"{names[buffer]}_{first}" for first, _ in places)
    turned = squares(kernel.body) if "COLUMN" in dialect.vector else {}
    return Writer(dialect, slots, taken, names, shared=shared_loop(kernel.body) if dialect.part else None, squares=turned)


def identifier(name: str, taken: AbstractSet[str], functions: str) -> str:
    """`name` as a C identifier that nothing else uses; temporaries are called t0, t1, ..."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    text = f"v{text}" if not text or text[0].isdigit() else text
    text = f"v_{text}" if functions and re.fullmatch(functions, text) else text
    while text in taken or re.fullmatch(r"t\d+", text):
        text += "_"
    return text


def _comment(kernel: Kernel) -> list[str]:
    if not kernel.origins:
        return []
    shown = [re.sub(r"[^ -~]|\*/|/\*|\\$", "?", origin) for origin in kernel.origins]
    return [f"/* {shown[0]}{' */' if len(shown) == 1 else ''}", *(f" * {name}" for name in shown[1:-1])] + (
        [f" * {shown[-1]} */"] if len(shown) > 1 else []
    )


def _parameters(writer: Writer, parameters: tuple[Parameter, ...], in_parts: bool) -> str:
    dialect = writer.dialect
    if not parameters:
        return "void"
    lines = []
    for position, parameter in enumerate(parameters):
        buffer = parameter.buffer
        pattern = dialect.image if buffer.space == "image" else dialect.parameter
        text = pattern.format(
            space=dialect.spaces[buffer.space], const="const " if parameter.access == "read" else "",
            type=dialect.elements[buffer.dtype.name], name=writer.names[buffer.name],
            position=position,
        )  # fmt: skip
        comma = "," if in_parts or position < len(parameters) - 1 else ""
        texels = f"{buffer.dtype.name} " if buffer.space == "image" else ""
        doc = texels + re.sub(r"[^ -~]|\*/|/\*", "?", parameter.doc)
        lines.append(f"{text}{comma}" + (f" /* {doc} */" if doc else ""))
    if in_parts:
        lines.append(dialect.parts)
    return "\n    " + "\n    ".join(lines)


def _braced(writer: Writer, statement: Statement, declared: tuple[str, ...] = ()) -> list[str]:
    """The lines between a pair of braces; `declared` are those that they begin with."""
    body = body_of(statement)
    scope = Scope(count_uses(body, writer.clock, local_names(statement)))
    writer.scopes.append(scope)
    scope.lines.extend(declared)
    pending: dict[str, Buffer] = {}
    for position, part in enumerate(body):
        match part:
            case Alloc(buffer):
                _alloc(writer, buffer, body[position + 1 :], pending)
            case Store():
                _store(writer, part, pending)
            case For():
                _for(writer, part)
            case If(condition, inner):
                head = f"if ({expression(writer, condition)[0]}) {{"
                _nested(writer, head, inner)
            case Barrier():
                scope.lines.append(writer.dialect.barrier)
                writer.clock.store(*local_names(statement))
            case Block():
                _nested(writer, "{", part)
    writer.scopes.pop()
    return scope.lines


def _nested(writer: Writer, head: str, body: Statement) -> None:
    """Appends `head`, the braced `body` and its end; what the body hoists comes before."""
    outer = writer.scopes[-1]
    changed = written(body)
    entered = writer.clock.enter(*changed)
    lines = _braced(writer, body)
    writer.clock.leave(entered, *changed)
    outer.lines.extend([head, *(INDENT + line for line in lines), "}"])


def _for(writer: Writer, loop: For) -> None:
    name = writer.names[loop.var.name]
    dialect = writer.dialect
    writer.depths[loop.var.name] = len(writer.scopes)
    writer.depth_memo.clear()
    pattern = dialect.kept if dialect.kept and loop.kind == "kept" else dialect.loop
    head = _part_head(dialect, name, loop) if loop is writer.shared else pattern.format(var=name, extent=loop.extent)
    _nested(writer, head, loop.body)
    writer.depth_memo.clear()


def _part_head(dialect: Dialect, name: str, loop: For) -> str:
    """The head of a loop over the iterations that are a part's; of a tailed loop the last two are one's."""
    tailed = loop.kind == "tailed"
    return dialect.part.format(var=name, units=loop.extent - tailed, tail=dialect.tail if tailed else "")


def _alloc(writer: Writer, buffer: Buffer, rest: tuple[Statement, ...], pending: dict[str, Buffer]) -> None:
    """Declares a buffer, or leaves its variables to the stores that come first, so that they are initialised at once."""
    lines = writer.scopes[-1].lines
    slots = writer.slots.get(buffer.name)
    if buffer.space != "register" or slots is None:
        space = writer.dialect.spaces[buffer.space] if buffer.space != "register" else ""
        if _mentioned(buffer, rest):
            lines.append(f"{space}{writer.dialect.elements[buffer.dtype.name]} {writer.names[buffer.name]}[{buffer.size}];")
        return
    for slot in slots:
        variable = slot_name(writer, buffer.name, slot)
        if _stored_first(buffer, slot[0], rest):
            pending[variable] = buffer
        else:
            lines.append(f"{writer.dialect.value_type(buffer.dtype, slot[1])} {variable};")


def _mentioned(buffer: Buffer, rest: tuple[Statement, ...]) -> bool:
    return any(_touches(part, buffer) for part in rest)


def _touches(statement: Statement, buffer: Buffer) -> bool:
    loads = any(isinstance(expr, Load) and expr.buffer == buffer for expr in walk(*expressions(statement)))
    return loads or buffer.name in written(statement)


def _stored_first(buffer: Buffer, first: int, rest: tuple[Statement, ...]) -> bool:
    """Whether a store in this very scope is the first to name the slot that begins at element `first`."""
    for part in rest:
        if isinstance(part, Store) and part.buffer == buffer:
            slot = constant_slot(part.index)
            if slot is not None and slot[0] == first:
                return not any(isinstance(e, Load) and e.buffer == buffer and e.index == part.index for e in walk(part.value))
        elif _touches(part, buffer) and not isinstance(part, Store):
            return False
    return False


def _store(writer: Writer, store: Store, pending: dict[str, Buffer]) -> None:
    buffer, index = store.buffer, store.index
    slot = constant_slot(index)
    name_deep(writer, store.value)
    if buffer.name in writer.slots and slot is not None:
        variable = slot_name(writer, buffer.name, slot)
        text = expression(writer, store.value)[0]
        declared = f"{writer.dialect.value_type(buffer.dtype, slot[1])} " if pending.pop(variable, None) else ""
        writer.scopes[-1].lines.append(f"{declared}{variable} = {text};")
    else:
        text = _store_text(writer, buffer, index, store.value)
        writer.scopes[-1].lines.append(text if text.endswith(";") else f"{text};")
    writer.clock.store(buffer.name)


def _store_text(writer: Writer, buffer: Buffer, index: Expr, value: Expr) -> str:
    dtype = buffer.dtype
    narrowed = narrowing(writer, buffer, index, value)
    if narrowed is not None:
        return narrowed
    if index.lanes == 1:
        text = expression(writer, value)[0]
        return f"{element(writer, buffer, index)} = {text}"
    if isinstance(index, Ramp) and index.stride == 1:
        pointer = (address(writer, buffer, index.base), UNARY)
        return spell(writer, "STORE", dtype, dtype, value.lanes, (pointer, expression(writer, value)))[0]
    named = (atom(writer, value), ATOM)
    if isinstance(index, Ramp):
        pointer = (address(writer, buffer, index.base), UNARY)
        return spell(writer, "STORE_STRIDED", dtype, dtype, value.lanes, (pointer, (str(index.stride), ATOM), named))[0]
    if value.lanes != index.lanes:
        raise InvalidIrError(f"store of {value.lanes} lanes to {index.lanes} places of {buffer.name}")
    where = (atom(writer, index), ATOM)
    return spell(writer, "SCATTER", dtype, dtype, value.lanes, ((writer.names[buffer.name], ATOM), where, named))[0]
