"""Half sums: sums of products of what images hold in half are summed in half too.

    acc: f32;  acc = acc + f32(a[i]) * f32(b[j]);  out = f(acc)      ->      acc: f16;  acc = acc + a[i] * b[j];  out = f(f32(acc))

A register that is only multiplied in such sums (what is computed ahead of one) holds halves too, as memory would.
Adreno multiplies and adds halves twice as fast, in half of the registers. Each of the n additions may be wrong by 1 / 2048 of the sum
(N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2); errors of both signs leave about the root of n of
that. Sums longer than MOST_SUMMED stay in single precision, and so does all that comes after a sum.

What it saves grows with the products of a kernel, and what it adds to the error of a network hardly does: a target may ask for it in
large kernels alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from tgc.ir import ops
from tgc.ir.dtypes import F16, F32
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, cast, children
from tgc.ir.kernel import GRID_KINDS, LANE_KINDS, Alloc, Block, For, If, Kernel, LoopKind, Statement, Store
from tgc.ir.rewrite import expressions, rewrite, statements, walk
from tgc.passes.assemble import Scheduler
from tgc.passes.schedule.apply import Scheduled
from tgc.targets import Target

MOST_SUMMED = 2048


def marked(scheduler: Scheduler, target: Target) -> Scheduler:
    """`scheduler`, whose kernels then say whether `target` wants their sums in half."""

    def schedule(kernel: Kernel, constants: frozenset[str]) -> Scheduled:
        scheduled = scheduler(kernel, constants)
        return replace(scheduled, kernel=replace(scheduled.kernel, half_sums=sums_in_half(kernel.body, target)))

    return schedule


def sums_in_half(body: Statement, target: Target) -> bool:
    """Whether `target` wants the sums of a kernel with this loop nest, before it is scheduled, in half."""
    return target.images and target.precision == "fp16" and (target.half_from == 0 or products(body) >= target.half_from)


def products(body: Statement) -> int:
    """The products that are added up in registers, all together, but for sums that are themselves multiplied in such sums."""
    runs = list(_runs(body, 1))
    left_out = _multiplied([store for store, _ in runs])
    return sum(count * store.index.lanes for store, count in runs if store.buffer not in left_out and _product(store) is not None)


def _multiplied(stores: Sequence[Store]) -> frozenset[Buffer]:
    """The registers that products which `stores` add up are made of."""
    found: set[Buffer] = set()
    while True:
        read = {store: _product(store) if store.buffer not in found else store.value for store in stores}
        more = {buffer for store, value in read.items() if value is not None for buffer in _loaded(value) if buffer != store.buffer}
        more = {buffer for buffer in more if buffer.space == "register"}
        if more <= found:
            return frozenset(found)
        found |= more


def in_halves(kernel: Kernel) -> Kernel:
    """`kernel` with its sums of products of halves in half."""
    chosen = {buffer: replace(buffer, dtype=F16) for buffer in _sums(kernel.body, _factors(kernel.body))}
    changed = replace(kernel, body=_changed(kernel.body, chosen, {})) if chosen else kernel
    return changed if chosen and _converts_at_buffers(changed.body) else kernel


def _converts_at_buffers(body: Statement) -> bool:
    """Whether halves in buffers are only loaded as floats and stored from floats, next to each other.

    For that OpenCL has vload_half and vstore_half, on any device. Otherwise a buffer's halves are words of 16 bits, and a half is none.
    """
    stores = [part for part in statements(body) if isinstance(part, Store) and _in_buffer(part.buffer)]
    loads = (e for e in walk(*expressions(body), below=_below) if isinstance(e, Load) and _in_buffer(e.buffer))
    return next(loads, None) is None and all(_contiguous(part.index) and _from_float(part.value) for part in stores)


def _below(expr: Expr) -> tuple[Expr, ...]:
    """The children of `expr`, but not those of a float that is loaded from a buffer of halves."""
    match expr:
        case Apply(op, (Load(buffer, index),), dtype) if op is ops.CAST and dtype == F32 and _in_buffer(buffer) and _contiguous(index):
            return (index,)
        case _:
            return children(expr)


def _in_buffer(buffer: Buffer) -> bool:
    return buffer.dtype == F16 and buffer.space in ("global", "constant")


def _contiguous(index: Expr) -> bool:
    return index.lanes == 1 or (isinstance(index, Ramp) and index.stride == 1)


def _from_float(value: Expr) -> bool:
    return isinstance(value, Apply) and value.op is ops.CAST and value.args[0].dtype == F32


def _factors(body: Statement) -> frozenset[Buffer]:
    """The registers of floats, at places that are known, that add nothing up and are read in products that are added to others alone."""
    stores = [part for part in statements(body) if isinstance(part, Store)]
    made = {store.buffer for store in stores if store.buffer.space == "register" and store.buffer.dtype == F32}
    others = {store.buffer for store in stores if not _known(store.index) or store.buffer in _loaded(store.value)}
    others |= {e.buffer for e in walk(*expressions(body)) if isinstance(e, Load) and not _known(e.index)}
    factors: set[Buffer] = set()
    for store in stores:
        product = _product(store)
        inside = [part.value if isinstance(part, Broadcast) else part for part in product.args] if product is not None else [store.value]
        plain = [part for part in inside if isinstance(part, Load) and product is not None]
        factors |= {load.buffer for load in plain}
        others |= _loaded(*(part for part in inside if part not in plain))
    return frozenset((factors & made) - others)


def _loaded(*values: Expr) -> set[Buffer]:
    return {e.buffer for e in walk(*values) if isinstance(e, Load)}


def _sums(body: Statement, factors: frozenset[Buffer]) -> list[Buffer]:
    """The registers that are set to a constant and then only added products of halves to, at places that are known.

    Those in `factors` count as halves, and are in the answer, where no other register is added a product with them to.
    """
    stores: dict[Buffer, list[Store]] = {}
    for statement in statements(body):
        if isinstance(statement, Store) and statement.buffer.space == "register" and statement.buffer.dtype == F32:
            stores.setdefault(statement.buffer, []).append(statement)
    lengths = _lengths(body)
    known = {e.buffer: True for e in walk(*expressions(body)) if isinstance(e, Load) and e.buffer in stores and not _known(e.index)}
    found = [
        buffer for buffer, all_ in stores.items()
        if buffer not in known and buffer not in factors and all(_known(store.index) for store in all_)
        and any(_is_sum(store, factors) for store in all_) and all(_is_sum(store, factors) or _is_constant(store.value) for store in all_)
        and max(count for (other, _), count in lengths.items() if other == buffer) <= MOST_SUMMED
    ]  # fmt: skip
    if factors & _loaded(*(store.value for buffer, all_ in stores.items() if buffer not in found for store in all_)):
        return _sums(body, frozenset())
    return [*found, *(buffer for buffer in stores if buffer in factors)]


def _lengths(body: Statement) -> Counter[tuple[Buffer, Expr]]:
    """How often each place of a register is stored to by one work-item."""
    found: Counter[tuple[Buffer, Expr]] = Counter()
    for store, count in _runs(body, 1, (*GRID_KINDS, *LANE_KINDS)):
        found[store.buffer, store.index] += count
    return found


def _runs(statement: Statement, times: int, once: Collection[LoopKind] = ()) -> Iterator[tuple[Store, int]]:
    """Every store to a register, and how often it runs if `statement` runs `times` times, loops of the kinds `once` one iteration."""
    match statement:
        case Block(body):
            for part in body:
                yield from _runs(part, times, once)
        case For(_, extent, body, kind):
            yield from _runs(body, times * (1 if kind in once else extent), once)
        case If(_, body):
            yield from _runs(body, times, once)
        case Store(buffer) if buffer.space == "register":
            yield statement, times
        case _:
            pass


def _known(index: Expr) -> bool:
    return isinstance(index.base if isinstance(index, Ramp) else index, Lit)


def _is_constant(value: Expr) -> bool:
    return isinstance(value.value if isinstance(value, Broadcast) else value, Lit)


def _is_sum(store: Store, factors: frozenset[Buffer]) -> bool:
    """Whether a product of halves is added to what is stored."""
    product = _product(store)
    return product is not None and all(_half(part, factors) is not None for part in product.args)


def _product(store: Store) -> Apply | None:
    """The product that is added to what is stored; None where it is anything else."""
    value = store.value
    if not isinstance(value, Apply) or value.op is not ops.ADD:
        return None
    own, product = value.args if isinstance(value.args[0], Load) else value.args[::-1]
    if not isinstance(product, Apply) or product.op is not ops.MUL or own != Load(store.buffer, store.index):
        return None
    return product


def _half(expr: Expr, factors: Collection[Buffer]) -> Expr | None:
    """`expr` in half, where it comes from an image of halves or from a register in `factors`; else None."""
    match expr:
        case Broadcast(value, lanes):
            inner = _half(value, factors)
            return None if inner is None else Broadcast(inner, lanes)
        case Load(buffer, index) if buffer in factors:
            return Load(replace(buffer, dtype=F16), index)
        case Apply(op, (Load(buffer) as load,)) if op is ops.CAST and buffer.dtype == F16 and buffer.space == "image":
            return load
        case _:
            return None


def _changed(statement: Statement, chosen: dict[Buffer, Buffer], memo: dict[Expr, Expr]) -> Statement:
    def wide(expr: Expr) -> Expr | None:
        return cast(Load(chosen[expr.buffer], expr.index), F32) if isinstance(expr, Load) and expr.buffer in chosen else None

    match statement:
        case Block(body):
            return Block(tuple(_changed(part, chosen, memo) for part in body))
        case For(var, extent, body, kind):
            return For(var, extent, _changed(body, chosen, memo), kind)
        case If(condition, body):
            return If(condition, _changed(body, chosen, memo))
        case Alloc(buffer):
            return Alloc(chosen.get(buffer, buffer))
        case Store(buffer, index, value) if buffer in chosen and (_product(statement) is not None or _is_constant(value)):
            return Store(chosen[buffer], index, _in_half(statement, chosen[buffer], chosen))
        case Store(buffer, index, value) if buffer in chosen:
            return Store(chosen[buffer], index, cast(rewrite(rewrite(value, wide, memo), _late), F16))
        case Store(buffer, index, value):
            return Store(buffer, index, rewrite(rewrite(value, wide, memo), _late))
        case _:
            return statement


def _late(expr: Expr) -> Expr | None:
    """f32(a) + f32(b) as f32(a + b), and as much for a product with what comes from an image: a sum's bias, scale and residual."""
    match expr:
        case Apply(op, (Apply(first, (a,)), Apply(second, (b,))), dtype) if op in (ops.ADD, ops.MUL) and first is second is ops.CAST:
            read = [part.buffer.space for part in (a, b) if isinstance(part, Load)]
            halves = a.dtype == b.dtype == F16 and dtype == F32 and all(space in ("image", "register") for space in read)
            return cast(Apply(op, (a, b), F16), F32) if halves and (op is ops.ADD or "image" in read) else None
        case _:
            return None


def _in_half(store: Store, buffer: Buffer, factors: Collection[Buffer]) -> Expr:
    """What `store` stores, a constant or a sum, in half."""
    match store.value:
        case Broadcast(Lit(value), lanes):
            return Broadcast(Lit(value, F16), lanes)
        case Lit(value):
            return Lit(value, F16)
        case Apply(_, args):
            product = next(arg for arg in args if isinstance(arg, Apply))
            parts = tuple(part for arg in product.args if (part := _half(arg, factors)) is not None) if isinstance(product, Apply) else ()
            return Apply(ops.ADD, (Load(buffer, store.index), Apply(ops.MUL, parts, F16)), F16)
        case _:
            raise AssertionError("neither a constant nor a sum")
