"""What becomes one kernel, and where results are stored."""

from small_networks import ADDED, PRODUCT, Net

from tgc.ir import ops
from tgc.ir.dtypes import F32, I64
from tgc.ir.expr import Arg, Coordinate, Lit, apply, cast
from tgc.ir.graph import Constant, Graph, Input, Node, Reduce
from tgc.ir.partition import Fill, Partition, Region
from tgc.passes import compile_graph
from tgc.passes.contractions import is_contraction
from tgc.passes.fold import fold
from tgc.passes.merge_pads import merge_pads
from tgc.passes.partition import partition
from tgc.targets import X86_V3


def split(graph: Graph) -> Partition:
    return partition(merge_pads(fold(graph)))


def regions(graph: Graph) -> list[Region]:
    return [step for step in split(graph).steps if isinstance(step, Region)]


def kernels(graph: Graph) -> list[str]:
    """One line a step: the origin of what is computed, and the block and corner it is stored at."""
    made = split(graph)
    lines = []
    for step in made.steps:
        node: Node = step.pad if isinstance(step, Fill) else step.body
        what = "halo" if isinstance(step, Fill) else f"copy of {node.name}" if isinstance(node, Input) else node.origin
        home = made.blocks[step.place.block]
        corner = f" at {list(step.place.low)}" if any(step.place.low) else ""
        lines.append(f"{what} -> {home.role} {list(home.shape)}{corner}")
    return lines


def test_convolution_bias_and_activation_are_one_kernel() -> None:
    net = Net()
    x = net.named("first").relu(net.image(1, 8, 6, 6))
    y = net.named("second").relu(net.conv(x, 16))
    assert kernels(net.graph(y)) == [
        "first -> arena [1, 8, 8, 8] at [0, 0, 1, 1]", "halo -> arena [1, 8, 8, 8]", "second -> output [1, 16, 6, 6]",
    ]  # fmt: skip


def test_a_convolution_writes_into_the_padded_input_of_the_next() -> None:
    net = Net()
    x = net.named("first").relu(net.conv(net.image(1, 8, 6, 6), 16, 1, pad=0))
    y = net.named("second").relu(net.conv(x, 4))
    assert kernels(net.graph(y)) == [
        "first -> arena [1, 16, 8, 8] at [0, 0, 1, 1]", "halo -> arena [1, 16, 8, 8]", "second -> output [1, 4, 6, 6]",
    ]  # fmt: skip


def test_an_input_is_copied_into_its_halo() -> None:
    net = Net()
    y = net.named("conv").conv(net.image(1, 3, 6, 6), 8)
    assert kernels(net.graph(y)) == [
        "copy of x0 -> arena [1, 3, 8, 8] at [0, 0, 1, 1]", "halo -> arena [1, 3, 8, 8]", "conv -> output [1, 8, 6, 6]",
    ]  # fmt: skip


def test_a_residual_sum_joins_the_second_convolution() -> None:
    net = Net()
    x = net.named("first").relu(net.conv(net.image(1, 8, 6, 6), 8, 1, pad=0))
    y = net.named("second").conv(x, 8, 1, pad=0)
    z = net.named("sum").relu(net.add(y, x))
    assert kernels(net.graph(z)) == ["first -> arena [1, 8, 6, 6]", "sum -> output [1, 8, 6, 6]"]


def test_rows_are_one_kernel() -> None:
    for layer in ("softmax", "layer_norm"):
        net = Net()
        y = getattr(net, layer)(net.image(2, 5, 16))
        assert len(regions(net.graph(y))) == 1, layer


def test_pointwise_work_is_done_where_it_is_read() -> None:
    """Normalising an image costs no kernel: it is done while the halo's inside is written."""
    net = Net()
    scaled = net.named("scale").map(apply(ops.MUL, apply(ops.ADD, Arg(0, F32), Lit(-3.0, F32)), Lit(0.5, F32)), net.image(1, 3, 6, 6))
    y = net.named("conv").conv(scaled, 8)
    assert kernels(net.graph(y)) == [
        "scale -> arena [1, 3, 8, 8] at [0, 0, 1, 1]", "halo -> arena [1, 3, 8, 8]", "conv -> output [1, 8, 6, 6]",
    ]  # fmt: skip


def test_expensive_work_is_not_repeated_for_every_output_channel() -> None:
    net = Net()
    powers = net.named("powers").map(apply(ops.EXP2, Arg(0, F32)), net.image(1, 8, 6, 6))
    y = net.named("conv").conv(powers, 16, 1, pad=0)
    assert kernels(net.graph(y)) == ["powers -> arena [1, 8, 6, 6]", "conv -> output [1, 16, 6, 6]"]


