"""Sums of products of bytes: four at a time, whatever the signs, as the target multiplies them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_build import compiler
from small_networks import Net
from test_cross_compile import inputs_of, run_linked

from tgc.backends.llvm.emit import emit_assembly
from tgc.backends.options import EmitOptions
from tgc.driver import emit, resolve
from tgc.ir import ops
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32, I8, I32, U8, DType
from tgc.ir.expr import Arg, Lit, cast
from tgc.ir.graph import Graph, Node, Reduce, sources
from tgc.ir.interpret import run_graph, run_kernel
from tgc.ir.schedule import Dot, Pack, Reorder, Vectorize
from tgc.ir.text import parse_kernel, print_kernel
from tgc.ir.verify import verify_graph, verify_kernel
from tgc.passes import compile_graph
from tgc.passes.centre import centre
from tgc.passes.fold import fold
from tgc.passes.schedule.apply import apply, rearranged
from tgc.passes.signs import signs
from tgc.run import load
from tgc.targets import CORTEX_A75, CORTEX_A76, X86_V3, X86_V4_BF16, Target


class Bytes(Net):
    """Networks of i8 or u8, with weights of i8, whose sums are i32; or of u8 that have lost their zero point, in i16."""

    def __init__(self, kind: DType, zero_point: int | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.zero_point = zero_point

    def bytes(self, *shape: int) -> Node:
        node = self.input(f"x{len(self.inputs)}", self.kind, shape)
        self.inputs.append(node)
        return node

    def summed(self, x: Node, outputs: int, size: int, groups: int = 1, at_edges: int = 0) -> Node:
        """A convolution of NCHW, padded with `at_edges`."""
        batch, channels = x.shape[:2]
        inputs, own = channels // groups, outputs // groups
        edge = (0, 0, size // 2, size // 2)
        padded = self.pad(x, edge, edge, Lit(at_edges, self.kind))
        windows = self.window(self.window(padded, 2, size, 1, 1), 3, size, 1, 1)
        height, width = windows.shape[2:4]
        split = self.reshape(windows, (batch, groups, 1, inputs, height, width, size, size))
        whole = (batch, groups, own, inputs, height, width, size, size)
        weights = self.weights((1, groups, own, inputs, 1, 1, size, size))
        product = s.mul(cast(Arg(0, self.kind), I32), cast(Arg(1, weights.dtype), I32))
        total = self.reduce(ops.ADD, self.map(product, self.expand(split, whole), self.expand(weights, whole)), (3, 6, 7))
        return self.reshape(total, (batch, outputs, height, width))

    def weights(self, shape: tuple[int, ...]) -> Node:
        if self.zero_point is None:
            return self.constant(self.rng.integers(-128, 128, shape).astype(np.int8))
        return self.constant((self.rng.integers(0, 256, shape) - self.zero_point).astype(np.int16))

    def narrowed(self, total: Node) -> Node:
        """The sums as bytes again."""
        scaled = s.round_half_even(s.mul(cast(Arg(0, I32), F32), Lit(2.0**-10, F32)))
        low = int(self.kind.lowest)
        return self.map(cast(s.clip(scaled, low, low + 255), self.kind), total)


def two_layers(kind: DType, channels: int, groups: int = 1, size: int = 3) -> Graph:
    net = Bytes(kind)
    x = net.bytes(1, channels, 6, 7)
    y = net.narrowed(net.summed(x, 32, size, groups, at_edges=5))
    return fold(net.graph(net.summed(y, 16, 1), net.map(cast(Arg(0, kind), F32), y)))


def given(graph: Graph) -> dict[str, npt.NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    lows = {node: int(node.dtype.lowest) for node in graph.inputs}
    return {node.name: rng.integers(low, low + 256, node.shape).astype(node.dtype.numpy) for node, low in lows.items()}


@pytest.mark.parametrize(("kind", "wanted"), [(I8, U8), (U8, I8)], ids=str)
@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (20, 2)])
def test_bytes_of_the_other_sign_give_the_same_sums(kind: DType, wanted: DType, channels: int, groups: int) -> None:
    graph = two_layers(kind, channels, groups)
    after = signs(graph, wanted)
    verify_graph(after)
    sums = [node for node in after.nodes() if isinstance(node, Reduce)]
    assert len(sums) == 2
    assert all([source.dtype for source in node.source.sources] == [wanted, I8] for node in sums)  # type: ignore[union-attr]
    for name, value in run_graph(graph, given(graph)).items():
        np.testing.assert_array_equal(run_graph(after, given(graph))[name], value)


@pytest.mark.parametrize("kind", [U8, I8], ids=str)
def test_bytes_of_the_right_sign_are_left_alone(kind: DType) -> None:
    graph = two_layers(kind, 8)
    assert signs(graph, kind) is graph


@pytest.mark.parametrize("kind", [U8, I8], ids=str)
@pytest.mark.parametrize("zero_point", [0, 120, 255])
def test_weights_of_nine_bits_become_signed_bytes(kind: DType, zero_point: int) -> None:
    b = Bytes(kind, zero_point)
    graph = b.graph(b.summed(b.bytes(1, 20, 9, 7), 32, 3, 1, 3))
    after = centre(graph)
    verify_graph(after)
    products = [sources(node.source) for node in after.nodes() if isinstance(node, Reduce)]
    assert [tuple(source.dtype for source in product) for product in products] == [(kind, I8), (kind,)]
    for name, value in run_graph(graph, given(graph)).items():
        np.testing.assert_array_equal(run_graph(after, given(graph))[name], value)


def test_weights_that_share_no_sum_are_left_alone() -> None:
    """Depthwise: the sum over the other operand would take as long as the products."""
    b = Bytes(U8, 120)
    graph = b.graph(b.summed(b.bytes(1, 16, 9, 7), 16, 3, 16, 3))
    assert centre(graph) is graph


@pytest.mark.parametrize("extent", [4, 9, 10])
def test_words_of_signed_bytes_sum_the_same(extent: int) -> None:
    draw = np.random.default_rng(extent)
    x, w = (draw.integers(-128, 128, 64).astype(np.int8) for _ in range(2))
    plain = parse_kernel(f"""kernel k(write y: i32[64], read x: i8[64], read w: i8[64]) {{
      for i < 3 {{ for j < 4 {{
        alloc acc: i32[1] register
        acc[0] = 0:i32
        for k < {extent} {{ acc[0] = acc[0] + i32(x[i * 10 + k]) * i32(w[k * 4 + j]) }}
        y[i * 4 + j] = acc[0]
      }} }}
    }}""")
    for steps in ((Dot("k", "w"),), (Dot("k", "w"), Vectorize("j"), Pack("w")), (Dot("k", "w"), Reorder(("j", "i")), Pack("w"))):
        made = apply(plain, steps)
        verify_kernel(made.kernel)
        assert "dot4s(" in print_kernel(made.kernel)
        results = []
        for kernel, data in ((plain, w), (made.kernel, rearranged(w, made.packings["w"]))):
            y = np.zeros(64, np.int32)
            run_kernel(kernel, {"y": y, "x": x, "w": data})
            results.append(y)
        np.testing.assert_array_equal(*results)


def assembly(graph: Graph, target: Target) -> str:
    return emit_assembly(compile_graph(graph, target), target, EmitOptions())


@pytest.mark.parametrize("kind", [U8, I8], ids=str)
@pytest.mark.parametrize("channels", [3, 16])
def test_the_instructions_are_used_where_they_are(kind: DType, channels: int) -> None:
    graph = two_layers(kind, channels)
    assert assembly(graph, X86_V4_BF16).count("vpdpbusd") > 20
    assert assembly(graph, CORTEX_A76).count("sdot") > 20
    assert "vpdpbusd" not in assembly(graph, X86_V3)
    assert "sdot" not in assembly(graph, CORTEX_A75)


def test_the_loop_on_aarch64_is_loads_and_products() -> None:
    net = Bytes(I8)
    text = assembly(fold(net.graph(net.narrowed(net.summed(net.bytes(1, 64, 14, 14), 64, 3)))), CORTEX_A76)
    loops = [[line.split()[0] for line in block.split("b.ne")[0].splitlines() if line.strip()] for block in text.split("\n.LBB")]
    inner = max(loops, key=lambda loop: loop.count("sdot"))
    assert inner.count("sdot") >= 14
    assert len(inner) <= 2 * inner.count("sdot")
    assert "str" not in inner  # nothing is spilled


@pytest.mark.parametrize("kind", [U8, I8], ids=str)
@pytest.mark.parametrize(("channels", "groups", "size"), [(3, 1, 3), (3, 1, 7), (1, 1, 5), (19, 1, 3), (20, 2, 1), (32, 32, 3)])
@pytest.mark.parametrize("name", ["cpu", "c", "c:avx512", "c:neon"])
def test_compiled_sums_are_exact(kind: DType, channels: int, groups: int, size: int, name: str, tmp_path: Path) -> None:
    graph = two_layers(kind, channels, groups, size)
    target = resolve(name)
    for file, content in emit(compile_graph(graph, target), target, EmitOptions()).items():
        (tmp_path / file).write_bytes(content)
    for output, value in load(tmp_path).run(given(graph)).items():
        np.testing.assert_array_equal(value, run_graph(graph, given(graph))[output])


@pytest.mark.parametrize("kind", [U8, I8], ids=str)
def test_sums_on_aarch64_under_qemu(kind: DType, tmp_path: Path) -> None:
    cc, qemu = compiler("aarch64-linux-gnu-gcc"), compiler("qemu-aarch64", "qemu-aarch64-static")
    graph = two_layers(kind, 19)
    program = compile_graph(graph, CORTEX_A76)
    found = run_linked(program, CORTEX_A76, tmp_path, cc, ("-static",), (qemu, "-cpu", "max"))
    for name, value in run_graph(graph, inputs_of(program)).items():
        np.testing.assert_array_equal(found[name], value)
