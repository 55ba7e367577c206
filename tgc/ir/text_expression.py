"""The text form of expressions.

    a0, c1         the element of source 0; the output's index along axis 1             (maps)
    i, x[i]        a loop variable; an element of buffer x                             (kernels)
    1.5, 3, true   constants of type f32, index and bool; 3:i32, 0.5:f64, -inf:f16 of any other
    a + b, a * b, a / b, a < b, a == b, a & b, a | b, a ^ b, a << b, a >> b
                   ADD, MUL, DIV, LT, EQ, AND, OR, XOR, SHL, SHR, which bind as in C but that < and == bind alike
    max(a, b), where(c, a, b), exp2(a), log2(a), sin(a), sqrt(a)
    i8(a)          CAST to i8; the name of any type
    bitcast(u32, a)
    ramp(base, stride, lanes), broadcast(a, lanes)
    $0             what `$0 = ...` before it stands for

The last is an abbreviation and no more: a long subexpression that occurs twice is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from tgc.ir import dtypes, ops
from tgc.ir.dtypes import BOOL, F32, INDEX, DType
from tgc.ir.expr import Apply, Arg, Broadcast, Buffer, Coordinate, Expr, Lit, Load, Ramp, Var, apply, bitcast, cast, children
from tgc.ir.ops import Op
from tgc.ir.rewrite import walk
from tgc.ir.text_tokens import Cursor

Names = Mapping[str, Expr | Buffer]
"""What each name stands for where an expression is parsed."""

_INFIX: dict[str, tuple[int, Op]] = {
    "|": (1, ops.OR), "^": (2, ops.XOR), "&": (3, ops.AND), "==": (4, ops.EQ), "<": (4, ops.LT), "<<": (5, ops.SHL), ">>": (5, ops.SHR),
    "+": (6, ops.ADD), "*": (7, ops.MUL), "/": (7, ops.DIV),
}  # fmt: skip
_SIGNS: dict[str, tuple[int, str]] = {op.name: (level, sign) for sign, (level, op) in _INFIX.items()}
_CALLS: dict[str, Op] = {op.name.lower(): op for op in (ops.MAX, ops.WHERE, ops.EXP2, ops.LOG2, ops.SIN, ops.SQRT, *ops.NATIVE_OPS)}
_HIGHEST = 8
_LONG = 5
"""A shared subexpression of as many parts gets an abbreviation."""


def print_expr(root: Expr) -> str:
    """`root` on one line, its abbreviations first."""
    lines, write = abbreviated(root)
    return "; ".join([*lines, write(root)])


def abbreviated(*roots: Expr) -> tuple[list[str], Callable[[Expr], str]]:
    """A line `$n = ...` for each long subexpression that `roots` share, and a function that writes one of them with these."""
    order = list(walk(*roots))
    uses = Counter(child for expr in order for child in children(expr))
    uses.update(roots)
    parts: dict[Expr, int] = {}
    texts: dict[Expr, tuple[int, str]] = {}
    lines: list[str] = []
    for expr in order:
        parts[expr] = 1 + sum(parts[child] for child in children(expr))
        texts[expr] = _write(expr, [texts[child] for child in children(expr)])
        if uses[expr] > 1 and parts[expr] >= _LONG:
            name = f"${len(lines)}"
            lines.append(f"{name} = {texts[expr][1]}")
            parts[expr], texts[expr] = 1, (_HIGHEST, name)
    return lines, lambda root: texts[root][1]


def _write(expr: Expr, args: list[tuple[int, str]]) -> tuple[int, str]:
    """`expr` given how tightly its children bind and their text."""
    inner = [text for _, text in args]
    match expr:
        case Apply(op) if op.name in _SIGNS:
            level, sign = _SIGNS[op.name]
            left = inner[0] if args[0][0] >= level else f"({inner[0]})"
            right = inner[1] if args[1][0] > level else f"({inner[1]})"
            return (level, f"{left} {sign} {right}")
        case Apply(op, _, dtype):
            call = dtype.name if op == ops.CAST else op.name.lower()
            first = [dtype.name] if op == ops.BITCAST else []
            return (_HIGHEST, f"{call}({', '.join(first + inner)})")
        case Load(buffer):
            return (_HIGHEST, f"{buffer.name}[{inner[0]}]")
        case Ramp(_, stride, lanes):
            return (_HIGHEST, f"ramp({inner[0]}, {stride}, {lanes})")
        case Broadcast(_, lanes):
            return (_HIGHEST, f"broadcast({inner[0]}, {lanes})")
        case Lit():
            return (_HIGHEST, write_literal(expr))
        case Var(name):
            return (_HIGHEST, name)
        case Arg(position):
            return (_HIGHEST, f"a{position}")
        case Coordinate(axis):
            return (_HIGHEST, f"c{axis}")


def write_literal(lit: Lit) -> str:
    """The constant, with its type where that does not follow from how it is written."""
    if lit.dtype == BOOL:
        return "true" if lit.value else "false"
    plain = F32 if isinstance(lit.value, float) else INDEX
    return repr(lit.value) if lit.dtype == plain else f"{lit.value!r}:{lit.dtype}"


def parse_expression(cursor: Cursor, names: Names, level: int = 1) -> Expr:
    """An expression whose operators bind at `level` or tighter. Raises ModelError."""
    left = _parse_primary(cursor, names)
    while cursor.next.kind == "sign" and cursor.next.text in _INFIX and _INFIX[cursor.next.text][0] >= level:
        bound, op = _INFIX[cursor.take("sign")]
        left = _typed(cursor, lambda a, b, op=op: apply(op, a, b), left, parse_expression(cursor, names, bound + 1))
    return left


def _typed(cursor: Cursor, make: Callable[..., Expr], *args: Expr) -> Expr:
    try:
        return make(*args)
    except TypeError as error:
        return cursor.fail(str(error))


def _parse_primary(cursor: Cursor, names: Names) -> Expr:
    if cursor.accept("("):
        inner = parse_expression(cursor, names)
        cursor.expect(")")
        return inner
    if cursor.next.kind == "number":
        return parse_literal(cursor)
    name = cursor.next.text
    if cursor.next.kind == "name" and cursor.after() == "(":
        return _parse_call(cursor, cursor.take("name"), names)
    found = names.get(name)
    if isinstance(found, Buffer):
        cursor.take("name")
        cursor.expect("[")
        index = parse_expression(cursor, names)
        cursor.expect("]")
        return Load(found, index)
    if found is not None:
        cursor.position += 1
        return found
    return parse_literal(cursor) if name in ("true", "false", "inf", "nan") else cursor.fail(f"{name!r} stands for nothing here")


def parse_literal(cursor: Cursor) -> Lit:
    """A constant."""
    if cursor.next.text in ("true", "false"):
        return Lit(cursor.take("name") == "true", BOOL)
    value = cursor.number()
    if cursor.accept(":"):
        return Lit(value, parse_dtype(cursor))
    return Lit(value, F32 if isinstance(value, float) else INDEX)


def parse_dtype(cursor: Cursor) -> DType:
    """The name of a type."""
    name = cursor.take("name")
    if name not in dtypes.BY_NAME:
        cursor.position -= 1
        cursor.fail(f"there is no type {name!r}")
    return dtypes.BY_NAME[name]


def _parse_call(cursor: Cursor, name: str, names: Names) -> Expr:
    cursor.expect("(")
    if name == "bitcast":
        dtype = parse_dtype(cursor)
        cursor.expect(",")
        made: Expr = bitcast(parse_expression(cursor, names), dtype)
    elif name in dtypes.BY_NAME:
        made = cast(parse_expression(cursor, names), dtypes.BY_NAME[name])
    elif name in ("ramp", "broadcast"):
        inner = parse_expression(cursor, names)
        numbers = [_parse_number(cursor) for _ in range(2 if name == "ramp" else 1)]
        made = Ramp(inner, numbers[0], numbers[1]) if name == "ramp" else Broadcast(inner, numbers[0])
    elif name in _CALLS:
        args = [parse_expression(cursor, names)]
        while cursor.accept(","):
            args.append(parse_expression(cursor, names))
        made = _typed(cursor, apply, _CALLS[name], *args)  # type: ignore[arg-type]
    else:
        cursor.fail(f"there is no function {name!r}")
    cursor.expect(")")
    return made


def _parse_number(cursor: Cursor) -> int:
    cursor.expect(",")
    return cursor.integer()


def parse_abbreviations(cursor: Cursor, names: Mapping[str, Expr | Buffer]) -> Names:
    """`names`, and what the lines `$n = ...` here stand for."""
    known = dict(names)
    while cursor.next.text.startswith("$") and cursor.after() == "=":
        name = cursor.take("reference")
        cursor.expect("=")
        known[name] = parse_expression(cursor, known)
        cursor.end_statement()
    return known
