"""Lower a fill: the halo of a padded block as stores of the pad's value."""

from __future__ import annotations

from tgc.ir import index as ix
from tgc.ir.expr import Buffer, Var
from tgc.ir.graph import Pad
from tgc.ir.kernel import For, Kernel, Parameter, Statement, Store, block
from tgc.ir.partition import Fill, Lowered, Partition, binding


def lower_fill(fill: Fill, partition: Partition) -> Lowered:
    """Stores of the pad's value around what it pads: for each axis the slab before and the slab after."""
    pad, target = fill.pad, partition.blocks[fill.place.block]
    strides = target.strides()
    size = 1 + sum(stride * (extent - 1) for stride, extent in zip(strides, pad.shape, strict=True))
    out = Buffer("out", pad.dtype, size)
    nests: list[Statement] = []
    for axis in range(len(pad.shape)):
        for first, count in ((0, pad.low[axis]), (pad.shape[axis] - pad.high[axis], pad.high[axis])):
            if count:
                nests.append(_slab(pad, target.order, strides, axis, first, count, out, len(nests)))
    layout = "x".join(str(pad.shape[axis]) for axis in target.order)
    kernel = Kernel("kernel", (Parameter(out, "write", layout),), block(*nests), (pad.origin,) if pad.origin else ())
    return Lowered(kernel, (binding(target, fill.place),))


def _slab(
    pad: Pad, order: tuple[int, ...], strides: tuple[int, ...], axis: int, first: int, count: int, out: Buffer, number: int
) -> Statement:
    """The halo along `axis`: earlier axes over the inside only, since their own slabs cover the rest."""
    offset = ix.constant(first * strides[axis])
    loops: list[tuple[Var, int]] = []
    for other in order:
        low = pad.low[other] if other < axis else 0
        extent = count if other == axis else pad.source.shape[other] if other < axis else pad.shape[other]
        var = Var(f"i{number}_{other}")
        offset = offset + (ix.axis(var, extent) + low) * strides[other]
        if extent != 1:
            loops.append((var, extent))
    body: Statement = Store(out, ix.to_expr(offset), pad.value)
    for var, extent in reversed(loops):
        body = For(var, extent, body)
    return body
