"""OpenCL C 1.2 as a dialect of the C family.

A vector of bool is int<n> holding 0 and -1, which is what comparing floats gives. f16 and bf16 are values of type ushort: OpenCL
has no arithmetic on them without extensions, and conversion goes through private memory, which needs none. Signed integers
are added and multiplied as unsigned ones, since C leaves their overflow undefined.
"""

from __future__ import annotations

from dataclasses import replace

from tgc.backends.cfamily.dialect import CHOICE, COMMA, EQUALITY, ORDER, PRODUCT, SUM, UNARY, Dialect, Form, call, infix, prefix
from tgc.backends.opencl.words import RESERVED

_VALUES = {
    "bool": "bool", "i8": "char", "i16": "short", "i32": "int", "i64": "long",
    "u8": "uchar", "u16": "ushort", "u32": "uint", "u64": "ulong",
    "f16": "ushort", "bf16": "ushort", "f32": "float", "f64": "double", "index": "int",
}  # fmt: skip
_SIGNED_OF_WIDTH = {8: "char", 16: "short", 32: "int", 64: "long"}
_UNSIGNED_OF_WIDTH = {8: "uchar", 16: "ushort", 32: "uint", 64: "ulong"}
_WIDTHS = {
    "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
    "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "index": 32,
}  # fmt: skip
LANES = (2, 4, 8, 16)
"""The lengths of vectors that OpenCL C has. PoCL 3.0 on AVX2 passes those of 512 bits wrongly to built-in functions; targets stay below."""


def _scalar() -> dict[str, Form]:
    """Forms for one value. char and short compute as int, so their results are cut back."""
    forms = {
        "ADD": infix("+"), "SUB": infix("-"), "MUL": infix("*"), "DIV": infix("/"), "NEG": prefix("-"),
        "ADD.bool": infix("||"), "MUL.bool": infix("&&"), "MAX.bool": infix("||"), "NOT": prefix("!"),
        "MAX": call("max({0}, {1})"),
        "MAX.float": Form("{0} < {1} || {1} != {1} ? {1} : {0}", CHOICE, (UNARY,)),
        "MAX_LIT.float": Form("{0} < {1} ? {1} : {0}", CHOICE, (SUM,)),
        "LT": infix("<"), "EQ": infix("=="), "WHERE": Form("{0} ? {1} : {2}", CHOICE, (ORDER, SUM, SUM)),
        "EXP2": call("exp2({0})"), "LOG2": call("log2({0})"), "SIN": call("sin({0})"), "SQRT": call("sqrt({0})"),
        "AND": infix("&"), "OR": infix("|"), "XOR": infix("^"), "SHL": infix("<<"), "SHR": infix(">>"),
        "CAST": prefix("({t})"), "BITCAST": call("as_{t}({0})"),
        "CAST.f16": Form("({t})tgc_from_f16({0})", UNARY), "CAST.bf16": Form("({t})tgc_from_bf16({0})", UNARY),
    }  # fmt: skip
    for name, width in _WIDTHS.items():
        if name[0] in "iu" and name != "index":
            forms |= _integer(name, width)
        forms[f"CAST.{name}.bool"] = Form("{0} != 0", EQUALITY, (SUM,))
    for name in ("f16", "bf16"):
        forms[f"CAST.{name}.f32"] = call(f"tgc_from_{name}({{0}})")
        forms[f"CAST.{name}.bool"] = Form(f"tgc_from_{name}({{0}}) != 0", EQUALITY)
        forms |= {f"CAST.{source}.{name}": call(f"tgc_to_{name}((float)({{0}}))") for source in ("bool", *_WIDTHS)}
        forms[f"CAST.f32.{name}"] = call(f"tgc_to_{name}({{0}})")
    return forms | {"CAST.f16.bf16": call("tgc_to_bf16(tgc_from_f16({0}))"), "CAST.bf16.f16": call("tgc_to_f16(tgc_from_bf16({0}))")}


