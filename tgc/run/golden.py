"""The self-test's data, read out of a program in this process's memory."""

from __future__ import annotations

from tgc.backends.golden import Golden, GoldenOutput
from tgc.run.abi import GoldenStruct


def read_golden(address: int, outputs: int) -> Golden:
    """The `tgc_golden` at `address`, of a model with so many outputs."""
    golden = GoldenStruct.from_address(address)
    rows = []
    for row in golden.outputs[:outputs]:
        values = row.values[: row.count]
        rows.append(GoldenOutput(tuple(v.element for v in values), tuple(v.bits for v in values), row.tolerance))
    return Golden(tuple(rows), bool(golden.positive))
