"""Dot: a sum of products of bytes, four at a time, or of bf16, two at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import BF16, F32, I8, I32, U8, U32, DType
from tgc.ir.expr import Apply, Buffer, Expr, Load, Ramp, Var
from tgc.ir.kernel import For, Statement, Store
from tgc.ir.ops import Op
from tgc.ir.rewrite import expressions, substitute, walk
from tgc.ir.schedule import Dot
from tgc.passes.schedule.loops import change_loop, extents_of, find_loop, paths
from tgc.passes.schedule.pack import Packing, packed
from tgc.passes.schedule.reduction import accumulation


@dataclass(frozen=True, slots=True)
class Form:
    """An operation on words: how many elements of which types it multiplies at once, and the type in which it adds them up."""

    op: Op
    total: DType
    left: DType
    right: DType
    count: int


FORMS = (Form(ops.DOT4, I32, U8, I8, 4), Form(ops.DOT4S, I32, I8, I8, 4), Form(ops.DOT2, F32, BF16, BF16, 2))


@dataclass(frozen=True, slots=True)
class Words:
    """Elements of a constant in u32, `packing.lanes` of them in each, the first lowest.

    overlap: how many elements of the last group, along the innermost loop, belong to the one before, and are 0 here.
    """

    packing: Packing
    overlap: int = 0

    @property
    def size(self) -> int:
        """Elements of u32."""
        return prod(extent for _, extent in self.packing.loops)


def words(data: npt.NDArray[np.generic], how: Words) -> npt.NDArray[np.generic]:
    """`data`, of as many elements in four bytes as a word has, as `how` arranges it."""
    extents = [extent for _, extent in how.packing.loops]
    bits = data.view(f"<u{data.itemsize}")
    elements = packed(bits, how.packing).reshape(*extents, how.packing.lanes).copy()
    elements[..., -1, : how.overlap] = 0
    return elements.view(np.dtype("<u4")).reshape(-1)


@dataclass(frozen=True, slots=True)
class Product:
    """`total = total + wide(left[..]) * wide(right[..])`: elements that lie next to each other along the loop, and constant ones."""

    form: Form
    total: Buffer
    left: Load
    right: Load


def product(loop: For, extents: dict[Var, int], constant: str = "") -> Product | None:
    """What `loop` sums up, where an operation on words can do it; None where not. constant: the name of the right operand, if known."""
    if not isinstance(loop.body, Store):
        return None
    try:
        total, op, value = accumulation(loop.body)
    except InvalidIrError:
        return None
    if op is not ops.ADD or not (isinstance(value, Apply) and value.op is ops.MUL):
        return None
    loads = [load for load in map(_loaded, value.args) if load is not None]
    for left, right in (loads, reversed(loads)) if len(loads) == 2 else ():
        form = next((f for f in FORMS if (f.total, f.left, f.right) == (total.dtype, left.dtype, right.dtype)), None)
        strides = [ix.coefficient(ix.from_expr(load.index, extents), loop.var) for load in (left, right)]
        fits = strides[0] == 1 and strides[1] is not None and constant in ("", right.buffer.name) and left.buffer != right.buffer
        if form is not None and loop.extent >= form.count and fits:
            return Product(form, total, left, right)
    return None


def run_along(index: ix.Index, var: Var) -> int | None:
    """n where `index` depends on var / n, rounded down, and so grows by a constant for n iterations at a time; None where it does not."""
    for atom, _ in index.terms:
        if isinstance(atom, ix.Quotient) and [a.var for a, c in atom.dividend.terms if isinstance(a, ix.Axis) and c == 1] == [var]:
            return atom.divisor if len(atom.dividend.terms) == 1 and atom.dividend.offset == 0 else None
    return None


def _loaded(value: Expr) -> Load | None:
    """The load that `value` is a cast of."""
    return value.args[0] if isinstance(value, Apply) and value.op is ops.CAST and isinstance(value.args[0], Load) else None


def dot(body: Statement, step: Dot) -> tuple[Statement, str, Words]:
    """Carries out `Dot`; also answers which constant parameter is made of words, and how.

    Raises InvalidIrError where the loop is no such sum, or the constant is read elsewhere too.
    """
    extents = extents_of(body)
    loop = find_loop(body, step.var)
    found = product(loop, extents, step.constant)
    if found is None:
        raise InvalidIrError(f"{step.var} does not sum products of u8, next to each other, and i8, nor of bf16")
    form = found.form
    block_var, count = Var(f"{step.var}_o"), -(-loop.extent // form.count)
    start = ix.minimum(ix.axis(block_var, count) * form.count, ix.constant(loop.extent - form.count))
    at: dict[Expr, Expr] = {loop.var: ix.to_expr(start)}
    around = [(inner.var, inner.extent) for inner in _loops_around(body, found.right)]
    used = ix.expression_variables(found.right.index)
    loops = (*((var, extent) for var, extent in around if var in used and var != loop.var), (block_var, count))
    stride = ix.coefficient(ix.from_expr(found.right.index, extents), loop.var) or 0
    packing = Packing(loops, ix.to_expr(ix.from_expr(substitute(found.right.index, at), {**extents, block_var: count})), stride, form.count)
    how = Words(packing, count * form.count - loop.extent)
    place = ix.ZERO
    for var, extent in loops:
        place = place * extent + ix.axis(var, extent)
    left = ex.bitcast(Load(found.left.buffer, Ramp(substitute(found.left.index, at), 1, form.count)), U32)
    right = Load(Buffer(found.right.buffer.name, U32, how.size, found.right.buffer.space), ix.to_expr(place))
    zero = ex.index(0)
    update = Store(found.total, zero, ex.apply(form.op, Load(found.total, zero), left, right))
    return change_loop(body, step.var, lambda _: For(block_var, count, update)), found.right.buffer.name, how


def _loops_around(body: Statement, load: Load) -> tuple[For, ...]:
    """The loops around the one statement that reads the buffer of `load`."""
    readers = [
        loops
        for statement, loops in paths(body)
        if any(isinstance(e, Load) and e.buffer == load.buffer for e in walk(*expressions(statement)))
    ]
    if len(readers) != 1:
        raise InvalidIrError(f"{load.buffer.name} is read by {len(readers)} statements")
    return readers[0]