def _integer(name: str, width: int) -> dict[str, Form]:
    """Arithmetic that wraps, by way of an unsigned type; below 32 bits everything computes as int and is cut back."""
    wraps = {"ADD": "+", "SUB": "-", "MUL": "*", "SHL": "<<"}
    if name in ("u32", "u64"):
        return {}
    unsigned = _UNSIGNED_OF_WIDTH[max(width, 32)]
    forms = {f"{op}.{name}": Form(f"({{t}})(({unsigned}){{0}} {sign} ({unsigned}){{1}})", UNARY, (UNARY,)) for op, sign in wraps.items()}
    forms[f"SHL.{name}"] = Form(f"({{t}})(({unsigned}){{0}} << {{1}})", UNARY, (UNARY,))
    forms[f"NEG.{name}"] = Form(f"({{t}})(0 - ({unsigned}){{0}})", UNARY, (UNARY,))
    if width < 32:
        narrow = {"DIV": "/", "AND": "&", "OR": "|", "XOR": "^", "SHR": ">>"}
        forms |= {f"{op}.{name}": Form(f"({{t}})({{0}} {sign} {{1}})", UNARY, (UNARY,)) for op, sign in narrow.items()}
        forms[f"MAX.{name}"] = Form("({t})max((int){0}, (int){1})", UNARY, (UNARY,))
        forms[f"WHERE.{name}"] = Form("({t})({0} ? {1} : {2})", UNARY, (ORDER, SUM, SUM))
    return forms


def _vector() -> dict[str, Form]:
    """Forms for vectors. OpenCL's vectors of integers keep their type in arithmetic."""
    forms = {
        "SPLAT": call("({t})({0})"), "SPLAT.bool": call("({t})(-(int)({0}))"),
        "RAMP": Form("{0} + {1} * ({t})({items})", SUM, (SUM, UNARY), "{k}"),
        "LOAD": call("vload{n}(0, {0})"), "LOAD.bool": Form("-convert_int{n}(vload{n}(0, {0}))", UNARY),
        "STRIDED": Form("({t})({items})", inner=(UNARY,), item="({0})[{k} * {1}]"),
        "STRIDED.bool": Form("-({t})({items})", UNARY, (UNARY,), item="({0})[{k} * {1}]"),
        "GATHER": call("({t})({items})", "{0}[{1}.s{x}]"), "GATHER.bool": Form("-({t})({items})", UNARY, item="{0}[{1}.s{x}]"),
        "LOAD_IF": call("({t})({items})", "{0}.s{x} ? ({1})[{k}] : {2}.s{x}"),
        "LOAD_IF.bool": call("({t})({items})", "{0}.s{x} ? -({1})[{k}] : {2}.s{x}"),
        "GATHER_IF": call("({t})({items})", "{0}.s{x} ? {1}[{2}.s{x}] : {3}.s{x}"),
        "GATHER_IF.bool": call("({t})({items})", "{0}.s{x} ? -{1}[{2}.s{x}] : {3}.s{x}"),
        "STORE": call("vstore{n}({1}, 0, {0})"), "STORE.bool": call("vstore{n}(convert_uchar{n}(-({1})), 0, {0})"),
        "STORE_STRIDED": Form("{items}", inner=(UNARY,), item="({0})[{k} * {1}] = {2}.s{x}"),
        "STORE_STRIDED.bool": Form("{items}", inner=(UNARY,), item="({0})[{k} * {1}] = -{2}.s{x}"),
        "SCATTER": call("{items}", "{0}[{1}.s{x}] = {2}.s{x}"), "SCATTER.bool": call("{items}", "{0}[{1}.s{x}] = -{2}.s{x}"),
        "ADD": infix("+"), "SUB": infix("-"), "MUL": infix("*"), "DIV": infix("/"), "NEG": prefix("-"),
        "ADD.bool": infix("|"), "MUL.bool": infix("&"), "MAX.bool": infix("|"), "NOT": prefix("~"),
        "MAX": call("max({0}, {1})"),
        "EXP2": call("exp2({0})"), "LOG2": call("log2({0})"), "SIN": call("sin({0})"), "SQRT": call("sqrt({0})"),
        "AND": infix("&"), "OR": infix("|"), "XOR": infix("^"), "SHL": infix("<<"), "SHR": infix(">>"), "BITCAST": call("as_{t}({0})"),
        "CAST": call("convert_{t}({0})"), "CAST.bool": call("convert_{t}(-({0}))"),
        "LT.bool": Form("~{0} & {1}", SUM, (UNARY,)), "EQ.bool": infix("=="), "WHERE.bool": call("select({2}, {1}, {0})"),
    }  # fmt: skip
    for name, width in _WIDTHS.items():
        forms |= _compared(name, width)
        if name in ("i8", "i16", "i32", "i64"):
            forms |= _wrapping(name, _UNSIGNED_OF_WIDTH[width])
    for name in ("f16", "bf16"):
        forms[f"CAST.{name}"] = call(f"convert_{{t}}(tgc_from_{name}_{{n}}({{0}}))")
        forms[f"CAST.{name}.bool"] = call(f"tgc_from_{name}_{{n}}({{0}}) != 0")
        forms |= {f"CAST.{source}.{name}": call(f"tgc_to_{name}_{{n}}(convert_float{{n}}({{0}}))") for source in _WIDTHS}
        forms[f"CAST.bool.{name}"] = call(f"tgc_to_{name}_{{n}}(convert_float{{n}}(-({{0}})))")
        forms[f"CAST.{name}.f32"] = call(f"tgc_from_{name}_{{n}}({{0}})")
        forms[f"CAST.f32.{name}"] = call(f"tgc_to_{name}_{{n}}({{0}})")
    crossed = (("f16", "bf16"), ("bf16", "f16"))
    return forms | {f"CAST.{a}.{b}": call(f"tgc_to_{b}_{{n}}(tgc_from_{a}_{{n}}({{0}}))") for a, b in crossed}


