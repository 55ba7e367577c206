"""Expressions as LLVM values, each written once, to the outermost scope that knows its operands."""

from __future__ import annotations

from tgc.backends.llvm.addresses import Linear, contiguous_base, lane, linear
from tgc.backends.llvm.function import NONE, Buffers, Function, Known, Put
from tgc.backends.llvm.operations import operation
from tgc.backends.llvm.values import index_bytes, literal, memory_type, splat, value_type, vector
from tgc.errors import InvalidIrError
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Arg, Broadcast, Buffer, Coordinate, Expr, Lit, Load, Ramp, Var
from tgc.ir.expression_bounds import expression_bounds
from tgc.ir.rewrite import walk

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
            known = Known(literal(expr, 1, fn.machine), 0)
        case Load():
            known = _load(fn, expr)
        case Ramp():
            known = _ramp(fn, expr)
        case Broadcast(value=inner, lanes=lanes):
            known = widen(fn, inner, lanes)
        case Apply():
            known = _apply(fn, expr)
        case Var(name=name):
            raise InvalidIrError(f"variable {name} has no value here")
        case Arg() | Coordinate():
            raise InvalidIrError(f"a kernel holds no {type(expr).__name__}")
    fn.remember(expr, known)


def _joined(parts: list[Known]) -> tuple[int, Buffers]:
    """The outermost scope that knows all of `parts`, and every buffer that was read for them."""
    return max(part.scope for part in parts), NONE.union(*(part.reads for part in parts))


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
    kind = vector(element, lanes)
    put = fn.put(known.scope)
    first = put(f"insertelement {kind} poison, {element} {known.text}, i32 0")
    text = put(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")
    return fn.remember(key, Known(text, known.scope, known.reads))


def _ramp(fn: Function, expr: Ramp) -> Known:
    """base + <0, stride, 2 * stride, ...>, where it is a value and not the index of a load."""
    base = widen(fn, expr.base, expr.lanes)
    element = value_type(expr.dtype, 1, fn.machine)
    steps = ", ".join(f"{element} {expr.stride * i}" for i in range(expr.lanes))
    text = fn.put(base.scope)(f"add {vector(element, expr.lanes)} {base.text}, <{steps}>")
    return Known(text, base.scope, base.reads)


def _apply(fn: Function, expr: Apply) -> Known:
    scalar_choice = expr.op is ops.WHERE and expr.args[0].lanes == 1
    keep = expr.op is ops.BITCAST and expr.args[0].lanes != expr.lanes
    parts = [fn.known[arg] if keep else widen(fn, arg, 1 if scalar_choice and i == 0 else expr.lanes) for i, arg in enumerate(expr.args)]
    scope, reads = _joined(parts)
    put = fn.put(scope)
    values = [part.text for part in parts]
    return Known(_index_quotient(fn, put, expr, values) or operation(put, fn.machine, expr, values), scope, reads)


def _index_quotient(fn: Function, put: Put, expr: Apply, values: list[str]) -> str | None:
    """INDEX / constant where the dividend cannot be negative: an unsigned division is the cheaper one."""
    if expr.op is not ops.DIV or expr.dtype != INDEX or expr.lanes != 1 or not isinstance(expr.args[1], Lit):
        return None
    if int(expr.args[1].value) <= 0 or expression_bounds(expr.args[0], fn.extents)[0] < 0:
        return None
    return put(f"udiv {fn.machine.index} {values[0]}, {values[1]}")


def address(fn: Function, buffer: Buffer, index: Expr) -> tuple[Known, int]:
    """A pointer to `buffer[index]`, for a scalar index, and the alignment in bytes that it is known to have."""
    total = linear(index)
    place = fn.place(buffer)
    bytes_ = index_bytes(fn.machine) if buffer.dtype == INDEX else buffer.dtype.bytes
    terms = sorted(((value(fn, atom), atom, c) for atom, c in total.terms), key=lambda term: term[0].scope)
    pointer = Known(place.pointer, 0)
    prefix: Terms = ()
    for known, atom, coefficient in terms:
        prefix = (*prefix, (atom, coefficient))
        pointer = fn.known.get((buffer, prefix)) or _step(fn, buffer, pointer, known, coefficient, prefix)
    if total.constant:
        key = (buffer, prefix, total.constant)
        pointer = fn.known.get(key) or _offset(fn, buffer, pointer, total.constant, key)
    return pointer, _alignment(place.alignment, total, bytes_)


def _step(fn: Function, buffer: Buffer, pointer: Known, atom: Known, factor: int, prefix: Terms) -> Known:
    """pointer + factor * atom elements."""
    scope, reads = _joined([pointer, atom])
    put = fn.put(scope)
    element, index = memory_type(buffer.dtype, fn.machine), fn.machine.index
    text = atom.text
    if factor < 0:
        text = put(f"mul nsw {index} {text}, {factor}")
    kind = f"[{factor} x {element}]" if factor > 1 else element
    text = put(f"getelementptr {kind}, ptr {pointer.text}, {index} {text}")
    return fn.remember((buffer, prefix), Known(text, scope, reads))


def _offset(fn: Function, buffer: Buffer, pointer: Known, elements: int, key: tuple[Buffer, Terms, int]) -> Known:
    element = memory_type(buffer.dtype, fn.machine)
    text = fn.put(pointer.scope)(f"getelementptr {element}, ptr {pointer.text}, {fn.machine.index} {elements}")
    return fn.remember(key, Known(text, pointer.scope, pointer.reads))


def _alignment(base: int, total: Linear, bytes_: int) -> int:
    """The largest power of two that divides the address whatever the loop variables are."""
    step = total.step * bytes_
    return base if step == 0 else min(base, step & -step)


def _load(fn: Function, expr: Load) -> Known:
    """One element, contiguous elements at once, every other element by shuffles, or lane by lane."""
    base = contiguous_base(expr.index)
    if base is not None:
        return _load_contiguous(fn, expr.buffer, base, expr.lanes)
    if isinstance(expr.index, Ramp) and expr.index.stride == -1:
        return _load_reversed(fn, expr.buffer, expr.index)
    if isinstance(expr.index, Ramp) and expr.index.stride == 2 and expr.lanes > 2:
        return _load_every_other(fn, expr.buffer, expr.index)
    return _load_lanes(fn, expr)


def _load_contiguous(fn: Function, buffer: Buffer, base: Expr, lanes: int) -> Known:
    """Written to the outermost scope that is always executed and does not store to the buffer."""
    pointer, alignment = address(fn, buffer, base)
    scope = fn.load_scope(buffer, pointer.scope)
    kind = vector(memory_type(buffer.dtype, fn.machine), lanes)
    put = fn.put(scope)
    text = put(f"load {kind}, ptr {pointer.text}, align {alignment}")
    if buffer.dtype.kind == "bool":
        text = put(f"icmp ne {kind} {text}, {splat('i8', '0', lanes)}")
    return Known(text, scope, pointer.reads | {buffer})


def _shuffle(fn: Function, buffer: Buffer, first: Known, second: Known, picks: list[int]) -> Known:
    """Elements `picks` of the two vectors, which have as many lanes as there are picks."""
    lanes = len(picks)
    kind = value_type(buffer.dtype, lanes, fn.machine)
    mask = ", ".join(f"i32 {pick}" for pick in picks)
    scope, reads = _joined([first, second])
    text = fn.put(scope)(f"shufflevector {kind} {first.text}, {kind} {second.text}, <{lanes} x i32> <{mask}>")
    return Known(text, scope, reads)


def _load_reversed(fn: Function, buffer: Buffer, ramp: Ramp) -> Known:
    loaded = _load_contiguous(fn, buffer, _shifted(ramp.base, 1 - ramp.lanes), ramp.lanes)
    return _shuffle(fn, buffer, loaded, loaded, list(range(ramp.lanes - 1, -1, -1)))


def _load_every_other(fn: Function, buffer: Buffer, ramp: Ramp) -> Known:
    """Stride 2: two contiguous loads that overlap in one element, so that nothing beyond the last one is touched."""
    lanes = ramp.lanes
    low = _load_contiguous(fn, buffer, ramp.base, lanes)
    high = _load_contiguous(fn, buffer, _shifted(ramp.base, lanes - 1), lanes)
    return _shuffle(fn, buffer, low, high, [2 * i if 2 * i < lanes else 2 * i + 1 for i in range(lanes)])


def _shifted(base: Expr, by: int) -> Expr:
    return Apply(ops.ADD, (base, Lit(by, INDEX)), INDEX)


def _load_gathered(fn: Function, expr: Load) -> Known:
    """At an index that is computed in vectors: the place of each lane is taken out of that."""
    at = value(fn, expr.index)
    scope = fn.load_scope(expr.buffer, at.scope)
    put = fn.put(scope)
    element, index, pointer = memory_type(expr.buffer.dtype, fn.machine), fn.machine.index, fn.place(expr.buffer).pointer
    size = index_bytes(fn.machine) if expr.buffer.dtype == INDEX else expr.buffer.dtype.bytes
    text = "poison"
    for number in range(expr.lanes):
        place = put(f"extractelement {vector(index, expr.lanes)} {at.text}, i32 {number}")
        place = put(f"getelementptr {element}, ptr {pointer}, {index} {place}")
        part = put(f"load {element}, ptr {place}, align {size}")
        text = put(f"insertelement {vector(element, expr.lanes)} {text}, {element} {part}, i32 {number}")
    if expr.buffer.dtype.kind == "bool":
        text = put(f"icmp ne {vector(element, expr.lanes)} {text}, {splat('i8', '0', expr.lanes)}")
    return Known(text, scope, at.reads | {expr.buffer})


def _load_lanes(fn: Function, expr: Load) -> Known:
    if any(part.lanes > 1 and part.dtype != INDEX for part in walk(expr.index)):
        return _load_gathered(fn, expr)
    element = value_type(expr.dtype, 1, fn.machine)
    kind = vector(element, expr.lanes)
    parts = [value(fn, Load(expr.buffer, lane(expr.index, number))) for number in range(expr.lanes)]
    scope, reads = _joined(parts)
    put = fn.put(scope)
    text = "poison"
    for number, part in enumerate(parts):
        text = put(f"insertelement {kind} {text}, {element} {part.text}, i32 {number}")
    return Known(text, scope, reads)


def store(fn: Function, buffer: Buffer, index: Expr, stored: Expr) -> None:
    """`buffer[index] = stored`; what was read from the buffer before is forgotten."""
    lanes = max(index.lanes, stored.lanes)
    value(fn, stored)
    text = as_memory(fn, buffer, widen(fn, stored, lanes), lanes)
    base = contiguous_base(index)
    if base is not None:
        pointer, alignment = address(fn, buffer, base)
        kind = vector(memory_type(buffer.dtype, fn.machine), lanes)
        fn.line(f"store {kind} {text}, ptr {pointer.text}, align {alignment}")
    else:
        _store_lanes(fn, buffer, index, text, lanes)
    fn.forget(buffer)


def _store_lanes(fn: Function, buffer: Buffer, index: Expr, text: str, lanes: int) -> None:
    """In the order of the lanes: of two that meet, the later one stays."""
    element = memory_type(buffer.dtype, fn.machine)
    kind = vector(element, lanes)
    put = fn.put(fn.innermost)
    places = [address(fn, buffer, lane(index, number)) for number in range(lanes)]
    for number, (pointer, alignment) in enumerate(places):
        part = put(f"extractelement {kind} {text}, i32 {number}")
        fn.line(f"store {element} {part}, ptr {pointer.text}, align {alignment}")


def as_memory(fn: Function, buffer: Buffer, known: Known, lanes: int) -> str:
    """A bool is stored as one byte, 0 or 1."""
    if buffer.dtype.kind != "bool":
        return known.text
    return fn.put(fn.innermost)(f"zext {vector('i1', lanes)} {known.text} to {vector('i8', lanes)}")
