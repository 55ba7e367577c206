"""The invariants of a kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tgc.errors import InvalidIrError
from tgc.ir.dtypes import BOOL, INDEX
from tgc.ir.expr import Arg, Buffer, Coordinate, Expr, Load, Ramp, Var
from tgc.ir.index import Axis, bounds, from_expr
from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, Alloc, Barrier, Block, For, If, Kernel, LoopKind, Statement, Store
from tgc.ir.rewrite import walk
from tgc.ir.verify_expression import require, verify_expression

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def verify_kernel(kernel: Kernel) -> None:
    """The kernel and every statement in it:

    - the kernel, its buffers and its loop variables have names that are C identifiers; where two are visible in one place, they
      differ; parameters are global, constant or image buffers, and Alloc makes register or local ones, of at least one element;
    - expressions are valid, and hold no Arg and no Coordinate; a variable occurs inside its loop only, a buffer where it is a
      parameter or after its Alloc in the same block, and always with the same type, size and space;
    - nothing is stored to a "read" parameter and nothing loaded from a "write" parameter;
    - Store: the value has the buffer's type; the index is an INDEX and has as many lanes as the value; If: a bool scalar;
    - extents are not negative; grid and lane loops enclose everything but local allocations, grid outside lane, each dimension
      once; a Barrier is inside a lane loop;
    - an index is inside its buffer. This is checked outside of If where the index is affine in the loop variables, and
      elsewhere where no value of it is inside; what this cannot see, the interpreter does.

    Raises InvalidIrError.
    """
    try:
        names = [kernel.name, *(parameter.buffer.name for parameter in kernel.parameters)]
        for name in names:
            require(IDENTIFIER.fullmatch(name) is not None, f"{name!r} is no C identifier")
            require(names.count(name) == 1, f"{name} is the name of two things")
        for parameter in kernel.parameters:
            buffer = parameter.buffer
            require(buffer.space in ("global", "constant", "image"), f"parameter {buffer.name} is in {buffer.space} memory")
        access = {parameter.buffer.name: parameter.access for parameter in kernel.parameters}
        _verify(kernel.body, _Scope({p.buffer.name: p.buffer for p in kernel.parameters}, {}, access))
    except InvalidIrError as error:
        raise InvalidIrError(f"kernel {kernel.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a statement sees, and where it stands.

    extents: of the loop variables. access: of the parameters. kinds: of the loops around it. enclosed: whether something stands
    around it that a grid or lane loop must not stand in. guarded: whether an If does.
    """

    buffers: Mapping[str, Buffer]
    extents: Mapping[str, int]
    access: Mapping[str, str]
    kinds: tuple[LoopKind, ...] = ()
    enclosed: bool = False
    guarded: bool = False

    @property
    def ranges(self) -> dict[Var, int]:
        return {Var(name): extent for name, extent in self.extents.items()}


def _verify(statement: Statement, scope: _Scope) -> None:
    match statement:
        case Block(body):
            _verify_block(body, scope)
        case For():
            _verify_loop(statement, scope)
        case If(condition, body):
            require(condition.dtype == BOOL and condition.lanes == 1, f"If on {condition.dtype} of {condition.lanes} lanes")
            _verify_root(condition, scope)
            _verify(body, replace(scope, guarded=True, enclosed=True))
        case Alloc(buffer):
            _verify_alloc(buffer, scope)
        case Store(buffer, index, value):
            _verify_store(buffer, index, value, scope)
        case Barrier():
            require(any(kind in LANE_KINDS for kind in scope.kinds), "a Barrier outside of the lane loops")


def _verify_block(body: tuple[Statement, ...], scope: _Scope) -> None:
    rest = [part for part in body if not (isinstance(part, Alloc) and part.buffer.space == "local")]
    inner = scope if len(rest) == 1 else replace(scope, enclosed=True)
    for part in body:
        _verify(part, inner)
        if isinstance(part, Alloc):
            inner = replace(inner, buffers={**inner.buffers, part.buffer.name: part.buffer})


