"""How well one list of numbers orders another."""

from __future__ import annotations

from collections.abc import Sequence


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's coefficient, equal numbers sharing their mean rank; None where all of one list are equal."""
    a, b = _ranks(first), _ranks(second)
    middle = (len(a) - 1) / 2
    spread = [sum((rank - middle) ** 2 for rank in ranks) for ranks in (a, b)]
    if not spread[0] or not spread[1]:
        return None
    together = sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    return float(together / (spread[0] * spread[1]) ** 0.5)


def _ranks(values: Sequence[float]) -> list[float]:
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]
