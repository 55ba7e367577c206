"""manifest.json: what an artifact is, for tools. Sorted keys, no times, no paths."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

import tgc
from tgc.backends.names import state_views, tensor_views
from tgc.backends.options import EmitOptions
from tgc.ir.fingerprint import fingerprint
from tgc.ir.program import Call, EntryPoint, Program, Repeat, Step, Storage, Tensor, launches
from tgc.ir.text import print_program
from tgc.ir.work import work_of
from tgc.targets import Target

FORMAT = 2
"""Raised when a reader of older manifests would misread a newer one."""


def manifest(program: Program, target: Target, options: EmitOptions, files: Mapping[str, bytes], more: Mapping[str, object]) -> bytes:
    """The manifest of an artifact that consists of `files`.

    `nodes` maps each ONNX node to the kernels that compute it, in order. more: what only some backends have to say.
    """
    inputs, outputs = tensor_views(program)
    separate = f"{program.name}.weights"
    counts = Counter(call.kernel for entry in program.entry_points for call in launches(entry.steps))
    content = {
        "format": FORMAT,
        "tgc": tgc.__version__,
        "name": program.name,
        "target": asdict(target),
        "options": {"weights": options.weights, "selftest": options.golden is not None},
        "inputs": [_tensor(tensor, view.identifier) for tensor, view in zip(program.inputs, inputs, strict=True)],
        "outputs": [_tensor(tensor, view.identifier) for tensor, view in zip(program.outputs, outputs, strict=True)],
        "states": [_tensor(tensor, view.identifier) for tensor, view in zip(program.states, state_views(program), strict=True)],
        "entries": [_entry(program, entry) for entry in program.entry_points],
        "open": None if program.open is None else asdict(program.open),
        "arena_bytes": program.arena_bytes,
        "state_bytes": program.state_bytes,
        "alignment": program.alignment,
        "weights": {
            "bytes": int(program.weights.size),
            "sha256": program.weights_digest.hex(),
            "layout": _layout(program),
            "file": separate if separate in files else None,
            "tensors": [_weight(program, storage) for storage in program.storages if storage.role == "weight"],
        },
        "kernels": [
            {"name": kernel.name, "calls": counts[kernel.name], "nodes": list(kernel.origins), **asdict(work_of(kernel))}
            for kernel in program.kernels
        ],
        "nodes": _nodes(program),
        "steps": [_step(program, entry, call, times) for entry in program.entry_points for call, times in _counted(entry.steps, 1)],
        "memory": [_memory(storage) for storage in program.storages if storage.role != "weight"],
        "files": {name: _digest(program, name, files[name]) for name in sorted(files)},
        **more,
    }
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _digest(program: Program, name: str, content: bytes) -> str:
    """SHA-256 of a file; of the weights, which may be many, it is known."""
    return program.weights_digest.hex() if name == f"{program.name}.weights" else hashlib.sha256(content).hexdigest()


def _layout(program: Program) -> str:
    """A digest of all that the program is but its name and its weights: two programs with the same one can use each other's."""
    text = print_program(replace(program, name="", weights=program.weights[:0], kernels=()))
    kernels = [f"{kernel.name} {fingerprint(kernel)}" for kernel in program.kernels]
    return hashlib.sha256("\n".join([text, *kernels]).encode("utf-8", "surrogatepass")).hexdigest()


def _tensor(tensor: Tensor, identifier: str) -> dict[str, object]:
    return {"name": tensor.name, "identifier": identifier, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}


def _entry(program: Program, entry: EntryPoint) -> dict[str, object]:
    inputs, outputs = [program.inputs[p].name for p in entry.inputs], [program.outputs[p].name for p in entry.outputs]
    return {"name": entry.name, "inputs": inputs, "outputs": outputs, "launches": sum(1 for _ in launches(entry.steps))}


def _nodes(program: Program) -> dict[str, list[str]]:
    kernels: dict[str, dict[str, None]] = {}
    origins = {kernel.name: kernel.origins for kernel in program.kernels}
    for call in program.calls:
        for node in call.origins or origins[call.kernel]:
            kernels.setdefault(node, {})[call.kernel] = None
    return {node: list(names) for node, names in kernels.items()}


def _counted(steps: tuple[Step, ...], times: int) -> Iterator[tuple[Call, int]]:
    """Every call once, in order, and how often it runs."""
    for step in steps:
        match step:
            case Call():
                yield step, times
            case Repeat(count, body):
                yield from _counted(body, times * count)


def _step(program: Program, entry: EntryPoint, call: Call, times: int) -> dict[str, object]:
    """A call: the storages that it reads and writes, by name."""
    pairs = list(zip(program.kernel(call.kernel).parameters, call.arguments, strict=True))
    reads = [argument.storage for parameter, argument in pairs if parameter.access != "write"]
    writes = [argument.storage for parameter, argument in pairs if parameter.access != "read"]
    return {"entry": entry.name, "kernel": call.kernel, "times": times, "nodes": list(call.origins), "reads": reads, "writes": writes}


def _memory(storage: Storage) -> dict[str, object]:
    return {
        "name": storage.name, "role": storage.role, "dtype": storage.dtype.name, "shape": list(storage.shape), "bytes": storage.bytes,
        "offset": storage.offset, "layout": storage.layout,
    }  # fmt: skip


def _weight(program: Program, storage: Storage) -> dict[str, object]:
    content = program.weights[storage.offset : storage.offset + storage.bytes]
    return {**_memory(storage), "sha256": hashlib.sha256(content.data).hexdigest()}
