"""Expressions as LLVM values, each written once, to the outermost scope that knows its operands."""

from __future__ import annotations

from tgc.backends.llvm.addresses import Linear, contiguous_base, lane, linear
from tgc.backends.llvm.function import Function, Known, Put
from tgc.backends.llvm.operations import operation
from tgc.backends.llvm.values import index_bytes, literal, memory_type, splat, value_type, vector
from tgc.errors import InvalidIrError
from tgc.ir import index as index_algebra
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Arg, Broadcast, Buffer, Coordinate, Expr, Lit, Load, Ramp, Var

Terms = tuple[tuple[Expr, int], ...]


def value(fn: Function, root: Expr) -> Known:
    """`root` as a value that dominates the point of writing. Deep expressions do not recurse."""
    stack = [root]
    while stack:
        expr = stack[-1]
        if expr in fn.known:
            stack.pop()
            continue
        missing = [operand for operand in _operands(expr) if operand not in fn.known]
        if missing:
            stack.extend(reversed(missing))
            continue
        stack.pop()
        _define(fn, expr)
    return fn.known[root]


def _operands(expr: Expr) -> tuple[Expr, ...]:
    """What has to be known before `expr`; a load computes its own address."""
    match expr:
        case Apply(args=args):
            return args
        case Ramp(base=inner) | Broadcast(value=inner) if not isinstance(inner, Lit):
            return (inner,)
        case _:
            return ()


def _define(fn: Function, expr: Expr) -> None:
    match expr:
        case Lit():
            fn.remember(expr, literal(expr, 1, fn.machine), 0)
        case Load():
            _load(fn, expr)
        case Ramp():
            _ramp(fn, expr)
        case Broadcast(value=inner, lanes=lanes):
            known = widen(fn, inner, lanes)
            fn.remember(expr, known.text, known.scope, fresh=inner in fn.fresh)
        case Apply():
            _apply(fn, expr)
        case Var(name=name):
            raise InvalidIrError(f"variable {name} has no value here")
        case Arg() | Coordinate():
            raise InvalidIrError(f"a kernel holds no {type(expr).__name__}")


def widen(fn: Function, expr: Expr, lanes: int) -> Known:
    """`expr` with `lanes` lanes: itself, or a scalar in every lane."""
    if isinstance(expr, Lit):
        return Known(literal(expr, lanes, fn.machine), 0)
    known = fn.known[expr]
    if expr.lanes == lanes:
        return known
    key = ("widened", expr, lanes)
    if key in fn.known:
        return fn.known[key]
    element = value_type(expr.dtype, 1, fn.machine)
    text = _splat_value(fn.put(known.scope), element, known.text, lanes)
    return fn.remember(key, text, known.scope, fresh=expr in fn.fresh)