def _compared(name: str, width: int) -> dict[str, Form]:
    """Comparisons give a signed integer of the operands' width, and select wants one; bool is int."""
    mask = "{0}" if width == 32 else f"convert_{_SIGNED_OF_WIDTH[width]}{{n}}({{0}})"
    test = infix if width == 32 else _as_bool
    forms = {f"LT.{name}": test("<"), f"EQ.{name}": test("=="), f"WHERE.{name}": call(f"select({{2}}, {{1}}, {mask})")}
    forms[f"CAST.{name}.bool"] = Form("{0} != 0", EQUALITY, (SUM,)) if width == 32 else call("convert_int{n}({0} != ({s})(0))")
    if name in ("f32", "f64"):
        forms[f"MAX.{name}"] = Form("select({0}, {1}, {0} < {1} | {1} != {1})", inner=(UNARY,))
        forms[f"MAX_LIT.{name}"] = Form("select({0}, {1}, {0} < {1})", inner=(UNARY,))
    return forms


def _as_bool(operator: str) -> Form:
    return Form(f"convert_int{{n}}({{0}} {operator} {{1}})", inner=(SUM,))


def _wrapping(name: str, unsigned: str) -> dict[str, Form]:
    """Arithmetic on vectors of a signed type, as the unsigned one that wraps."""
    forms = {
        f"{op}.{name}": call(f"as_{{t}}(as_{unsigned}{{n}}({{0}}) {sign} as_{unsigned}{{n}}({{1}}))")
        for op, sign in (("ADD", "+"), ("SUB", "-"), ("MUL", "*"))
    }
    return forms | {
        f"NEG.{name}": call(f"as_{{t}}(-as_{unsigned}{{n}}({{0}}))"),
        f"SHL.{name}": call(f"as_{{t}}(as_{unsigned}{{n}}({{0}}) << as_{unsigned}{{n}}({{1}}))"),
    }


OPENCL = Dialect(
    values=_VALUES,
    elements={**_VALUES, "bool": "uchar"},
    vectors={name: "int{n}" if name == "bool" else value + "{n}" for name, value in _VALUES.items()},
    scalar=_scalar(),
    vector=_vector(),
    literals={
        "bool.true": "true", "bool.false": "false", "i8": "(char){}", "i16": "(short){}", "i32": "{}", "i64": "{}l",
        "u8": "(uchar){}", "u16": "(ushort){}", "u32": "{}u", "u64": "{}ul", "f16": "(ushort){}", "bf16": "(ushort){}",
        "f32": "{}f", "f64": "{}", "index": "{}",
    },
    infinity={"f32": "INFINITY", "f64": "(double)INFINITY"},
    nan={"f32": "NAN", "f64": "(double)NAN"},
    kernel="__kernel void {name}({parameters})",
    parameter="{space}{const}{type} *restrict {name}, const int start{position}",
    entry="{name} += start{position};",
    spaces={"global": "__global ", "constant": "__global ", "local": "__local ", "register": ""},
    loop="for (int {var} = 0; {var} < {extent}; ++{var}) {{",
    grids={
        **{f"grid{d}": f"const int {{var}} = get_group_id({d});" for d in range(3)},
        **{f"lane{d}": f"const int {{var}} = get_local_id({d});" for d in range(3)},
    },
    barrier="barrier(CLK_LOCAL_MEM_FENCE);",
    reserved=RESERVED,
)  # fmt: skip
"""Desktop devices and PoCL: everything in buffers."""

