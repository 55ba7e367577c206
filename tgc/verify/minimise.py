"""Making what fails small: nodes are left out as long as what remains still fails (delta debugging, Zeller and Hildebrandt, 2002)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tgc.frontend_onnx.extract import Part, Whole, extract

Fails = Callable[[Part], bool]
Watch = Callable[[str], None]


def minimise(
    whole: Whole, fails: Fails, guesses: Sequence[frozenset[int]] = (), tries: int = 300, watch: Watch | None = None
) -> Part | None:
    """A part of `whole` that still fails, without a node that could be left out alone; None where the whole does not fail itself.

    guesses: sets of nodes to try first, smallest first. tries: how often `fails` is asked at most; the answer is then the smallest so far.
    """
    asked: dict[frozenset[int], Part | None] = {}

    def failing(keep: frozenset[int]) -> Part | None:
        if keep not in asked and len(asked) < tries:
            if watch:
                watch(f"{len(keep)} nodes")
            part = extract(whole, keep) if keep else None
            asked[keep] = part if part is not None and fails(part) else None
        return asked.get(keep)

    everything = frozenset(range(len(whole.nodes)))
    found = next((guess for guess in (*guesses, everything) if failing(guess)), None)
    if found is None:
        return None
    size = max(1, len(found) // 2)
    while True:
        smaller = _without_a_piece(found, size, failing)
        if smaller is not None:
            found = smaller
        elif size == 1:
            return failing(found)
        else:
            size //= 2


def _without_a_piece(nodes: frozenset[int], size: int, failing: Callable[[frozenset[int]], Part | None]) -> frozenset[int] | None:
    """`nodes` without `size` neighbours, if that still fails."""
    ordered = sorted(nodes)
    pieces = (frozenset(ordered[start : start + size]) for start in range(0, len(ordered), size))
    return next((nodes - piece for piece in pieces if len(piece) < len(nodes) and failing(nodes - piece)), None)