def test_concat_is_written_in_place() -> None:
    net = Net()
    x = net.named("stem").relu(net.conv(net.image(1, 8, 6, 6), 8, 1, pad=0))
    left = net.named("left").relu(net.conv(x, 8, 1, pad=0))
    right = net.named("right").relu(net.conv(x, 16, 1, pad=0))
    y = net.named("end").conv(net.concat((left, right), 1), 4, 1, pad=0)
    assert kernels(net.graph(y)) == [
        "stem -> arena [1, 8, 6, 6]", "left -> arena [1, 24, 6, 6]", "right -> arena [1, 24, 6, 6] at [0, 8, 0, 0]",
        "end -> output [1, 4, 6, 6]",
    ]  # fmt: skip


def test_nested_concats_are_one_block() -> None:
    """DenseNet: each layer reads all that the earlier ones wrote, and writes beside it."""
    net = Net()
    x = net.named("c0").relu(net.conv(net.image(1, 8, 6, 6), 8, 1, pad=0))
    for number in (1, 2):
        x = net.concat((x, net.named(f"c{number}").relu(net.conv(x, 8, 1, pad=0))), 1)
    assert kernels(net.graph(net.named("end").conv(x, 4, 1, pad=0))) == [
        "c0 -> arena [1, 24, 6, 6]", "c1 -> arena [1, 24, 6, 6] at [0, 8, 0, 0]", "c2 -> arena [1, 24, 6, 6] at [0, 16, 0, 0]",
        "end -> output [1, 4, 6, 6]",
    ]  # fmt: skip


def test_channel_shuffle_costs_nothing() -> None:
    net = Net()
    x = net.named("first").relu(net.conv(net.image(1, 8, 6, 6), 8, 1, pad=0))
    shuffled = net.reshape(net.permute(net.reshape(x, (1, 2, 4, 6, 6)), (0, 2, 1, 3, 4)), (1, 8, 6, 6))
    y = net.named("second").conv(shuffled, 4, 1, pad=0)
    assert kernels(net.graph(y)) == ["first -> arena [1, 8, 6, 6]", "second -> output [1, 4, 6, 6]"]


def test_outputs_that_are_no_computation_of_their_own_are_copied() -> None:
    net = Net()
    x = net.image(2, 3)
    weight = net.named("weight").weight(4)
    y = net.named("y").relu(x)
    view = net.named("view").permute(y, (1, 0))
    assert kernels(net.graph(y, y, x, weight, view)) == [
        "copy of x0 -> output [2, 3]", "y -> output [2, 3]", "y -> output [2, 3]", "weight -> output [4]", "view -> output [3, 2]",
    ]  # fmt: skip


def test_what_nothing_reads_is_not_computed() -> None:
    net = Net()
    x, _ = net.image(4), net.image(5)
    net.relu(x)
    assert kernels(net.graph(net.named("y").map(ADDED, x, x))) == ["y -> output [4]"]


def test_a_gather_is_done_where_it_is_read() -> None:
    net = Net()
    table = net.image(10, 4)
    rows = net.map(cast(Coordinate(0), I64), shape=(3, 4))
    columns = net.map(cast(Coordinate(1), I64), shape=(3, 4))
    picked = net.gather(table, (rows, columns), (3, 4))
    assert kernels(net.graph(net.named("y").relu(picked))) == ["y -> output [3, 4]"]


def test_coordinates_may_be_a_contraction() -> None:
    """Its epilogue then is a gather."""
    net = Net()
    table, x = net.image(9), net.image(4, 6)
    at = net.map(cast(Arg(0, F32), I64), net.matmul(x, net.weight(6, 5)))
    graph = net.graph(net.named("y").gather(table, (at,), (4, 5)))
    assert kernels(graph) == ["y -> output [4, 5]"]
    assert len(compile_graph(graph, X86_V3).kernels) == 1


def test_contractions_are_sums_of_products_that_use_something_twice() -> None:
    net = Net()
    x, y = net.image(4, 6), net.image(6, 5)
    product = net.matmul(x, y)
    assert not isinstance(product, Reduce)
    assert is_contraction(product.source)  # type: ignore[union-attr]
    dot = net.reduce(ops.ADD, net.map(PRODUCT, x, x), (1,))
    assert isinstance(dot, Reduce)
    assert not is_contraction(dot)
    largest = net.reduce(ops.MAX, x, (1,))
    assert isinstance(largest, Reduce)
    assert not is_contraction(largest)
    assert isinstance(net.weight(2), Constant)