_HALVES = "(__global const half *)({0})"
QCOM = replace(
    OPENCL,
    scalar={**OPENCL.scalar, "FMA.f32": call("mad({0}, {1}, {2})"), "WIDEN.f16.f32": call(f"vload_half(0, {_HALVES})"),
            "NARROW.f32.f16": call("vstore_half({1}, 0, (__global half *)({0}))"),
            "NARROW_SUM.f32.f16": call("vstore_half_rte({1}, 0, (__global half *)({0}))")},
    vector={**OPENCL.vector, "FMA.f32": call("mad({0}, {1}, {2})"), "WIDEN.f16.f32": call(f"vload_half{{n}}(0, {_HALVES})"),
            "NARROW.f32.f16": call("vstore_half{n}({1}, 0, (__global half *)({0}))"),
            "NARROW_SUM.f32.f16": call("vstore_half{n}_rte({1}, 0, (__global half *)({0}))"),
            "TEXEL.f16.f32": call("read_imagef({0}, {1})"),
            "TEXEL.f32.f32": call("read_imagef({0}, {1})"), "COLUMN": call("({t})({0}.s{4}, {1}.s{4}, {2}.s{4}, {3}.s{4})")},
    image="__read_only image1d_buffer_t {name}, const int start{position}",
    spaces={**OPENCL.spaces, "image": ""},
    kept="for (int {var} = min(start0, 0); {var} < {extent}; ++{var}) {{",
)  # fmt: skip
"""Adreno: half in images over buffers, float arithmetic. Multiply-adds may be fused or not.

Rounding to nearest is what vstore_half does anyway. Said so, Mesa leaves the conversion of a sum that is only stored after its loop;
else it converts in every iteration. Of other values it computes the last limits in half, unless that is said. Where a buffer starts is
never negative, which the device's compiler cannot know.
"""

_RELAXED = {
    "DIV.f32": Form("{0} * native_recip({1})", PRODUCT, (PRODUCT, COMMA)), "DIV_LIT.f32": call("native_divide({0}, {1})"),
    "EXP2.f32": call("native_exp2({0})"), "LOG2.f32": call("native_log2({0})"),
    "SQRT.f32": call("native_sqrt({0})"), "MAX.f32": call("fmax({0}, {1})"), "MAX_LIT.f32": call("fmax({0}, {1})"),
    "MIN.f32": call("fmin({0}, {1})"),
}  # fmt: skip
QCOM_RELAXED = replace(QCOM, scalar={**QCOM.scalar, **_RELAXED}, vector={**QCOM.vector, **_RELAXED})
"""The same where results are stored in half: the device's own instructions for what half cannot tell from the exact value.

A precise division is some twenty instructions and native_divide ten in Mesa, which scales divisors; the device's own reciprocal is one. The
larger of a number and NaN is the number.
"""

_HALF_SCALAR = {
    "CAST.f16.f32": call("(float)({0})"), "CAST.f32.f16": call("tgc_to_half({0})"), "FMA.f16": call("tgc_mad_half({0}, {1}, {2})"),
    "ADD.f16": call("tgc_add_half({0}, {1})"), "MUL.f16": call("tgc_mul_half({0}, {1})"),
}  # fmt: skip
_HALF_VECTOR = {
    "CAST.f16.f32": call("convert_float{n}({0})"), "CAST.f32.f16": call("tgc_to_half{n}({0})"),
    "FMA.f16": call("tgc_mad_half{n}({0}, {1}, {2})"), "ADD.f16": call("tgc_add_half{n}({0}, {1})"),
    "MUL.f16": call("tgc_mul_half{n}({0}, {1})"), "TEXEL.f16.f16": call("read_imageh({0}, {1})"),
}  # fmt: skip
QCOM_HALF = replace(
    QCOM_RELAXED,
    values={**QCOM.values, "f16": "tgc_half"}, vectors={**QCOM.vectors, "f16": "tgc_half{n}"},
    scalar={**QCOM_RELAXED.scalar, **_HALF_SCALAR}, vector={**QCOM_RELAXED.vector, **_HALF_VECTOR},
    literals={**QCOM.literals, "f16": "tgc_half_of({})"},
)  # fmt: skip
"""For kernels with sums in half, which the prelude's names compute in half or, on devices without it, in float that is rounded to it."""
