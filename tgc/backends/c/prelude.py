"""The functions that kernels call, defined at the top of a C file: scalars, then vectors twice.

With GCC's vector extension a vector function is one expression; without it, or with TGC_NO_VECTORS defined, vectors are structs and
the same functions are loops, whose bodies are the scalar spelling of the same operation. The kernels' text is the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from tgc.backends.c.dialect import WORDS
from tgc.backends.c.scalars import F16_HEAD, WORDS_HEAD, definitions, names_for
from tgc.backends.c.vectors import Function, function_of, typedefs, vector_types
from tgc.backends.cfamily.expressions import Use

HEAD = """\
#if defined(__GNUC__) && (__GNUC__ >= 9 || defined(__clang__)) && !defined(TGC_NO_VECTORS)
#define TGC_VECTORS 1
#define TGC_INLINE static inline __attribute__((always_inline))
#pragma GCC diagnostic ignored "-Wpsabi" /* these functions have no ABI: they are always inlined */
#else
#define TGC_VECTORS 0
#define TGC_INLINE static inline
#endif
"""


def prelude(uses: Iterable[Use]) -> str:
    """The definitions that the forms in `uses` need, in an order in which each comes after what it calls."""
    wanted = sorted(set(uses), key=lambda use: (use.lanes, use.key, use.source, use.result))
    functions = tuple({function.name: function for function in map(function_of, (use for use in wanted if use.lanes > 1))}.values())
    both = [use for use in wanted if use.lanes == 1] + [need for function in functions for need in function.native_needs]
    scalars = definitions(names_for(both))
    halves = any("f16" in (use.source, use.result) for use in wanted)
    words = any(use.key in WORDS for use in wanted)
    parts = [*([F16_HEAD] if halves else []), *([WORDS_HEAD] if words else []), *scalars.values()]
    if functions:
        portable = definitions(names_for(need for function in functions for need in function.needs), scalars)
        types = vector_types(functions)
        parts += [HEAD, "#if TGC_VECTORS", "", *(typedefs(name, True) for name in types), ""]
        parts += [*(_definition(function, function.native) for function in functions), "", "#else", "", *portable.values()]
        parts += [*(typedefs(name, False) for name in types), "", *(_definition(function, function.portable) for function in functions)]
        parts += ["", "#endif", ""]
    return "\n".join(parts)


def _definition(function: Function, body: str) -> str:
    if "\n" in body:
        return f"TGC_INLINE {function.prototype} {{{'' if body.startswith(chr(10)) else chr(10) + '  '}{body}\n}}"
    return f"TGC_INLINE {function.prototype} {{ {body} }}"
