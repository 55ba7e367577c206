"""The files of an artifact that are not the program itself: header, weights, build file, example, runtime, manifest.

Every function here is pure: it answers file name -> bytes. Templates only lay out what is computed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import tgc
from tgc.backends.manifest import manifest
from tgc.backends.names import c_string, comment, tensor_views
from tgc.backends.options import EmitOptions
from tgc.errors import OptionError
from tgc.ir.program import Program
from tgc.targets import Target

EMBED_LIMIT = 64 << 20
"""More bytes of weights than this as C source would take compilers minutes and gigabytes."""


def templates_folder() -> Path:
    """Where the templates are: in the installed package, or beside it in a source tree."""
    package = Path(tgc.__file__).resolve().parent
    return next(folder for folder in (package / "templates", package.parent / "templates") if folder.is_dir())


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(templates_folder()), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip


def render(template: str, **fields: object) -> bytes:
    """A template's text with its fields filled in."""
    return _environment().get_template(template).render(**fields).encode()


def runtime_file(name: str) -> bytes:
    """A file of the runtime, as it stands."""
    return (templates_folder() / "runtime" / name).read_bytes()


def weights_sha256(program: Program) -> bytes:
    """The digest by which a weights file is recognised."""
    return hashlib.sha256(program.weights.tobytes()).digest()


def cpu_files(
    program: Program, target: Target, options: EmitOptions, code: Mapping[str, bytes], extra: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The whole artifact of a program that runs on a CPU.

    code: file name -> bytes of the sources or objects that define `NAME_model`, embedded weights included. They are what the build
    file links. extra: further files, which it does not.
    """
    files = {**code, **(extra or {})}
    files[f"{program.name}.h"] = header(program, target)
    files["tgc_runtime.h"] = runtime_file("tgc_runtime.h")
    files["tgc_runtime.c"] = runtime_file("tgc_runtime.c")
    files["example_main.c"] = example(program, options)
    files["CMakeLists.txt"] = render("CMakeLists.txt.j2", name=program.name, code=sorted(code))
    return finished(program, target, options, files)


def finished(program: Program, target: Target, options: EmitOptions, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """`files` with the weights file, if there is to be one, and the manifest."""
    complete = dict(files)
    if options.weights == "file" and program.weights.size:
        complete[f"{program.name}.weights"] = program.weights.tobytes()
    complete["manifest.json"] = manifest(program, target, options, complete, weights_sha256(program))
    return complete


def header(program: Program, target: Target) -> bytes:
    """NAME.h: the whole API of one model."""
    inputs, outputs = tensor_views(program)
    return render(
        "model.h.j2", name=program.name, upper=program.name.upper(), version=tgc.__version__, target=target.name, inputs=inputs,
        outputs=outputs, arena_bytes=program.arena_bytes, alignment=program.alignment, weights_bytes=program.weights.size,
        comment=comment,
    )  # fmt: skip


def example(program: Program, options: EmitOptions) -> bytes:
    """example_main.c: runs the model once and prints what comes out."""
    inputs, outputs = tensor_views(program)
    separate = options.weights == "file" and program.weights.size > 0
    return render(
        "example_main.c.j2", name=program.name, upper=program.name.upper(), inputs=inputs, outputs=outputs, separate_weights=separate,
        comment=comment,
    )  # fmt: skip


def descriptor_fields(program: Program, embedded: bool) -> dict[str, object]:
    """What model.c.j2 and other sources that define the `tgc_model` need."""
    inputs, outputs = tensor_views(program)
    return {
        "name": program.name, "literal": c_string(program.name), "inputs": inputs, "outputs": outputs, "arena_bytes": program.arena_bytes,
        "alignment": program.alignment, "weights_bytes": program.weights.size, "embedded": embedded and program.weights.size > 0,
        "sha256": ", ".join(f"0x{byte:02x}" for byte in weights_sha256(program)),
    }  # fmt: skip


def weights_source(program: Program) -> bytes:
    """NAME_weights.c: the weights as one aligned array of 64-bit words. Raises OptionError where they are too many for that."""
    data = program.weights.tobytes()
    if len(data) > EMBED_LIMIT:
        raise OptionError(f"{len(data) >> 20} MiB of weights are too many for C source", "--weights=embed", "use --weights=file")
    data += bytes(-len(data) % 8)
    words = [f"0x{int.from_bytes(data[i : i + 8], 'little'):x}," for i in range(0, len(data), 8)]
    lines = [" ".join(words[i : i + 8]) for i in range(0, len(words), 8)]
    return render("weights.c.j2", name=program.name, alignment=program.alignment, words=len(words), lines=lines)
