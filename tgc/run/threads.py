"""A pool of threads out of templates/runtime/tgc_threads.c, for models that were compiled with --threads."""

from __future__ import annotations

import ctypes as c
import weakref

import numpy as np

from tgc.errors import TgcError
from tgc.run.abi import STATUS
from tgc.targets import MOST_THREADS

__all__ = ["MOST_THREADS", "Pool"]
_ALIGNMENT = 64


class Pool:
    """Threads that wait for work until the pool is gone. parallel: the address of its `tgc_parallel`."""

    def __init__(self, library: c.CDLL, threads: int) -> None:
        """Starts `threads` threads, the calling one among them. Raises TgcError where the system makes no more."""
        library.tgc_threads_bytes.restype = c.c_uint64
        library.tgc_threads_parallel.restype = c.c_void_p
        size = int(library.tgc_threads_bytes())
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        start = memory.ctypes.data + -memory.ctypes.data % _ALIGNMENT
        pool = c.c_void_p()
        status = library.tgc_threads_start(c.byref(pool), c.c_void_p(start), c.c_uint64(size), c.c_int32(threads))
        if status != 0:
            raise TgcError(f"{threads} threads could not be started: {STATUS[status]}")
        self.parallel = int(library.tgc_threads_parallel(pool))
        weakref.finalize(self, _stop, library, pool, memory)


def _stop(library: c.CDLL, pool: c.c_void_p, memory: object) -> None:
    assert memory is not None, "kept until the threads have ended"
    library.tgc_threads_stop(pool)
