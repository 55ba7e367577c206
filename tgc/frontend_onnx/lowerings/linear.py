"""Matrix products and sums of products over named axes: all of them contractions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.live import is_open, opened, settled
from tgc.frontend_onnx.lowerings.integer_products import quantised_matmul, transposed
from tgc.frontend_onnx.registry import lowers
from tgc.ir import ops, scalar
from tgc.ir.graph import Node


@lowers("MatMul", since=(1, 9, 13))
def mat_mul(b: LoweringBuilder, x: Node, y: Node) -> Node:
    """numpy.matmul. Where only `x` has batch axes, they and its rows are one axis, so that there is one large product."""
    exact = quantised_matmul(b, x, y)
    if exact is not None:
        return exact
    if len(x.shape) > 2 and len(y.shape) == 2 and x.shape[-1] == y.shape[0]:
        if is_open(x.shape[:-1]) and not is_open(x.shape[-1:]):  # rows that are not live are computed too: nothing has to move
            return opened(b, mat_mul(b, settled(b, x), y), (*x.shape[:-1], y.shape[1]))
        flat = b.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))
        return b.reshape(b.matmul(flat, y), (*x.shape[:-1], y.shape[1]))
    return b.matmul(x, y)


def _gemm(b: LoweringBuilder, x: Node, y: Node, c: Node | None, alpha: float, beta: float, trans_a: int, trans_b: int) -> Node:
    """alpha * x' y' + beta * c with x' [M, K], y' [K, N] and c that broadcasts to [M, N]. Integers scale by whole numbers only."""
    if len(x.shape) != 2 or len(y.shape) != 2:
        raise b.invalid(f"matrices of shape {list(x.shape)} and {list(y.shape)}")
    left = transposed(b, x) if trans_a else x
    right = transposed(b, y) if trans_b else y
    exact = quantised_matmul(b, left, right, c) if alpha == 1 and beta == 1 else None
    if exact is not None:
        return exact
    product = _scaled(b, b.matmul(left, right), alpha)
    if c is None:
        return product
    return b.add(product, b.broadcast_to(_scaled(b, c, beta), product.shape))


def _scaled(b: LoweringBuilder, x: Node, factor: float) -> Node:
    if factor == 1:
        return x
    if not x.dtype.is_float and factor != int(factor):
        raise b.unsupported(f"a factor of {factor} on {x.dtype}")
    return b.elementwise(lambda a: scalar.mul(a, factor), x)


@lowers("Gemm", since=(7, 9))
def gemm_7(
    b: LoweringBuilder,
    x: Node,
    y: Node,
    c: Node,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Node:
    """alpha * A B + beta * C, A and B transposed where asked for."""
    return _gemm(b, x, y, c, alpha, beta, transA, transB)


@lowers("Gemm", since=(11, 13))
def gemm(
    b: LoweringBuilder,
    x: Node,
    y: Node,
    c: Node | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Node:
    """alpha * A B + beta * C, A and B transposed where asked for."""
    return _gemm(b, x, y, c, alpha, beta, transA, transB)


@lowers("Einsum", since=(12, 28))
def einsum(b: LoweringBuilder, *xs: Node, equation: str) -> Node:
    """Sum of products over the axes whose letter the result lacks; two operands at a time, from the left.

    An axis that no later operand and not the result has is summed as soon as possible.
    """
    terms, result = _terms(b, equation.replace(" ", ""), xs)
    x, letters = _diagonal(b, xs[0], terms[0])
    for number, y in enumerate(xs[1:], 1):
        needed = result + "".join(terms[number + 1 :])
        right, right_letters = _diagonal(b, y, terms[number])
        x, letters = _pair(b, (x, letters), (right, right_letters), needed)
    x, letters = _summed(b, x, letters, result)
    return b.permute(x, [letters.index(letter) for letter in result])


def _terms(b: LoweringBuilder, equation: str, xs: Sequence[Node]) -> tuple[list[str], str]:
    """The letters of each operand's axes and of the result's. An ellipsis becomes Greek letters, which no equation uses."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise b.invalid(f"equation {equation!r} for {len(xs)} operands")
    ranks = [len(x.shape) - len(t.replace("...", "")) for x, t in zip(xs, terms, strict=True)]
    widest = max((rank for rank, t in zip(ranks, terms, strict=True) if "..." in t), default=0)
    if any(rank < 0 or (rank > 0 and "..." not in t) for rank, t in zip(ranks, terms, strict=True)):
        raise b.invalid(f"equation {equation!r} for operands of shapes {', '.join(str(list(x.shape)) for x in xs)}")
    dots = "".join(chr(ord("\u0391") + d) for d in range(widest))
    filled = [t.replace("...", dots[widest - rank :]) for t, rank in zip(terms, ranks, strict=True)]
    if not arrow:
        once = sorted(letter for letter in set("".join(filled)) if "".join(filled).count(letter) == 1 and letter not in dots)
        return filled, dots + "".join(once)
    return filled, result.replace("...", dots)


def _diagonal(b: LoweringBuilder, x: Node, letters: str) -> tuple[Node, str]:
    """`x` with one axis for each letter: a letter that repeats means the diagonal, a slice of the two axes as one."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            size = x.shape[first]
            order = [d for d in range(len(x.shape)) if d not in (first, second)] + [first, second]
            rest = tuple(x.shape[d] for d in order[:-2])
            flat = b.reshape(b.permute(x, order), (*rest, size * size))
            x = b.narrow(flat, -1, 0, size, size + 1)
            letters = "".join(letters[d] for d in order[:-2]) + letter
    return x, letters


def _summed(b: LoweringBuilder, x: Node, letters: str, kept: str) -> tuple[Node, str]:
    gone = [d for d, letter in enumerate(letters) if letter not in kept]
    return (b.reduce(ops.ADD, x, gone, keepdims=False) if gone else x), "".join(c for c in letters if c in kept)


def _pair(b: LoweringBuilder, left: tuple[Node, str], right: tuple[Node, str], needed: str) -> tuple[Node, str]:
    """The product of two operands, summed over the letters not `needed`. Axes: shared, of the left, of the right, summed."""
    (x, x_letters), (y, y_letters) = left, right
    x, x_letters = _summed(b, x, x_letters, needed + y_letters)
    y, y_letters = _summed(b, y, y_letters, needed + x_letters)
    batch = [c for c in x_letters if c in y_letters and c in needed]
    rows = [c for c in x_letters if c not in y_letters]
    columns = [c for c in y_letters if c not in x_letters]
    gone = [c for c in x_letters if c in y_letters and c not in needed]
    order = [*batch, *rows, *columns, *gone]
    product = b.contract(_aligned(b, x, x_letters, order), _aligned(b, y, y_letters, order), len(gone))
    return product, "".join(order[: len(order) - len(gone)])


def _aligned(b: LoweringBuilder, x: Node, letters: str, order: Sequence[str]) -> Node:
    """`x` with its axes in `order`, of extent 1 where it lacks the letter."""
    present = b.permute(x, [letters.index(c) for c in order if c in letters])
    sizes = iter(present.shape)
    return b.reshape(present, tuple(next(sizes) if c in letters else 1 for c in order))
