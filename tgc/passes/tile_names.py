"""The names that the loops of a register tile have after its splits."""

from __future__ import annotations


class TileNames:
    """The loops that a tile's splits make: blocks outside; vectors, rows and lanes inside. Empty where there is none."""

    def __init__(self, vector: str, rows: str) -> None:
        self.base, self.rows = vector, rows
        self.lane = f"{vector}_i"
        self.vector = ""
        self.row = ""

    def split_vectors(self, count: int, tile: int) -> str:
        """The name of the loop over blocks of vectors, having named the loop inside a block."""
        if count == 1:
            return ""
        if tile == 1:
            return f"{self.base}_o"
        if tile == count:
            self.vector = f"{self.base}_o"
            return ""
        self.vector = f"{self.base}_o_i"
        return f"{self.base}_o_o"

    def split_rows(self, outer: list[str], extent: int, tile: int) -> list[str]:
        """`outer` with the loop over rows replaced by the one over blocks of rows, having named the loop inside a block."""
        if tile == 1:
            return outer
        if tile == extent:
            self.row = self.rows
            return [name for name in outer if name != self.rows]
        self.row = f"{self.rows}_i"
        return [f"{self.rows}_o" if name == self.rows else name for name in outer]
