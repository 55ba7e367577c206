"""Definitions of the scalar functions that C99's forms call, found by name: `i32_add`, `f32_from_f16`, `u8_from_f32`, ..."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tgc.backends.c.dialect import C99
from tgc.backends.cfamily.expressions import Use, fill, find
from tgc.ir.dtypes import BY_NAME, DType

_TYPES = "i8|i16|i32|i64|u8|u16|u32|u64|index"
_RULES: tuple[tuple[str, str], ...] = (
    (rf"({_TYPES})_add", "return ({c})(({u})a + ({u})b);"),
    (rf"({_TYPES})_sub", "return ({c})(({u})a - ({u})b);"),
    (rf"({_TYPES})_mul", "return ({c})(({u})a * ({u})b);"),
    (r"(i\d+)_div", "return b == 0 ? 0 : b == -1 ? ({c})(0 - ({u})a) : ({c})(a / b); /* the lowest number / -1 wraps */"),
    (r"(u\d+)_div", "return b == 0 ? 0 : ({c})(a / b);"),
    (rf"({_TYPES})_max", "return a > b ? a : b;"),
    (rf"({_TYPES})_shl", "return ({c})(({u})a << (b & {mask}));"),
    (rf"({_TYPES})_shr", "return ({c})(a >> (b & {mask}));"),
    (r"(f32|f64)_max", "return a > b || a != a ? a : b;"),
    (r"(f32|f64)_at_least", "return a < b ? b : a; /* b is a constant, never a NaN */"),
)

_HALF = {
    "f32_from_f16": """\
static inline float f32_from_f16(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  /* Move exponent and fraction into place, then scale by 2^112: right for subnormals; infinity and NaN get theirs back. */
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
  const float value = f32_bits_u32(rest) * 5192296858534827628530496329220096.0f;
  return f32_bits_u32(sign | ((h & 0x7c00) == 0x7c00 ? rest | 0x7f800000u : u32_bits_f32(value)));
#endif
}
""",
    "f16_from_f32": """\
static inline uint16_t f16_from_f32(float x) {
#if defined(__F16C__)
  return (uint16_t)_cvtss_sh(x, 0);
#else
  /* Rounds to nearest even: a float whose lowest fraction bit is the half's is added, which rounds as the hardware does. */
  const uint32_t bits = u32_bits_f32(x), sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
  if (size >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
  if (size < 0x38800000u) return (uint16_t)(sign | (u32_bits_f32(f32_bits_u32(size) + 0.5f) - 0x3f000000u));
  return (uint16_t)(sign | ((size - 0x38000000u + 0xfffu + ((size >> 13) & 1)) >> 13));
#endif
}
""",
    "f32_from_bf16": """\
static inline float f32_from_bf16(uint16_t h) { return f32_bits_u32((uint32_t)h << 16); }
""",
    "bf16_from_f32": """\
static inline uint16_t bf16_from_f32(float x) {
  const uint32_t bits = u32_bits_f32(x);
  if (x != x) return (uint16_t)((bits >> 16 & 0x8000) | 0x7fc0);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16); /* nearest, ties to even */
}
""",
    "f32_odd_from_f64": """\
static inline float f32_odd_from_f64(double x) {
  /* Rounds to odd, so that rounding the result again to a narrower type rounds x itself correctly. */
  const float near = (float)x;
  const uint32_t bits = u32_bits_f32(near);
  if (x != x || (double)near == x || (bits & 1)) return near;
  const bool away = (near < 0 ? -(double)near : (double)near) > (x < 0 ? -x : x);
  return f32_bits_u32(away ? bits - 1 : bits + 1);
}
""",
    "f16_from_f64": "static inline uint16_t f16_from_f64(double x) { return f16_from_f32(f32_odd_from_f64(x)); }\n",
    "bf16_from_f64": "static inline uint16_t bf16_from_f64(double x) { return bf16_from_f32(f32_odd_from_f64(x)); }\n",
}

_WORDS = {
    "u32_word": """\
static inline uint32_t u32_word(const void *p) {
  uint32_t r;
  memcpy(&r, p, sizeof r);
  return r;
}
""",
    "i32_dot4": """\
static inline int32_t i32_dot4(int32_t a, uint32_t b, uint32_t c) {
  for (int k = 0; k < 32; k += 8) a = (int32_t)((uint32_t)a + (b >> k & 255u) * (uint32_t)(int8_t)(c >> k & 255u));
  return a;
}
""",
    "i32_dot4s": """\
