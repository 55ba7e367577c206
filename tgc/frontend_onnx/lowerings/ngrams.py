"""TfIdfVectorizer: how often sequences of numbers occur in a row, by comparing every place with every sequence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tgc.frontend_onnx import live
from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.frontend_onnx.registry import lowers
from tgc.ir import expr as ex
from tgc.ir import ops, scalar
from tgc.ir.dtypes import F32
from tgc.ir.expr import Expr
from tgc.ir.graph import Node

Integers = tuple[int, ...]
Grams = dict[Integers, int]
"""The column that each sequence is counted in."""


@lowers("TfIdfVectorizer", since=9)
def tf_idf_vectorizer(
    b: LoweringBuilder,
    x: Node,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Integers,
    ngram_indexes: Integers,
    pool_int64s: Integers | None = None,
    pool_strings: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
) -> Node:
    """x [length] or [N, length] -> [columns] or [N, columns], f32: counts (TF), weights of what occurs (IDF), or their product."""
    if pool_int64s is None:
        raise b.unsupported("sequences of strings")
    if mode not in ("TF", "IDF", "TFIDF"):
        raise b.invalid(f"mode is {mode!r}")
    wide = x if len(x.shape) == 2 else b.reshape(x, (1, x.shape[0] if x.shape else 1))
    if live.is_open(wide.shape[1:]):
        absent = next(n for n in itertools.count() if n not in pool_int64s)
        filled = live.masked(b, wide, (1,), scalar.lit(absent, wide.dtype))
        wide = live.opened(b, live.settled(b, filled), (wide.shape[0], int(wide.shape[1])))
    columns = max(ngram_indexes) + 1
    counts = b.full((wide.shape[0], columns), 0, F32)
    grams = _grams(pool_int64s, ngram_counts, ngram_indexes)
    for length in range(min_gram_length, max_gram_length + 1):
        chosen = {gram: column for gram, column in grams.items() if len(gram) == length}
        for skip in range(1, max_skip_count + 2 if length > 1 else 2):
            if chosen and wide.shape[1] > (length - 1) * skip:
                counts = b.add(counts, _counted(b, wide, chosen, skip, columns))
    share = np.ones(columns, np.float32)
    if weights is not None and mode != "TF":
        share[list(ngram_indexes)] = weights
    if mode == "IDF":
        counts = b.elementwise(lambda n: ex.cast(scalar.gt(n, 0), F32), counts)
    out = b.mul(counts, b.constant(share))
    return out if len(x.shape) == 2 else b.reshape(out, (columns,))


def _grams(pool: Sequence[int], starts: Sequence[int], columns: Sequence[int]) -> Grams:
    """The sequences in `pool`: those of length n from starts[n - 1] on. Of equal ones the last counts."""
    found: Grams = {}
    number = 0
    for n, start in enumerate(starts, 1):
        end = starts[n] if n < len(starts) else len(pool)
        for at in range(start, end - n + 1, n):
            found[tuple(pool[at : at + n])] = columns[number]
            number += 1
    return found


def _counted(b: LoweringBuilder, x: Node, grams: Grams, skip: int, columns: int) -> Node:
    """How often each of `grams`, all of one length, occurs in x [N, length] with elements `skip` apart: [N, columns]."""
    table = np.array(list(grams), x.dtype.numpy)
    length = table.shape[1]
    places = x.shape[1] - (length - 1) * skip
    parts = [b.unsqueeze(b.narrow(x, 1, n * skip, places), (2,)) for n in range(length)]

    def hit(*values: Expr) -> Expr:
        same = scalar.eq(values[0], values[length])
        for n in range(1, length):
            same = scalar.logical_and(same, scalar.eq(values[n], values[length + n]))
        return ex.cast(same, F32)

    hits = b.elementwise(hit, *parts, *(b.constant(np.ascontiguousarray(table[:, n])) for n in range(length)))
    found = b.reduce(ops.ADD, hits, (1,), keepdims=False)
    target = np.zeros((len(grams), columns), np.float32)
    target[np.arange(len(grams)), list(grams.values())] = 1
    return b.matmul(found, b.constant(target))
