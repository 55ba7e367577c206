"""Elements along an axis at places that are known while compiling: views where the places form a pattern, a gather otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.frontend_onnx.builder import LoweringBuilder
from tgc.ir.dtypes import I32
from tgc.ir.graph import Node

Run = tuple[int, int, int]
"""(first place, step, how many): places first, first + step, ...; step 0 repeats one place."""


def runs(places: Sequence[int]) -> list[Run]:
    """`places` cut greedily into arithmetic progressions."""
    found: list[Run] = []
    position = 0
    while position < len(places):
        step = places[position + 1] - places[position] if position + 1 < len(places) else 1
        end = position + 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        found.append((places[position], step, end - position))
        position = end
    return found


def repeats(places: Sequence[int]) -> int:
    """The k for which each place stands k times in a row, 0, 0, 1, 1, ...; 1 where there is none above."""
    k = next((n for n, place in enumerate(places) if place != places[0]), len(places))
    fits = k > 1 and len(places) % k == 0 and all(place == places[n - n % k] for n, place in enumerate(places))
    return k if fits else 1


def take(b: LoweringBuilder, x: Node, axis: int, places: Sequence[int], most_runs: int = 1) -> Node:
    """`x` at `places` along `axis`, each in range. Up to `most_runs` progressions are slices side by side."""
    k = repeats(places)
    if k > 1:
        once = take(b, x, axis, places[::k], most_runs)
        return repeated(b, once, axis, k)
    parts = runs(places)
    if places and len(parts) <= most_runs:
        return b.concat([_run(b, x, axis, part) for part in parts], axis)
    if not places:
        return b.narrow(x, axis, 0, 0)
    shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
    table = np.array(places, np.int32).reshape([-1 if d == axis else 1 for d in range(len(shape))])
    coordinates = [b.constant(table) if d == axis else b.coordinate(shape, d, I32) for d in range(len(shape))]
    return b.gather(x, coordinates, shape)


def _run(b: LoweringBuilder, x: Node, axis: int, run: Run) -> Node:
    first, step, count = run
    if step == 0:
        return b.expand(b.narrow(x, axis, first, 1), (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    return b.narrow(x, axis, first, count, step)


def repeated(b: LoweringBuilder, x: Node, axis: int, k: int) -> Node:
    """Each element `k` times in a row along `axis`."""
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    wide = b.expand(b.unsqueeze(x, (axis + 1,)), (*before, size, k, *after))
    return b.reshape(wide, (*before, size * k, *after))
