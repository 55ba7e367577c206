"""C99 as a dialect of the C family.

What C leaves undefined, or has no operator for, is a small function that the prelude defines where it is used: `i32_add` wraps,
`f32_max` keeps a NaN, `f32x8_add` adds vectors. Vector types are named `f32x8`; `boolx8` is a vector of truth values.
f16 and bf16 values are their bits in a uint16_t, which kernels only load, store, choose and convert.
"""

from __future__ import annotations

from tgc.backends.cfamily.dialect import CHOICE, EQUALITY, ORDER, SUM, UNARY, Dialect, Form, call, infix, prefix
from tgc.backends.names import KEYWORDS
from tgc.ir.dtypes import BOOL, DTYPES, DType
from tgc.ir.ops import NATIVE_OPS

NARROW = ("bool", "i8", "i16", "u8", "u16")
_INTEGERS = tuple(dtype.name for dtype in DTYPES if dtype.is_integer and dtype.name != "index")
_FLOATS = ("f32", "f64")
_HALVES = ("f16", "bf16")
WORDS = tuple(op.name for op in NATIVE_OPS)


def _scalar() -> dict[str, Form]:
    """Forms for one value."""
    forms: dict[str, Form] = {}
    for name in (*_FLOATS, "index"):
        forms |= {f"{op}.{name}": infix(sign) for op, sign in (("ADD", "+"), ("SUB", "-"), ("MUL", "*"), ("DIV", "/"))}
        forms[f"NEG.{name}"] = prefix("-")
    for name in _FLOATS:
        forms |= {f"{op}.{name}": call(op.lower() + "{f}({0})") for op in ("EXP2", "LOG2", "SIN", "SQRT")}
        forms |= {f"MAX.{name}": call("{d}_max({0}, {1})"), f"MAX_LIT.{name}": call("{d}_at_least({0}, {1})")}
    for name in (*_INTEGERS, "index"):
        forms |= _integer(name)
    for name in (*_FLOATS, *_INTEGERS, "index", "bool"):
        forms |= {f"LT.{name}": infix("<"), f"EQ.{name}": infix("==")}
    bools = {"ADD": "||", "MUL": "&&", "MAX": "||", "AND": "&", "OR": "|", "XOR": "^"}
    forms |= {f"{op}.bool": infix(sign) for op, sign in bools.items()}
    forms |= {"WORD": call("u32_word({0})"), **{op: call(f"{{d}}_{op.lower()}({{0}}, {{1}}, {{2}})") for op in WORDS}}
    forms |= {"NOT.bool": prefix("!"), "WHERE": Form("{0} ? {1} : {2}", CHOICE, (ORDER, SUM, SUM))}
    return forms | _casts()


def _integer(name: str) -> dict[str, Form]:
    """Unsigned integers of at least 32 bits have C's operators; for the rest those would overflow or widen."""
    forms = {f"{op}.{name}": infix(sign) for op, sign in (("AND", "&"), ("OR", "|"), ("XOR", "^"))}
    forms |= {f"DIV_LIT.{name}": infix("/"), f"SHR_LIT.{name}": infix(">>"), f"MAX.{name}": call("{d}_max({0}, {1})")}
    forms |= {f"{op}.{name}": call(f"{{d}}_{op.lower()}({{0}}, {{1}})") for op in ("SHL", "SHR")}
    if name in ("u32", "u64"):
        forms |= {f"{op}.{name}": infix(sign) for op, sign in (("ADD", "+"), ("SUB", "-"), ("MUL", "*"), ("SHL_LIT", "<<"))}
        return forms | {f"DIV.{name}": call("{d}_div({0}, {1})")}
    if name == "index":
        return forms
    forms |= {f"{op}.{name}": call(f"{{d}}_{op.lower()}({{0}}, {{1}})") for op in ("ADD", "SUB", "MUL", "DIV")}
    return forms | {f"NEG.{name}": call("{d}_sub(0, {0})")}


