"""The self-test's data as constants of an LLVM module: `NAME_golden`, with the layout of `tgc_golden` in tgc_selftest.h."""

from __future__ import annotations

import struct

from tgc.backends.golden import Golden, GoldenOutput

_VALUE, _OUTPUT, _GOLDEN = "{ i64, i64 }", "{ ptr, i64, double }", "{ ptr, i32, i32 }"


def print_golden(name: str, golden: Golden) -> list[str]:
    """The definitions."""
    rows = [_row(position, output) for position, output in enumerate(golden.outputs)]
    return [
        *(_values(position, output) for position, output in enumerate(golden.outputs)),
        f"@tgc.golden = internal constant [{len(rows)} x {_OUTPUT}] [{', '.join(rows)}]",
        f"@{name}_golden = constant {_GOLDEN} {{ ptr @tgc.golden, i32 {int(golden.positive)}, i32 0 }}\n",
    ]


def _values(position: int, output: GoldenOutput) -> str:
    values = ", ".join(f"{_VALUE} {{ i64 {e}, i64 {v} }}" for e, v in zip(output.elements, output.values, strict=True))
    return f"@tgc.golden.{position} = internal constant [{len(output.elements)} x {_VALUE}] [{values}]"


def _row(position: int, output: GoldenOutput) -> str:
    """One tgc_golden_output. LLVM takes a double exactly by its bits."""
    (tolerance,) = struct.unpack("<Q", struct.pack("<d", output.tolerance))
    return f"{_OUTPUT} {{ ptr @tgc.golden.{position}, i64 {len(output.elements)}, double 0x{tolerance:016X} }}"
