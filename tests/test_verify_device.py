"""tgc verify where the program runs on another machine, a stand-in for adb here: outputs, kernels, and a fault that it finds there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_bench_sdk import ADB, EMULATED
from test_bisect import broken_at

from tgc import cli, driver, passes
from tgc.ir.kernel import Kernel
from tgc.lock import Pinned
from tgc.passes.schedule.apply import Scheduled

pytest.importorskip("onnxruntime")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A dense layer and a softmax."""
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((10, 16)).astype(np.float32), "w")
    nodes = [helper.make_node("Gemm", ["x", "w"], ["p"], transB=1, name="dense"), helper.make_node("Softmax", ["p"], ["y"], name="soft")]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, size]) for name, size in (("x", 16), ("y", 10)))
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", [x], [y], [weights]), ir_version=9,
                                opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")  # fmt: skip
    return tmp_path / "net.onnx"


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that adb reaches."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    (tmp_path / "phone").mkdir()
    (tmp_path / "adb").write_text(ADB.format(python=sys.executable, folder=str(tmp_path / "phone")))
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("TGC_ADB", str(tmp_path / "adb"))
    return tmp_path / "phone"


def test_outputs_and_kernels(phone: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["verify", str(model), "--target", "c", "--device", "adb", "--per-kernel", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert [kernel["passed"] for kernel in found["kernels"]] == [True] * len(driver.compile(model, "c").program.kernels)
    assert not list(phone.iterdir())


def test_an_arm_processor(phone: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Machine code for another processor, in an emulator."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if not qemu or not shutil.which("aarch64-linux-gnu-gcc"):
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    (phone.parent / "adb").rename(phone.parent / "adb.py")
    (phone.parent / "adb").write_text(EMULATED.format(python=sys.executable, adb=phone.parent / "adb.py", qemu=qemu))
    (phone.parent / "adb").chmod(0o755)
    monkeypatch.setenv("TGC_DEVICE_CC", "aarch64-linux-gnu-gcc -static")
    assert cli.invoke(["verify", str(model), "--target", "cortex-a75", "--device", "adb", "--per-kernel", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [kernel["passed"] for kernel in found["kernels"]] == [True] * len(driver.compile(model, "cortex-a75").program.kernels)


def test_a_fault_there(phone: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(passes, "scheduler_for", broken_at("dense"))
    small = model.parent / "small"
    assert cli.invoke(["verify", str(model), "--target", "c", "--device", "adb", "--reproducer", str(small), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["found"]
    assert found["fault"]["stage"] == "schedule"
    assert found["reproducer"]["nodes"] == ["dense"]
    assert not list(phone.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "adb"], "is the processor of this machine"),
        (["--device", "phone"], "is no device"),
        (["--device", "adb:other", "--target", "c"], "device 'other' not found"),
        (["--device", "adb", "--target", "opencl"], "is not run on a device"),
    ],
)
@pytest.mark.usefixtures("phone")
def test_what_cannot_run_there(flags: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["verify", str(model), *flags]) == 1
    assert message in capsys.readouterr().err


def test_as_a_lock_says(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """verify, bench and inspect look at what compiling with the lock makes, and so does the reproducer."""
    lock = str(model.parent / "net.lock")
    assert cli.invoke(["tune", str(model), "--target", "c", "--no-measure", "--seconds", "1", "-o", lock]) == 0
    for command in (["verify"], ["bench", "--against", "none", "--seconds", "0.05"], ["inspect"]):
        assert cli.invoke([*command, str(model), "--target", "c", "--lock", lock]) == 0
        assert cli.invoke([*command, str(model), "--target", "cpu", "--lock", lock]) == 1
        assert "the lock is for 'c" in capsys.readouterr().err
    locked = Pinned.schedule

    def wrong(pins: Pinned, kernel: Kernel, constants: frozenset[str]) -> Scheduled:
        locked(pins, kernel, constants)
        return broken_at("dense")(driver.resolve("c"))(kernel, constants)

    monkeypatch.setattr(Pinned, "schedule", wrong)
    assert cli.invoke(["verify", str(model), "--target", "c", "--lock", lock, "--reproducer", str(model.parent / "small"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["found"]["reproducer"]["nodes"] == ["dense"]
