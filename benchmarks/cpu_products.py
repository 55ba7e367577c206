"""Matrix products as a share of the processor's peak of multiply-adds, which is measured beside them."""

from __future__ import annotations

import ctypes
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tgc.backends.toolchain import compile_shared
from tgc.driver import compile as compile_model
from tgc.run import load

SQUARE = tuple((size, size, size) for size in (256, 512, 1024, 2048))
SKINNY = ((1, 1024, 1024), (16, 1024, 1024), (1024, 1024, 16), (2048, 64, 64))
SIZES = (*SQUARE, *SKINNY)
PEAK = """
typedef float v __attribute__((vector_size(64)));
float peak(long n) {
  v a[20], x, y;
  for (int j = 0; j < 16; ++j) x[j] = 1.0f, y[j] = 1e-9f * (float)n;
  for (int i = 0; i < 20; ++i) a[i] = x * (float)i;
  for (long k = 0; k < n; ++k) {
#define STEP(i) a[i] = a[i] * x + y;
    STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9)
    STEP(10) STEP(11) STEP(12) STEP(13) STEP(14) STEP(15) STEP(16) STEP(17) STEP(18) STEP(19)
  }
  float total = 0;
  for (int i = 0; i < 20; ++i) total += a[i][3];
  return total;
}
float reading(const float *from, long count) {
  const v *p = (const v *)from;
  v a[8] = {0};
  for (long k = 0; k + 128 <= count; k += 128, p += 8)
    for (int i = 0; i < 8; ++i) a[i] += p[i];
  float total = 0;
  for (int i = 0; i < 8; ++i) total += a[i][3];
  return total;
}
"""


def peak(folder: Path) -> tuple[ctypes.CDLL, int]:
    """A function that does multiply-adds on registers alone, and the floating-point operations of one step of its loop."""
    (folder / "peak.c").write_text(PEAK)
    compile_shared([folder / "peak.c"], folder / "peak.so")
    return ctypes.CDLL(str(folder / "peak.so")), 20 * 16 * 2


def measured_peak() -> float:
    """Floating-point operations a second of one thread at most."""
    with tempfile.TemporaryDirectory(prefix="tgc-peak-") as scratch:
        library, each = peak(Path(scratch))
        return max(1e9 * _rate(lambda: library.peak(ctypes.c_long(200_000)), each * 200_000.0, 1) for _ in range(7))


def reading_rate(library: ctypes.CDLL, count: int) -> float:
    """Floating-point operations a second, in 1e9, of a product that does no more than read `count` weights, each for two of them."""
    weights = np.ones(count + 16, np.float32)
    start = weights.ctypes.data + -weights.ctypes.data % 64
    return max(_rate(lambda: library.reading(ctypes.c_void_p(start), ctypes.c_long(count)), 2.0 * count, 50) for _ in range(7))


def products() -> list[dict[str, object]]:
    """One row a size: GFLOPS, and the share of the peak that was measured in between. CPU time of one thread."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="tgc-products-") as scratch:
        library, each = peak(Path(scratch))
        for rows_, inner, columns in SIZES:
            folder = Path(scratch) / f"{rows_}x{inner}x{columns}"
            weights = np.random.default_rng(0).standard_normal((inner, columns)).astype(np.float32)
            node = helper.make_node("MatMul", ["a", "w"], ["y"])
            given = helper.make_tensor_value_info("a", TensorProto.FLOAT, [rows_, inner])
            made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows_, columns])
            graph = helper.make_graph([node], "product", [given], [made], [numpy_helper.from_array(weights, "w")])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            compile_model(model, "cpu", folder, name="product")
            loaded = load(folder)
            a, y = np.ones((rows_, inner), np.float32), np.empty((rows_, columns), np.float32)
            operations = 2.0 * rows_ * inner * columns
            best = top = 0.0
            for _ in range(7):
                top = max(top, _rate(lambda: library.peak(ctypes.c_long(200_000)), each * 200_000.0, 1))
                best = max(best, _rate(lambda run=loaded.execute, a=a, y=y: run([a], [y]), operations, max(1, int(2e8 / operations))))
            read = reading_rate(library, inner * columns) if rows_ == 1 else None
            rows.append({"size": [rows_, inner, columns], "gflops": best, "peak": top, "share": best / top, "read": read})
    return rows


def _rate(run: object, operations: float, times: int) -> float:
    """GFLOPS of `times` runs, by this thread's CPU time."""
    begun = time.thread_time()
    for _ in range(times):
        run()  # type: ignore[operator]
    return operations * times / max(1e-9, time.thread_time() - begun) / 1e9


def share_lines(rows: object) -> list[str]:
    """The table of products."""
    assert isinstance(rows, list)
    lines = ["### Matrix products, one thread", "", "| rows x inner x columns | GFLOPS | share of the peak |", "|---|--:|--:|"]
    lines += [f"| {' x '.join(map(str, row['size']))} | {row['gflops']:.0f} | {row['share']:.2f} |" for row in rows]
    for row in rows:
        if row.get("read"):
            size, rate = " x ".join(map(str, row["size"])), f"{2 * row['gflops']:.0f} of {2 * row['read']:.0f} GB/s"
            lines += ["", f"{size} is bound by its weights: {rate} at which one thread reads as many in a row."]
    return [*lines, ""]
