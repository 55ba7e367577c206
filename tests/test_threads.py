"""Kernels whose work threads share: which loop it is, any number of parts, any pool, and no data race."""

import ctypes as c
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_build import STRICT, checked, compiler, write
from small_networks import Net

from tgc.artifact import Artifact
from tgc.backends.c import emit
from tgc.backends.llvm.jit import load_object
from tgc.backends.options import EmitOptions
from tgc.driver import emit as emit_for
from tgc.driver import resolve
from tgc.errors import OptionError
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph
from tgc.ir.kernel import Kernel, shared_loop
from tgc.ir.text import parse_kernel
from tgc.passes import compile_graph
from tgc.passes.divide import divide
from tgc.run import load
from tgc.run.abi import RunPartsFunction
from tgc.targets import C, find, with_threads

TASK = c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_int32)


class Parallel(c.Structure):
    """tgc_parallel."""


RUN = c.CFUNCTYPE(None, c.POINTER(Parallel), TASK, c.c_void_p)
Parallel._fields_ = [("run", RUN), ("parts", c.c_int32)]

RUNTIME = Path(__file__).parents[1] / "templates" / "runtime"


def network() -> Graph:
    """Convolutions with and without Winograd's tiles, with a residual and with blocks that overlap, all large enough to share."""
    net = Net()
    x = net.image(1, 16, 31, 31)
    y = net.relu(net.conv(x, 32, 3, pad=1))
    y = net.add(net.conv(y, 32, 1, pad=0), y)
    y = net.relu(net.conv(y, 24, 3, pad=1))
    return net.graph(net.conv(net.conv(y, 40, 1, pad=0), 24, 1, pad=0))


