"""Expressions as text, with value numbering: what is used twice in a scope, or is invariant in a loop, gets a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tgc.backends.cfamily.dialect import ATOM, UNARY, Dialect, Form, form_keys, literal
from tgc.backends.cfamily.places import in_order
from tgc.backends.cfamily.squares import Square, column
from tgc.backends.cfamily.uses import Clock, Slot, Value, constant_slot, depth_of
from tgc.errors import InvalidIrError
from tgc.ir import expr as ex
from tgc.ir import ops
from tgc.ir.dtypes import INDEX, DType
from tgc.ir.expr import Apply, Broadcast, Buffer, Expr, Lit, Load, Ramp, Var, cast, children
from tgc.ir.kernel import For
from tgc.ir.rewrite import walk
from tgc.ir.texels import TEXEL, texel_at, texel_of

Text = tuple[str, int]  # the text and how tightly it binds
LONG = 90
"""A longer expression is cut in two by naming a part."""
DEEP = 24
"""Operations nested in each other, beyond which a part gets a name."""


@dataclass(frozen=True, slots=True)
class Use:
    """A form that some text needs: `key` from dtype `source` to dtype `result` on `lanes` lanes. Preludes define them."""

    key: str
    source: str
    result: str
    lanes: int


@dataclass(slots=True)
class Scope:
    """One pair of braces: its lines so far, the names that live in it, and how often its expressions use each value."""

    uses: Counter[Value]
    lines: list[str] = field(default_factory=list)
    names: dict[Value, str] = field(default_factory=dict)


@dataclass(slots=True)
class Writer:
    """Where a kernel's text grows.

    slots: register buffers that are variables. taken: identifiers in use. names: of buffers and loop variables. depths: the scope in
    which a loop variable lives. starts: of image parameters, the variable that holds the texel at which each begins.
    shared: the loop of which only one part is run. squares: what is loaded in rows and used in columns.
    """

    dialect: Dialect
    slots: dict[str, tuple[Slot, ...]]
    taken: set[str]
    names: dict[str, str]
    used: dict[Use, None] = field(default_factory=dict)
    scopes: list[Scope] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    depths: dict[str, int] = field(default_factory=dict)
    depth_memo: dict[Expr, tuple[int, int]] = field(default_factory=dict)
    starts: dict[str, Var] = field(default_factory=dict)
    fresh: int = 0
    shared: For | None = None
    squares: Mapping[Square, Expr] = field(default_factory=dict)


def expression(writer: Writer, expr: Expr) -> Text:
    """The text of `expr` in the innermost scope; whatever it needs is declared before."""
    value = writer.clock.value(expr)
    for scope in reversed(writer.scopes):
        if value in scope.names:
            return scope.names[value], ATOM
    home = _home(writer, expr, value)
    text = _text(writer, expr)
    return (_declare(writer, value, text[0], home), ATOM) if home is not None else text


def name_deep(writer: Writer, root: Expr) -> None:
    """Gives names to parts of a deeply nested `root`, so that no line is too long to read and no recursion too deep."""
    depths: dict[Expr, int] = {}
    for expr in walk(root):
        depths[expr] = 1 + max((depths[child] for child in children(expr)), default=-1)
        if depths[expr] >= DEEP and isinstance(expr, Apply) and expr.dtype != INDEX and expr is not root:
            atom(writer, expr)
            depths[expr] = 0


def atom(writer: Writer, expr: Expr) -> str:
    """The text of `expr` as a name or a constant."""
    text, level = expression(writer, expr)
    if level == ATOM and text.isidentifier():
        return text
    return _declare(writer, writer.clock.value(expr), text, writer.scopes[-1])


def element(writer: Writer, buffer: Buffer, index: Expr) -> str:
    """`buffer[index]`, or the variable that the register buffer is."""
    slot = constant_slot(index)
    if buffer.name in writer.slots and slot is not None:
        return slot_name(writer, buffer.name, slot)
    return f"{writer.names[buffer.name]}[{expression(writer, index)[0]}]"


def slot_name(writer: Writer, buffer: str, slot: Slot) -> str:
    """The variable that holds a slot of a register buffer, or the element of it that `slot` is."""
    slots = writer.slots[buffer]
    first, size = next((first, size) for first, size in slots if first <= slot[0] < first + size)
    whole = writer.names[buffer] if len(slots) == 1 else f"{writer.names[buffer]}_{first}"
    return whole if slot == (first, size) else f"{whole}.s{slot[0] - first:x}"


def address(writer: Writer, buffer: Buffer, index: Expr) -> str:
    """A pointer to `buffer[index]`."""
    text = expression(writer, index)[0]
    return writer.names[buffer.name] if text == "0" else f"&{writer.names[buffer.name]}[{text}]"


def spell(writer: Writer, key: str, source: DType, result: DType, lanes: int, args: tuple[Text, ...]) -> Text:
    """An operation's text by the dialect's form for it. Raises InvalidIrError where it has none."""
    found = find(writer.dialect, key, source, result, lanes)
    if found is None:
        raise InvalidIrError(f"no spelling for {key} from {source} to {result} on {lanes} lanes")
    writer.used[Use(key, source.name, result.name, lanes)] = None
    return fill(writer.dialect, found, source, result, lanes, args)


def find(dialect: Dialect, key: str, source: DType, result: DType, lanes: int) -> Form | None:
    """The most special form for `key`."""
    forms = dialect.forms(lanes)
    return next((forms[candidate] for candidate in form_keys(key, source, result) if candidate in forms), None)


def fill(dialect: Dialect, form: Form, source: DType, result: DType, lanes: int, args: tuple[Text, ...]) -> Text:
    """`form` with its fields filled in."""
    texts = [text if level <= form.allows(i) else f"({text})" for i, (text, level) in enumerate(args)]
    fields = {
        "t": dialect.value_type(result, lanes), "s": dialect.value_type(source, lanes), "d": result.name, "a": source.name,
        "n": lanes, "f": "f" if result.name == "f32" else "",
    }  # fmt: skip
    items = ", ".join(form.item.format(*texts, k=k, x=f"{k:x}", **fields) for k in range(lanes)) if form.item else ""
    return form.text.format(*texts, items=items, **fields), form.level


def _home(writer: Writer, expr: Expr, value: Value) -> Scope | None:
    """The scope in which `expr` deserves a name; None where it is better written out in place."""
    if isinstance(expr, Lit | Var) or (isinstance(expr, Load) and expr.buffer.name in writer.slots):
        return None
    inner = writer.scopes[-1]
    if isinstance(expr, Broadcast) and isinstance(expr.value, Lit):
        return None
    depth, operations = depth_of(expr, writer.depths, writer.depth_memo)
    shared = inner.uses[value] > 1
    if depth >= 0:
        hoisted = depth < len(writer.scopes) - 1 and operations > 1 and expr.dtype == INDEX
        return writer.scopes[depth] if hoisted or (shared and operations > 1) else None
    return inner if shared else None


def _declare(writer: Writer, value: Value, text: str, home: Scope) -> str:
    expr = value[0]
    while f"t{writer.fresh}" in writer.taken:
        writer.fresh += 1
    name = f"t{writer.fresh}"
    writer.fresh += 1
    home.lines.append(f"const {writer.dialect.value_type(expr.dtype, expr.lanes)} {name} = {text};")
    home.names[value] = name
    return name


def _text(writer: Writer, expr: Expr) -> Text:
    match expr:
        case Lit():
            return literal(writer.dialect, expr)
        case Var(name):
            return writer.names[name], ATOM
        case Load():
            return _load(writer, expr)
        case Broadcast(value, lanes):
            return spell(writer, "SPLAT", expr.dtype, expr.dtype, lanes, (expression(writer, value),))
        case Ramp(base, stride, lanes):
            return spell(writer, "RAMP", expr.dtype, expr.dtype, lanes, (expression(writer, base), (str(stride), ATOM)))
        case Apply():
            return _apply(writer, expr)
        case _:
            raise InvalidIrError(f"{type(expr).__name__} in a kernel")


# ---- loads


def _load(writer: Writer, load: Load) -> Text:
    buffer, index = load.buffer, load.index
    if buffer.space == "image":
        return _texel(writer, load, load)
    if index.lanes == 1 or buffer.name in writer.slots:
        return element(writer, buffer, index), ATOM
    if isinstance(index, Ramp):
        pointer = (address(writer, buffer, index.base), UNARY)
        if index.stride == 1:
            return spell(writer, "LOAD", load.dtype, load.dtype, load.lanes, (pointer,))
        if (turned := _column(writer, load, load)) is not None:
            return turned
        return spell(writer, "STRIDED", load.dtype, load.dtype, load.lanes, (pointer, (str(index.stride), ATOM)))
    pointer = (writer.names[buffer.name], ATOM)
    return spell(writer, "GATHER", load.dtype, load.dtype, load.lanes, (pointer, (atom(writer, index), ATOM)))


# ---- operations


def _texel(writer: Writer, load: Load, value: Expr) -> Text:
    """A load from an image as `value`, which is the load or a cast of it: a whole texel, or an element of one that has a name."""
    if load.lanes > 1:
        place = texel_at(load.index)
        if place is None:
            raise InvalidIrError(f"a load from image {load.buffer.name} that is no texel")
        where = expression(writer, in_order(place, writer.starts[load.buffer.name], writer.depths, writer.depth_memo))
        return spell(writer, "TEXEL", load.dtype, value.dtype, load.lanes, ((writer.names[load.buffer.name], ATOM), where))
    found = texel_of(load.index)
    if found is None:
        raise InvalidIrError(f"a load from image {load.buffer.name} of an element that is not known")
    whole: Expr = Load(load.buffer, Ramp(ex.apply(ops.MUL, found[0], ex.index(TEXEL)), 1, TEXEL))
    name = atom(writer, cast(whole, value.dtype))
    return f"{name}.s{found[1]}", ATOM


def _widened(writer: Writer, load: Load, value: Apply) -> Text | None:
    """A cast of what is loaded, where the dialect does both at once; else None."""
    if load.buffer.space == "image":
        known = find(writer.dialect, "TEXEL", load.dtype, value.dtype, TEXEL)
        return None if known is None else _texel(writer, load, value)
    if (turned := _column(writer, load, value)) is not None:
        return turned
    contiguous = load.index.lanes == 1 or (isinstance(load.index, Ramp) and load.index.stride == 1)
    if load.buffer.name in writer.slots or not contiguous or find(writer.dialect, "WIDEN", load.dtype, value.dtype, load.lanes) is None:
        return None
    start = load.index.base if isinstance(load.index, Ramp) else load.index
    return spell(writer, "WIDEN", load.dtype, value.dtype, load.lanes, ((address(writer, load.buffer, start), UNARY),))


def _column(writer: Writer, load: Load, value: Expr) -> Text | None:
    """A load that is a column of a square, as `value`, which is the load or a cast of it; None where it is none."""
    found = column(load, writer.squares)
    if found is None:
        return None
    rows, number = found
    names = [atom(writer, cast(row, value.dtype)) for row in rows]
    return spell(writer, "COLUMN", value.dtype, value.dtype, load.lanes, (*((name, ATOM) for name in names), (str(number), ATOM)))


def _word(writer: Writer, load: Load, value: Apply) -> Text:
    """Elements that lie next to each other as one word."""
    assert isinstance(load.index, Ramp)
    return spell(writer, "WORD", load.dtype, value.dtype, value.lanes, ((address(writer, load.buffer, load.index.base), UNARY),))


def _apply(writer: Writer, expr: Apply) -> Text:
    if expr.op is ops.CAST and isinstance(expr.args[0], Load):
        found = _widened(writer, expr.args[0], expr)
        if found is not None:
            return found
    match expr.op.name:
        case "BITCAST" if isinstance(expr.args[0], Load) and expr.lanes != expr.args[0].lanes:
            return _word(writer, expr.args[0], expr)
        case "WHERE" if _optional(writer, "MIN", expr) and (extreme := _extreme(expr)):
            return _spelled(writer, extreme, expr, expr.args[1:])
        case "WHERE":
            return _where(writer, expr)
        case "ADD":
            return _sum(writer, expr)
        case "MUL" if _optional(writer, "NEG", expr) and (factor := _factor_of_minus_one(expr)) is not None:
            return _spelled(writer, "NEG", expr, (factor,))
        case "EQ" if expr.args[0].dtype.kind == "bool" and _optional(writer, "NOT", expr) and _constant(expr.args[1]) is False:
            return _spelled(writer, "NOT", expr, (expr.args[0],))
        case "MAX" | "DIV" | "SHL" | "SHR" as name if _optional(writer, f"{name}_LIT", expr) and _plain_literal(name, expr.args[1]):
            return _spelled(writer, f"{name}_LIT", expr, expr.args)
        case name:
            return _spelled(writer, name, expr, expr.args)


def _spelled(writer: Writer, key: str, expr: Apply, args: tuple[Expr, ...]) -> Text:
    form = find(writer.dialect, key, args[-1].dtype, expr.dtype, expr.lanes)
    repeated = [form is not None and form.text.count(f"{{{position}}}") > 1 for position in range(len(args))]
    limits = [0 if twice and _constant(arg) is None else LONG for arg, twice in zip(args, repeated, strict=True)]
    texts = tuple(_shortened(writer, arg, limit) for arg, limit in zip(args, limits, strict=True))
    return spell(writer, key, args[-1].dtype, expr.dtype, expr.lanes, texts)


def _shortened(writer: Writer, expr: Expr, longest: int = LONG) -> Text:
    """The text of an argument, by a name of its own where it is longer and no name already."""
    text, level = expression(writer, expr)
    if len(text) <= longest or text.isidentifier():
        return text, level
    return _declare(writer, writer.clock.value(expr), text, writer.scopes[-1]), ATOM


def _optional(writer: Writer, key: str, expr: Apply) -> bool:
    return find(writer.dialect, key, expr.args[-1].dtype, expr.dtype, expr.lanes) is not None


def _constant(expr: Expr) -> int | float | bool | None:
    """The value of a literal or of a vector full of it."""
    match expr:
        case Lit(value) | Broadcast(Lit(value)):
            return value
        case _:
            return None


def _plain_literal(op: str, expr: Expr) -> bool:
    value = _constant(expr)
    if value is None or value != value:
        return False
    return not expr.dtype.is_float or op == "MAX" if op != "DIV" else value > 0


def _factor_of_minus_one(expr: Expr) -> Expr | None:
    """x, where `expr` is x * -1 or -1 * x and not a plain number."""
    match expr:
        case Apply(op, (left, right)) if op.name == "MUL" and right.dtype.kind in ("int", "float"):
            if _constant(right) == -1:
                return left
            return right if _constant(left) == -1 else None
        case _:
            return None


def _sum(writer: Writer, expr: Apply) -> Text:
    """ADD, as a subtraction or as a multiply-add where the dialect has them and the product is used nowhere else."""
    left, right = expr.args
    for first, second in ((left, right), (right, left)):
        if not _optional(writer, "SUB", expr) or _is_named(writer, second):
            continue
        subtrahend = _factor_of_minus_one(second)
        if subtrahend is not None:
            return _spelled(writer, "SUB", expr, (first, subtrahend))
    constant = right.value if isinstance(right, Lit) else None
    if constant is not None and constant < 0 and constant > right.dtype.lowest and _optional(writer, "SUB", expr):
        return _spelled(writer, "SUB", expr, (left, Lit(-constant, right.dtype)))
    for product, addend in ((left, right), (right, left)):
        if isinstance(product, Apply) and product.op.name == "MUL" and _optional(writer, "FMA", expr) and not _is_named(writer, product):
            return _spelled(writer, "FMA", expr, (*product.args, addend))
    return _spelled(writer, "ADD", expr, expr.args)


def _is_named(writer: Writer, expr: Expr) -> bool:
    """Whether `expr` has a name, or is going to get one because others use it too."""
    value = writer.clock.value(expr)
    return writer.scopes[-1].uses[value] > 1 or any(value in scope.names for scope in writer.scopes)


def _extreme(expr: Apply) -> str:
    """MIN for WHERE(a < b, a, b), MAX for WHERE(a < b, b, a), nothing for other choices."""
    condition, *choices = expr.args
    if not isinstance(condition, Apply) or condition.op.name != "LT":
        return ""
    return "MIN" if list(condition.args) == choices else "MAX" if list(condition.args) == choices[::-1] else ""


def _where(writer: Writer, expr: Apply) -> Text:
    """A choice. One condition for all lanes is C's own choice between two vectors."""
    condition, yes, no = expr.args
    if not isinstance(condition, Broadcast):
        return _spelled(writer, "WHERE", expr, expr.args)
    texts = tuple(_shortened(writer, arg) for arg in (condition.value, yes, no))
    return fill(writer.dialect, writer.dialect.scalar["WHERE"], expr.dtype, expr.dtype, expr.lanes, texts)
