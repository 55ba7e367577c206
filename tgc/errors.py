"""Errors that a user can act on: each says what is wrong, where, and what to do about it."""

from __future__ import annotations


class TgcError(Exception):
    """A fault in what the user gave tgc. The command line prints it without a traceback and exits with status 1.

    what:  the fault, one line.
    where: the file, node, value or flag that it belongs to; empty when there is no such place.
    hint:  what to do about it; empty when there is nothing better than to read `what`.
    """

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(self.text())

    def text(self) -> str:
        """The whole message, one part a line."""
        lines = [self.what if not self.where else f"{self.where}: {self.what}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ModelError(TgcError):
    """The model file cannot be read, is not valid ONNX, or contradicts itself."""


class UnsupportedError(TgcError):
    """The model asks for something tgc does not do; the message lists every such thing at once."""


class OptionError(TgcError):
    """A flag or option that does not fit the model or the target."""


class ToolchainError(TgcError):
    """A compiler, linker, driver or library that is needed is missing or failed."""


class TgcWarning(UserWarning):
    """Something about the model that its user may want to know, and that changes no result."""


class InvalidIrError(Exception):
    """A defect in tgc itself: a pass wrote IR that breaks an invariant. Exit status 3."""