def _verify_alloc(buffer: Buffer, scope: _Scope) -> None:
    require(buffer.space in ("register", "local"), f"Alloc of {buffer.name} in {buffer.space} memory")
    require(buffer.size >= 1, f"Alloc of {buffer.name} with {buffer.size} elements")
    _verify_new(buffer.name, scope)


def _verify_new(name: str, scope: _Scope) -> None:
    require(IDENTIFIER.fullmatch(name) is not None, f"{name!r} is no C identifier")
    require(name not in scope.buffers and name not in scope.extents, f"{name} is the name of two things")


def _verify_loop(loop: For, scope: _Scope) -> None:
    _verify_new(loop.var.name, scope)
    require(loop.extent >= 0, f"loop {loop.var.name} runs {loop.extent} times")
    verify_expression(loop.var)
    placed = loop.kind in GRID_KINDS or loop.kind in LANE_KINDS
    if placed:
        require(not scope.enclosed, f"{loop.kind} loop {loop.var.name} does not enclose the kernel")
        require(loop.kind not in scope.kinds, f"two {loop.kind} loops")
        inside_lane = any(kind in LANE_KINDS for kind in scope.kinds)
        require(loop.kind in LANE_KINDS or not inside_lane, f"{loop.kind} loop {loop.var.name} inside a lane loop")
    extents = {**scope.extents, loop.var.name: loop.extent}
    _verify(loop.body, replace(scope, extents=extents, kinds=(*scope.kinds, loop.kind), enclosed=scope.enclosed or not placed))


def _verify_store(buffer: Buffer, index: Expr, value: Expr, scope: _Scope) -> None:
    _verify_use(buffer, scope)
    require(scope.access.get(buffer.name) != "read", f"a store to {buffer.name}, which is only read")
    require(value.dtype == buffer.dtype, f"{value.dtype} stored to {buffer.name} of {buffer.dtype}")
    require(index.lanes == value.lanes, f"{value.lanes} values stored at {index.lanes} places of {buffer.name}")
    require(index.dtype == INDEX, f"{buffer.name} is indexed by {index.dtype}")
    _verify_root(index, scope)
    _verify_root(value, scope)
    _verify_range(buffer, index, scope)


def _verify_root(root: Expr, scope: _Scope) -> None:
    verify_expression(root)
    for expr in walk(root):
        match expr:
            case Var(name):
                require(name in scope.extents, f"variable {name} outside of its loop")
            case Load(buffer, index):
                _verify_use(buffer, scope)
                require(scope.access.get(buffer.name) != "write", f"a load from {buffer.name}, which is only written")
                _verify_range(buffer, index, scope)
            case Arg() | Coordinate():
                raise InvalidIrError(f"{type(expr).__name__} in a kernel")
            case _:
                pass


def _verify_use(buffer: Buffer, scope: _Scope) -> None:
    declared = scope.buffers.get(buffer.name)
    require(declared is not None, f"buffer {buffer.name} is used where it does not exist")
    require(declared == buffer, f"buffer {buffer.name} is used as {buffer}, and declared as {declared}")


def _verify_range(buffer: Buffer, index: Expr, scope: _Scope) -> None:
    first, reach = (index.base, index.stride * (index.lanes - 1)) if isinstance(index, Ramp) else (index, 0)
    if first.lanes > 1 or 0 in scope.extents.values():
        return  # several unrelated indices, or never executed
    form = from_expr(first, scope.ranges)
    low, high = bounds(form)
    low, high = low + min(0, reach), high + max(0, reach)
    exact = not scope.guarded and all(isinstance(atom, Axis) for atom, _ in form.terms)
    outside = low < 0 or high >= buffer.size if exact else high < 0 or low >= buffer.size
    require(not outside, f"an index of {buffer.name} runs from {low} to {high}, and it has {buffer.size} elements")
