"""Whether a kernel can reach one element of memory through two of its parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from tgc.ir import expr as ex
from tgc.ir import index as ix
from tgc.ir import ops
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Apply, Broadcast, Expr, Load, Ramp, Var
from tgc.ir.index import Axis, Index, Opaque, Quotient
from tgc.ir.kernel import Block, For, If, Kernel, Statement, Store
from tgc.ir.rewrite import expressions, rewrite, statements, walk

_LANE = Var("every lane")
MOST_VALUES = 1 << 20


def reach_apart(kernel: Kernel, first: tuple[str, int], second: tuple[str, int]) -> bool:
    """Whether two parameters, each a buffer's name and the element of one storage where it begins, share no element, as far as can be seen.

    Boxes of one tensor lie interleaved in memory, so it is not enough to look at where each begins and ends: indices are compared
    by their bounds, or, where those cannot tell, by all of their values, as long as these are few and known. Accesses
    inside of an If are not looked at, as their index may leave the box where the condition does not hold.
    """
    found = reached(kernel, (first[0], second[0]), conditional=False)
    mine, others = ([at + start for at in found[name]] for name, start in (first, second))
    return all(apart(a, b) or _values_apart(a, b) is not False for a in mine for b in others)


def reached(kernel: Kernel, names: Collection[str], *, conditional: bool = True) -> dict[str, list[Index]]:
    """Of each buffer in `names` the indices at which `kernel` accesses it. conditional: inside of an If too."""
    extents = {inner.var: inner.extent for inner in statements(kernel.body) if isinstance(inner, For)}
    found: dict[str, dict[Expr, Index]] = {name: {} for name in names}
    for name, place in _accesses(kernel.body, conditional):
        if name in found and place not in found[name]:
            whole = {**extents, _LANE: place.lanes}
            found[name][place] = ix.from_expr(_least(_scalar(place), whole), whole)
    return {name: list(places.values()) for name, places in found.items()}


def places_apart(mine: Sequence[Index], others: Sequence[Index]) -> bool:
    """Whether it can be seen that none of `mine` is ever equal to one of `others`."""
    return all(apart(a, b) or _values_apart(a, b) is True for a in mine for b in others)


def apart(a: Index, b: Index) -> bool:
    """Whether two indices are never equal: by their bounds, or by those of what is left of them modulo one stride of theirs.

    The variables of the two are unrelated, even where they have the same names.
    """
    strides = sorted({stride for index in (a, b) for stride in _strides(index)}, reverse=True)
    (a_low, a_high), (b_low, b_high) = ix.bounds(a), ix.bounds(b)
    return a_high < b_low or b_high < a_low or any(_apart_modulo(a, b, stride) for stride in strides)


def _values_apart(a: Index, b: Index) -> bool | None:
    """Whether no value of one is a value of the other; None where they are too many, or unknown."""
    mine, others = _values(a), _values(b)
    return None if mine is None or others is None else np.intersect1d(mine, others).size == 0


def _values(index: Index) -> npt.NDArray[np.int64] | None:
    """Every value of `index`; None where they are too many or depend on data."""
    axes = list(dict.fromkeys(_axes(index)))
    if any(isinstance(axis, Opaque) for axis in axes) or prod(axis.extent for axis in axes if isinstance(axis, Axis)) > MOST_VALUES:
        return None
    extents = [axis.extent for axis in axes if isinstance(axis, Axis)]
    grid = np.indices(extents).reshape(len(extents), prod(extents))
    return _evaluated(index, {axis.key: grid[number] for number, axis in enumerate(axes)}, grid.shape[1] if extents else 1)


def _axes(index: Index) -> Iterator[Axis | Opaque]:
    """The loop variables in `index`, and what is none."""
    for atom, _ in index.terms:
        if isinstance(atom, Quotient):
            yield from _axes(atom.dividend)
        else:
            yield atom


def _evaluated(index: Index, axes: Mapping[str, npt.NDArray[np.int64]], count: int) -> npt.NDArray[np.int64]:
    total = np.full(count, index.offset)
    for atom, factor in index.terms:
        total += factor * (_evaluated(atom.dividend, axes, count) // atom.divisor if isinstance(atom, Quotient) else axes[atom.key])
    return total


def _strides(index: Index) -> Iterator[int]:
    """How far `index` moves with its variables, and with x/c where it also moves with x, as both do in x/c * s + x%c."""
    factors = dict(index.terms)
    for atom, factor in index.terms:
        yield abs(factor)
        if isinstance(atom, Quotient):
            for part, inner in atom.dividend.terms:
                yield abs(factor + factors.get(part, 0) // inner * atom.divisor) or 1


def _apart_modulo(a: Index, b: Index, modulus: int) -> bool:
    (a_low, a_high), (b_low, b_high) = ix.bounds(_residue(a, modulus)), ix.bounds(_residue(b, modulus))
    ahead = (b_low - a_low) % modulus
    return ahead > a_high - a_low and ahead + (b_high - b_low) < modulus


def _residue(index: Index, modulus: int) -> Index:
    """`index` less multiples of `modulus`, its factors as near to 0 as they come."""
    half = modulus // 2
    factors = tuple((atom, (factor + half) % modulus - half) for atom, factor in index.terms)
    return Index(tuple((atom, factor) for atom, factor in factors if factor), index.offset)


def _accesses(statement: Statement, conditional: bool) -> Iterator[tuple[str, Expr]]:
    """The buffer's name and the place of every access. conditional: inside of an If too."""
    match statement:
        case Block(body):
            for part in body:
                yield from _accesses(part, conditional)
        case For(_, _, body):
            yield from _accesses(body, conditional)
        case If(condition, body) if conditional:
            yield from ((expr.buffer.name, expr.index) for expr in walk(condition) if isinstance(expr, Load))
            yield from _accesses(body, conditional)
        case Store(buffer, place):
            yield buffer.name, place
            for expr in walk(*expressions(statement)):
                if isinstance(expr, Load):
                    yield expr.buffer.name, expr.index
        case _:
            return


def _least(place: Expr, extents: Mapping[Var, int]) -> Expr:
    """`place` with each a < b ? a' : b' of the same values in other words as a' < b' ? a' : b', which is seen to be the lesser."""

    def rule(expr: Expr) -> Expr | None:
        match expr:
            case Apply(op, (Apply(test, asked), *given)) if op is ops.WHERE and test is ops.LT and expr.dtype == INDEX == asked[0].dtype:
                equal = all(ix.from_expr(a, extents) == ix.from_expr(b, extents) for a, b in zip(asked, given, strict=True))
                return ex.apply(ops.WHERE, ex.apply(ops.LT, *given), *given) if equal else None
        return None

    return rewrite(place, rule)


def _scalar(place: Expr) -> Expr:
    """A vector of places as one place that depends on the lane."""

    def rule(expr: Expr) -> Expr | None:
        match expr:
            case Ramp(base, stride, _):
                return ex.apply(ops.ADD, base, ex.apply(ops.MUL, _LANE, ex.index(stride)))
            case Broadcast(value):
                return value
        return None

    return rewrite(place, rule)
