"""The files of an artifact that are not the program itself: header, weights, build file, example, runtime, manifest.

Every function here is pure: it answers file name -> bytes. Templates only lay out what is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import tgc
from tgc.backends.golden import Golden, scratch_bytes
from tgc.backends.manifest import manifest
from tgc.backends.names import TensorView, c_string, comment, entry_views, state_views, tensor_views
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


def embeds(program: Program, options: EmitOptions) -> bool:
    """Whether there are weights and they are part of the program."""
    return options.weights == "embed" and program.weights.size > 0


def separates(program: Program, options: EmitOptions) -> bool:
    """Whether there are weights and they are in NAME.weights."""
    return options.weights == "file" and program.weights.size > 0


def fields(program: Program, target: Target, options: EmitOptions) -> dict[str, object]:
    """What the templates of a model in C, or with a C host program, are filled in with."""
    inputs, outputs = tensor_views(program)
    return {
        "version": tgc.__version__, "target": target.name, "name": program.name, "upper": program.name.upper(),
        "literal": c_string(program.name), "inputs": inputs, "outputs": outputs, "arena_bytes": program.arena_bytes,
        "alignment": program.alignment, "weights_bytes": program.weights.size, "states": state_views(program),
        "state_bytes": program.state_bytes, "state_offsets": [program.storage(state.storage).offset for state in program.states],
        "entries": entry_views(program),
        "embedded": embeds(program, options), "separate_weights": separates(program, options),
        "sha256": ", ".join(f"0x{byte:02x}" for byte in program.weights_digest),
        "threads": bool(program.shared), "selftest_bytes": scratch_bytes(program) if options.golden else None, "comment": comment,
        "dimensions": _dimensions(program, inputs),
    }  # fmt: skip


def _dimensions(program: Program, inputs: Sequence[TensorView]) -> list[dict[str, object]]:
    """The open dimensions: what each is called, its range, and the position of the input that passes it."""
    by_name = {view.name: view for view in inputs}
    dims = program.open.dimensions if program.open else ()
    return [{"view": by_name[dim.input], "name": comment(dim.name), "text": str(dim), "low": dim.low, "high": dim.high, "step": dim.step}
            for dim in dims]  # fmt: skip


def cpu_files(program: Program, target: Target, options: EmitOptions, code: Mapping[str, bytes]) -> dict[str, bytes]:
    """The whole artifact of a program that runs on a CPU.

    code: file name -> bytes of the sources or objects that define `NAME_model`, embedded weights and the self-test's table included.
    """
    stems = ("tgc_runtime", *(["tgc_selftest"] if options.golden else []), *(["tgc_threads"] if program.shared else []))
    runtime = runtime_files(*(f"{stem}{ending}" for stem in stems for ending in (".h", ".c")))
    filled = fields(program, target, options)
    files = {
        **code, **runtime, f"{program.name}.h": render("model.h.j2", **filled),
        "example_main.c": render("example_main.c.j2", **filled),
        "CMakeLists.txt": render("CMakeLists.txt.j2", name=program.name, threads=bool(program.shared), code=linked({**code, **runtime})),
    }  # fmt: skip
    return finished(program, target, options, files)


def runtime_files(*names: str) -> dict[str, bytes]:
    """Parts of the runtime as they stand."""
    folder = templates_folder() / "runtime"
    return {name: (folder / name).read_bytes() for name in names}


def linked(files: Mapping[str, bytes]) -> list[str]:
    """The names of those files that a build compiles or links."""
    return sorted(name for name in files if name.endswith((".c", ".o")))


def finished(
    program: Program, target: Target, options: EmitOptions, files: Mapping[str, bytes], more: Mapping[str, object] | None = None
) -> dict[str, bytes]:
    """`files` with the weights file, if there is to be one, and the manifest, which also holds `more`."""
    complete = dict(files)
    if separates(program, options):
        complete[f"{program.name}.weights"] = program.weights.tobytes()
    complete["manifest.json"] = manifest(program, target, options, complete, more or {})
    return complete


def data_sources(program: Program, options: EmitOptions) -> dict[str, bytes]:
    """Sources beside NAME.c: NAME_weights.c where the weights are embedded, NAME_golden.c where there is a self-test."""
    sources: dict[str, bytes] = {}
    if embeds(program, options):
        sources[f"{program.name}_weights.c"] = weights_source(program)
    if options.golden:
        sources[f"{program.name}_golden.c"] = golden_source(program, options.golden)
    return sources


def weights_source(program: Program) -> bytes:
    """NAME_weights.c: the weights as one aligned array of 64-bit words. Raises OptionError where they are too many for that."""
    data = program.weights.tobytes()
    if len(data) > EMBED_LIMIT:
        raise OptionError(f"{len(data) >> 20} MiB of weights are too many for C source", "--weights=embed", "use --weights=file")
    data += bytes(-len(data) % 8)
    words = [f"0x{int.from_bytes(data[i : i + 8], 'little'):x}," for i in range(0, len(data), 8)]
    lines = [" ".join(words[i : i + 8]) for i in range(0, len(words), 8)]
    return render("weights.c.j2", name=program.name, alignment=program.alignment, words=len(words), lines=lines)


def golden_source(program: Program, golden: Golden) -> bytes:
    """NAME_golden.c: the results that the self-test expects."""
    rows = [
        {
            "position": position, "tolerance": repr(output.tolerance), "doc": comment(tensor.name),
            "recorded": [f"{element}, UINT64_C(0x{value:016x})" for element, value in zip(output.elements, output.values, strict=True)],
        }
        for position, (tensor, output) in enumerate(zip(program.outputs, golden.outputs, strict=True))
    ]  # fmt: skip
    return render("golden.c.j2", name=program.name, rows=rows, positive=int(golden.positive))
