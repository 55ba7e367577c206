"""Repeats: which values of a row are worth keeping, since two loops over it would compute them one after the other.

The exponentials of a softmax are the case in point: they are added up, and then each is divided by the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from tgc.ir.kernel import For, Statement
from tgc.ir.schedule import Keep
from tgc.ir.work import operations
from tgc.passes.schedule.keep import alike
from tgc.passes.schedule.loops import parts

LEAST_WORK = 6  # operations that cost more than a store and two loads
MOST_BYTES = 1 << 14  # of a row: what is kept stays in the first cache, beside what it is made of, and is on a thread's stack
MOST_PARTS = 64  # of a block, that are compared with each other


def repeats(inner: Statement) -> Iterator[Keep]:
    """The pairs of loops among the parts of `inner`, each loop in one pair at most, that compute the same for much."""
    body, taken = parts(inner), set[str]()
    if len(body) > MOST_PARTS:
        return
    for position, first in enumerate(body):
        for later, again in enumerate(body[position + 1 :], position + 1):
            if not (isinstance(first, For) and isinstance(again, For)) or {first.var.name, again.var.name} & taken:
                continue
            value = alike(first, again, body[position + 1 : later])
            if value is not None and operations(value) >= LEAST_WORK and value.dtype.bytes * first.extent <= MOST_BYTES:
                taken |= {first.var.name, again.var.name}
                yield Keep(first.var.name, again.var.name)
