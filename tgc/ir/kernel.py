"""The loop-nest kernel: what a backend prints.

    kernel   ::= name, parameters, body
    statement::= Block | For | If | Alloc | Store | Barrier

A buffer is one-dimensional; shapes and layouts are gone by now, into the index expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tgc.ir.expr import Buffer, Expr, Var

LoopKind = Literal["serial", "kept", "parallel", "tailed", "vector", "unroll", "grid0", "grid1", "grid2", "lane0", "lane1", "lane2"]
GRID_KINDS: tuple[LoopKind, ...] = ("grid0", "grid1", "grid2")
LANE_KINDS: tuple[LoopKind, ...] = ("lane0", "lane1", "lane2")


@dataclass(frozen=True, slots=True)
class Block:
    """Statements in order."""

    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class For:
    """`body` for var = 0, 1, ..., extent - 1.

    serial: one after the other. kept: the same, and whoever compiles the text shall not write it out. parallel: iterations
    are independent; `shared_loop` says which one threads share. tailed: the same, but the last of two or more stores again
    some of what the one before it stores, so one thread does both. vector: to be executed as one vector of `extent` lanes
    (gone after `vectorize`). unroll: to be written out (gone after `unroll`). grid(d), lane(d): the work-group's index and
    the work-item's index in it along dimension d; such loops enclose everything else in the kernel.
    """

    var: Var
    extent: int
    body: Statement
    kind: LoopKind = "serial"


@dataclass(frozen=True, slots=True)
class If:
    """`body` where the bool scalar `condition` holds."""

    condition: Expr
    body: Statement


@dataclass(frozen=True, slots=True)
class Alloc:
    """Makes a register or local buffer, its contents undefined, for the rest of the enclosing block."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Store:
    """`buffer[index] = value`; index and value have the same number of lanes."""

    buffer: Buffer
    index: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class Barrier:
    """Every work-item of the work-group arrives, and its local stores are seen, before any goes on."""


Statement = Block | For | If | Alloc | Store | Barrier


@dataclass(frozen=True, slots=True)
class Parameter:
    """A buffer that the caller passes. `doc` is its shape and layout in words, for the comment beside it."""

    buffer: Buffer
    access: Literal["read", "write", "readwrite"]
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A loop nest over its parameters. No element that it writes through one of them is reached through another.

    The name is a C identifier. `origins` are the ONNX nodes that it computes, in the model's order. half_sums: whether its sums of
    products may be of halves, once what they are made of is stored in half.
    """

    name: str
    parameters: tuple[Parameter, ...]
    body: Statement
    origins: tuple[str, ...] = ()
    half_sums: bool = False


def shared_loop(body: Statement) -> For | None:
    """The parallel or tailed loop whose iterations are shared out among threads: the outermost, if nothing but loops stands around it.

    Each thread then runs the whole kernel but for the iterations of that loop that are others'.
    """
    while isinstance(body, For):
        if body.kind in ("parallel", "tailed"):
            return body
        body = body.body
    return None


def block(*statements: Statement) -> Statement:
    """The statements as one, nested blocks without allocations flattened."""
    flat: list[Statement] = []
    for statement in statements:
        if isinstance(statement, Block):
            flat.extend(statement.body)
        else:
            flat.append(statement)
    return flat[0] if len(flat) == 1 else Block(tuple(flat))
