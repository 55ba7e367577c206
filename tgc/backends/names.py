"""How tensors of a model are called and described in C."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tgc.ir.dtypes import DType
from tgc.ir.packing import stored_bytes
from tgc.ir.program import EntryPoint, Program, Tensor, calls_of

KEYWORDS = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float", "for", "goto",
    "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while", "bool", "true", "false", "NULL", "INFINITY", "NAN", "memcpy", "memset", "sin",
    "cos", "tan", "exp", "log", "sqrt", "exp2", "log2", "y0", "y1", "yn", "j0", "j1", "jn", "gamma", "signgam", "main", "asm", "typeof",
    "linux", "unix", "index",
))  # fmt: skip
"""Words that a buffer or loop variable cannot be called."""
TAKEN = ("input", "output", "model", "context", "init", "run", "input_memory", "output_memory")
"""What a tensor cannot be called, for the headers and examples have constants and functions of these names."""


@dataclass(frozen=True, slots=True)
class TensorView:
    """An input or output as the templates show it.

    position: in the order of the inputs or outputs. identifier: unique among both. c_type: of one element. constant: its tgc_dtype.
    text: type and shape in words. literal: the name as a C string. count: elements, or bytes where elements share them. bytes: of all
    of them.
    """

    position: int
    name: str
    identifier: str
    c_type: str
    constant: str
    text: str
    literal: str
    shape: tuple[int, ...]
    count: int
    bytes: int

    @property
    def upper(self) -> str:
        return self.identifier.upper()

    @property
    def rank(self) -> int:
        return len(self.shape)


def tensor_views(program: Program) -> tuple[tuple[TensorView, ...], tuple[TensorView, ...]]:
    """The program's inputs and outputs."""
    taken = set(TAKEN)
    inputs = tuple(_view(tensor, i, taken) for i, tensor in enumerate(program.inputs))
    return inputs, tuple(_view(tensor, i, taken) for i, tensor in enumerate(program.outputs))


def state_views(program: Program) -> tuple[TensorView, ...]:
    """The program's states."""
    taken: set[str] = set()
    return tuple(_view(tensor, i, taken) for i, tensor in enumerate(program.states))


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry point as the templates show it. function: what runs it, in C. doc: what it reads, writes and updates."""

    name: str
    function: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    doc: str


def entry_views(program: Program) -> tuple[EntryView, ...]:
    """The program's entry points, which run on the CPU."""
    return tuple(
        EntryView(entry.name, f"{program.name}_{entry.name}_kernels", entry.inputs, entry.outputs, _purpose(program, entry))
        for entry in program.entry_points
    )


def _purpose(program: Program, entry: EntryPoint) -> str:
    if not program.entries:
        return "Runs the model once."
    written = {argument.storage for call in calls_of(entry.steps) for argument in call.arguments}
    kept = [state.name for state in program.states if state.storage in written]
    outputs = [program.outputs[position].name for position in entry.outputs]
    parts = [f"computes {', '.join(outputs)}"] if outputs else []
    parts += [f"works with the states {', '.join(kept)}"] if kept else []
    return comment(f"Entry point {entry.name}: {' and '.join(parts) or 'does nothing'}.")


def _view(tensor: Tensor, position: int, taken: set[str]) -> TensorView:
    stored = stored_bytes(tensor.dtype, tensor.shape)
    dimensions = "x".join(str(extent) for extent in tensor.shape) or "scalar"
    return TensorView(
        position, tensor.name, identifier(tensor.name, taken), tensor.dtype.c or "uint16_t", constant(tensor.dtype),
        f"{tensor.dtype.name} {dimensions}", c_string(tensor.name), tensor.shape, stored // tensor.dtype.bytes, stored,
    )  # fmt: skip


def constant(dtype: DType) -> str:
    """The tgc_dtype of `dtype`."""
    return f"TGC_{dtype.name.upper()}"


def identifier(name: str, taken: set[str]) -> str:
    """`name` as a C identifier that differs from those in `taken` even in capitals, and is added to them."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    text = f"t{text}" if not text or not text[0].isalpha() else text
    base, number = text, 2
    while text.lower() in taken or text in KEYWORDS:
        text, number = f"{base}_{number}", number + 1
    taken.add(text.lower())
    return text


def c_string(text: str) -> str:
    """A C string literal whose bytes are `text` in UTF-8."""
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode("utf-8", "surrogatepass"))
    return f'"{plain}"'


def comment(text: str) -> str:
    """`text` as it may stand in a C comment."""
    return re.sub(r"\*/|/\*|[^ -~]", "?", text)
