"""Machine code of many OpenCL kernels for the Adreno 630 from few runs of Mesa's compiler, by the tools `ir3stats` and `ir3cost`.

The tools compile one kernel a run, and 2.5 of its 2.8 seconds go to kernels of Mesa's own. Here many kernels go through one run; what
it prints is taken apart by the names of their entry points, and the tools read it as if they had compiled each by itself.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from tgc.run import ir3

ROOT = "/opt/adreno630"
BATCH = 24  # kernels a run
TRIES = 3  # the compiler works in a thread, and the last kernels of a run may be missing
Launch = dict[str, Any]
Key = tuple[str, str, str]


def load(path: Path) -> ModuleType:
    """A tool as a module."""
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    spec = importlib.util.spec_from_loader(path.name, loader)
    assert spec
    tool = importlib.util.module_from_spec(spec)
    loader.exec_module(tool)
    return tool


def key(launch: Launch) -> Key:
    return str(launch["name"]), str(launch["src"]), str(launch.get("options", ""))


def compiled(ir3stats: ModuleType, launches: Sequence[Launch]) -> dict[Key, str]:
    """What the compiler prints of each kernel, in the form in which `ir3stats` takes it. RuntimeError: a kernel does not build."""
    found: dict[Key, str] = {}
    for attempt in range(TRIES):
        rest = [launch for launch in {key(launch): launch for launch in launches}.values() if key(launch) not in found]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for texts in pool.map(lambda batch: _run(ir3stats, batch), batches(rest, BATCH if attempt + 1 < TRIES else 1)):
                found |= texts
    missing = [name for name, *_ in map(key, launches) if name not in {name for name, *_ in found}]
    if missing:
        raise RuntimeError(f"Mesa's compiler prints nothing of {', '.join(missing)}")
    return found


def batches(launches: Sequence[Launch], size: int) -> Iterator[list[Launch]]:
    """`launches` in groups that one source can hold: what stands before the kernel is the same, names differ."""
    groups: dict[tuple[str, str], list[Launch]] = {}
    for launch in launches:
        groups.setdefault((_parts(launch)[0], key(launch)[2]), []).append(launch)
    for group in groups.values():
        while group:
            batch = list({launch["name"]: launch for launch in reversed(group)}.values())[:size]
            group[:] = [launch for launch in group if not any(launch is taken for taken in batch)]
            yield batch


def _parts(launch: Launch) -> tuple[str, str]:
    """A kernel's source: what stands before it, and itself."""
    source = str(launch["src"])
    start = source.index("__kernel ")
    return source[:start], source[start:]


def _run(ir3stats: ModuleType, batch: list[Launch]) -> dict[Key, str]:
    """What one run prints of each of the kernels; those of which it has no statistics are left out."""
    source = _parts(batch[0])[0] + "\n".join(_parts(launch)[1] for launch in batch)
    status, output, text = ir3stats.compile_kernels(source, key(batch[0])[2], ROOT)
    if status:
        raise RuntimeError(f"{', '.join(launch['name'] for launch in batch)} do not build: {output[-400:]}")
    found = ir3.shaders(re.sub(r"\n@@kernel \w+\n", "", text))
    return {key(launch): f"\n@@kernel {launch['name']}\n{found[launch['name']]}" for launch in batch if launch["name"] in found}
