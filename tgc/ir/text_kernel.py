"""The text form of kernels: one statement a line.

    kernel dense(read x: f32[784] "1 x 784", read w: f32[7840] constant, write y: f32[10]) from ["MatMul_3", "Add_4"] {
      for i < 10 parallel {
        alloc sum: f32[1] register
        sum[0] = 0.0
        for k < 784 {
          sum[0] = sum[0] + x[k] * w[i * 784 + k]
        }
        if i < 9 {
          y[i] = sum[0]
        }
      }
    }

Besides these there is `barrier`. A loop's kind is left out where it is serial, a parameter's space where it is global. The body
of a `for`, `if` or kernel with one statement is that statement, with any other number a Block; braces of their own are a
Block. `halves` before a kernel's body says that its sums of products may be of halves. `$0 = ...` before a statement is an
abbreviation that this statement uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from tgc.errors import InvalidIrError, ModelError
from tgc.ir.expr import Buffer, Expr, Space, Var
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, LoopKind, Parameter, Statement, Store
from tgc.ir.text_expression import Names, abbreviated, parse_abbreviations, parse_dtype, parse_expression
from tgc.ir.text_tokens import Cursor, quote, tokenize, write_integers
from tgc.ir.verify_kernel import verify_kernel

Access = Literal["read", "write", "readwrite"]

_ACCESSES: dict[str, Access] = {access: access for access in get_args(Access)}
_SPACES: dict[str, Space] = {space: space for space in get_args(Space)}
_KINDS: dict[str, LoopKind] = {kind: kind for kind in get_args(LoopKind)}


def print_kernel(kernel: Kernel) -> str:
    """The text form of `kernel`."""
    parameters = ", ".join(_write_parameter(parameter) for parameter in kernel.parameters)
    origins = f" from [{', '.join(map(quote, kernel.origins))}]" if kernel.origins else ""
    halves = " halves" if kernel.half_sums else ""
    lines = [f"kernel {kernel.name}({parameters}){origins}{halves} {{", *_indented(_body(kernel.body)), "}"]
    return "\n".join(lines) + "\n"


def print_statement(statement: Statement) -> str:
    """The text form of one statement and what is in it."""
    return "\n".join(_lines(statement)) + "\n"


def _write_buffer(buffer: Buffer) -> str:
    return f"{buffer.name}: {buffer.dtype}{write_integers((buffer.size,))}"


def _write_parameter(parameter: Parameter) -> str:
    space = "" if parameter.buffer.space == "global" else f" {parameter.buffer.space}"
    doc = f" {quote(parameter.doc)}" if parameter.doc else ""
    return f"{parameter.access} {_write_buffer(parameter.buffer)}{space}{doc}"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _body(statement: Statement) -> Iterator[str]:
    parts = statement.body if isinstance(statement, Block) and len(statement.body) != 1 else (statement,)
    for part in parts:
        yield from _lines(part)


def _lines(statement: Statement) -> Iterator[str]:
    match statement:
        case Block(body):
            yield "{"
            for part in body:
                yield from _indented(_lines(part))
            yield "}"
        case For(var, extent, body, kind):
            yield f"for {var.name} < {extent}{'' if kind == 'serial' else f' {kind}'} {{"
            yield from _indented(_body(body))
            yield "}"
        case If(condition, body):
            lines, write = abbreviated(condition)
            yield from [*lines, f"if {write(condition)} {{"]
            yield from _indented(_body(body))
            yield "}"
        case Alloc(buffer):
            yield f"alloc {_write_buffer(buffer)} {buffer.space}"
        case Store(buffer, index, value):
            lines, write = abbreviated(index, value)
            yield from [*lines, f"{buffer.name}[{write(index)}] = {write(value)}"]
        case Barrier():
            yield "barrier"


def parse_kernel(text: str) -> Kernel:
    """The kernel that `text` describes, verified. Raises ModelError, which names the line."""
    cursor = Cursor(tokenize(text))
    cursor.skip_newlines()
    cursor.expect("kernel")
    name = cursor.take("name")
    parameters = _parse_parameters(cursor)
    origins = _parse_origins(cursor) if cursor.accept("from") else ()
    halves = cursor.accept("halves")
    body = _parse_body(cursor, {parameter.buffer.name: parameter.buffer for parameter in parameters})
    cursor.skip_newlines()
    if cursor.next.kind != "end":
        cursor.fail(f"unexpected {cursor.next.text!r}")
    kernel = Kernel(name, parameters, body, origins, halves)
    try:
        verify_kernel(kernel)
    except InvalidIrError as error:
        raise ModelError(str(error)) from error
    return kernel


def _parse_parameters(cursor: Cursor) -> tuple[Parameter, ...]:
    cursor.expect("(")
    found: list[Parameter] = []
    while not cursor.accept(")"):
        if cursor.next.text not in _ACCESSES:
            cursor.fail(f"expected one of {', '.join(_ACCESSES)}, not {cursor.next.text!r}")
        access = _ACCESSES[cursor.take("name")]
        buffer = _parse_buffer(cursor, "global")
        found.append(Parameter(buffer, access, cursor.string() if cursor.next.kind == "string" else ""))
        if cursor.next.text != ")":
            cursor.expect(",")
    return tuple(found)


def _parse_buffer(cursor: Cursor, default: Space | None) -> Buffer:
    name = cursor.take("name")
    cursor.expect(":")
    dtype = parse_dtype(cursor)
    sizes = cursor.integers()
    if len(sizes) != 1:
        cursor.fail(f"a buffer has one size, not {len(sizes)}")
    if default is not None and cursor.next.text not in _SPACES:
        return Buffer(name, dtype, sizes[0], default)
    if cursor.next.text not in _SPACES:
        cursor.fail(f"expected one of {', '.join(_SPACES)}, not {cursor.next.text!r}")
    return Buffer(name, dtype, sizes[0], _SPACES[cursor.take("name")])


def _parse_origins(cursor: Cursor) -> tuple[str, ...]:
    cursor.expect("[")
    found: list[str] = []
    while not cursor.accept("]"):
        found.append(cursor.string())
        if cursor.next.text != "]":
            cursor.expect(",")
    return tuple(found)


def _parse_body(cursor: Cursor, names: Names) -> Statement:
    parts = _parse_braces(cursor, names)
    return parts[0] if len(parts) == 1 else Block(parts)


def _parse_braces(cursor: Cursor, names: Names) -> tuple[Statement, ...]:
    cursor.expect("{")
    cursor.skip_newlines()
    known = dict(names)
    found: list[Statement] = []
    while not cursor.accept("}"):
        statement = _parse_statement(cursor, parse_abbreviations(cursor, known))
        if isinstance(statement, Alloc):
            known[statement.buffer.name] = statement.buffer
        found.append(statement)
        cursor.end_statement()
    return tuple(found)


def _parse_statement(cursor: Cursor, names: Names) -> Statement:
    word, following = cursor.next.text, cursor.after()
    if word == "{":
        return Block(_parse_braces(cursor, names))
    if following == "[":
        return _parse_store(cursor, names)
    if word == "barrier":
        cursor.expect("barrier")
        return Barrier()
    if cursor.accept("for"):
        return _parse_loop(cursor, names)
    if cursor.accept("if"):
        condition = parse_expression(cursor, names)
        return If(condition, _parse_body(cursor, names))
    if cursor.accept("alloc"):
        return Alloc(_parse_buffer(cursor, None))
    return cursor.fail(f"{word!r} begins no statement")


def _parse_loop(cursor: Cursor, names: Names) -> Statement:
    var = Var(cursor.take("name"))
    cursor.expect("<")
    extent = cursor.integer()
    kind = cursor.take("name") if cursor.next.kind == "name" else "serial"
    if kind not in _KINDS:
        cursor.fail(f"there is no loop kind {kind!r}")
    return For(var, extent, _parse_body(cursor, {**names, var.name: var}), _KINDS[kind])


def _parse_store(cursor: Cursor, names: Names) -> Statement:
    buffer = names.get(cursor.next.text)
    if not isinstance(buffer, Buffer):
        cursor.fail(f"there is no buffer {cursor.next.text!r} here")
    cursor.take("name")
    cursor.expect("[")
    index: Expr = parse_expression(cursor, names)
    cursor.expect("]")
    cursor.expect("=")
    return Store(buffer, index, parse_expression(cursor, names))
