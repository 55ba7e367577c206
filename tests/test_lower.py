"""Regions as loop nests: what they look like before they are scheduled."""

import numpy as np
import pytest
from small_networks import Net

from tgc.ir import ops
from tgc.ir.dtypes import F32, I8, I32, I64, U8, U64, DType
from tgc.ir.expr import Arg, Coordinate, Lit, apply, cast
from tgc.ir.graph import Graph, Node
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.ops import Op
from tgc.ir.partition import Fill, Region
from tgc.ir.text import parse_kernel, print_kernel
from tgc.ir.verify import verify_program
from tgc.passes import compile_graph
from tgc.passes.fold import fold
from tgc.passes.layout import layout
from tgc.passes.lower import lower
from tgc.passes.lower_alike import Lowerings
from tgc.passes.lower_fill import lower_fill
from tgc.passes.merge_pads import merge_pads
from tgc.passes.partition import partition
from tgc.targets import OPENCL, RISCV64, X86_V3, Target


def lowered(graph: Graph) -> list[str]:
    """The text of each kernel in turn, without its first and last line and the indentation."""
    plan = layout(partition(merge_pads(fold(graph))))
    kernels = [(lower_fill(step, plan) if isinstance(step, Fill) else lower(step, plan)).kernel for step in plan.steps]
    return [body(print_kernel(kernel)) for kernel in kernels]


def body(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines()[1:-1])


def statements(text: str) -> str:
    """The same of kernel text written here; buffers may have any size."""
    names = ", ".join(f"{'write' if name == 'out' else 'read'} {name}: f32[999]" for name in ("out", "a1", "a2", "w2", "w3"))
    return body(print_kernel(parse_kernel(f"kernel kernel({names}) {{\n{text}\n}}")))


def test_a_convolution_reads_its_halo_without_a_test() -> None:
    net = Net()
    x = net.relu(net.conv(net.image(1, 4, 3, 3), 6, 1, pad=0))
    first, halo, second, out = lowered(net.graph(net.relu(net.conv(x, 4))))
    assert first == statements("""
        for i4 < 3 { for i5 < 3 { for i2 < 6 {
          alloc acc0: f32[1] register
          acc0[0] = 0.0
          for k0_3 < 4 { acc0[0] = acc0[0] + a1[k0_3 * 9 + i4 * 3 + i5] * w2[i2 * 4 + k0_3] }
          out[i4 * 30 + i5 * 6 + i2] = max(acc0[0] + w3[i2], 0.0)
        } } }""")
    assert halo == statements("""
        for i0_3 < 5 { for i0_1 < 6 { out[i0_3 * 6 + i0_1] = 0.0 } }
        for i1_3 < 5 { for i1_1 < 6 { out[i1_3 * 6 + i1_1 + 120] = 0.0 } }
        for i2_2 < 3 { for i2_1 < 6 { out[i2_2 * 30 + i2_1 + 30] = 0.0 } }
        for i3_2 < 3 { for i3_1 < 6 { out[i3_2 * 30 + i3_1 + 54] = 0.0 } }""")
    assert second == statements("""
        for i4 < 3 { for i5 < 3 { for i2 < 4 {
          alloc acc0: f32[1] register
          acc0[0] = 0.0
          for k0_3 < 6 { for k0_6 < 3 { for k0_7 < 3 {
            acc0[0] = acc0[0] + a1[i4 * 30 + k0_6 * 30 + i5 * 6 + k0_7 * 6 + k0_3] * w2[i2 * 54 + k0_3 * 9 + k0_6 * 3 + k0_7]
          } } }
          out[i4 * 12 + i5 * 4 + i2] = max(acc0[0] + w3[i2], 0.0)
        } } }""")
    assert out == statements("for i1 < 4 { for i2 < 3 { for i3 < 3 { out[i1 * 9 + i2 * 3 + i3] = a1[i2 * 12 + i3 * 4 + i1] } } }")


