"""A digest of what a kernel is, for comparing kernels of different runs: much faster to make than the text, which people read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from tgc.ir.expr import Apply, Arg, Broadcast, Coordinate, Expr, Lit, Load, Ramp, Var, children
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Statement, Store
from tgc.ir.rewrite import walk


def fingerprint(kernel: Kernel) -> str:
    """SHA-256 in hexadecimal; the same for equal kernels, whatever their name and origins."""
    parameters = [f"{p.buffer.name} {p.buffer.dtype} {p.buffer.size} {p.buffer.space} {p.access}" for p in kernel.parameters]
    lines = [*parameters, *_statement(kernel.body, {})]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def expression_fingerprint(expr: Expr) -> str:
    """The same for an expression, in time linear in its distinct parts."""
    return hashlib.sha256("\n".join(_expression(expr, {})).encode()).hexdigest()


def _statement(statement: Statement, numbers: dict[Expr, int]) -> Iterator[str]:
    match statement:
        case Block(body):
            for part in body:
                yield from _statement(part, numbers)
        case For(var, extent, body, kind):
            yield f"for {var.name} {extent} {kind}"
            yield from _statement(body, numbers)
            yield "end"
        case If(condition, body):
            yield from _expression(condition, numbers)
            yield f"if {numbers[condition]}"
            yield from _statement(body, numbers)
            yield "end"
        case Alloc(buffer):
            yield f"alloc {buffer.name} {buffer.dtype} {buffer.size} {buffer.space}"
        case Store(buffer, index, value):
            yield from _expression(index, numbers)
            yield from _expression(value, numbers)
            yield f"store {buffer.name} {numbers[index]} {numbers[value]}"
        case Barrier():
            yield "barrier"


def _expression(root: Expr, numbers: dict[Expr, int]) -> Iterator[str]:
    """A line for each subexpression that has no number yet, which then is that of its line."""
    for expr in walk(root, below=lambda expr: () if expr in numbers else children(expr)):
        if expr not in numbers:
            yield f"{_head(expr)} {[numbers[child] for child in children(expr)]}"
            numbers[expr] = len(numbers)


def _head(expr: Expr) -> str:
    """All of `expr` but its children."""
    match expr:
        case Apply(op, _, dtype):
            return f"{op.name} {dtype.name}"
        case Load(buffer):
            return f"load {buffer.name}"
        case Ramp(_, stride, lanes):
            return f"ramp {stride} {lanes}"
        case Broadcast(_, lanes):
            return f"broadcast {lanes}"
        case Lit(value, dtype):
            return f"{value!r} {dtype.name}"
        case Var(name, dtype):
            return f"{name} {dtype.name}"
        case Arg(position, dtype):
            return f"arg {position} {dtype.name}"
        case Coordinate(axis):
            return f"coordinate {axis}"
