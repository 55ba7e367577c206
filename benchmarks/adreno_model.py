"""Time of OpenCL launches on the Adreno 630, modelled as the tool `ir3cost` does, and with what that leaves out.

The tool takes `max(issue, texture, memory) + launch` for each launch, on machine code from Mesa's compiler. Two of its terms are mended
here, for every compiler's kernels in the same way:

- halves: multiply-adds of halves in waves of 128 go at the rate that was measured of them, 345e9 a second for 234e9 (published peaks of
  690 and 468 GFLOPS). The tool means to do so, but tells a kernel of halves by its half registers, and Mesa counts those of the Adreno
  6xx as parts of the full ones: there are never any. Here `mad.f16` is counted in the machine code, one instruction at a time, so that a
  kernel gains by what it does in half alone.
- buffers: what is loaded from global buffers takes its bytes over 87e9 a second, the published rate; it competes with the other terms.
  The tool counts texture reads, and takes buffers to be free. Texels of floats, which small constants are stored in, are read at
  half of the rate, as the tool does where all texels of a launch are of floats.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import adreno_code
from adreno_code import ROOT, Launch, key

WIDE, HALVES = 234e9, 345e9  # instructions a second of all lanes in waves of 128: any, and multiply-adds of halves
BUFFERS = 87e9  # bytes a second
_FLOATS = re.compile(r"image1d_buffer_t (\w+), const int \w+,? /\* f32")
_HALF = re.compile(r"mad\.f16\b")
_LOAD = re.compile(r"\bldg\.a?\.?[a-z](\d+)\b.*,\s*(\d+)$")
Row = dict[str, Any]


def modelled(path: Path, launches: Sequence[Launch]) -> list[Row]:
    """The row of each launch from the tool at `path`, with `half_seconds` and `buffer_seconds`: with the first correction, with both."""
    tool = adreno_code.load(path)
    texts = adreno_code.compiled(tool.ir3stats, launches)
    rows: dict[str, Row] = {}
    for launch in launches:
        if str(launch) not in rows:
            rows[str(launch)] = _row(tool, launch, texts[key(launch)])
    return [rows[str(launch)] for launch in launches]


def _row(tool: ModuleType, launch: Launch, text: str) -> Row:
    tool.ir3stats.compile_kernels = lambda *_: (0, "", text)
    row: Row = tool.cost(launch, ROOT)
    code: list[str] = tool.assembly(text)
    loops, _ = tool.source_loops(tool.body_of(launch["src"], launch["name"]))
    count = functools.partial(tool.dynamic_instructions, loops=loops)
    halves = count(code) - count([idle(line) if _HALF.search(line) else line for line in code])
    loaded = sum(size * (count(code) - count(_without(code, size))) for size in set(map(_size, code)))
    return row | corrected(row, halves, loaded, tool.LAUNCH, float_texels(tool, launch))


def corrected(row: Row, halves: float, loaded: float, launch: float, floats: float = 0.0) -> Row:
    """`row` with both corrections: a work-item executes `halves` multiply-adds in half, loads `loaded` bytes from buffers and reads
    `floats` texels of floats among its row["reads"].
    """
    saved = row["items"] * halves * (1 / WIDE - 1 / HALVES) if row["width"] == 128 else 0.0
    buffers = loaded * row["items"] / BUFFERS
    texture = row["texture"] * (1 + floats / row["reads"]) if floats else row["texture"]
    issue, memory = row["issue"] - saved, row["memory"]
    return {
        "halves": halves, "loaded": loaded, "half_seconds": max(issue, row["texture"], memory) + launch,
        "buffer_seconds": max(issue, texture, memory, buffers) + launch,
    }  # fmt: skip


def float_texels(tool: ModuleType, launch: Launch) -> float:
    """Texels of floats that a work-item reads; tgc's kernels say in a comment what an image's texels are of."""
    body, names = tool.body_of(launch["src"], launch["name"]), _FLOATS.findall(launch["src"])
    others = re.sub(rf"\bread_image[fh]\((?=(?:{'|'.join(names)}),)", "(", body) if names else body
    return float(tool.source_loops(body)[1] - tool.source_loops(others)[1])


def idle(line: str) -> str:
    """What is left of a line of machine code without its instruction: the cycles that it waits before."""
    waits = re.search(r"\(nop(\d)\)", line)
    cycles = int(waits.group(1)) if waits else 0
    return f"(nop{cycles - 1})nop" if cycles else ""


def _without(code: list[str], size: int) -> list[str]:
    """`code` but for what loads so many bytes from global buffers."""
    return ["" if _size(line) == size else line for line in code]


def _size(line: str) -> int:
    """Bytes that a line of machine code loads from a global buffer."""
    found = _LOAD.search(line)
    return int(found.group(1)) // 8 * int(found.group(2)) if found else 0


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Launches, image reads in millions, spills, and milliseconds as the tool has them and with the corrections."""
    reads = sum(row["reads"] * row["items"] for row in rows) / 1e6
    seconds = {name: 1e3 * math.fsum(row[name] for row in rows) for name in ("seconds", "half_seconds", "buffer_seconds")}
    return {
        "launches": len(rows), "reads": round(reads, 2), "spills": sum(row["spills"] for row in rows),
        **{name.replace("seconds", "ms"): round(value, 3) for name, value in seconds.items()},
    }  # fmt: skip
