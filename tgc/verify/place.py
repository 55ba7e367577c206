"""Where compiled programs run while they are verified: in this process, or on a device."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tgc.artifact import Artifact
from tgc.run import load
from tgc.run.device import Device
from tgc.run.remote import on_device

Array = npt.NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
Prepare = Callable[[Artifact], Run]
"""Makes of an artifact something that runs it, through its C ABI."""
LOCAL = Device("local", "", "/tmp")


@contextmanager
def place(device: Device = LOCAL) -> Iterator[Prepare]:
    """What prepares artifacts to run on `device`, until the block ends and what was written is gone."""
    with ExitStack() as stack:
        scratch, numbers = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tgc-verify-"))), count()
        send = stack.enter_context(on_device(device)) if device.kind != "local" else None

        def prepare(artifact: Artifact) -> Run:
            folder = artifact.write(scratch / str(next(numbers)) / artifact.name)
            if send is not None:
                return send(folder)
            model = load(folder, threads=artifact.target.threads if artifact.program.shared else 1)
            return lambda inputs: model.run(inputs)

        yield prepare
