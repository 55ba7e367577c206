"""A dialect of C as a table of spellings.

Operations are looked up by keys, the most special first (`form_keys`), in one table for scalars and one for vectors. The
text of a form has these fields:

    {0} {1} {2}  the arguments        {t}  type of the result          {d}  its dtype's name
    {n}          lanes                {s}  type of the last argument   {a}  its dtype's name
    {f}          libm's suffix: "f" for f32, else ""
    {items}      `item` for each lane, where {k} is the lane and {x} the lane as one hexadecimal digit, joined with ", "

Besides the operations of `tgc.ir.ops` there are these keys. Optional ones are used where the table has them.

    SPLAT     {0}                    the scalar in every lane
    RAMP      {0} {1}                {0}, {0} + {1}, {0} + 2 * {1}, ...
    LOAD      {0}                    the elements from address {0} on
    STRIDED   {0} {1}                every {1}-th element from address {0} on
    GATHER    {0} {1}                {0}[lane] for each lane of the index vector {1} (a name)
    STORE     {0} {1}                a statement (its semicolon is the printer's): {1} to address {0}
    STORE_STRIDED {0} {1} {2}        a statement: {2} (a name) to every {1}-th element from address {0} on
    SCATTER   {0} {1} {2}            a statement: lanes of {2} to {0}[lane of {1}] (names)
    SUB, NEG  optional               a - b, -a
    NOT       optional               on bool
    FMA       optional               {0} * {1} + {2}
    MAX_LIT   optional               MAX whose second argument is a literal other than NaN
    DIV_LIT, SHL_LIT, SHR_LIT        optional: the second argument is a literal (and greater than 0 for DIV)
    TEXEL     {0} {1}                a texel of image {0}, as float; on one lane: its element {2}
    COLUMN    optional               element {4} of each of the vectors {0} to {3} (names)
    WIDEN     optional               CAST of the elements from address {0} on, read and converted at once
    NARROW    optional               a statement: {1}, not yet converted, to address {0}
    NARROW_SUM  optional             the same, where {1} is a variable
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tgc.ir.dtypes import DType
from tgc.ir.expr import Lit

# How tightly a piece of text binds: the levels of C's grammar that the printer tells apart.
ATOM, UNARY, PRODUCT, SUM, SHIFT, ORDER, EQUALITY, BITS, LOGIC, CHOICE, COMMA = range(11)


@dataclass(frozen=True, slots=True)
class Form:
    """The spelling of an operation.

    text:  see the module. item: what {items} repeats.
    level: how tightly the text binds. inner: the loosest level that an argument may have without parentheses, for each
           argument, the last one standing for all that follow.
    """

    text: str
    level: int = ATOM
    inner: tuple[int, ...] = (COMMA,)
    item: str = ""

    def allows(self, position: int) -> int:
        """The loosest level that argument `position` may have."""
        return self.inner[min(position, len(self.inner) - 1)]


def call(text: str, item: str = "") -> Form:
    """A form in which every argument stands alone between commas or brackets."""
    return Form(text, item=item)


def infix(operator: str) -> Form:
    """A form `{0} operator {1}`; arguments are parenthesised wherever a reader (or -Wparentheses) would want it."""
    level, left, right = {
        "+": (SUM, SUM, PRODUCT), "-": (SUM, SUM, UNARY), "*": (PRODUCT, PRODUCT, UNARY), "/": (PRODUCT, UNARY, UNARY),
        "<<": (SHIFT, UNARY, UNARY), ">>": (SHIFT, UNARY, UNARY), "<": (ORDER, SUM, SUM), "==": (EQUALITY, SUM, SUM),
        "!=": (EQUALITY, SUM, SUM), "&": (BITS, UNARY, UNARY), "|": (BITS, UNARY, UNARY), "^": (BITS, UNARY, UNARY),
        "&&": (LOGIC, ORDER, ORDER), "||": (LOGIC, ORDER, ORDER),
    }[operator]  # fmt: skip
    return Form(f"{{0}} {operator} {{1}}", level, (left, right))


def prefix(text: str) -> Form:
    """A form for a unary operator or a cast."""
    return Form(text + "{0}", UNARY, (UNARY,))


CHOOSE = Form("{0} ? {1} : {2}", CHOICE, (ORDER, SUM, SUM))


@dataclass(frozen=True, slots=True)
class Dialect:
    """The spellings of one member of the family.

    values:   dtype name -> type of a scalar value. elements: dtype name -> type of a stored element. vectors: dtype name -> type
              of a vector value, with {n}. INDEX is a dtype among them.
    scalar, vector: operation keys -> forms.
    literals: dtype name -> pattern around the digits, which for f16 and bf16 are those of the bits; infinity, nan: the same for
              what has no digits.
    kernel:   the head of a kernel, with {name} and {parameters}. parameter: with {space} {const} {type} {name} and its
              {position}; image: the same for an image, which comes with the texel at which it starts, `start{position}`. entry: a
              line at the kernel's start for each parameter, with {name} and {position}.
    spaces:   address space -> what precedes a pointer's type or an array's.
    loop:     the head of a `for` with its brace, from {var} and {extent}. kept: the same, so that its first iteration is not known
              while compiling; "" where that is never asked for. grids: loop kind -> a declaration, from the same, of the variable
              of a loop that the launch stands for.
    part:     the head of a `for` over the iterations that are `part`'s of `parts`, from {var}, {units} to share out and {tail}, which is
              `tail` where the last part has one iteration more. parts: what a kernel with one takes besides.
    reserved: words that nothing else may be called. functions: a regular expression of more such words.
    """

    values: Mapping[str, str]
    elements: Mapping[str, str]
    vectors: Mapping[str, str]
    scalar: Mapping[str, Form]
    vector: Mapping[str, Form]
    literals: Mapping[str, str]
    infinity: Mapping[str, str]
    nan: Mapping[str, str]
    kernel: str
    parameter: str
    spaces: Mapping[str, str]
    loop: str
    kept: str = ""
    grids: Mapping[str, str] = field(default_factory=dict)
    entry: str = ""
    image: str = ""
    barrier: str = ""
    part: str = ""
    tail: str = ""
    parts: str = ""
    reserved: frozenset[str] = frozenset()
    functions: str = ""

    def value_type(self, dtype: DType, lanes: int) -> str:
        """The type of a value."""
        return self.values[dtype.name] if lanes == 1 else self.vectors[dtype.name].format(n=lanes)

    def forms(self, lanes: int) -> Mapping[str, Form]:
        """The table for values of `lanes` lanes."""
        return self.scalar if lanes == 1 else self.vector


def form_keys(op: str, source: DType, result: DType) -> tuple[str, ...]:
    """Where to look for `op` from `source` to `result`, the most special first."""
    return (
        f"{op}.{source.name}.{result.name}", f"{op}.{source.kind}.{result.name}", f"{op}.{source.name}.{result.kind}",
        f"{op}.{source.kind}.{result.kind}", f"{op}.{source.name}", f"{op}.{source.kind}", op,
    )  # fmt: skip


def literal(dialect: Dialect, lit: Lit) -> tuple[str, int]:
    """The text of a constant and its level."""
    name = lit.dtype.name
    if lit.dtype.kind == "bool":
        return dialect.literals["bool.true" if lit.value else "bool.false"], ATOM
    if lit.dtype.is_float and lit.dtype.bits == 16:
        bits = np.asarray(lit.value).astype(lit.dtype.numpy).view(np.uint16)
        return dialect.literals[name].format(hex(int(bits))), ATOM  # C has no such literals: the type's own bits
    value = float(lit.value) if lit.dtype.is_float else int(lit.value)
    if math.isnan(value):
        return dialect.nan[name], ATOM
    if math.isinf(value):
        text = dialect.infinity[name]
        return (text, ATOM) if value > 0 else (f"-{text}", UNARY)
    if lit.dtype.kind == "int" and value == lit.dtype.lowest and lit.dtype.bits >= 32:
        inner = dialect.literals[name].format(value + 1)
        return f"({inner} - 1)", ATOM  # the lowest integer has no literal in C
    negative = value < 0 or (lit.dtype.is_float and math.copysign(1, value) < 0)
    return dialect.literals[name].format(_digits(value, lit.dtype)), UNARY if negative else ATOM


def _digits(value: float | int, dtype: DType) -> str:
    if not dtype.is_float:
        return str(value)
    text = repr(float(value)) if dtype.bits == 64 else str(np.float32(value))
    return text if "." in text or "e" in text else text + ".0"
