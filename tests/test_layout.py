"""The order of axes of every block, and the copies that it needs."""

from small_networks import Net

from tgc.ir import ops
from tgc.ir.dtypes import F32
from tgc.ir.expr import Lit
from tgc.ir.graph import Expand, Graph, Node, Permute, Reshape
from tgc.ir.partition import Fill, Partition, Region
from tgc.passes.layout import layout
from tgc.passes.partition import partition
from tgc.passes.winograd import winograd


def laid_out(graph: Graph) -> Partition:
    return layout(partition(graph))


def axes(plan: Partition, node: Node) -> str:
    """The names of the axes of the block in which `node` is, from the slowest to the fastest; N, C, H, W by number."""
    return "".join("NCHW"[axis] for axis in plan.blocks[plan.places[node].block].order)


def views(plan: Partition) -> list[Region]:
    """The regions that only move data."""
    moved = [step for step in plan.steps if isinstance(step, Region) and step.contraction is None]
    return [region for region in moved if isinstance(region.body, (Reshape, Permute, Expand))]


def test_channels_are_last_inside_and_first_outside() -> None:
    net = Net()
    first = net.relu(net.conv(net.image(1, 8, 6, 6), 16, 1, pad=0))
    second = net.relu(net.conv(first, 12, 1, pad=0))
    plan = laid_out(net.graph(second))
    assert axes(plan, first) == "NHWC"
    assert axes(plan, second) == "NHWC"
    body, copy = plan.steps[-2:]
    assert isinstance(body, Region)
    assert isinstance(copy, Region)
    assert body.contraction is not None
    assert copy.contraction is None
    assert plan.blocks[copy.place.block].role == "output"
    assert plan.blocks[copy.place.block].order == (0, 1, 2, 3)


def test_a_matrix_product_goes_straight_to_the_output() -> None:
    net = Net()
    plan = laid_out(net.graph(net.matmul(net.relu(net.matmul(net.image(4, 8), net.weight(8, 16))), net.weight(16, 3))))
    assert len(plan.steps) == 2


def test_pointwise_work_follows_what_it_reads() -> None:
    net = Net()
    x = net.conv(net.image(1, 8, 6, 6), 16, 1, pad=0)
    pooled = net.relu(net.reduce(ops.ADD, net.relu(x), (2, 3)))
    gated = net.relu(net.add(x, net.expand(pooled, x.shape)))
    plan = laid_out(net.graph(net.conv(gated, 4, 1, pad=0)))
    assert axes(plan, x) == "NHWC"
    assert all(axes(plan, node) == "NHWC" for node in plan.places if node.shape == x.shape)


def test_a_depthwise_convolution_keeps_channels_last() -> None:
    net = Net()
    x = net.relu(net.conv(net.image(1, 8, 6, 6), 16, 1, pad=0))
    y = net.relu(net.conv(x, 16, groups=16))
    plan = laid_out(net.graph(net.conv(y, 8, 1, pad=0)))
    assert axes(plan, x) == "NHWC"
    assert axes(plan, y) == "NHWC"
    assert not views(plan)


def test_a_halo_is_in_the_block_of_what_it_surrounds() -> None:
    net = Net()
    plan = laid_out(net.graph(net.conv(net.conv(net.image(1, 8, 6, 6), 16, 1, pad=0), 4)))
    halo = next(step for step in plan.steps if isinstance(step, Fill))
    assert plan.blocks[halo.place.block].order == (0, 2, 3, 1)


def heads(net: Net, x: Node) -> Node:
    return net.permute(net.reshape(x, (1, 5, 3, 8)), (0, 2, 1, 3))


def test_keys_are_copied_once_and_queries_are_not() -> None:
    net = Net()
    q, k, v = (net.matmul(net.image(1, 5, 24), net.weight(24, 24)) for _ in range(3))
    scores = net.matmul(heads(net, q), net.permute(heads(net, k), (0, 1, 3, 2)))
    mixed = net.matmul(net.softmax(scores), heads(net, v))
    out = net.matmul(net.reshape(net.permute(mixed, (0, 2, 1, 3)), (1, 5, 24)), net.weight(24, 24))
    plan = laid_out(net.graph(out))
    (copy,) = views(plan)
    assert copy.body.shape == (1, 3, 8, 5)
    at = plan.steps.index(copy)
    assert any(isinstance(step, Region) and step.contraction is not None for step in plan.steps[:at])


def test_a_copy_comes_after_every_piece_that_it_reads() -> None:
    """The second operand is a concat whose pieces are written one by one, long after the first layout is known."""
    net = Net()
    a, b = net.image(1, 5, 8), net.image(1, 3, 8)
    keys = net.concat((net.relu(a), net.softmax(b)), 1)
    product = net.matmul(net.relu(a), net.permute(keys, (0, 2, 1)))
    plan = laid_out(net.graph(product))
    (copy,) = views(plan)
    written = [plan.steps.index(step) for step in plan.steps if step.place.block == plan.places[keys].block]
    assert len(written) == 2
    assert max(written) < plan.steps.index(copy)


def test_an_output_that_is_read_again_is_copied_from_after_it_is_written() -> None:
    net = Net()
    keys = net.relu(net.image(1, 6, 8))
    product = net.matmul(net.image(1, 4, 8), net.permute(keys, (0, 2, 1)))
    plan = laid_out(net.graph(keys, product))
    (copy,) = views(plan)
    written = next(at for at, step in enumerate(plan.steps) if step.place.block == plan.places[keys].block)
    assert written < plan.steps.index(copy)


def test_inputs_and_outputs_stay_row_major() -> None:
    net = Net()
    x = net.image(1, 8, 6, 6)
    padded = net.pad(net.relu(net.conv(x, 8)), (0, 0, 1, 1), (0, 0, 1, 1), Lit(1.0, F32))
    plan = laid_out(net.graph(padded, net.conv(padded, 4, 1, pad=0)))
    assert all(block.order == tuple(range(len(block.shape))) for block in plan.blocks.values() if block.role != "arena")


def test_channels_stay_last_behind_tiles_that_a_pool_reads() -> None:
    """The transform from Winograd's points is stored in tiles, [1, n, y, 4, x, 4, o], none of which its operand has: 4 counts places."""
    net = Net()
    made = net.conv(net.image(1, 16, 64, 64), 16)
    windows = net.window(net.window(made, 2, 3, 2), 3, 3, 2)
    pooled = net.reduce(ops.MAX, windows, (4, 5))
    plan = laid_out(winograd(net.graph(net.conv(net.reshape(pooled, pooled.shape[:4]), 8, 1, pad=0)), "4", 1 << 20))
    stored = [step for step in plan.steps if isinstance(step, Region) and plan.blocks[step.place.block].role == "arena"]
    tiles = next(step for step in stored if len(step.body.shape) == 7)
    assert plan.blocks[tiles.place.block].order[-1] == 6, "the tiles"
    behind = next(step for step in stored[stored.index(tiles) + 1 :] if step.contraction is None)
    assert plan.blocks[behind.place.block].order[-1] == 1, "the pool"