static inline int32_t i32_dot4s(int32_t a, uint32_t b, uint32_t c) {
  for (int k = 0; k < 32; k += 8) a = (int32_t)((uint32_t)a + (uint32_t)((int8_t)(b >> k & 255u) * (int8_t)(c >> k & 255u)));
  return a;
}
""",
    "f32_dot2": """\
static inline float f32_dot2(float a, uint32_t b, uint32_t c) {
  a += f32_bits_u32(b << 16) * f32_bits_u32(c << 16);
  return a + f32_bits_u32(b & 0xffff0000u) * f32_bits_u32(c & 0xffff0000u);
}
""",
}


F16_HEAD = """\
#if defined(__F16C__)
#include <immintrin.h> /* conversions between half and float are instructions */
#endif
"""
WORDS_HEAD = """\
#if defined(__AVX512VNNI__) || defined(__AVX512BF16__)
#include <immintrin.h> /* four products of bytes, or two of bf16, are one instruction */
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif
"""


def names_for(uses: Iterable[Use]) -> tuple[str, ...]:
    """The functions that the scalar spellings of `uses` call."""
    names: dict[str, None] = {}
    for use in uses:
        names.update(dict.fromkeys(re.findall(r"\b([a-z]+\d*_\w+)\(", scalar_text(use, ("a", "b", "c")))))
    return tuple(names)


def scalar_text(use: Use, args: tuple[str, ...]) -> str:
    """The scalar spelling of `use`."""
    source, result = BY_NAME[use.source], BY_NAME[use.result]
    form = find(C99, use.key, source, result, 1)
    if form is None:
        raise KeyError(f"{use.key} from {source} to {result} has no scalar spelling")
    return fill(C99, form, source, result, 1, tuple((arg, 0) for arg in args))[0]


def definitions(names: Iterable[str], known: Iterable[str] = ()) -> dict[str, str]:
    """Name -> definition of the functions and of what those call, callees first, without those that are `known`."""
    texts: dict[str, str] = {}
    done = set(known)

    def visit(name: str) -> None:
        if name in done:
            return
        done.add(name)
        text = definition(name)
        for callee in re.findall(r"\b([a-z]+\d*_\w+)\(", text):
            visit(callee)
        texts[name] = text

    for name in names:
        visit(name)
    return texts


def definition(name: str) -> str:
    """The definition of one function. Raises KeyError for a name that this file does not know."""
    if name in _HALF or name in _WORDS:
        return {**_HALF, **_WORDS}[name]
    if match := re.fullmatch(r"(\w+?)_bits_(\w+)", name):
        return _bits(name, BY_NAME[match[1]], BY_NAME[match[2]])
    if match := re.fullmatch(r"(\w+?)_from_(f32|f64)", name):
        return _truncated(name, BY_NAME[match[1]], BY_NAME[match[2]])
    for pattern, body in _RULES:
        if match := re.fullmatch(pattern, name):
            return _binary(name, BY_NAME[match[1]], body)
    raise KeyError(name)


def _binary(name: str, dtype: DType, body: str) -> str:
    c = dtype.c
    unsigned = "uint64_t" if dtype.bits == 64 else "uint32_t"  # narrower ones would be computed as int, which may overflow
    text = body.format(c=c, u=unsigned, mask=dtype.bits - 1)
    return f"static inline {c} {name}({c} a, {c} b) {{ {text} }}\n"


def _bits(name: str, result: DType, source: DType) -> str:
    to, of = C99.values[result.name], C99.values[source.name]
    return f"static inline {to} {name}({of} x) {{\n  {to} r;\n  memcpy(&r, &x, sizeof r);\n  return r;\n}}\n"


def _truncated(name: str, result: DType, source: DType) -> str:
    """A float to integer conversion that is defined everywhere: modulo 2^bits, and 0 from a NaN and beyond 64 bits."""
    to, of, f = C99.values[result.name], C99.values[source.name], "f" if source.bits == 32 else ""
    lines = [f"  if (x >= -9223372036854775808.0{f} && x < 9223372036854775808.0{f}) return ({to})(int64_t)x;"]
    if result.name == "u64":
        lines.append(f"  if (x > 0 && x < 18446744073709551616.0{f}) return (uint64_t)x;")
    return "\n".join([f"static inline {to} {name}({of} x) {{", *lines, "  return 0;", "}", ""])