def test_a_softmax_is_three_loops_a_row() -> None:
    net = Net()
    assert lowered(net.graph(net.softmax(net.image(5, 16)))) == [
        statements("""
        for i0 < 5 {
          alloc acc0: f32[1] register
          acc0[0] = -inf
          for k0_1 < 16 { acc0[0] = max(acc0[0], a1[i0 * 16 + k0_1]) }
          alloc acc1: f32[1] register
          acc1[0] = 0.0
          for k1_1 < 16 { acc1[0] = acc1[0] + exp2(a1[i0 * 16 + k1_1] + acc0[0] * -1.0) }
          for i1 < 16 { out[i0 * 16 + i1] = exp2(a1[i0 * 16 + i1] + acc0[0] * -1.0) / acc1[0] }
        }""")
    ]


def test_a_channel_shuffle_is_part_of_the_index() -> None:
    net = Net()
    x = net.image(1, 6, 4)
    shuffled = net.reshape(net.permute(net.reshape(x, (1, 2, 3, 4)), (0, 2, 1, 3)), (1, 6, 4))
    (text,) = lowered(net.graph(net.relu(shuffled)))
    assert text == statements("for i1 < 6 { for i2 < 4 { out[i1 * 4 + i2] = max(a1[i1 / 2 * -20 + i1 * 12 + i2], 0.0) } }")


def test_a_gather_clamps_what_it_cannot_know() -> None:
    net = Net()
    table, at = net.image(10, 4), net.input("at", I64, (3, 4))
    net.inputs.append(at)
    column = net.map(cast(Coordinate(1), I64), shape=(3, 4))
    (text,) = lowered(net.graph(net.gather(table, (at, column), (3, 4))))
    assert text.splitlines()[3] == "out[$0] = a2[index(where(max(a1[$0], 0:i64) < 9:i64, max(a1[$0], 0:i64), 9:i64)) * 4 + i1]"


@pytest.mark.parametrize("dtype", [I8, U8, I32, U64], ids=str)
def test_coordinates_wrap_in_their_own_type(dtype: DType) -> None:
    """300 positions do not fit 8 bits; 2^64 - 1 is beyond the end, not before the beginning."""
    net = Net()
    far = net.map(apply(ops.MUL, cast(Coordinate(0), dtype), Lit(101, dtype)), shape=(300,))
    picked = net.gather(net.image(300), (far,), (300,))
    again = net.gather(net.constant(np.arange(300, dtype=np.float32)), (net.map(cast(Coordinate(0), dtype), shape=(300,)),), (300,))
    graph = net.graph(picked, again, net.gather(net.inputs[0], (net.constant(np.full(2, -1).astype(dtype.numpy)),), (2,)))
    inputs = {"x0": np.arange(300, dtype=np.float32)}
    for target in (RISCV64, X86_V3):
        for name, found in run_program(compile_graph(graph, target), inputs).items():
            np.testing.assert_array_equal(found, run_graph(graph, inputs)[name], err_msg=name)


def test_a_gather_at_known_places_is_a_view() -> None:
    net = Net()
    rows = net.map(cast(apply(ops.ADD, Coordinate(0), Lit(2, Coordinate(0).dtype)), I64), shape=(3, 4))
    column = net.map(cast(Coordinate(1), I64), shape=(3, 4))
    (text,) = lowered(net.graph(net.gather(net.image(10, 4), (rows, column), (3, 4))))
    assert text == statements("for i0 < 3 { for i1 < 4 { out[i0 * 4 + i1] = a1[i0 * 4 + i1 + 8] } }")


def test_constants_of_one_element_are_literals() -> None:
    net = Net()
    half = net.expand(net.constant(np.full((1, 1), 0.5, np.float32)), (3, 4))
    (text,) = lowered(net.graph(net.add(net.image(3, 4), half)))
    assert text == statements("for i0 < 3 { for i1 < 4 { out[i0 * 4 + i1] = a1[i0 * 4 + i1] + 0.5 } }")


@pytest.mark.parametrize("op", [None, ops.ADD, ops.MAX], ids=str)
@pytest.mark.parametrize("target", [RISCV64, X86_V3, OPENCL], ids=lambda target: target.name)
def test_scatters_at_known_places(op: Op | None, target: Target) -> None:
    """The places are neighbours, as loads are that make vectors; yet each update must see the one before."""
    net = Net()
    x, updates = net.image(40), net.image(3, 21)
    place = net.map(cast(apply(ops.ADD, Coordinate(0), Coordinate(1)), I64), shape=(3, 21))
    graph = net.graph(net.scatter(x, (place,), updates, op))
    program = compile_graph(graph, target)
    verify_program(program)
    inputs = {"x0": np.arange(40, dtype=np.float32), "x1": np.arange(63, dtype=np.float32).reshape(3, 21)}
    np.testing.assert_array_equal(run_program(program, inputs)["y0"], run_graph(graph, inputs)["y0"])


