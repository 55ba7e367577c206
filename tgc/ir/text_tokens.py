"""The tokens of the text form, and a cursor over them.

`#` starts a comment. A line break, or `;`, ends a statement, but not inside ( ) and [ ].
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from tgc.errors import ModelError

Kind = Literal["newline", "string", "number", "name", "reference", "sign", "end"]
Value = int | float

_PATTERN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)|(?P<newline>[\n;])|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<reference>[%$]\d+)"""
    r"""|(?P<number>-?(?:\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+|\d+)|-inf\b)|(?P<name>[A-Za-z_]\w*)|(?P<sign><<|>>|==|[][(){}<:,=+*/&|^])"""
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the line that it stands on."""

    kind: Kind
    text: str
    line: int


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, an "end" last. Raises ModelError at what is none."""
    tokens: list[Token] = []
    line, at, depth = 1, 0, 0
    while at < len(text):
        match = _PATTERN.match(text, at)
        if match is None:
            raise ModelError(f"unexpected {text[at]!r}", f"line {line}")
        kind, found = str(match.lastgroup), match.group()
        depth += (found in ("(", "[")) - (found in (")", "]"))
        if kind != "space" and not (kind == "newline" and depth > 0):
            tokens.append(Token(kind, found, line))  # type: ignore[arg-type]
        line += found.count("\n")
        at = match.end()
    return [*tokens, Token("end", "the end of the text", line)]


@dataclass(slots=True)
class Cursor:
    """Where a parser is in the tokens."""

    tokens: list[Token]
    position: int = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def after(self) -> str:
        """The text of the token after the next one."""
        return self.tokens[min(self.position + 1, len(self.tokens) - 1)].text

    def fail(self, what: str) -> NoReturn:
        """Raises ModelError at the next token."""
        raise ModelError(what, f"line {self.next.line}")

    def take(self, kind: Kind) -> str:
        """The text of the next token, which must be of `kind`."""
        token = self.next
        if token.kind != kind:
            self.fail(f"expected a {kind}, not {token.text!r}")
        self.position += 1
        return token.text

    def accept(self, text: str) -> bool:
        """Steps over the next token if it reads `text`."""
        token = self.next
        found = token.kind in ("sign", "name") and token.text == text
        self.position += found
        return found

    def expect(self, text: str) -> None:
        """Steps over the next token, which must read `text`."""
        if not self.accept(text):
            self.fail(f"expected {text!r}, not {self.next.text!r}")

    def skip_newlines(self) -> None:
        while self.next.kind == "newline":
            self.position += 1

    def end_statement(self) -> None:
        """Steps over line breaks, of which there is one at least, but before } and at the end."""
        if self.next.kind != "newline" and self.next.text != "}" and self.next.kind != "end":
            self.fail(f"expected a new line, not {self.next.text!r}")
        self.skip_newlines()

    def string(self) -> str:
        quoted = self.take("string")
        try:
            return str(json.loads(quoted))
        except ValueError:
            self.position -= 1
            return self.fail(f"{quoted} is no JSON string")

    def integer(self) -> int:
        value = self.number()
        return value if isinstance(value, int) else self.fail(f"{value} is no integer")

    def number(self) -> Value:
        """A number: an int where it is written without a point or exponent; also inf, -inf and nan."""
        if self.next.kind == "name" and self.next.text in ("inf", "nan"):
            return float(self.take("name"))
        text = self.take("number")
        return int(text) if text.lstrip("-").isdigit() else float(text)

    def integers(self) -> tuple[int, ...]:
        """A list of integers in brackets."""
        self.expect("[")
        found: list[int] = []
        while not self.accept("]"):
            found.append(self.integer())
            if self.next.text != "]":
                self.expect(",")
        return tuple(found)


def quote(text: str) -> str:
    """`text` as the text form writes strings."""
    return json.dumps(text)


def write_integers(values: tuple[int, ...]) -> str:
    """`values` as the text form writes lists."""
    return f"[{', '.join(map(str, values))}]"