def _splat_value(put: Put, element: str, text: str, lanes: int) -> str:
    kind = vector(element, lanes)
    first = put(f"insertelement {kind} poison, {element} {text}, i32 0")
    return put(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")


def _ramp(fn: Function, expr: Ramp) -> None:
    """base + <0, stride, 2 * stride, ...>, where it is a value and not the index of a load."""
    base = widen(fn, expr.base, expr.lanes)
    kind = value_type(expr.dtype, expr.lanes, fn.machine)
    element = value_type(expr.dtype, 1, fn.machine)
    steps = ", ".join(f"{element} {expr.stride * i}" for i in range(expr.lanes))
    text = fn.put(base.scope)(f"add {kind} {base.text}, <{steps}>")
    fn.remember(expr, text, base.scope, fresh=expr.base in fn.fresh)


def _apply(fn: Function, expr: Apply) -> None:
    scalar_choice = expr.op is ops.WHERE and expr.args[0].lanes == 1
    known = [widen(fn, arg, 1 if scalar_choice and i == 0 else expr.lanes) for i, arg in enumerate(expr.args)]
    scope = max(item.scope for item in known)
    put = fn.put(scope)
    values = [item.text for item in known]
    text = _index_quotient(fn, put, expr, values) or operation(put, fn.machine, expr, values)
    fn.remember(expr, text, scope, fresh=any(arg in fn.fresh for arg in expr.args))


def _index_quotient(fn: Function, put: Put, expr: Apply, values: list[str]) -> str | None:
    """INDEX / constant where the dividend cannot be negative: an unsigned division is the cheaper one."""
    if expr.op is not ops.DIV or expr.dtype != INDEX or expr.lanes != 1 or not isinstance(expr.args[1], Lit):
        return None
    if int(expr.args[1].value) <= 0 or index_algebra.expression_bounds(expr.args[0], fn.extents)[0] < 0:
        return None
    return put(f"udiv {fn.machine.index} {values[0]}, {values[1]}")


def address(fn: Function, buffer: Buffer, index: Expr) -> tuple[Known, int]:
    """A pointer to `buffer[index]`, for a scalar index, and the alignment in bytes that it is known to have."""
    total = linear(index)
    place = fn.place(buffer)
    bytes_ = index_bytes(fn.machine) if buffer.dtype == INDEX else buffer.dtype.bytes
    terms = sorted(((value(fn, atom), atom, c) for atom, c in total.terms), key=lambda term: term[0].scope)
    pointer = Known(place.pointer, 0)
    fresh = False
    prefix: Terms = ()
    for known, atom, coefficient in terms:
        prefix = (*prefix, (atom, coefficient))
        fresh = fresh or atom in fn.fresh
        pointer = _step(fn, buffer, pointer, known, coefficient, prefix, fresh)
    if total.constant:
        element = memory_type(buffer.dtype, fn.machine)
        text = f"getelementptr {element}, ptr {pointer.text}, {fn.machine.index} {total.constant}"
        key = ("at", buffer, prefix, total.constant)
        pointer = fn.known.get(key) or fn.remember(key, fn.put(pointer.scope)(text), pointer.scope, fresh=fresh)
    return pointer, _alignment(place.alignment, total, bytes_)


def _step(fn: Function, buffer: Buffer, pointer: Known, atom: Known, factor: int, prefix: Terms, fresh: bool) -> Known:
    """pointer + factor * atom elements."""
    key = ("at", buffer, prefix)
    if key in fn.known:
        return fn.known[key]
    scope = max(pointer.scope, atom.scope)
    put = fn.put(scope)
    element, index = memory_type(buffer.dtype, fn.machine), fn.machine.index
    text = atom.text
    if factor < 0:
        text = put(f"mul nsw {index} {text}, {factor}")
    kind = f"[{factor} x {element}]" if factor > 1 else element
    return fn.remember(key, put(f"getelementptr {kind}, ptr {pointer.text}, {index} {text}"), scope, fresh=fresh)


def _alignment(base: int, total: Linear, bytes_: int) -> int:
    """The largest power of two that divides the address whatever the loop variables are."""
    step = total.step * bytes_
    return base if step == 0 else min(base, step & -step)


def _load(fn: Function, expr: Load) -> None:
    """One element, contiguous elements at once, every other element by shuffles, or lane by lane."""
    base = contiguous_base(expr.index)
    if base is not None:
        known, fresh = _load_contiguous(fn, expr.buffer, base, expr.lanes)
    elif isinstance(expr.index, Ramp) and expr.index.stride == -1:
        known, fresh = _load_reversed(fn, expr.buffer, expr.index)
    elif isinstance(expr.index, Ramp) and expr.index.stride == 2 and expr.lanes > 2:
        known, fresh = _load_every_other(fn, expr.buffer, expr.index)
    else:
        known, fresh = _load_lanes(fn, expr)
    fn.remember(expr, known.text, known.scope, fresh=fresh)


def _load_contiguous(fn: Function, buffer: Buffer, base: Expr, lanes: int) -> tuple[Known, bool]:
    """Loads of memory that the kernel never writes go to the outermost scope that is always executed."""
    pointer, alignment = address(fn, buffer, base)
    place = fn.place(buffer)
    scope = max(pointer.scope, fn.last_conditional()) if place.constant else fn.innermost
    kind = vector(memory_type(buffer.dtype, fn.machine), lanes)
    put = fn.put(scope)
    text = put(f"load {kind}, ptr {pointer.text}, align {alignment}")
    if buffer.dtype.kind == "bool":
        text = put(f"icmp ne {kind} {text}, {splat('i8', '0', lanes)}")
    fresh = not place.constant or any(atom in fn.fresh for atom, _ in linear(base).terms)
    return Known(text, scope), fresh


def _shuffle(fn: Function, buffer: Buffer, first: Known, second: Known, picks: list[int]) -> Known:
    """Elements `picks` of the two vectors, which have as many lanes as there are picks."""
    lanes = len(picks)
    kind = value_type(buffer.dtype, lanes, fn.machine)
    mask = ", ".join(f"i32 {pick}" for pick in picks)
    scope = max(first.scope, second.scope)
    return Known(fn.put(scope)(f"shufflevector {kind} {first.text}, {kind} {second.text}, <{lanes} x i32> <{mask}>"), scope)


def _load_reversed(fn: Function, buffer: Buffer, ramp: Ramp) -> tuple[Known, bool]:
    loaded, fresh = _load_contiguous(fn, buffer, _shifted(ramp.base, 1 - ramp.lanes), ramp.lanes)
    return _shuffle(fn, buffer, loaded, loaded, list(range(ramp.lanes - 1, -1, -1))), fresh


def _load_every_other(fn: Function, buffer: Buffer, ramp: Ramp) -> tuple[Known, bool]:
    """Stride 2: two contiguous loads that overlap in one element, so that nothing beyond the last one is touched."""
    lanes = ramp.lanes
    low, fresh = _load_contiguous(fn, buffer, ramp.base, lanes)
    high, _ = _load_contiguous(fn, buffer, _shifted(ramp.base, lanes - 1), lanes)
    picks = [2 * i if 2 * i < lanes else lanes + 2 * i - (lanes - 1) for i in range(lanes)]
    return _shuffle(fn, buffer, low, high, picks), fresh


def _shifted(base: Expr, by: int) -> Expr:
    return Apply(ops.ADD, (base, Lit(by, INDEX)), INDEX)


def _load_lanes(fn: Function, expr: Load) -> tuple[Known, bool]:
    element = value_type(expr.dtype, 1, fn.machine)
    kind = vector(element, expr.lanes)
    parts = [Load(expr.buffer, lane(expr.index, number)) for number in range(expr.lanes)]
    known = [value(fn, part) for part in parts]
    scope = max(item.scope for item in known)
    put = fn.put(scope)
    text = "poison"
    for number, item in enumerate(known):
        text = put(f"insertelement {kind} {text}, {element} {item.text}, i32 {number}")
    return Known(text, scope), any(part in fn.fresh for part in parts)


def store(fn: Function, buffer: Buffer, index: Expr, stored: Expr) -> None:
    """`buffer[index] = stored`; what was read from memory before is forgotten."""
    lanes = max(index.lanes, stored.lanes)
    value(fn, stored)
    text = _as_memory(fn, buffer, widen(fn, stored, lanes), lanes)
    base = contiguous_base(index)
    if base is not None:
        pointer, alignment = address(fn, buffer, base)
        kind = vector(memory_type(buffer.dtype, fn.machine), lanes)
        fn.line(f"store {kind} {text}, ptr {pointer.text}, align {alignment}")
    else:
        _store_lanes(fn, buffer, index, text, lanes)
    fn.forget_fresh()


def _store_lanes(fn: Function, buffer: Buffer, index: Expr, text: str, lanes: int) -> None:
    """In the order of the lanes: of two that meet, the later one stays."""
    element = memory_type(buffer.dtype, fn.machine)
    kind = vector(element, lanes)
    put = fn.put(fn.innermost)
    places = [address(fn, buffer, lane(index, number)) for number in range(lanes)]
    for number, (pointer, alignment) in enumerate(places):
        part = put(f"extractelement {kind} {text}, i32 {number}")
        fn.line(f"store {element} {part}, ptr {pointer.text}, align {alignment}")


def _as_memory(fn: Function, buffer: Buffer, known: Known, lanes: int) -> str:
    """A bool is stored as one byte, 0 or 1."""
    if buffer.dtype.kind != "bool":
        return known.text
    return fn.put(fn.innermost)(f"zext {vector('i1', lanes)} {known.text} to {vector('i8', lanes)}")
