"""Machine code of kernels for Adreno, as Mesa's compiler ir3 makes it, counted: no device is needed, and Mesa only for this.

Mesa's freedreno driver runs without a GPU behind a library that answers for the kernel's driver (`src/freedreno/drm-shim` in Mesa), and
prints what it compiles where IR3_SHADER_DEBUG is set. Qualcomm's own compiler is another one; this one ranks kernels.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tgc.errors import OptionError
from tgc.run import ir3_driver

GPUS = {"qcom": "630", "qcom:a7xx": "740"}
"""By target, what the driver takes for the chip (FD_GPU_ID)."""

SHIM, LOADER, RUSTICL = "libfreedreno_noop_drm_shim.so", "libOpenCL.so.1", "libRusticlOpenCL.so.1"
INTERPRETER = "ld-linux*.so*"
HINT = "Debian has them in mesa-drm-shim, ocl-icd-libopencl1 and mesa-opencl-icd; unpacked elsewhere (dpkg -x), name that folder"
TRIES = 3  # the compiler works in threads of its own, and the last kernels of a run may be missing
SECONDS = 600
_COUNTS = {
    "instructions": r"(\d+) instr,", "nops": r"(\d+) nops,", "registers": r"(\d+) full,", "half_registers": r"(\d+) half,",
    "waves": r"(\d+) max_waves", "short_syncs": r"(\d+) \(ss\)", "long_syncs": r"(\d+) \(sy\)", "multiply_adds": r"(\d+) cat3",
    "texture_reads": r"(\d+) cat5", "memory": r"(\d+) cat6",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MachineCode:
    """What is in a kernel's code, not how often it runs.

    registers, half_registers: of four words of 32 and of 16 bits. waves: that fit on a processor, of `width` work-items. short_syncs,
    long_syncs: waits for special functions, and for textures and memory. multiply_adds: all of ir3's third category. memory: loads and
    stores of buffers, local and private memory. spills: those of private memory.
    """

    instructions: int
    nops: int
    registers: int
    half_registers: int
    waves: int
    width: int
    short_syncs: int
    long_syncs: int
    multiply_adds: int
    texture_reads: int
    memory: int
    spills: int


@dataclass(frozen=True, slots=True)
class Mesa:
    """Where Mesa is. command: what runs a Python script with its libraries. headers: of its OpenCL C, which it may not find by itself."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    library: Path
    rusticl: Path
    headers: Path | None


def find_mesa(root: Path) -> Mesa:
    """The Mesa in the system whose root is `root`: this one, or another that is unpacked in a folder. Raises OptionError."""
    folders = [folder for folder in _folders(root) if folder.is_dir()]
    here = root == Path("/")
    wanted = (SHIM, LOADER, RUSTICL) if here else (SHIM, LOADER, RUSTICL, INTERPRETER)
    found = {name: path for name in wanted for folder in reversed(folders) for path in folder.glob(name)}
    if missing := [name for name in wanted if name not in found]:
        raise OptionError(f"there is no Mesa for Adreno in {root}: {', '.join(missing)} not found", "--mesa", HINT)
    python, shim = os.path.realpath(sys.executable), str(found[SHIM])
    headers = next(iter(sorted(root.glob("usr/lib/llvm-*/lib/clang/*/include/opencl-c-base.h"))), None)
    rest = found[LOADER], found[RUSTICL], headers and headers.parent
    if here:
        return Mesa((python,), {"LD_PRELOAD": shim}, *rest)
    paths = ":".join(map(str, [*folders, sysconfig.get_config_var("LIBDIR"), *_folders(Path("/"))]))
    return Mesa((str(found[INTERPRETER]), "--library-path", paths, "--preload", shim, python), {}, *rest)


def _folders(root: Path) -> Iterator[Path]:
    """Where libraries may be."""
    triple = sysconfig.get_config_var("MULTIARCH") or ""
    for name in (f"usr/lib/{triple}", "usr/lib64", "usr/lib", f"lib/{triple}", "lib64", "lib", "usr/local/lib", "opt"):
        yield root / name


def machine_code(mesa: Mesa, gpu: str, source: str, options: str, kernels: Sequence[str]) -> dict[str, MachineCode]:
    """What each of `kernels`, which `source` holds, is compiled to for chip number `gpu`. Raises OptionError where that fails."""
    found: dict[str, MachineCode] = {}
    with tempfile.TemporaryDirectory(prefix="tgc-ir3-") as scratch:
        folder = Path(scratch)
        (folder / "kernels.cl").write_text(source)
        (folder / "mesa.icd").write_text(f"{mesa.rusticl}\n")
        for _ in range(TRIES):
            if not (rest := [name for name in kernels if name not in found]):
                break
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for text in pool.map(lambda part: _run(mesa, gpu, folder, options, part), _shares(rest, os.cpu_count() or 1)):
                    found |= {name: statistics(shader) for name, shader in shaders(text).items() if name in kernels}
    if missing := [name for name in kernels if name not in found]:
        raise OptionError(f"Mesa's compiler prints nothing of {', '.join(missing)}", "--ir3", "another version of Mesa may")
    return {name: found[name] for name in kernels}


def _shares(names: Sequence[str], parts: int) -> list[list[str]]:
    return [list(names[part::parts]) for part in range(parts) if names[part::parts]]


def _run(mesa: Mesa, gpu: str, folder: Path, options: str, kernels: Sequence[str]) -> str:
    """What Mesa prints while it compiles `kernels`."""
    environment = {
        **os.environ, **mesa.environment, "OCL_ICD_VENDORS": str(folder), "RUSTICL_ENABLE": "freedreno", "FD_GPU_ID": gpu,
        "IR3_SHADER_DEBUG": "cs", "MESA_SHADER_CACHE_DISABLE": "true",
    }  # fmt: skip
    whole = f"{options} -I {mesa.headers}" if mesa.headers else options
    command = [*mesa.command, "-I", "-S", ir3_driver.__file__, str(mesa.library), str(folder / "kernels.cl"), whole, *kernels]
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OptionError(f"Mesa's compiler for Adreno cannot be run: {error}", "--ir3", HINT) from error
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).splitlines() or [f"exit status {done.returncode}"]
        raise OptionError(f"Mesa's compiler for Adreno does not do it: {said[-1][:400]}", "--ir3", HINT)
    return done.stderr


def shaders(text: str) -> dict[str, str]:
    """What Mesa printed of each kernel, by name; those that it did not get to the end of are left out."""
    found: dict[str, str] = {}
    for shader in text.split("NIR (final form) for CL shader")[1:]:
        entry = re.search(r"decl_function __wrapped_(\w+) ", shader)
        if entry and re.search(r"\d max_waves, \d double_threadsize", shader):
            found[entry[1]] = shader
    return found


def statistics(shader: str) -> MachineCode:
    """The numbers in what Mesa printed of a kernel."""
    counts = {name: int(re.findall(pattern, shader)[-1]) for name, pattern in _COUNTS.items()}
    width = 128 if re.search(r"max_waves, [1-9]\d* double_threadsize", shader) else 64
    return MachineCode(**counts, width=width, spills=len(re.findall(r"\b(?:stp|ldp)\.", shader)))
