"""tgc inspect --ir3: machine code of kernels for Adreno, by a Mesa that is somewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from test_qcom import convolutions, target_of
from test_qcom_ir3 import BASELINE, KEPT
from test_qcom_oclgrind import written

from tgc.cli import invoke
from tgc.errors import OptionError
from tgc.passes import compile_graph
from tgc.run.ir3 import LOADER, RUSTICL, SHIM, MachineCode, Mesa, find_mesa, machine_code, shaders, statistics

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import adreno_code

ROOT = Path(adreno_code.ROOT)
PRINTED = """MESA: info: NIR (final form) for CL shader unnamed:
MESA: info: decl_function __wrapped_{name} () (entrypoint)
MESA: info: (sy)stp.u32 p[r0.x], r0.y, 1
MESA: info: ldp.u32 r0.y, p[r0.x], 1
MESA: info: ; CL prog 2/1: 30 instr, 15 nops, 15 non-nops, 6 mov, 0 cov, 64 dwords
MESA: info: ; CL prog 2/1: 0 last-baryf, 0 last-helper, 1 half, 3 full, 8 constlen
MESA: info: ; CL prog 2/1: 16 cat0, 6 cat1, 3 cat2, 2 cat3, 0 cat4, 5 cat5, 4 cat6, 0 cat7
MESA: info: ; CL prog 2/1: 0 sstall, 7 (ss), 86 systall, 8 (sy), 0 loops
MESA: info: ; CL prog 2/1: 16 max_waves, {double} double_threadsize
"""


@pytest.mark.parametrize(("double", "width"), [(0, 64), (1, 128)])
def test_what_mesa_prints_is_read(double: int, width: int) -> None:
    expected = MachineCode(30, 15, 3, 1, 16, width, 7, 8, 2, 5, 4, 2)
    text = "of Mesa's own\n" + PRINTED.format(name="a", double=double) + PRINTED.format(name="b", double=double)
    assert {name: statistics(shader) for name, shader in shaders(text).items()} == {"a": expected, "b": expected}


def test_what_is_cut_off_is_left_out() -> None:
    assert shaders(PRINTED.format(name="a", double=1).rsplit("MESA", 1)[0]) == {}


def unpacked(root: Path, *names: str) -> Path:
    """A root with empty files in the places of libraries."""
    (root / "usr/lib64").mkdir(parents=True)
    for name in names:
        (root / "usr/lib64" / name).touch()
    return root


def test_another_system_s_mesa_runs_with_that_system_s_libraries(tmp_path: Path) -> None:
    mesa = find_mesa(unpacked(tmp_path, SHIM, LOADER, RUSTICL, "ld-linux-x86-64.so.2"))
    libraries = tmp_path / "usr/lib64"
    assert mesa.command[0] == str(libraries / "ld-linux-x86-64.so.2")
    assert mesa.command[mesa.command.index("--preload") + 1] == str(libraries / SHIM)
    assert mesa.command[mesa.command.index("--library-path") + 1].startswith(f"{libraries}:")
    assert (mesa.library, mesa.rusticl, mesa.headers) == (libraries / LOADER, libraries / RUSTICL, None)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{RUSTICL}, ld-linux.* not found"):
        find_mesa(unpacked(tmp_path, SHIM, LOADER))


def test_a_driver_that_fails_is_an_error(tmp_path: Path) -> None:
    mesa = Mesa((sys.executable,), {}, tmp_path / "nothing.so", tmp_path / "nothing.so", None)
    with pytest.raises(OptionError, match=r"Mesa.s compiler for Adreno does not do it: .*nothing.so"):
        machine_code(mesa, "630", "", "", ["k"])


def test_the_command_needs_a_mesa(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(compile_graph(convolutions(), target_of("mixed")), tmp_path / "out")
    assert invoke(["inspect", str(folder), "--ir3", "--mesa", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "there is no Mesa for Adreno" in said
    assert "mesa-drm-shim" in said


@pytest.mark.skipif(not (ROOT / "usr").is_dir(), reason="Mesa is not unpacked for adreno/ir3stats")
def test_the_numbers_are_those_of_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(compile_graph(convolutions(), target_of("mixed")), tmp_path / "out")
    assert invoke(["inspect", str(folder), "--ir3", "--mesa", str(ROOT), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = {"instr": "instructions", "full": "registers", "waves": "waves", "width": "width", "spills": "spills"}
    found = {kernel: [row[names[each]] for each in KEPT] for kernel, row in rows.items()}
    assert found == json.loads(BASELINE.read_text())["convolutions"]
    assert all(row["launches"] >= 1 and row["texture_reads"] >= 0 for row in rows.values())
    assert invoke(["inspect", str(folder), "--ir3", "--mesa", str(ROOT)]) == 0
    heads = capsys.readouterr().out.splitlines()[0]
    assert "long syncs" in heads
    assert "spills" in heads


@pytest.mark.skipif(not (ROOT / "usr").is_dir(), reason="Mesa is not unpacked for adreno/ir3stats")
def test_what_does_not_build_is_an_error() -> None:
    with pytest.raises(OptionError, match="does not do it"):
        machine_code(find_mesa(ROOT), "630", "__kernel void k(", "", ["k"])


def test_a_loader_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    mesa = find_mesa(unpacked(tmp_path, SHIM, LOADER, RUSTICL, "ld-linux-x86-64.so.2"))
    with pytest.raises(OptionError, match="cannot be run"):
        machine_code(mesa, "630", "", "", ["k"])
