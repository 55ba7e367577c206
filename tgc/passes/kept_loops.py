"""Kept loops: what a compiler would write out, and then has no registers for, stays a loop.

Mesa's compiler for the Adreno writes out inner loops of up to MOST_TRIPS iterations and MOST_WRITTEN operations in all of them
(`max_unroll_iterations` and LOOP_UNROLL_LIMIT in its sources), and loads what they read before it adds up. How many operations
a multiply-add and a read are there, and when that spills, was fitted to the machine code of 400 kernels: where this is more than REGISTERS,

    iterations * (texels + ELEMENT * elements one by one) + sums + texels that are read for the results

sums counting CARRIED times where a loop around it carries them along, and halves as much as floats: there are names for no more of them.
The loop's kind becomes `kept` there, which is printed so that its first iteration is not known while compiling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tgc.ir.dtypes import F16
from tgc.ir.expr import Expr, Load
from tgc.ir.kernel import Block, For, If, Kernel, Statement, Store
from tgc.ir.rewrite import expressions, statements, walk
from tgc.ir.texels import TEXEL, texel_at, texel_of

MOST_TRIPS = 32
MOST_WRITTEN = 32 * 26
UPDATE = TEXEL_READ = 2.4  # operations
FLOAT_LOAD, HALF_LOAD = 0.5, 3.0  # the same for an element of a buffer; a half is converted
REGISTERS = 115
ELEMENT, CARRIED = 1.5, 3.0


@dataclass(frozen=True, slots=True)
class Reads:
    """What a statement reads: distinct texels of images, and elements of buffers, of which some are halves."""

    texels: int
    elements: int
    halves: int

    @property
    def operations(self) -> float:
        return TEXEL_READ * self.texels + HALF_LOAD * self.halves + FLOAT_LOAD * (self.elements - self.halves)


def keep_loops(kernel: Kernel) -> Kernel:
    """`kernel` with the loops that shall stay loops marked."""
    return replace(kernel, body=_marked(kernel.body, reads(kernel.body), False))


def _marked(statement: Statement, whole: Reads, carried: bool) -> Statement:
    """`whole`: what the kernel reads. carried: whether a loop is around the statement."""
    match statement:
        case For(var, extent, body, kind):
            inner = any(isinstance(part, For) for part in statements(body))
            kept = kind == "serial" and not inner and spills(extent, body, whole, carried)
            return For(var, extent, _marked(body, whole, carried or kind == "serial"), "kept" if kept else kind)
        case If(condition, body):
            return If(condition, _marked(body, whole, carried))
        case Block(body):
            return Block(tuple(_marked(part, whole, carried) for part in body))
        case _:
            return statement


def spills(trips: int, body: Statement, whole: Reads, carried: bool) -> bool:
    """Whether a loop over `body` would be written out, and spill."""
    updates = [part for part in statements(body) if isinstance(part, Store) and part.buffer.space == "register"]
    read = reads(body)
    if trips > MOST_TRIPS or trips * (UPDATE * len(updates) + read.operations) > MOST_WRITTEN:
        return False
    sums = {(update.buffer, update.index) for update in updates}
    width = max((index.lanes for _, index in sums), default=1) / TEXEL
    taken = trips * (read.texels + ELEMENT * width * read.elements) + (CARRIED if carried else 1.0) * width * len(sums)
    return taken + whole.texels - read.texels > REGISTERS


def reads(body: Statement) -> Reads:
    """The texels and elements that `body` reads in one iteration."""
    loads = {e for e in walk(*expressions(body)) if isinstance(e, Load)}
    texels = {(e.buffer, _texel(e)) for e in loads if e.buffer.space == "image"}
    elements = [e.buffer for e in loads if e.buffer.space in ("global", "constant")]
    return Reads(len(texels), len(elements), sum(buffer.dtype == F16 for buffer in elements))


def _texel(load: Load) -> Expr:
    """The index of the texel that `load` reads of, whole or one element."""
    found = texel_of(load.index)
    return found[0] if load.lanes == 1 and found is not None else texel_at(load.index) or load.index
