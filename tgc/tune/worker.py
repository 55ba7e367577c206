"""A worker process: takes pickled tasks on standard input, answers with outcomes. What crashes it costs one task.

Each message is its length in eight bytes, little-endian, and then a pickle. Both ends are tgc, of one version, and one started the other.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO

from tgc.tune.evaluate import evaluate


def send(stream: IO[bytes], value: object) -> None:
    content = pickle.dumps(value)
    stream.write(len(content).to_bytes(8, "little") + content)
    stream.flush()


def receive(stream: IO[bytes]) -> object:
    """The next message. Raises EOFError where the other end is gone."""
    head = stream.read(8)
    content = stream.read(int.from_bytes(head, "little"))
    if len(head) < 8 or len(content) < int.from_bytes(head, "little"):
        raise EOFError
    return pickle.loads(content)


def main() -> None:
    real = os.dup(1)
    os.dup2(2, 1)  # what is printed by others goes to standard error
    sys.setrecursionlimit(100_000)
    with os.fdopen(real, "wb") as answers:
        while True:
            try:
                task = receive(sys.stdin.buffer)
            except EOFError:
                return
            send(answers, evaluate(task))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