def _casts() -> dict[str, Form]:
    forms: dict[str, Form] = {}
    numbers = (*_FLOATS, *_INTEGERS, "index")
    for source in (*numbers, "bool"):
        forms |= {f"CAST.{source}.{result}": prefix("({t})") for result in numbers}
        forms[f"CAST.{source}.bool"] = Form("{0} != 0", EQUALITY, (SUM,))
        forms |= {f"CAST.{source}.{half}": call("{d}_from_f32((float)({0}))") for half in _HALVES}
    for source in _FLOATS:
        forms |= {f"CAST.{source}.{result}": call("{d}_from_{a}({0})") for result in (*_INTEGERS, "index", *_HALVES)}
    for half in _HALVES:
        forms |= {f"CAST.{half}.{result}": call("{d}_from_f32(f32_from_{a}({0}))") for result in (*_INTEGERS, "index", *_HALVES)}
        forms |= {f"CAST.{half}.f32": call("f32_from_{a}({0})"), f"CAST.{half}.f64": Form("(double)f32_from_{a}({0})", UNARY)}
        forms[f"CAST.{half}.bool"] = Form("f32_from_{a}({0}) != 0", EQUALITY)
    forms["BITCAST"] = prefix("({t})")
    for name in _FLOATS:
        forms |= {f"BITCAST.{name}": call("{d}_bits_{a}({0})")}
        forms |= {f"BITCAST.{integer}.{name}": call("{d}_bits_{a}({0})") for integer in _INTEGERS}
    return forms


def _vector() -> dict[str, Form]:
    """Forms for vectors: all are functions of the prelude, named after the vector's type."""
    names = ("ADD", "SUB", "MUL", "DIV", "MAX", "AND", "OR", "XOR", "SHL", "SHR")
    forms = {name: call(f"{{t}}_{name.lower()}({{0}}, {{1}})") for name in names}
    forms |= {name: call(f"{{t}}_{name.lower()}({{0}})") for name in ("SPLAT", "LOAD", "NEG", "SQRT", "EXP2", "LOG2", "SIN")}
    forms |= {name: call(f"{{s}}_{name.lower()}({{0}}, {{1}})") for name in ("LT", "EQ")}
    forms |= {f"MAX_LIT.{name}": call("{t}_at_least({0}, {1})") for name in _FLOATS}
    forms |= {f"FMA.{name}": call("{t}_mul_add({0}, {1}, {2})") for name in _FLOATS}
    forms |= {op: call(f"{{t}}_{op.lower()}({{0}}, {{1}}, {{2}})") for op in WORDS}
    forms |= {
        "RAMP": call("{t}_ramp({0}, {1})"), "STRIDED": call("{t}_strided({0}, {1})"), "GATHER": call("{t}_gather({0}, {1})"),
        "STORE": call("{t}_store({0}, {1})"), "STORE_STRIDED": call("{t}_store_strided({0}, {1}, {2})"),
        "SCATTER": call("{t}_scatter({0}, {1}, {2})"), "NOT.bool": call("{t}_not({0})"), "WHERE": call("{t}_where({0}, {1}, {2})"),
        "CAST": call("{t}_from_{a}({0})"), "BITCAST": call("{t}_bits_{a}({0})"),
    }  # fmt: skip
    return forms


def value_type(dtype: DType) -> str:
    """The C type of one value."""
    return "bool" if dtype == BOOL else dtype.c or "uint16_t"


C99 = Dialect(
    values={dtype.name: value_type(dtype) for dtype in DTYPES},
    elements={dtype.name: dtype.c or "uint16_t" for dtype in DTYPES},
    vectors={dtype.name: ("i64" if dtype.name == "index" else dtype.name) + "x{n}" for dtype in DTYPES},
    scalar=_scalar(),
    vector=_vector(),
    literals={
        "bool.true": "true", "bool.false": "false", "i8": "{}", "i16": "{}", "i32": "{}", "i64": "INT64_C({})", "u8": "{}", "u16": "{}",
        "f16": "{}", "bf16": "{}",
        "u32": "{}u", "u64": "UINT64_C({})", "f32": "{}f", "f64": "{}", "index": "{}",
    },
    infinity={"f32": "INFINITY", "f64": "(double)INFINITY"},
    nan={"f32": "NAN", "f64": "(double)NAN"},
    kernel="static void {name}({parameters})",
    parameter="{space}{const}{type} *restrict {name}",
    spaces={"global": "", "constant": "", "local": "", "register": "", "image": ""},
    loop="for (int64_t {var} = 0; {var} < {extent}; ++{var}) {{",
    part="for (int64_t {var} = {units} * part / parts; {var} < {units} * (part + 1) / parts{tail}; ++{var}) {{",
    tail=" + (part + 1 == parts)",
    parts="int64_t part, int64_t parts",
    reserved=KEYWORDS | {"part", "parts"},
    functions=r"(bool|bf16|f16|f32|f64|[iu](8|16|32|64)|index)(x\d+|_).*",
)  # fmt: skip
