"""Definitions of vector functions, each in two ways: as GCC's vector extension has it, and lane by lane.

Fields of the tables: {T} {S} the result's and the last argument's vector types, {V} {E} the result's scalar and stored types,
{B} {X} vectors of bool and of INDEX, {U} {I} vectors of unsigned and signed integers as wide as the result's elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tgc.backends.c.dialect import C99, WORDS
from tgc.backends.c.scalars import scalar_text
from tgc.backends.cfamily.dialect import form_keys
from tgc.backends.cfamily.expressions import Use, fill, find
from tgc.errors import InvalidIrError
from tgc.ir.dtypes import BY_NAME, I32, I64, DType

_UNARY, _BINARY = "{S} a", "{S} a, {S} b"
_PARAMETERS = {
    **dict.fromkeys(("NEG", "NOT", "SQRT", "EXP2", "LOG2", "SIN", "CAST", "BITCAST"), _UNARY),
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAX", "MAX_LIT", "LT", "EQ", "AND", "OR", "XOR", "SHL", "SHR"), _BINARY),
    **dict.fromkeys(WORDS, "{T} a, {S} b, {S} c"),
    "FMA": "{T} a, {T} b, {T} c", "WHERE": "{B} a, {T} b, {T} c", "SPLAT": "{V} a", "RAMP": "{V} a, {V} b",
    "LOAD": "const {E} *p", "STRIDED": "const {E} *p, int64_t stride", "GATHER": "const {E} *p, {X} i",
    "STORE": "{E} *p, {T} v", "STORE_STRIDED": "{E} *p, int64_t stride, {T} v", "SCATTER": "{E} *p, {X} i, {T} v",
}  # fmt: skip

_BYTES = ("(({I})({x} << {up}) >> 24)", "({x} << {up} >> 24)")  # a byte of every word, read signed, unsigned


def _products(signed: bool) -> str:
    """The sum of four products of bytes and of what was there, written with vectors of words."""
    left, right = _BYTES[0 if signed else 1], _BYTES[0]
    terms = (f"({{S}}){left} * ({{S}}){right}".replace("{up}", str(24 - 8 * byte)).replace("{x}", "b", 1) for byte in range(4))
    return "return ({T})(({S})a + " + " +\n    ".join(term.replace("{x}", "c") for term in terms) + ");"


_NATIVE = {
    "DOT4": _products(False), "DOT4S": _products(True),
    "DOT2": "a += ({T})(b << 16) * ({T})(c << 16);\n  return a + ({T})(b & 0xffff0000u) * ({T})(c & 0xffff0000u);",
    **{f"{op}.float": f"return a {sign} b;" for op, sign in (("ADD", "+"), ("SUB", "-"), ("MUL", "*"), ("DIV", "/"))},
    **{f"{op}.{kind}": f"return ({{T}})(({{U}})a {sign} ({{U}})b);" for kind in ("int", "uint")
       for op, sign in (("ADD", "+"), ("SUB", "-"), ("MUL", "*"))},
    "NEG.float": "return -a;", "NEG.int": "return ({T})(-({U})a);", "NEG.uint": "return -a;", "NOT": "return ~a;",
    "AND": "return a & b;", "OR": "return a | b;", "XOR": "return a ^ b;", "FMA": "return a * b + c;",
    "ADD.bool": "return a | b;", "MAX.bool": "return a | b;", "MUL.bool": "return a & b;", "LT.bool": "return ~a & b;",
    "EQ.bool": "return ~(a ^ b);", "SHL": "return ({T})(({U})a << ({U})(b & {mask}));", "SHR": "return a >> (b & {mask});",
    "MAX": "const {I} m = a > b;\n  return ({T})((m & ({I})a) | (~m & ({I})b));",
    "MAX.float": "const {I} m = (a > b) | (a != a);\n  return ({T})((m & ({I})a) | (~m & ({I})b));",
    "MAX_LIT": "const {I} m = a < b;\n  return ({T})((m & ({I})b) | (~m & ({I})a));",
    "LT": "return {test}a < b{end};", "EQ": "return {test}a == b{end};",
    "WHERE": "const {I} m = {mask_of};\n  return ({T})((m & ({I})b) | (~m & ({I})c));", "WHERE.bool": "return (a & b) | (~a & c);",
    "SPLAT": "return a - ({T}){{0}};", "SPLAT.bool": "return -(int32_t)a - ({T}){{0}};", "RAMP": "return a + b * ({T}){{{counting}}};",
    "LOAD": "return *(const {T}_u *)p;",
    "LOAD.bool": "return -__builtin_convertvector(__builtin_convertvector(*(const u8x{n}_u *)p, i16x{n}), {T});",
    "STORE": "*({T}_u *)p = v;", "STORE.bool": "*(u8x{n}_u *)p = __builtin_convertvector(__builtin_convertvector(-v, i16x{n}), u8x{n});",
    "CAST.bool": "return __builtin_convertvector(-a, {T});", "BITCAST": "return ({T})a;",
    "CAST.bf16.f32": "return ({T})(__builtin_convertvector(a, {U}) << 16);",
    "CAST.f32.bf16": "const {W} u = ({W})a;\n"
                     "  const {W} near = (u + 0x7fffu + (u >> 16 & 1u)) >> 16, nan = (u >> 16 & 0x8000u) | 0x7fc0u;\n"
                     "  const {W} m = ({W})(a != a);\n  return __builtin_convertvector((m & nan) | (~m & near), {T});",
    "CAST.f16.f32": "const {U} wide = __builtin_convertvector(a, {U}), rest = (wide & 0x7fffu) << 13;\n"
                    "  const {T} value = ({T})rest * 5192296858534827628530496329220096.0f; /* 2^112 */\n"
                    "  const {U} m = ({U})(rest >= 0x0f800000u);\n  return ({T})((wide & 0x8000u) << 16 | ({U})value | (m & 0x7f800000u));",
    "CAST.f32.f16": "const {W} u = ({W})a, size = u & 0x7fffffffu;\n  const {W} tiny = ({W})(({S})size + 0.5f) - 0x3f000000u;\n"
                    "  const {W} normal = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;\n"
                    "  const {W} small = ({W})(size < 0x38800000u), large = ({W})(size >= 0x477ff000u), nan = ({W})(size > 0x7f800000u);\n"
                    "  const {W} finite = (small & tiny) | (~small & normal);\n"
                    "  const {W} half = (large & 0x7c00u) | (nan & 0x200u) | (~large & finite);\n"
                    "  return __builtin_convertvector((u >> 16 & 0x8000u) | half, {T});",
}  # fmt: skip

# Where the machine has an instruction for so many lanes, behind the macro that says so.
_HARDWARE = {
    "CAST.f16.f32.8": ("__F16C__", "return ({T})_mm256_cvtph_ps((__m128i)a);"),
    "CAST.f32.f16.8": ("__F16C__", "return ({T})_mm256_cvtps_ph((__m256)a, 0);"),
    "DOT4.u32.i32.16": ("__AVX512VNNI__", "return ({T})_mm512_dpbusd_epi32((__m512i)a, (__m512i)b, (__m512i)c);"),
    "DOT2.u32.f32.16": ("__AVX512BF16__", "return ({T})_mm512_dpbf16_ps((__m512)a, (__m512bh)b, (__m512bh)c);"),
    "DOT4S.u32.i32.4": ("__ARM_FEATURE_DOTPROD", "return ({T})vdotq_s32((int32x4_t)a, (int8x16_t)b, (int8x16_t)c);"),
}  # fmt: skip

# What is written for one lane where it is not a scalar spelling of the operation.
_LANES = {
    "SPLAT": "a", "RAMP": "a + {k} * b", "FMA": "{a} * {b} + {c}", "LOAD": "p[{k}]", "STRIDED": "p[{k} * stride]", "GATHER": "p[{i}]",
}  # fmt: skip
_STORES = {"STORE": "p[{k}]", "STORE_STRIDED": "p[{k} * stride]", "SCATTER": "p[{i}]"}
_TESTS = ("LT", "EQ")


@dataclass(frozen=True, slots=True)
class Function:
    """A vector function. native_needs, needs: the scalar operations that each body spells out for a lane."""

    name: str
    prototype: str
    native: str
    portable: str
    native_needs: tuple[Use, ...]
    needs: tuple[Use, ...]


def function_of(use: Use) -> Function:
    """The function that the vector form of `use` calls."""
    source, result = BY_NAME[use.source], BY_NAME[use.result]
    form = find(C99, use.key, source, result, use.lanes)
    if form is None:
        raise InvalidIrError(f"no vector spelling for {use}")
    name = fill(C99, form, source, result, use.lanes, (("", 0),) * 4)[0].partition("(")[0]
    source, result = _as_stored(source), _as_stored(result)
    fields = _fields(source, result, use.lanes)
    returned = "void" if use.key in _STORES else fields["B"] if use.key in _TESTS else fields["T"]
    prototype = f"{returned} {name}({_PARAMETERS[use.key].format(**fields)})"
    native = _native(use.key, source, result)
    plain = Use(use.key, source.name, result.name, 1)
    hardware = _HARDWARE.get(f"{use.key}.{source.name}.{result.name}.{use.lanes}")
    if native and hardware:
        native = f"\n#ifdef {hardware[0]}\n  {hardware[1]}\n#else\n  {native}\n#endif"
    needs = (plain,) if use.key not in _LANES and use.key not in _STORES else ()
    return Function(
        name, prototype, native.format(**fields) if native else _lanewise(plain, use.lanes, returned, True),
        _lanewise(plain, use.lanes, returned, False), () if native else needs, needs,
    )  # fmt: skip


def _as_stored(dtype: DType) -> DType:
    """A vector of INDEX is one of i64."""
    return I64 if dtype.name == "index" else dtype


def _native(key: str, source: DType, result: DType) -> str | None:
    """The body with vector extensions; None where it is written lane by lane with them too."""
    if key == "CAST":
        if result.kind == "bool":
            return "return {test}a != 0{end};" if source.bits >= 32 or source.is_integer else None
        if {source.name, result.name} & {"f16", "bf16"}:
            return _NATIVE.get(f"CAST.{source.name}.{result.name}")
        return "return " + _converted("-a" if source.kind == "bool" else "a", I32 if source.kind == "bool" else source, result) + ";"
    if key == "DIV" and not result.is_float:
        return None
    return next((_NATIVE[candidate] for candidate in form_keys(key, source, result) if candidate in _NATIVE), None)


def _converted(text: str, source: DType, result: DType) -> str:
    """`text`, a vector of `source`, as one of `result`: step by step where one is over twice as wide, which GCC would do lane by lane."""
    from_bits, to_bits = (32 if kind.is_float else kind.bits for kind in (source, result))
    between = [bits for bits in (16, 32) if min(from_bits, to_bits) < bits < max(from_bits, to_bits)]
    steps = [f"i{bits}" for bits in (between if from_bits < to_bits else reversed(between))]
    if source.is_float and result.is_integer and to_bits < 32:
        steps.insert(0, "i32")
    if result.is_float and source.is_integer and from_bits < 32:
        steps.append("i32")
    for step in (*(f"{name}x{{n}}" for name in steps), "{T}"):
        text = f"__builtin_convertvector({text}, {step})"
    return text


def _fields(source: DType, result: DType, lanes: int) -> dict[str, str]:
    narrow = source.bits != 32 and source.kind != "bool"
    width = 32 if result.kind == "bool" and source.kind == "bool" else source.bits if result.kind == "bool" else result.bits
    signed, mask = f"i{width}x{lanes}", f"boolx{lanes}"
    return {
        "T": f"{result.name}x{lanes}", "S": f"{source.name}x{lanes}", "V": C99.values[result.name], "E": C99.elements[result.name],
        "B": mask, "X": f"i64x{lanes}", "U": f"u{width}x{lanes}", "I": signed, "W": f"u{source.bits}x{lanes}", "n": str(lanes),
        "mask": str(width - 1), "counting": ", ".join(str(k) for k in range(lanes)),
        "mask_of": f"({signed})a" if width == 32 else f"__builtin_convertvector(a, {signed})",
        "test": "__builtin_convertvector(" if narrow else f"({mask})(", "end": f", {mask})" if narrow else ")",
    }  # fmt: skip


def _lanewise(use: Use, lanes: int, returned: str, native: bool) -> str:
    """A body that goes through the lanes; `native` says how a lane is named: a[k], or a.e[k] of a struct."""
    reader = "{0}[k]" if native else "{0}.e[k]"
    truth = "({0}[k] != 0)" if native else reader

    def lane(name: str, dtype: str) -> str:
        return (truth if dtype == "bool" else reader).format(name)

    kinds = {"a": "bool" if use.key == "WHERE" else use.source, "b": use.source, "c": use.source, "i": "i64", "v": use.result}
    names = {name: lane(name, dtype) for name, dtype in kinds.items()}
    loop = f"for (int k = 0; k < {lanes}; ++k)"
    if use.key in _STORES:
        return f"{loop} {_STORES[use.key].format(k='k', **names)} = {names['v']};"
    text = _LANES[use.key].format(k="k", **names) if use.key in _LANES else scalar_text(use, (names["a"], names["b"], names["c"]))
    result = "bool" if returned.startswith("bool") else use.result
    written = f"-({text})" if native and result == "bool" else text
    return f"{returned} r;\n  {loop} {reader.format('r')} = {written};\n  return r;"


def vector_types(functions: tuple[Function, ...]) -> tuple[str, ...]:
    """The vector types that the functions' texts name, in alphabetical order."""
    text = "\n".join(f"{function.prototype} {function.native}" for function in functions)
    return tuple(sorted(set(re.findall(r"\b((?:bool|bf16|[iuf]\d+)x\d+)(?:_u)?\b", text)), key=_type_order))


def _type_order(name: str) -> tuple[int, str]:
    element, _, lanes = name.rpartition("x")
    return int(lanes), element


def typedefs(name: str, native: bool) -> str:
    """The declaration of a vector type: as an extension, with its unaligned twin, or as a struct."""
    element, _, lanes = name.rpartition("x")
    dtype = BY_NAME[element]
    if not native:
        return f"typedef struct {name} {{\n  {C99.elements[element]} e[{lanes}];\n}} {name};"
    stored, size = ("int32_t", 4) if element == "bool" else (C99.elements[element], dtype.bytes)
    vector = f"vector_size({size * int(lanes)})"
    return (
        f"typedef {stored} {name} __attribute__(({vector}));\n"
        f"typedef {stored} {name}_u __attribute__(({vector}, aligned({size}), may_alias));"
    )
