"""Evaluates scalar expressions on whole arrays, as a machine without and as one with contraction to FMA would; measures errors in ULP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tgc.ir import meaning, ops
from tgc.ir.expr import Apply, Arg, Expr, Lit, children
from tgc.ir.rewrite import walk

Array = npt.NDArray[np.generic]


def evaluate(expr: Expr, arguments: Sequence[Array], contract: bool = False) -> Array:
    """`expr` with Arg(k) = arguments[k]. `contract`: every ADD of a MUL rounds once, as with -ffp-contract=fast."""
    values: dict[Expr, Array] = {}
    with np.errstate(all="ignore"):
        for node in walk(expr):
            values[node] = _value(node, values, arguments, contract)
    return np.broadcast_to(values[expr], np.broadcast(*arguments).shape)


def _value(node: Expr, values: dict[Expr, Array], arguments: Sequence[Array], contract: bool) -> Array:
    match node:
        case Arg(position, dtype):
            assert arguments[position].dtype == np.dtype(dtype.numpy)
            return arguments[position]
        case Lit():
            return meaning.literal(node)
        case Apply(op, args, dtype):
            fused = _fused(node, values) if contract and op is ops.ADD and dtype.is_float else None
            return meaning.apply(op, dtype, [values[arg] for arg in args]) if fused is None else fused
    raise TypeError(type(node).__name__)


def _fused(node: Apply, values: dict[Expr, Array]) -> Array | None:
    """a * b + c rounded once (nearly: the wider type rounds too), for the first product among the operands."""
    wide = np.float64 if node.dtype.bits == 32 else np.longdouble
    for product, other in (node.args, node.args[::-1]):
        if isinstance(product, Apply) and product.op is ops.MUL:
            a, b = (values[child].astype(wide) for child in children(product))
            return np.asarray((a * b + values[other].astype(wide)).astype(node.dtype.numpy))
    return None


def ulp_error(got: Array, exact: Array) -> npt.NDArray[np.float64]:
    """Distance from `exact` (a wider float type) in units of the last place of the correctly rounded answer.

    NaN against NaN and equal infinities are 0; a NaN or an infinity where the other has none is infinite.
    """
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        both_finite = np.isfinite(got) & np.isfinite(rounded)
        spacing = np.spacing(np.abs(np.where(both_finite, rounded, 1)).astype(got.dtype))
        error = (np.abs(got.astype(exact.dtype) - exact) / spacing.astype(exact.dtype)).astype(np.float64)
        same = (np.isnan(got) & np.isnan(exact)) | (got == rounded)
    return np.where(both_finite, error, np.where(same, 0.0, np.inf))


def grid(dtype: npt.DTypeLike, low: float, high: float, count: int = 20000) -> Array:
    """Points of a domain: even, log-spaced both ways from 0, random bits, and the special values that lie in it."""
    kind = np.dtype(dtype)
    random = np.random.default_rng(7)
    info = np.finfo(kind)
    magnitudes = np.exp2(random.uniform(info.minexp - info.nmant, info.maxexp, count).astype(np.longdouble)).astype(kind)
    bits = (
        random.integers(0, 1 << 8 * kind.itemsize, count, dtype=np.uint64, endpoint=False)
        if kind.itemsize < 8
        else random.integers(0, (1 << 64) - 1, count, dtype=np.uint64)
    )
    raw = bits.astype(np.uint32 if kind.itemsize == 4 else np.uint64).view(kind)
    special = np.array(
        [0.0, -0.0, 1, -1, 0.5, -0.5, 2, info.tiny, info.smallest_subnormal, info.max, info.eps, 1 + info.eps, 1 - info.epsneg], kind
    )
    even = np.linspace(max(low, -12.0) if np.isinf(low) else low, min(high, 12.0) if np.isinf(high) else high, count).astype(kind)
    middle = np.linspace(-12, 12, 8 * count if kind.itemsize == 4 else count).astype(kind)
    near_one = (1 + random.uniform(-0.01, 0.01, count)).astype(kind)
    small = random.uniform(-1, 1, count).astype(kind)
    points = np.concatenate([magnitudes, -magnitudes, raw, special, -special, even, middle, near_one, small])
    with np.errstate(all="ignore"):
        return points[(points >= low) & (points <= high)]
