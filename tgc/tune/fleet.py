"""A fleet of machines through Dask: each task in a process of its own on some worker; what one that dies had to do another does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tgc
from tgc.errors import OptionError
from tgc.tune.evaluate import Outcome, Task
from tgc.tune.pool import Evaluate, evaluate_apart

CONNECT_SECONDS = 10
RETRIES = 2


def version() -> str:
    """The version of tgc, asked of every worker."""
    return tgc.__version__


@contextmanager
def fleet(address: str) -> Iterator[Evaluate]:
    """The workers of the Dask scheduler at `address`. Raises OptionError where it cannot be reached or a worker has another tgc."""
    try:
        import distributed
    except ImportError as error:
        raise OptionError("needs Dask, which is not installed", "--scheduler", "pip install 'tgc[fleet]'") from error
    connect: Any = distributed.Client
    try:
        client: Any = connect(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise OptionError(f"there is no scheduler at {address!r}: {error}", "--scheduler", "start one with dask scheduler") from error

    finished: Any = distributed.as_completed

    def all_of(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        futures = {client.submit(evaluate_apart, task, pure=False, retries=RETRIES): number for number, task in enumerate(tasks)}
        try:
            for future in finished(futures):
                error = future.exception()
                yield futures[future], Outcome("failed", why=f"{type(error).__name__}: {error}") if error else future.result()
        finally:
            client.cancel(list(futures))  # those that nobody waits for any more

    try:
        _require_alike(client)
        yield all_of
    finally:
        client.close()


def _require_alike(client: Any) -> None:
    found = client.run(version)
    if not found:
        raise OptionError("the scheduler has no workers", "--scheduler", "start some with dask worker")
    other = sorted({f"{where}: {there}" for where, there in found.items() if there != tgc.__version__})
    if other:
        raise OptionError(f"workers have another tgc than this, {tgc.__version__}: {', '.join(other)}", "--scheduler")