def values(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {node.name: rng.standard_normal(node.shape).astype(np.float32) for node in graph.inputs}


def shared_kind(kernel: Kernel) -> str:
    loop = shared_loop(kernel.body)
    return loop.kind if loop is not None else ""


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_any_number_of_threads_gives_the_same(target: str, tmp_path: Path) -> None:
    graph, chosen = network(), with_threads(resolve(target), 3)
    program = compile_graph(graph, chosen)
    assert len(program.shared) >= 4
    assert any(shared_kind(kernel) == "tailed" for kernel in program.kernels)
    files = emit_for(program, chosen, EmitOptions())
    folder = Artifact(program.name, chosen, files, program, graph).write(tmp_path / "a")
    expected = run_graph(graph, values(graph))
    alone = load(folder).run(values(graph))
    for name, wanted in expected.items():
        assert np.abs(alone[name] - wanted).max() <= 1e-5 * np.abs(wanted).max()
    for threads in (2, 3, 4, 40):
        model = load(folder, threads=threads)
        for _ in range(3):
            for name, found in model.run(values(graph)).items():
                np.testing.assert_array_equal(found, alone[name])


def test_a_pool_of_ones_own_may_run_the_parts_in_any_order() -> None:
    graph, chosen = network(), with_threads(resolve("cpu"), 2)
    program = compile_graph(graph, chosen)
    library = load_object(emit_for(program, chosen, EmitOptions("embed"))[f"{program.name}.o"])
    seen: list[int] = []

    def backwards(_: object, task: object, argument: int) -> None:
        seen.append(1)
        for part in reversed(range(7)):
            task(argument, part, 7)

    pool = Parallel(RUN(backwards), 7)
    given = values(graph)
    arena = np.zeros(program.arena_bytes + 64, np.uint8)
    results = {tensor.name: np.empty(tensor.shape, np.float32) for tensor in program.outputs}
    tables = [(c.c_void_p * len(t))(*(a.ctypes.data for a in t.values())) for t in (given, results)]
    held = np.zeros(program.weights.size + 64, np.uint8)
    start = -held.ctypes.data % 64
    held[start : start + program.weights.size] = program.weights
    run = RunPartsFunction(library.address(f"{program.name}_run_parts"))
    status = run(held.ctypes.data + start, arena.ctypes.data + -arena.ctypes.data % 64, *tables, c.addressof(pool))
    assert status == 0
    assert len(seen) == sum(call.kernel in program.shared for call in program.calls)
    for name, wanted in run_graph(graph, given).items():
        assert np.abs(results[name] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_threads_race_for_nothing(tmp_path: Path) -> None:
    """ThreadSanitizer on the program in C and the pool: two runs after each other, and the end of the pool."""
    cc = compiler("gcc", "clang")
    program = compile_graph(network(), with_threads(C, 3))
    write(tmp_path, emit(program, with_threads(C, 3), EmitOptions("embed")))
    (tmp_path / "main.c").write_text(MAIN.replace("NAME", program.name).replace("UPPER", program.name.upper()))
    sources = sorted(path.name for path in tmp_path.glob("*.c") if path.name != "example_main.c")
    probe = [cc, "-fsanitize=thread", "-x", "c", "-", "-o", str(tmp_path / "probe")]
    if subprocess.run(probe, input="int main(void){return 0;}", text=True, capture_output=True, check=False).returncode:
        pytest.skip("needs ThreadSanitizer")
    checked([cc, *STRICT, "-g", "-O1", "-fsanitize=thread", "-pthread", "-o", "main", *sources, "-lm"], tmp_path)
    checked(["./main"], tmp_path)


MAIN = """
#include "NAME.h"
static unsigned char arena[UPPER_ARENA_BYTES] __attribute__((aligned(UPPER_ALIGNMENT)));
static uint64_t memory[1024] __attribute__((aligned(64)));
static float in[1 << 16], out[1 << 16];
int main(void) {
  NAME_context context;
  tgc_threads *pool;
  int status = (int)NAME_init(&context, arena, sizeof arena, NULL);
  status |= tgc_threads_bytes() > sizeof memory;
  status |= (int)NAME_bind_input(&context, 0, in) | (int)NAME_bind_output(&context, 0, out);
  status |= (int)tgc_threads_start(&pool, memory, sizeof memory, 0) != TGC_BAD_ARGUMENT;
  if (status || tgc_threads_start(&pool, memory, sizeof memory, 3) != TGC_OK) return 2;
  for (int i = 0; i < 2; ++i) status |= (int)NAME_run_parallel(&context, tgc_threads_parallel(pool));
  tgc_threads_stop(pool);
  return status;
}
"""

EACH_ONCE = """
#include "tgc_threads.h"
static uint64_t memory[2048] __attribute__((aligned(64)));
static int32_t done[TGC_MOST_THREADS];
static void count(void *argument, int32_t part, int32_t parts) { done[part] += *(int32_t *)argument == parts; }
int main(void) {
  int32_t parts = 24;
  tgc_threads *pool;
  if (tgc_threads_bytes() > sizeof memory || tgc_threads_start(&pool, memory, sizeof memory, parts) != TGC_OK) return 2;
  for (int32_t task = 1; task <= 500; ++task) {
    tgc_threads_parallel(pool)->run(tgc_threads_parallel(pool), count, &parts);
    for (int32_t part = 0; part < parts; ++part)
      if (done[part] != task) return 3;
  }
  tgc_threads_stop(pool);
  return 0;
}
"""


def test_each_part_is_done_once_by_many_more_threads_than_cores(tmp_path: Path) -> None:
    for name in ("tgc_threads.c", "tgc_threads.h", "tgc_runtime.h"):
        (tmp_path / name).write_bytes((RUNTIME / name).read_bytes())
    (tmp_path / "main.c").write_text(EACH_ONCE)
    checked([compiler("gcc", "clang"), *STRICT, "-O2", "-pthread", "-o", "main", "main.c", "tgc_threads.c"], tmp_path)
    checked(["./main"], tmp_path)


EVEN = """kernel even(read x: f32[400000], write y: f32[400000]) {
  for i < 3 { for j < 4 { for k < 30000 { y[i * 120000 + j * 30000 + k] = x[i * 120000 + j * 30000 + k] + 1.0 } } }
}"""
OVERLAPPING = """kernel overlapping(read x: f32[40000], write y: f32[39990]) {
  for i < 4 { for k < 10000 { y[where(i * 10000 < 29990, i * 10000, 29990) + k] = x[k] } }
}"""
SUMMING = """kernel summing(read x: f32[40000], readwrite y: f32[10000]) {
  for i < 4 { for k < 10000 { y[k] = y[k] + x[i * 10000 + k] } }
}"""


INTERLEAVED = """kernel interleaved(read x: f32[400000], write y: f32[400000]) {
  for g < 4 { for i < 100 { for k < 1000 { y[i * 4000 + k * 4 + g] = x[g * 100000 + i * 1000 + k] } } }
}"""


GUARDED = """kernel guarded(read x: f32[400000], write y: f32[400000]) {
  for i < 4 { for k < 100000 { if x[i * 100000 + k] < 1.0 { y[i * 100000 + k] = 1.0 } } }
}"""


def shared(text: str, threads: int) -> list[tuple[str, str]]:
    body = parse_kernel(text).body
    return [(step.var, step.kind) for step in divide(body, body, threads)]


def test_the_loop_that_divides_evenly_is_shared() -> None:
    assert shared(EVEN, 3) == [("i", "parallel")]
    assert shared(EVEN, 2) == [("j", "parallel")]


def test_of_a_loop_whose_last_blocks_overlap_one_thread_does_both() -> None:
    assert shared(OVERLAPPING.replace("k < 10000", "k < 10000 unroll"), 2) == [("i", "tailed")]
    twice = OVERLAPPING.replace("29990", "19990")  # the last block starts inside the second
    assert shared(twice.replace("k < 10000", "k < 10000 unroll"), 2) == []


def test_a_loop_whose_iterations_meet_is_not_shared() -> None:
    assert "i" not in dict(shared(SUMMING, 2))


def test_work_under_a_condition_counts() -> None:
    assert shared(GUARDED, 2) == [("i", "parallel")]


def test_threads_do_not_store_into_the_same_cache_lines() -> None:
    assert shared(INTERLEAVED, 2) == [("i", "parallel")]


def test_a_parallel_loop_is_shared_where_nothing_but_loops_is_around_it() -> None:
    inside = "kernel k(write y: f32[6]) { for i < 2 { for j < 3 parallel { y[i * 3 + j] = 1.0 } } }"
    after = "kernel k(write y: f32[6]) { for i < 2 { y[i * 3] = 2.0\n for j < 3 parallel { y[i * 3 + j] = 1.0 } } }"
    found = shared_loop(parse_kernel(inside).body)
    assert found is not None
    assert found.var.name == "j"
    assert shared_loop(parse_kernel(after).body) is None


def test_one_thread_costs_nothing() -> None:
    program = compile_graph(network(), C)
    assert not program.shared
    files = emit(program, C, EmitOptions())
    assert not any("threads" in name for name in files)
    assert b"parts" not in files[f"{program.name}.c"]


def test_threads_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="runs on a device"):
        with_threads(find("opencl"), 2)
    with pytest.raises(OptionError, match="no number of threads"):
        with_threads(C, 65)
    program = compile_graph(network(), C)
    folder = Artifact(program.name, C, emit(program, C, EmitOptions()), program, network()).write(tmp_path / "a")
    with pytest.raises(OptionError, match="compiled for one thread"):
        load(folder, threads=2)
