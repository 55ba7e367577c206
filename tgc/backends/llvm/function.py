"""The function under construction: nested scopes of text, and what is known in each.

A scope is the body of the function, of a loop, or of an `If`. Its lines are merged into its parent's when it closes, so a
line written to an outer scope while an inner one is open lands before the inner one: in the loop's preheader. A value is
written to the outermost scope that knows its operands, which is loop-invariant code motion by construction, and is remembered
until that scope closes, which is common subexpression elimination.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from tgc.backends.llvm.machine import Machine
from tgc.errors import InvalidIrError
from tgc.ir.expr import Buffer, Var
from tgc.ir.kernel import For

Put = Callable[[str], str]
"""Writes the right side of a definition and answers the name of its left side."""


Buffers = frozenset[Buffer]
NONE: Buffers = frozenset()


@dataclass(frozen=True, slots=True)
class Known:
    """A value's text, the scope that it was written to, and the buffers that were read for it."""

    text: str
    scope: int
    reads: Buffers = NONE


@dataclass(frozen=True, slots=True)
class Place:
    """A buffer in memory: its pointer, and the alignment in bytes that it is known to have."""

    pointer: str
    alignment: int


@dataclass(slots=True)
class Scope:
    """Lines not yet merged.

    label: the basic block that the next line belongs to. writes: buffers that are stored to anywhere in it.
    conditional: it may never be executed.
    """

    label: str
    writes: Buffers = NONE
    conditional: bool = False
    lines: list[str] = field(default_factory=list)
    keys: list[Hashable] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """One LLVM function being written.

    places: buffers in scope. extents: of the loops around the point of writing. known: values that dominate that point.
    shared: the loop of which only one part is run.
    readers: for each buffer, the keys of `known` that were read from it, to be forgotten when it is stored to.
    """

    machine: Machine
    places: dict[Buffer, Place] = field(default_factory=dict)
    scopes: list[Scope] = field(default_factory=lambda: [Scope("entry")])
    known: dict[Hashable, Known] = field(default_factory=dict)
    readers: dict[Buffer, list[Hashable]] = field(default_factory=dict)
    extents: dict[Var, int] = field(default_factory=dict)
    allocas: list[str] = field(default_factory=list)
    names: int = 0
    loops: int = 0
    shared: For | None = None

    @property
    def innermost(self) -> int:
        return len(self.scopes) - 1

    def name(self, prefix: str = "v") -> str:
        """A name not used before in this function."""
        self.names += 1
        return f"{prefix}{self.names}"

    def put(self, scope: int) -> Put:
        """A writer of definitions to `scope`."""
        lines = self.scopes[scope].lines

        def define(text: str) -> str:
            self.names += 1
            lines.append(f"  %v{self.names} = {text}")
            return f"%v{self.names}"

        return define

    def line(self, text: str) -> None:
        """Writes an instruction without a result to the innermost scope."""
        self.scopes[-1].lines.append(f"  {text}")

    def remember(self, key: Hashable, value: Known) -> Known:
        """Keeps `value` for later uses of `key`, until its scope closes or a buffer that it was read from is stored to."""
        self.known[key] = value
        for buffer in value.reads:
            self.readers.setdefault(buffer, []).append(key)
        self.scopes[value.scope].keys.append(key)
        return value

    def forget(self, buffer: Buffer) -> None:
        """Drops what was read from `buffer`, which changes now."""
        for key in self.readers.pop(buffer, ()):
            self.known.pop(key, None)

    def load_scope(self, buffer: Buffer, least: int) -> int:
        """The outermost scope from `least` on in which `buffer` may be read once for all uses inside it."""
        scope = self.innermost
        while scope > least and not self.scopes[scope].conditional and buffer not in self.scopes[scope].writes:
            scope -= 1
        return scope

    def place(self, buffer: Buffer) -> Place:
        """Where `buffer` lies. Raises InvalidIrError where it is neither a parameter nor allocated."""
        if buffer not in self.places:
            raise InvalidIrError(f"buffer {buffer.name} is used before it is made")
        return self.places[buffer]

    def open(self, label: str, writes: Buffers, *, conditional: bool = False) -> int:
        """Begins a scope whose first basic block is `label`; answers its number."""
        for buffer in writes:
            self.forget(buffer)
        self.scopes.append(Scope(label, writes, conditional))
        return self.innermost

    def close(self) -> Scope:
        """Ends the innermost scope and forgets what was known in it. The caller merges its lines."""
        scope = self.scopes.pop()
        for key in scope.keys:
            self.known.pop(key, None)
        return scope