def network(kind: str) -> Graph:
    net = Net()
    x: Node = net.image(1, 4, 3, 3)
    match kind:
        case "a piece of a concat":
            y = net.concat((net.relu(x), net.map(apply(ops.MUL, Arg(0, F32), Lit(3.0, F32)), x)), 1)
        case "a piece reads another":
            first = net.relu(x)
            y = net.concat((first, net.conv(first, 5, 1, pad=0)), 1)
        case "a padded concat":
            y = net.pad(net.concat((x, net.conv(x, 5)), 2 - 1), (0, 1, 0, 2), (0, 0, 1, 0), Lit(7.0, F32))
        case _:
            y = net.pad(net.pad(x, (0, 0, 1, 0), (0, 0, 0, 0), Lit(1.0, F32)), (0, 0, 0, 1), (0, 0, 1, 0), Lit(2.0, F32))
    return net.graph(y)


@pytest.mark.parametrize("kind", ["a piece of a concat", "a piece reads another", "a padded concat", "pads in pads"])
def test_pieces_of_one_block(kind: str) -> None:
    graph = network(kind)
    inputs = {"x0": np.arange(-10, 26, dtype=np.float32).reshape(1, 4, 3, 3)}
    found = run_program(compile_graph(graph, RISCV64), inputs)
    np.testing.assert_array_equal(found["y0"], run_graph(graph, inputs)["y0"])


def test_parameters_are_as_long_as_what_they_hold() -> None:
    net = Net()
    x = net.image(1, 4, 3, 3)
    program = compile_graph(net.graph(net.concat((net.relu(x), net.relu(net.conv(x, 4, 1, pad=0))), 2)), RISCV64)
    sizes = {(call.kernel, argument.storage): argument.start for call in program.calls for argument in call.arguments}
    assert all(start in (0, 9) for (_, storage), start in sizes.items() if storage.startswith("out"))
    for call in program.calls:
        for parameter, argument in zip(program.kernel(call.kernel).parameters, call.arguments, strict=True):
            assert argument.start + parameter.buffer.size <= program.storage(argument.storage).size


def residual(blocks: int) -> Graph:
    """A network that repeats a block of two convolutions and an addition; weights and names differ."""
    net = Net()
    x = net.image(1, 16, 8, 8)
    for _ in range(blocks):
        x = net.add(net.conv(net.relu(net.conv(x, 16)), 16), x)
    return net.graph(x)


def test_regions_that_are_alike_are_lowered_once_and_are_what_they_would_be_alone() -> None:
    plan = layout(partition(merge_pads(fold(residual(8)))))
    regions = [step for step in plan.steps if isinstance(step, Region)]
    lowerings = Lowerings()
    for region in regions:
        again, alone = lowerings.of(region, plan), lower(region, plan)
        assert again.kernel == alone.kernel
        assert again.kernel.origins == alone.kernel.origins
        assert again.bindings == alone.bindings
    assert len(lowerings.known) < len(regions) / 2


@pytest.mark.parametrize("values", [(1.0, 2.0), (1.0, 1.0)])
def test_a_literal_in_the_loop_nest_tells_regions_apart(values: tuple[float, float]) -> None:
    net = Net()
    images = [net.image(1, 4, 4, 4) for _ in values]
    factors = [net.expand(net.constant(np.full((1, 1, 1, 1), value, np.float32)), (1, 4, 4, 4)) for value in values]
    product = apply(ops.MUL, Arg(0, F32), Arg(1, F32))
    plan = layout(partition(net.graph(*(net.map(product, x, factor) for x, factor in zip(images, factors, strict=True)))))
    lowerings = Lowerings()
    kernels = {lowerings.of(step, plan).kernel for step in plan.steps if isinstance(step, Region)}
    assert len(kernels) == len(set(values))
