"""The roofline of a target: what its arithmetic and its memory allow at most (Williams, Waterman, Patterson, 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_ASSUMED_HERTZ = 3e9
_ASSUMED_BANDWIDTH = 10e9


@dataclass(frozen=True, slots=True)
class Roof:
    """flops: floating-point operations a second. bandwidth: bytes a second of main memory. source: where the two come from."""

    flops: float
    bandwidth: float
    source: str

    def seconds(self, flop: float, bytes_moved: float) -> float:
        """The least time for so much work."""
        return max(flop / self.flops, bytes_moved / self.bandwidth)

    def bound(self, flop: float, bytes_moved: float) -> str:
        """Which of the two decides."""
        return "compute" if flop / self.flops >= bytes_moved / self.bandwidth else "memory"


Peak = tuple[float | None, float | None]
"""Operations and bytes a second that take the place of what is assumed or measured; None: they do not."""


def roof_of(target: Mapping[str, Any], peak: Peak = (None, None), measured: Roof | None = None) -> Roof:
    """The roof of a target as a manifest describes it: what is known or assumed of it, or was `measured`, corrected by `peak`."""
    roof, (flops, bandwidth) = measured or _known(target), peak
    given = [text for text, value in (("--peak", flops), ("--bandwidth", bandwidth)) if value is not None]
    source = f"{' and '.join(given)} as given; otherwise {roof.source}" if given else roof.source
    return replace(roof, flops=flops or roof.flops, bandwidth=bandwidth or roof.bandwidth, source=source)


def _known(target: Mapping[str, Any]) -> Roof:
    if target.get("images"):
        return Roof(346e9, 24e9, "published measurements of an Adreno 630 in single precision")
    lanes = max(1, int(target.get("vector_bits", 0)) // 32)
    text = f"assumed: one core at {_ASSUMED_HERTZ / 1e9:g} GHz, two multiply-adds of {lanes} lanes a cycle, 10 GB/s"
    return Roof(_ASSUMED_HERTZ * 2 * 2 * lanes, _ASSUMED_BANDWIDTH, text)
